"""The codec's budgets, in multiples of a calibration loop run between the rounds of each measurement.

A budget in microseconds would say more about the machine than about the code. One *unit* is the work CPython
does in 1 µs on the reference machine (two shared x86-64 cores, Python 3.11). Calibration and the function
take turns and the best round of each counts, so a busy neighbour does not fail a run.
"""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable
from struct import Struct
from typing import Any
from uuid import UUID

import pytest

from rivven.protocol import codec
from rivven.protocol import messages as m
from rivven.protocol.api import API_RANGES, ApiKey
from rivven.protocol.connection import Connection
from rivven.protocol.metadata_cache import SharedTopic
from rivven.protocol.versions import ApiVersionsAnswers

TURNS_PER_UNIT = 6
"""Turns of the calibration loop in one microsecond of the reference machine."""

CALIBRATION_TURNS = 1_000
ROUNDS = 60
ROUND_SECONDS = 0.002
"""A round is short, so that some fall between the interruptions of a shared core."""

_read = Struct(">hiiqB").unpack_from


class Calibrated:
    """What the calibration loop makes."""

    __slots__ = ("a", "b", "c", "d", "e")


def calibration_seconds() -> float:
    """Seconds of one unit now: unpacking, attribute stores and appends, what codecs are made of."""
    data = bytes(19)
    values: list[Calibrated] = []
    started = time.perf_counter()
    for _ in range(CALIBRATION_TURNS):
        value = Calibrated()
        value.a, value.b, value.c, value.d, value.e = _read(data, 0)  # type: ignore[attr-defined]
        values.append(value)
    return (time.perf_counter() - started) / CALIBRATION_TURNS * TURNS_PER_UNIT


def units_of(function: Callable[[], object]) -> tuple[float, float]:
    """(units one call takes, seconds of a unit), from the best of interleaved rounds."""
    timer = timeit.Timer(function)
    once = min(timer.repeat(repeat=5, number=1))
    number = max(1, int(ROUND_SECONDS / once))
    unit = taken = float("inf")
    for _ in range(ROUNDS):
        unit = min(unit, calibration_seconds())
        taken = min(taken, timer.timeit(number) / number)
    return taken / unit, unit


@pytest.fixture
def within(benchmark: Any) -> Callable[[float, Callable[[], object]], None]:
    """Report a function's time and compare it with a budget in units."""

    def measure(budget: float, function: Callable[[], object]) -> None:
        benchmark(function)
        if not benchmark.enabled:
            return
        units, unit = units_of(function)
        benchmark.extra_info.update(units=round(units, 2), budget_units=budget, unit_us=round(unit * 1e6, 3))
        assert units <= budget, f"{units:.2f} units, budget {budget} (unit {unit * 1e6:.2f} µs)"

    return measure


P, R = m.ProduceRequest, m.ProduceResponse
F, A, M = m.FetchRequest, m.FetchResponse, m.MetadataResponse


def produce_frame(size: int) -> memoryview:
    partition = P.PartitionProduceData(index=3, records=bytes(size))  # type: ignore[arg-type]
    topic = P.TopicProduceData(name="orders-topic", partition_data=[partition])
    body = codec.write_request(ApiKey.PRODUCE, 9, P(acks=-1, timeout_ms=30_000, topic_data=[topic]))
    header = codec.request_header_bytes(codec.RequestHeader(ApiKey.PRODUCE, 9, 7, "rdkafka"))
    return memoryview(bytearray(header + body))


def produce_answer() -> m.ProduceResponse:
    partition = R.PartitionProduceResponse(index=3, base_offset=77, log_start_offset=0)
    topic = R.TopicProduceResponse(name="orders-topic", partition_responses=[partition])
    return R(responses=[topic])


def fetch_answer(records: memoryview) -> m.FetchResponse:
    partition = A.PartitionData(
        partition_index=1,
        high_watermark=5,
        last_stable_offset=5,
        aborted_transactions=None,
        records=[records],
    )
    return A(responses=[A.FetchableTopicResponse(topic="orders-topic", partitions=[partition])])


