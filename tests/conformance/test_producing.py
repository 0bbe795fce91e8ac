"""Produce as Kafka's clients rely on it: what is acknowledged, what is refused, and with which code."""

from __future__ import annotations

import time

import pytest

from rivven.errors import ErrorCode as E
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.records.batch import iterate_batches, parse_header, seal_batch
from rivven.records.compression import CODECS, NONE, ZSTD
from tests.conformance.client import Client, batch, fresh, now_ms, produce_request, read_all

HOUR_MS = 3_600_000


@pytest.fixture
def topic(admin: Client) -> str:
    return admin.create_topic()


def code(client: Client, topic: str, records: bytes | None, **arguments: object) -> E:
    return E(client.produce(topic, records, **arguments).error_code)


# -- acks ----------------------------------------------------------------------------------------------------


def test_acks_0_has_no_answer(admin: Client, topic: str) -> None:
    admin.send(ApiKey.PRODUCE, 9, produce_request(topic, batch(b"silent"), acks=0))
    assert admin.metadata(topic).topics[0].error_code == 0, "the next answer is the next request's"
    entry = admin.fetch(topic, 0, max_wait_ms=10_000)  # it may not be durable yet, so not visible
    assert [record.value for record in read_all(entry.records)] == [b"silent"]


@pytest.mark.parametrize("failing", ["unknown topic", "too large", "no key, opened in a worker"])
def test_acks_0_closes_when_something_is_wrong(admin: Client, failing: str) -> None:
    topic = admin.create_topic(max_message_bytes="5000", cleanup_policy="compact")
    records = batch(*[b"v" * 20] * 200, keys=[None] * 200, codec=CODECS["gzip"])
    if failing == "unknown topic":
        topic = fresh("unknown")
    elif failing == "too large":
        records = batch(b"v" * 6000)
    admin.send(ApiKey.PRODUCE, 9, produce_request(topic, records, acks=0))
    assert admin.is_closed(5)


@pytest.mark.parametrize("acks", [2, -2, 100])
def test_other_acks_are_refused(admin: Client, topic: str, acks: int) -> None:
    assert code(admin, topic, batch(b"v"), acks=acks) is E.INVALID_REQUIRED_ACKS
    assert admin.values(topic) == []


def test_min_insync_replicas_counts_for_acks_all_only(admin: Client) -> None:
    topic = admin.create_topic(min_insync_replicas="2")
    assert code(admin, topic, batch(b"v")) is E.NOT_ENOUGH_REPLICAS
    assert code(admin, topic, batch(b"v"), acks=1) is E.NONE
    assert admin.values(topic) == [b"v"]


# -- where ---------------------------------------------------------------------------------------------------


def test_what_does_not_exist(admin: Client, topic: str) -> None:
    assert code(admin, fresh("unknown"), batch(b"v")) is E.UNKNOWN_TOPIC_OR_PARTITION
    assert code(admin, topic, batch(b"v"), partition=1) is E.UNKNOWN_TOPIC_OR_PARTITION
    assert code(admin, topic, batch(b"v"), partition=-1) is E.UNKNOWN_TOPIC_OR_PARTITION


def test_clients_cannot_write_to_internal_topics(admin: Client) -> None:
    assert code(admin, "__consumer_offsets", batch(b"v")) is E.INVALID_TOPIC_EXCEPTION


def test_each_partition_gets_its_own_answer(admin: Client) -> None:
    topic = admin.create_topic(partitions=3)
    damaged = bytearray(batch(b"damaged"))
    damaged[-1] ^= 1
    request = produce_request(topic, batch(b"0"), bytes(damaged), batch(b"2"), batch(b"3"))
    (answer,) = admin.call(ApiKey.PRODUCE, 9, request).responses
    assert [(entry.index, entry.error_code) for entry in answer.partition_responses] == [
        (0, E.NONE),
        (1, E.CORRUPT_MESSAGE),
        (2, E.NONE),
        (3, E.UNKNOWN_TOPIC_OR_PARTITION),
    ]
    assert [admin.values(topic, partition=index) for index in range(3)] == [[b"0"], [], [b"2"]]


# -- what may not be in a batch ------------------------------------------------------------------------------


def changed(records: bytes, position: int, value: int) -> bytes:
    """One byte replaced, the CRC left as it is."""
    return records[:position] + bytes([value]) + records[position + 1 :]


def with_header(records: bytes, **fields: int) -> bytes:
    """Header fields replaced under a right CRC."""
    return bytes(seal_batch(parse_header(records)._replace(**fields), records[61:]))


