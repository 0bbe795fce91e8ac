"""confluent-kafka, the newest librdkafka: the client most users have."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from tests.interop.disk import codecs_on_disk
from tests.interop.groups import SIZES, settle
from tests.interop.reference import Reference, as_sample
from tests.interop.samples import CODECS, Sample, samples
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Connection

DELIVERY_MS = 30_000
PARTITIONS = 6


def produce(connection: Connection, topic: str, rows: list[Sample], **settings: object) -> list[int]:
    """Produce with acks=all; returns the offsets, raises the first failure."""
    answers: list[Any] = []
    producer = Producer(connection.librdkafka(acks="all", delivery_timeout_ms=DELIVERY_MS, **settings))
    for row in rows:
        producer.produce(
            topic,
            key=row.key,
            value=row.value,
            headers=list(row.headers),
            timestamp=row.timestamp,
            partition=0,
            on_delivery=lambda error, message: answers.append(error or message.offset()),
        )
    producer.flush(DELIVERY_MS / 1000)
    for answer in answers:
        if isinstance(answer, KafkaError):
            raise KafkaException(answer)
    return answers


def subscriber(connection: Connection, group: str, topic: str, **settings: object) -> Consumer:
    defaults: dict[str, object] = {
        "group_id": group,
        "auto_offset_reset": "earliest",
        "session_timeout_ms": 6000,
        "heartbeat_interval_ms": 200,
        "fetch_wait_max_ms": 200,
        "topic_metadata_refresh_interval_ms": 1000,
    }
    consumer = Consumer(connection.librdkafka(**(defaults | settings)))
    consumer.subscribe([topic])
    return consumer


def consume(consumer: Consumer, count: int, seconds_max: float = 30.0) -> list[Sample]:
    rows: list[Sample] = []
    deadline = time.monotonic() + seconds_max
    while len(rows) < count:
        assert time.monotonic() < deadline, f"{len(rows)} of {count} records within {seconds_max} s"
        message = consumer.poll(0.5)
        if message is None:
            continue
        if message.error():
            raise KafkaException(message.error())
        rows.append(as_sample(message))
    return rows


@pytest.mark.parametrize("codec", CODECS)
def test_produce_consume(
    user: Connection, broker: ShippedBroker, reference: Reference, topic: str, codec: str
) -> None:
    sent = samples(corner_cases=True)
    offsets = produce(user, topic, sent, compression_type=codec, linger_ms=50)
    assert offsets == list(range(len(sent)))
    consumer = subscriber(user, topic, topic, check_crcs=True)
    assert consume(consumer, len(sent)) == sent
    consumer.close()
    assert codecs_on_disk(broker.data, reference.topic_id(topic)) == {codec}


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_both_mechanisms(user: Connection, topic: str, mechanism: str) -> None:
    assert produce(user, topic, samples(1), sasl_mechanism=mechanism) == [0]


@pytest.mark.parametrize("assignor", ["range", "roundrobin", "cooperative-sticky"])
def test_group_members_join_and_leave(
    user: Connection, make_topic: Callable[..., str], assignor: str
) -> None:
    topic = make_topic(PARTITIONS)
    members: list[Consumer] = []

    def owned() -> list[list[int]]:
        for member in members:
            member.poll(0.02)
        return [[row.partition for row in member.assignment()] for member in members]

    for size in SIZES:
        while len(members) < size:
            members.append(subscriber(user, topic, topic, partition_assignment_strategy=assignor))
        while len(members) > size:
            members.pop().close()
        settle(owned, PARTITIONS)
    for member in members:
        member.close()


def test_static_member_returns_to_its_partitions(user: Connection, make_topic: Callable[..., str]) -> None:
    topic = make_topic(PARTITIONS)
    names = ["first", "second"]
    members = [subscriber(user, topic, topic, group_instance_id=name) for name in names]

    def owned() -> list[list[int]]:
        for member in members:
            member.poll(0.02)
        return [[row.partition for row in member.assignment()] for member in members]

    before = settle(owned, PARTITIONS)
    members[0].close()  # a static member does not leave the group when it closes
    members[0] = subscriber(user, topic, topic, group_instance_id=names[0])
    assert settle(owned, PARTITIONS) == before
    for member in members:
        member.close()


def test_commit_survives_with_metadata_and_is_resumed(user: Connection, topic: str) -> None:
    produce(user, topic, samples(10))
    consumer = subscriber(user, topic, topic, enable_auto_commit=False)
    first = consume(consumer, 4)
    assert first == samples(10)[:4]
    consumer.commit(
        offsets=[TopicPartition(topic, 0, 4, metadata="half way", leader_epoch=0)], asynchronous=False
    )
    consumer.close()
    consumer = subscriber(user, topic, topic)
    [committed] = consumer.committed([TopicPartition(topic, 0)], 10)
    assert (committed.offset, committed.metadata) == (4, "half way")
    assert consume(consumer, 6) == samples(10)[4:]
    consumer.close()


def test_offsets_by_time(user: Connection, topic: str) -> None:
    rows = samples(20)
    produce(user, topic, rows, linger_ms=100)  # one batch: the answer is inside it
    consumer = Consumer(user.librdkafka(group_id=topic))
    [found] = consumer.offsets_for_times([TopicPartition(topic, 0, rows[7].timestamp)], 10)
    [none] = consumer.offsets_for_times([TopicPartition(topic, 0, rows[-1].timestamp + 1)], 10)
    consumer.close()
    assert found.offset == 7
    assert none.offset == -1  # OFFSET_END: no record is that late


def test_read_committed_reads_everything(user: Connection, topic: str) -> None:
    produce(user, topic, samples(5))
    consumer = subscriber(user, topic, topic, isolation_level="read_committed")
    assert consume(consumer, 5) == samples(5)
    consumer.close()


def test_idempotent_produce_across_restart(own_broker: ShippedBroker) -> None:
    reference = Reference(own_broker.connection())
    topic = reference.create_topic("steady")
    count, restarted_at = 2000, 600
    errors: list[KafkaError] = []
    sent = threading.Event()
    settings = {"enable_idempotence": True, "linger_ms": 2, "delivery_timeout_ms": 60_000}
    producer = Producer(own_broker.connection().librdkafka(**settings) | {"retry.backoff.ms": 50})

    def send() -> None:
        for index in range(count):
            producer.produce(
                topic,
                str(index).encode(),
                partition=0,
                on_delivery=lambda error, _: errors.append(error) if error else None,
            )
            producer.poll(0.001)
            if index == restarted_at:
                sent.set()
        assert producer.flush(60) == 0

    sender = threading.Thread(target=send)
    sender.start()
    assert sent.wait(30)
    own_broker.restart()
    sender.join(90)
    assert not sender.is_alive() and not errors
    assert [row.value for row in reference.read(topic)] == [str(index).encode() for index in range(count)]


def test_wrong_password_is_refused(wrong_password: Connection) -> None:
    seen: list[KafkaError] = []
    producer = Producer(wrong_password.librdkafka() | {"error_cb": seen.append})
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and not any(row.code() == KafkaError._AUTHENTICATION for row in seen):
        producer.poll(0.1)
    texts = " ".join(str(row) for row in seen)
    assert any(row.code() == KafkaError._AUTHENTICATION for row in seen), texts
    assert "alice" not in texts  # the answer is the same for users who exist and users who do not


def test_wrong_ca_is_refused(wrong_ca: Connection) -> None:
    seen: list[KafkaError] = []
    producer = Producer(wrong_ca.librdkafka() | {"error_cb": seen.append})
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and not any(row.code() == KafkaError._SSL for row in seen):
        producer.poll(0.1)
    assert any(row.code() == KafkaError._SSL for row in seen), seen


def test_denied_topic(user: Connection, secret_topic: str) -> None:
    with pytest.raises(KafkaException) as caught:
        produce(user, secret_topic, samples(1))
    assert caught.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_denied_group(user: Connection, topic: str) -> None:
    consumer = subscriber(user, "closed-group", topic)
    with pytest.raises(KafkaException) as caught:
        consume(consumer, 1)
    consumer.close()
    assert caught.value.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED


def test_transactions_are_refused_quickly(broker: ShippedBroker) -> None:
    producer = Producer(broker.connection().librdkafka(transactional_id="open-transaction"))
    started = time.monotonic()
    with pytest.raises(KafkaException) as caught:
        producer.init_transactions(20)
    assert time.monotonic() - started < 5
    assert not caught.value.args[0].retriable()