def topics(count: int, partitions: int) -> list[M.MetadataResponseTopic]:
    return [
        M.MetadataResponseTopic(
            name=f"topic-{i}",
            topic_id=UUID(int=i + 7),
            partitions=[
                M.MetadataResponsePartition(
                    partition_index=p,
                    leader_id=1,
                    leader_epoch=3,
                    replica_nodes=[1, 2, 3],
                    isr_nodes=[1, 2, 3],
                )
                for p in range(partitions)
            ],
        )
        for i in range(count)
    ]


def metadata_answer(entries: list[Any]) -> m.MetadataResponse:
    broker = M.MetadataResponseBroker(node_id=1, host="localhost", port=9092)
    return M(brokers=[broker], cluster_id="abcdefghijklmnopqrstuv", controller_id=1, topics=entries)


@pytest.mark.parametrize("size", [1024, 64 * 1024])
def test_produce_v9_parse_and_answer(within: Any, size: int) -> None:
    """The issue's budget: 6 µs for both; the body of a request in, the body of its answer out."""
    frame, answer = produce_frame(size), produce_answer()
    _, pos = codec.parse_request_header(frame)

    def both() -> None:
        codec.parse_request(ApiKey.PRODUCE, 9, frame, pos)
        codec.write_response(ApiKey.PRODUCE, 9, answer)

    within(6.0, both)


def test_produce_v9_whole_round_trip(within: Any) -> None:
    """With both headers, the size prefix and the building of the answer: what a handler really pays."""
    frame = produce_frame(1024)

    def whole() -> None:
        header, pos = codec.parse_request_header(frame)
        codec.parse_request(header.api_key, header.api_version, frame, pos)
        codec.write_response_buffers(ApiKey.PRODUCE, 9, produce_answer(), header.correlation_id)

    within(12.0, whole)


def test_metadata_v12_uncached_10_topics_of_12(within: Any) -> None:
    answer = metadata_answer(topics(10, 12))
    within(250.0, lambda: codec.write_response_buffers(ApiKey.METADATA, 12, answer, 5))


def test_metadata_v12_cached_10_topics_of_12(within: Any) -> None:
    answer = metadata_answer([SharedTopic(topic) for topic in topics(10, 12)])
    within(12.0, lambda: codec.write_response_buffers(ApiKey.METADATA, 12, answer, 5))


def test_api_versions_from_the_cache(within: Any) -> None:
    answers = ApiVersionsAnswers(API_RANGES)

    def answer() -> None:
        body = answers.answer(3)
        codec.write_response_buffers(ApiKey.API_VERSIONS, 3, body, 7)

    within(2.0, answer)


def test_fetch_v12_request_of_50_partitions(within: Any) -> None:
    partitions = [
        F.FetchPartition(partition=p, fetch_offset=10**6, partition_max_bytes=2**20) for p in range(50)
    ]
    request = F(
        max_wait_ms=500, min_bytes=1, topics=[F.FetchTopic(topic="orders-topic", partitions=partitions)]
    )
    body = memoryview(bytearray(codec.write_request(ApiKey.FETCH, 12, request)))
    within(40.0, lambda: codec.parse_request(ApiKey.FETCH, 12, body))


@pytest.mark.parametrize("size", [1024, 1024 * 1024])
def test_fetch_v12_answer_costs_the_same_for_any_size(within: Any, size: int) -> None:
    answer = fetch_answer(memoryview(bytes(size)))
    within(6.0, lambda: codec.write_response_buffers(ApiKey.FETCH, 12, answer, 7))


@pytest.mark.parametrize("size", [100, 64 * 1024])
def test_the_connection_core_per_request(within: Any, size: int) -> None:
    core = Connection()
    core.authenticated()
    stream = len(produce_frame(size)).to_bytes(4) + bytes(produce_frame(size))

    def request() -> None:
        data = memoryview(stream)
        while data:
            room = core.get_buffer()
            taken = min(len(room), len(data))
            room[:taken] = data[:taken]
            for frame in core.bytes_received(taken):
                core.complete(frame.sequence, [b"answer"])
            data = data[taken:]

    within(8.0 if size < 1024 else 40.0, request)