ONE = batch(b"value")
REFUSED = {
    "damaged": (changed(ONE, len(ONE) - 1, 0xEE), E.CORRUPT_MESSAGE),
    "two batches": (ONE + ONE, E.INVALID_RECORD),
    "half a batch": (ONE[:-1], E.INVALID_RECORD),
    "nothing": (b"", E.INVALID_RECORD),
    "null": (None, E.INVALID_RECORD),
    "message format 1": (changed(ONE, 16, 1), E.INVALID_RECORD),
    "transactional": (batch(b"v", transactional=True, producer_id=1, producer_epoch=0, base_sequence=0), 87),
    "control": (batch(b"v", control=True), E.INVALID_RECORD),
    "LogAppendTime set by the client": (with_header(ONE, attributes=8), E.INVALID_TIMESTAMP),
    "undefined codec": (with_header(ONE, attributes=6), E.UNSUPPORTED_COMPRESSION_TYPE),
    "count and offsets disagree": (with_header(ONE, record_count=2), E.INVALID_RECORD),
    "an hour and a bit ahead": (
        batch(b"v", timestamps=[now_ms() + 2 * HOUR_MS]),
        E.INVALID_TIMESTAMP,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(admin: Client, topic: str, name: str) -> None:
    records, expected = REFUSED[name]
    assert code(admin, topic, records) == expected
    assert admin.values(topic) == []
    assert code(admin, topic, ONE) is E.NONE, "the connection goes on"


@pytest.mark.parametrize(("version", "expected"), [(6, E.UNSUPPORTED_COMPRESSION_TYPE), (7, E.NONE)])
def test_zstd_since_version_7(admin: Client, topic: str, version: int, expected: E) -> None:
    assert code(admin, topic, batch(b"v", codec=ZSTD), version=version) is expected


def exactly(size: int) -> bytes:
    """A batch of so many bytes; `size` is far from where the record's varints grow."""
    value = size - 100
    made = batch(b"v" * value)
    return batch(b"v" * (value + size - len(made)))


@pytest.mark.parametrize(("limit", "configs"), [(2000, {"max_message_bytes": "2000"}), (1_048_588, {})])
def test_max_message_bytes(admin: Client, limit: int, configs: dict[str, str]) -> None:
    topic = admin.create_topic(**configs)
    assert len(exactly(limit)) == limit
    assert code(admin, topic, exactly(limit)) is E.NONE
    assert code(admin, topic, exactly(limit + 1)) is E.MESSAGE_TOO_LARGE


def test_records_older_than_the_topic_allows(admin: Client) -> None:
    topic = admin.create_topic(message_timestamp_before_max_ms="60000")
    assert code(admin, topic, batch(b"v", timestamps=[now_ms() - 120_000])) is E.INVALID_TIMESTAMP
    assert code(admin, topic, batch(b"v", timestamps=[now_ms() - 1000])) is E.NONE


@pytest.mark.parametrize("size", [3, 200], ids=["looked at on the loop", "opened in a worker"])
def test_a_compacted_topic_needs_keys_and_says_which_are_missing(admin: Client, size: int) -> None:
    topic = admin.create_topic(cleanup_policy="compact")
    keys = [b"k"] * size
    assert code(admin, topic, batch(*[b"v"] * size, keys=keys)) is E.NONE
    keys[1] = None  # type: ignore[call-overload]
    entry = admin.produce(topic, batch(*[b"v"] * size, keys=keys))
    assert entry.error_code == E.INVALID_RECORD
    assert [error.batch_index for error in entry.record_errors] == [1]
    assert entry.error_message
    assert len(admin.values(topic)) == size


# -- what is kept --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_is_kept_as_it_was_sent(admin: Client, topic: str, codec: str) -> None:
    sent = batch(*[b"value %d" % index for index in range(50)], codec=CODECS[codec])
    assert code(admin, topic, sent) is E.NONE
    assert code(admin, topic, sent) is E.NONE
    stored = bytes(admin.fetch(topic, 0).records)
    (first, _), (second, header) = iterate_batches(stored)
    assert (first, second) == (0, len(sent))
    assert stored[17 : len(sent)] == sent[17:], "opaque: only base offset and leader epoch are stamped"
    assert (header.base_offset, header.leader_epoch, header.codec) == (50, 0, CODECS[codec])
    assert [record.value for record in read_all(stored)][:50] == [b"value %d" % index for index in range(50)]


@pytest.mark.parametrize("target", ["gzip", "snappy", "lz4", "zstd", "uncompressed"])
def test_a_topic_with_a_codec_of_its_own_recompresses(admin: Client, target: str) -> None:
    topic = admin.create_topic(compression_type=target)
    values = [b"value %d" % index for index in range(100)]
    expected = CODECS.get(target, NONE)
    sent = CODECS["lz4"] if expected != CODECS["lz4"] else CODECS["gzip"]
    for start in range(0, 100, 25):
        assert admin.produced(topic, *values[start : start + 25], codec=sent) == start
    stored = bytes(admin.fetch(topic, 0).records)
    assert {header.codec for _, header in iterate_batches(stored)} == {expected}
    assert [record.value for record in read_all(stored)] == values


def test_recompression_keeps_the_order_of_pipelined_requests(admin: Client) -> None:
    """Every other batch must be opened in a worker; each holds its place."""
    topic = admin.create_topic(compression_type="gzip")
    codecs = [CODECS["gzip"], NONE, CODECS["zstd"]]
    sent = [
        admin.send(ApiKey.PRODUCE, 9, produce_request(topic, batch(b"%d" % index, codec=codecs[index % 3])))
        for index in range(30)
    ]
    for index, correlation in enumerate(sent):
        (answer,) = admin.receive(ApiKey.PRODUCE, 9, correlation).responses
        assert answer.partition_responses[0].base_offset == index
    assert admin.values(topic) == [b"%d" % index for index in range(30)]


def test_log_append_time(admin: Client) -> None:
    topic = admin.create_topic(message_timestamp_type="LogAppendTime")
    before = now_ms()
    entry = admin.produce(topic, batch(b"v", timestamps=[1000]))
    assert before <= entry.log_append_time_ms <= now_ms()
    assert [record.timestamp for record in read_all(admin.fetch(topic, 0).records)] == [
        entry.log_append_time_ms
    ]


# -- idempotence ---------------------------------------------------------------------------------------------


def numbered(producer: tuple[int, int], sequence: int, count: int = 1, epoch: int | None = None) -> bytes:
    return batch(
        *[b"%d" % (sequence + index) for index in range(count)],
        producer_id=producer[0],
        producer_epoch=producer[1] if epoch is None else epoch,
        base_sequence=sequence,
    )


def test_a_duplicate_gets_its_original_offset(admin: Client, topic: str) -> None:
    producer = admin.producer_id()
    offsets = [admin.produce(topic, numbered(producer, 2 * n, 2)).base_offset for n in range(6)]
    assert offsets == [0, 2, 4, 6, 8, 10]
    for n in range(1, 6):  # the last five
        again = admin.produce(topic, numbered(producer, 2 * n, 2))
        assert (again.error_code, again.base_offset) == (0, 2 * n)
    assert len(admin.values(topic)) == 12


def test_gaps_and_forgotten_duplicates_are_out_of_order(admin: Client, topic: str) -> None:
    producer = admin.producer_id()
    for n in range(7):
        assert code(admin, topic, numbered(producer, n)) is E.NONE
    assert code(admin, topic, numbered(producer, 8)) is E.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert code(admin, topic, numbered(producer, 0)) in (
        E.OUT_OF_ORDER_SEQUENCE_NUMBER,
        E.DUPLICATE_SEQUENCE_NUMBER,
    )
    assert code(admin, topic, numbered(producer, 7)) is E.NONE


def test_epochs_of_a_producer(admin: Client, topic: str) -> None:
    producer = admin.producer_id()
    assert code(admin, topic, numbered(producer, 0)) is E.NONE
    assert code(admin, topic, numbered(producer, 5, epoch=1)) is E.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert code(admin, topic, numbered(producer, 0, epoch=1)) is E.NONE
    assert code(admin, topic, numbered(producer, 1, epoch=0)) is E.INVALID_PRODUCER_EPOCH


def test_sequences_wrap(admin: Client, topic: str) -> None:
    producer = admin.producer_id()
    last = 2**31 - 1
    assert code(admin, topic, numbered(producer, last - 1, 2)) is E.NONE, "unknown ids start anywhere"
    assert code(admin, topic, numbered(producer, 0)) is E.NONE


def test_producers_do_not_share_sequences(admin: Client, topic: str) -> None:
    other_topic = admin.create_topic()
    first, second = admin.producer_id(), admin.producer_id()
    assert first[0] != second[0]
    for producer in (first, second):
        for where in (topic, other_topic):
            assert code(admin, where, numbered(producer, 0)) is E.NONE
    assert len(admin.values(topic)) == len(admin.values(other_topic)) == 2


def test_a_duplicate_in_flight_waits_for_its_original(admin: Client, topic: str) -> None:
    producer = admin.producer_id()
    sent = [admin.send(ApiKey.PRODUCE, 9, produce_request(topic, numbered(producer, 0))) for _ in range(5)]
    answers = [admin.receive(ApiKey.PRODUCE, 9, correlation) for correlation in sent]
    entries = [answer.responses[0].partition_responses[0] for answer in answers]
    assert [(entry.error_code, entry.base_offset) for entry in entries] == [(0, 0)] * 5
    assert len(admin.values(topic)) == 1


def test_transactional_ids_are_refused_for_good(admin: Client) -> None:
    """Not with a retriable code: clients must report it instead of trying for ever."""
    retriable = {E.COORDINATOR_LOAD_IN_PROGRESS, E.COORDINATOR_NOT_AVAILABLE, E.NOT_COORDINATOR}
    request = m.InitProducerIdRequest(transactional_id="tx", transaction_timeout_ms=1000)
    for version in (0, 5):
        found = E(admin.call(ApiKey.INIT_PRODUCER_ID, version, request).error_code)
        assert found is not E.NONE
        assert found not in retriable
    coordinator = m.FindCoordinatorRequest(key="tx", key_type=1, coordinator_keys=["tx"])
    answer = admin.call(ApiKey.FIND_COORDINATOR, 4, coordinator).coordinators[0]
    assert answer.error_code not in (retriable | {E.NONE})
    assert answer.error_message


def test_an_answer_comes_with_the_commit_and_not_with_the_timeout(admin: Client, topic: str) -> None:
    started = time.monotonic()
    assert code(admin, topic, batch(b"v"), timeout_ms=15_000) is E.NONE
    assert time.monotonic() - started < 5
