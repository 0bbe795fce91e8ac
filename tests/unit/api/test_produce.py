"""Produce answers once, when the last of its batches is committed or refused."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rivven.api.produce import ProduceHandler
from rivven.errors import ErrorCode as E
from rivven.log.workers import WorkerPool
from rivven.records.compression import CODECS
from rivven.tasks import Tasks
from rivven.testing.files import Fault
from tests.unit.api.requests import context, produce
from tests.unit.replication.data_plane import DataPlane, batch_of


class Produced:
    """A handler and what it answered."""

    def __init__(self, plane: DataPlane) -> None:
        self.plane = plane
        self.tasks = Tasks()
        self.workers = WorkerPool()
        self.counted: list[tuple[int, int]] = []
        self.handler = ProduceHandler(
            plane.replicas,
            self.workers,
            self.tasks,
            lambda records, size: self.counted.append((records, size)),
        )
        self.answers: list[Any] = []

    def start(self, request: Any, version: int = 9) -> Any:
        asked = context(version)
        self.handler.start(asked, request, self.answers.append)
        return asked

    def codes(self) -> list[int]:
        """Of the only answer."""
        (answer,) = self.answers
        return [entry.error_code for entry in answer.responses[0].partition_responses]

    async def wait(self) -> None:
        for _ in range(2000):
            if self.answers:
                return
            await self.plane.settle()
            await asyncio.sleep(0.005)
        raise AssertionError("no answer")


@pytest.fixture
async def produced() -> AsyncIterator[Produced]:
    made = Produced(DataPlane())
    yield made
    await made.tasks.cancel_all()
    await made.workers.close()


@pytest.mark.parametrize("acks", [-1, 1])
async def test_the_answer_waits_for_every_partition(produced: Produced, acks: int) -> None:
    await produced.plane.topic("t", 2)
    produced.start(produce("t", batch_of(b"a", b"b"), batch_of(b"c"), acks=acks))
    assert produced.answers == []
    await produced.plane.settle()
    assert produced.codes() == [0, 0]
    first, second = produced.answers[0].responses[0].partition_responses
    assert (first.base_offset, second.base_offset, first.log_start_offset) == (0, 0, 0)
    assert [records for records, _ in produced.counted] == [2, 1]


async def test_a_request_without_batches_is_answered_at_once(produced: Produced) -> None:
    produced.start(produce("t"))
    assert [answer.responses[0].partition_responses for answer in produced.answers] == [[]]


async def test_acks_0_ends_without_an_answer_and_without_waiting(produced: Produced) -> None:
    await produced.plane.topic("t")
    asked = produced.start(produce("t", batch_of(b"a"), acks=0))
    assert produced.answers == [None]
    assert asked.session.closing == ""
    asked = produced.start(produce("unknown", batch_of(b"a"), acks=0))
    assert produced.answers == [None, None]
    assert "UNKNOWN_TOPIC_OR_PARTITION" in asked.session.closing


async def test_acks_0_refused_in_a_worker_closes_before_the_request_ends(produced: Produced) -> None:
    await produced.plane.topic("t", cleanup_policy="compact")
    damaged = batch_of(*[b"v"] * 100, codec=CODECS["gzip"])
    asked = context()
    ended: list[str] = []
    produced.handler.start(
        asked,
        produce("t", _unreadable(damaged), acks=0),
        lambda answer: ended.append(asked.session.closing),
    )
    assert ended == [], "it holds its place until the batch was looked at"
    for _ in range(2000):
        if ended:
            break
        await asyncio.sleep(0.005)
    assert "INVALID_RECORD" in ended[0]


def _unreadable(batch: memoryview) -> memoryview:
    """The same header over bytes that are not the codec it names, under a right CRC."""
    from rivven.records.batch import parse_header, seal_batch

    return memoryview(seal_batch(parse_header(batch), b"not gzip"))


async def test_the_clients_timeout_is_answered_and_the_late_commit_harmless(produced: Produced) -> None:
    await produced.plane.topic("t", 2)
    produced.start(produce("t", batch_of(b"a"), None, timeout_ms=1))
    await asyncio.sleep(0.02)
    assert produced.codes() == [E.REQUEST_TIMED_OUT, E.INVALID_RECORD]
    await produced.plane.settle()
    assert len(produced.answers) == 1
    assert produced.plane.replicas.partitions_of("t")[0].high_watermark == 1


async def test_a_disk_that_fails_is_reported_and_then_refused(produced: Produced) -> None:
    await produced.plane.topic("t")
    produced.plane.files.faults.append(Fault("sync", path=".log"))
    produced.start(produce("t", batch_of(b"a")))
    await produced.plane.settle()
    assert produced.codes() == [E.KAFKA_STORAGE_ERROR]
    produced.answers.clear()
    produced.start(produce("t", batch_of(b"b")))
    assert produced.codes() == [E.KAFKA_STORAGE_ERROR]


async def test_a_batch_that_is_opened_lets_the_next_one_go_on_when_it_is_refused(produced: Produced) -> None:
    await produced.plane.topic("t", compression_type="zstd")
    produced.start(produce("t", _unreadable(batch_of(b"a", codec=CODECS["gzip"]))))
    produced.start(produce("t", batch_of(b"b", codec=CODECS["zstd"])))
    assert produced.answers == []
    for _ in range(2000):
        await produced.plane.settle()
        if len(produced.answers) == 2:
            break
        await asyncio.sleep(0.005)
    entries = [answer.responses[0].partition_responses[0] for answer in produced.answers]
    assert [(entry.error_code, entry.base_offset) for entry in entries] == [(E.INVALID_RECORD, -1), (0, 0)]


async def test_deletion_answers_what_is_in_flight(produced: Produced) -> None:
    await produced.plane.topic("t")
    produced.start(produce("t", batch_of(b"a")))
    partition = produced.plane.replicas.partition("t", 0)
    assert partition is not None
    partition.retire()
    assert produced.codes() == [E.UNKNOWN_TOPIC_OR_PARTITION]
