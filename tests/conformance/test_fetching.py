"""Fetch and ListOffsets as consumers rely on them: what comes back, when, and how much of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from rivven.errors import ErrorCode as E
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.records.batch import iterate_batches
from rivven.records.compression import CODECS
from tests.conformance.client import Client, batch, fetch_request, fresh, now_ms, read_all
from tests.shipped.connection import Connection

LATEST, EARLIEST, MAX_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED = -1, -2, -3, -4, -5


@pytest.fixture
def topic(admin: Client) -> str:
    return admin.create_topic()


@pytest.fixture
def other(plain: Connection) -> Iterator[Client]:
    """A second connection: what parks on one blocks what is behind it."""
    with Client(plain) as client:
        yield client


# -- when ----------------------------------------------------------------------------------------------------


def parked(
    client: Client, topic: str, during: Callable[[], object], **arguments: int
) -> tuple[float, object]:
    """Park a fetch at the end of the topic, do something, wait: (seconds from then to the answer, it)."""
    correlation = client.send(
        ApiKey.FETCH, 12, fetch_request(topic, **({"offset": 0, "max_wait_ms": 15_000} | arguments))
    )
    time.sleep(0.05)  # it is parked now; if not, the answer only comes sooner
    during()
    acted = time.monotonic()
    answer = client.receive(ApiKey.FETCH, 12, correlation)
    return time.monotonic() - acted, answer.responses[0].partitions[0]


def test_a_parked_fetch_is_woken_by_produce_within_milliseconds(admin: Client, other: Client) -> None:
    times = []
    for _ in range(5):
        topic = admin.create_topic()
        seconds, entry = parked(admin, topic, lambda: other.produced(topic, b"v"))  # noqa: B023
        assert [record.value for record in read_all(entry.records)] == [b"v"]
        times.append(seconds)
    assert min(times) < 0.02, times


def test_it_is_woken_by_deletion_of_its_topic(admin: Client, other: Client, topic: str) -> None:
    seconds, entry = parked(admin, topic, lambda: other.delete_topic(topic))
    assert entry.error_code == E.UNKNOWN_TOPIC_OR_PARTITION
    assert seconds < 5


def test_it_ends_at_max_wait_with_nothing(admin: Client, topic: str) -> None:
    started = time.monotonic()
    entry = admin.fetch(topic, 0, max_wait_ms=300)
    assert 0.29 <= time.monotonic() - started < 3
    assert (entry.error_code, bytes(entry.records), entry.high_watermark) == (0, b"", 0)


def test_it_waits_for_min_bytes_over_all_partitions(admin: Client, other: Client) -> None:
    topic = admin.create_topic(partitions=2)
    request = fetch_request(topic, 0, max_wait_ms=15_000, min_bytes=2000)
    request.topics[0].partitions.append(
        m.FetchRequest.FetchPartition(partition=1, fetch_offset=0, partition_max_bytes=1 << 20)
    )
    correlation = admin.send(ApiKey.FETCH, 12, request)
    other.produced(topic, b"v" * 900)
    with pytest.raises(TimeoutError):
        admin.receive_frame(0.2)
    other.produced(topic, b"v" * 1100, partition=1)
    answer = admin.receive(ApiKey.FETCH, 12, correlation)
    assert [len(read_all(entry.records)) for entry in answer.responses[0].partitions] == [1, 1]


def test_min_bytes_beyond_max_bytes_do_not_wait_for_ever(admin: Client, topic: str) -> None:
    admin.produced(topic, b"v" * 2000)
    started = time.monotonic()
    entry = admin.fetch(topic, 0, max_wait_ms=15_000, min_bytes=1 << 20, max_bytes=1000)
    assert len(read_all(entry.records)) == 1
    assert time.monotonic() - started < 5


def test_an_error_is_answered_at_once(admin: Client, topic: str) -> None:
    started = time.monotonic()
    assert admin.fetch(fresh("unknown"), 0, max_wait_ms=15_000).error_code == E.UNKNOWN_TOPIC_OR_PARTITION
    assert admin.fetch(topic, 5, max_wait_ms=15_000).error_code == E.OFFSET_OUT_OF_RANGE
    assert time.monotonic() - started < 5


def test_a_fetch_of_nothing_is_answered_at_once(admin: Client) -> None:
    started = time.monotonic()
    assert admin.call(ApiKey.FETCH, 12, m.FetchRequest(max_wait_ms=15_000, min_bytes=1)).responses == []
    assert time.monotonic() - started < 5


def test_many_parked_fetches_are_woken_by_one_record(admin: Client, plain: Connection, topic: str) -> None:
    clients = [Client(plain) for _ in range(30)]
    found: list[list[bytes | None]] = []

    def wait(client: Client) -> None:
        entry = client.fetch(topic, 0, max_wait_ms=15_000)
        found.append([record.value for record in read_all(entry.records)])

    threads = [threading.Thread(target=wait, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    admin.produced(topic, b"for all")
    for thread in threads:
        thread.join(10)
    for client in clients:
        client.close()
    assert found == [[b"for all"]] * 30


# -- what ----------------------------------------------------------------------------------------------------


def test_a_fetch_from_within_a_batch_gets_the_whole_batch(admin: Client, topic: str) -> None:
    admin.produced(topic, *[b"%d" % index for index in range(10)])
    admin.produced(topic, b"next")
    read = read_all(admin.fetch(topic, 7).records)
    assert [record.offset for record in read] == list(range(11)), "the client skips what it has"
    assert [record.offset for record in read_all(admin.fetch(topic, 10).records)] == [10]


def test_a_first_batch_larger_than_every_limit_is_returned(admin: Client, topic: str) -> None:
    """KIP-74: else the consumer would never get past it."""
    admin.produced(topic, b"v" * 100_000)
    admin.produced(topic, b"v" * 100_000)
    for limits in (
        {"max_bytes": 10},
        {"partition_max_bytes": 10},
        {"max_bytes": 1, "partition_max_bytes": 1},
    ):
        entry = admin.fetch(topic, 0, **limits)
        assert [record.offset for record in read_all(entry.records)] == [0], limits


def test_limits_over_several_partitions_in_request_order(admin: Client) -> None:
    topic = admin.create_topic(partitions=3)
    for partition in range(3):
        for _ in range(4):
            admin.produced(topic, b"v" * 10_000, partition=partition)

    def lengths(max_bytes: int, each: int, order: tuple[int, ...] = (0, 1, 2)) -> list[int]:
        request = fetch_request(topic, 0, max_bytes=max_bytes)
        request.topics[0].partitions = [
            m.FetchRequest.FetchPartition(partition=index, fetch_offset=0, partition_max_bytes=each)
            for index in order
        ]
        entries = admin.call(ApiKey.FETCH, 12, request).responses[0].partitions
        assert [entry.partition_index for entry in entries] == list(order)
        return [len(read_all(entry.records)) for entry in entries]

    assert lengths(1 << 20, 1 << 20) == [4, 4, 4]
    assert lengths(1 << 20, 25_000) == [2, 2, 2]
    assert lengths(61_000, 1 << 20) == [4, 2, 0] == lengths(61_000, 1 << 20, (2, 0, 1))
    assert lengths(10, 10) == [1, 0, 0], "only the first one may exceed the limit"


def test_only_whole_batches_come(admin: Client, topic: str) -> None:
    for _ in range(20):
        admin.produced(topic, b"v" * 1000)
    raw = bytes(admin.fetch(topic, 3, partition_max_bytes=5000).records)
    assert sum(header.size_bytes for _, header in iterate_batches(raw)) == len(raw) <= 5000
    assert len(read_all(raw)) == 4


def test_offsets_out_of_range(admin: Client, topic: str) -> None:
    admin.produced(topic, b"0", b"1", b"2")
    admin.produced(topic, b"3")
    assert admin.fetch(topic, 4).error_code == 0, "the end is not out of range"
    for offset in (-1, 5, 2**62):
        entry = admin.fetch(topic, offset)
        assert entry.error_code == E.OFFSET_OUT_OF_RANGE, offset
        assert (entry.log_start_offset, entry.high_watermark) == (0, 4)
    delete_records(admin, topic, 3)
    entry = admin.fetch(topic, 2)
    assert (entry.error_code, entry.log_start_offset) == (E.OFFSET_OUT_OF_RANGE, 3)
    assert admin.values(topic, 3) == [b"3"]


def delete_records(client: Client, topic: str, offset: int) -> int:
    part = m.DeleteRecordsRequest.DeleteRecordsPartition(partition_index=0, offset=offset)
    request = m.DeleteRecordsRequest(
        topics=[m.DeleteRecordsRequest.DeleteRecordsTopic(name=topic, partitions=[part])], timeout_ms=10_000
    )
    entry = client.call(ApiKey.DELETE_RECORDS, 2, request).topics[0].partitions[0]
    assert entry.error_code == 0
    return int(entry.low_watermark)


def test_read_committed_has_an_empty_list_of_aborted_transactions(admin: Client, topic: str) -> None:
    admin.produced(topic, b"v")
    entry = admin.fetch(topic, 0, isolation_level=1)
    assert entry.aborted_transactions == []
    assert [record.value for record in read_all(entry.records)] == [b"v"]
    assert entry.last_stable_offset == 1


def test_sessions_are_not_offered(admin: Client, topic: str) -> None:
    request = fetch_request(topic, 0, session_id=0, session_epoch=0)
    assert admin.call(ApiKey.FETCH, 12, request).session_id == 0
    request = fetch_request(topic, 0, session_id=7, session_epoch=1)
    assert admin.call(ApiKey.FETCH, 12, request).error_code == E.FETCH_SESSION_ID_NOT_FOUND


def test_a_newer_leader_epoch_is_unknown(admin: Client, topic: str) -> None:
    admin.produced(topic, b"v")
    assert admin.fetch(topic, 0, epoch=0).error_code == 0
    assert admin.fetch(topic, 0, epoch=1).error_code == E.UNKNOWN_LEADER_EPOCH
    assert admin.list_offset(topic, LATEST, current_leader_epoch=1).error_code == E.UNKNOWN_LEADER_EPOCH
    assert epoch_end(admin, topic, 0, current=1).error_code == E.UNKNOWN_LEADER_EPOCH
    found = epoch_end(admin, topic, 0)
    assert (found.error_code, found.leader_epoch, found.end_offset) == (0, 0, 1)
    unknown = epoch_end(admin, topic, 5)
    assert (unknown.error_code, unknown.leader_epoch, unknown.end_offset) == (0, -1, -1)


def epoch_end(client: Client, topic: str, epoch: int, current: int = -1) -> object:
    part = m.OffsetForLeaderEpochRequest.OffsetForLeaderPartition(
        partition=0, leader_epoch=epoch, current_leader_epoch=current
    )
    asked = m.OffsetForLeaderEpochRequest.OffsetForLeaderTopic(topic=topic, partitions=[part])
    request = m.OffsetForLeaderEpochRequest(topics=[asked])
    return client.call(ApiKey.OFFSET_FOR_LEADER_EPOCH, 4, request).topics[0].partitions[0]


# -- ListOffsets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
def test_by_time_is_per_record(admin: Client, topic: str, codec: str) -> None:
    """Not per batch, even when the batch is compressed."""
    base = now_ms() - 100_000
    for start in (0, 10, 20):
        stamps = [base + 1000 * (start + index) for index in range(10)]
        admin.produced(topic, *[b"v"] * 10, timestamps=stamps, codec=CODECS[codec])
    for index in (0, 3, 9, 10, 15, 29):
        for stamp in (base + 1000 * index, base + 1000 * index - 999):
            found = admin.list_offset(topic, stamp)
            assert (found.error_code, found.offset, found.timestamp) == (0, index, base + 1000 * index)
            assert found.leader_epoch == 0
    beyond = admin.list_offset(topic, base + 1000 * 29 + 1)
    assert (beyond.error_code, beyond.offset, beyond.timestamp) == (0, -1, -1)
    assert admin.list_offset(topic, 0).offset == 0


def test_times_out_of_order_within_a_batch(admin: Client, topic: str) -> None:
    base = now_ms() - 100_000
    admin.produced(topic, b"a", b"b", b"c", b"d", timestamps=[base + 5, base + 1, base + 9, base + 2])
    assert admin.list_offset(topic, base + 2).offset == 0
    assert admin.list_offset(topic, base + 6).offset == 2
    newest = admin.list_offset(topic, MAX_TIMESTAMP)
    assert (newest.offset, newest.timestamp) == (2, base + 9)


def test_the_named_positions(admin: Client, topic: str) -> None:
    empty = admin.list_offset(topic, MAX_TIMESTAMP)
    assert (empty.error_code, empty.offset, empty.timestamp) == (0, -1, -1)
    assert admin.list_offset(topic, LATEST).offset == 0
    for index in range(5):
        admin.produced(topic, b"%d" % index)
    delete_records(admin, topic, 2)
    assert admin.list_offset(topic, LATEST).offset == 5
    assert admin.list_offset(topic, EARLIEST).offset == 2
    assert admin.list_offset(topic, EARLIEST_LOCAL).offset == 2
    tiered = admin.list_offset(topic, LATEST_TIERED)
    assert (tiered.error_code, tiered.offset) == (0, -1)
    for timestamp, since in ((MAX_TIMESTAMP, 7), (EARLIEST_LOCAL, 8), (LATEST_TIERED, 9)):
        old = admin.list_offset(topic, timestamp, version=since - 1)
        assert old.error_code == E.UNSUPPORTED_VERSION


def test_log_append_time_counts_whole_batches(admin: Client) -> None:
    topic = admin.create_topic(message_timestamp_type="LogAppendTime")
    first = admin.produce(topic, batch(b"a", b"b", timestamps=[1, 2])).log_append_time_ms
    time.sleep(0.005)
    second = admin.produce(topic, batch(b"c", timestamps=[3])).log_append_time_ms
    assert first < second
    assert admin.list_offset(topic, first).offset == 0
    assert admin.list_offset(topic, first + 1).offset == 2
    assert admin.list_offset(topic, MAX_TIMESTAMP).offset == 2


# -- topics --------------------------------------------------------------------------------------------------


def test_topics_are_created_on_first_mention_where_the_client_allows(admin: Client) -> None:
    name = fresh("auto")
    refused = admin.metadata(name).topics[0]
    assert refused.error_code == E.UNKNOWN_TOPIC_OR_PARTITION
    made = admin.metadata(name, auto_create=True).topics[0]
    assert (made.error_code, len(made.partitions)) in {(0, 1), (E.LEADER_NOT_AVAILABLE, 0)}
    assert admin.describe_topic(name).error_code == 0
    assert admin.produced(name, b"v") == 0
    assert admin.metadata("no good name!", auto_create=True).topics[0].error_code == E.INVALID_TOPIC_EXCEPTION


def test_a_recreated_topic_is_another_topic(admin: Client, topic: str) -> None:
    admin.produced(topic, b"old")
    old = admin.topic_id(topic)
    assert admin.delete_topic(topic) == 0
    assert admin.describe_topic(topic).error_code == E.UNKNOWN_TOPIC_OR_PARTITION
    assert admin.fetch(topic, 0).error_code == E.UNKNOWN_TOPIC_OR_PARTITION
    admin.create_topic(topic)
    assert admin.topic_id(topic) != old
    assert admin.values(topic) == []
    assert admin.produced(topic, b"new") == 0
    assert admin.values(topic) == [b"new"]
    asked = m.MetadataRequest.MetadataRequestTopic(name=None, topic_id=old)
    (gone,) = admin.call(ApiKey.METADATA, 12, m.MetadataRequest(topics=[asked])).topics
    assert gone.error_code == E.UNKNOWN_TOPIC_ID
