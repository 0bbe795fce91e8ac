"""Stock clients over their quotas: everything arrives, once and in order, late; groups stay together."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Consumer, Producer

from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.types import Operation, ResourceType
from tests.conformance.client import Client
from tests.conformance.test_quotas import set_quotas
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Account, Connection

pytestmark = pytest.mark.interop

RATE = 60_000
"""Bytes a second, of a user who sends four times as many."""

VALUES = [b"%04d" % number + bytes(1_000) for number in range(240)]
WAIT_SECONDS_MAX = 60.0


@pytest.fixture
def broker(tmp_path: Path) -> Any:
    with ShippedBroker(tmp_path / "own") as made:
        yield made


def limited_user(broker: ShippedBroker, **quotas: float | None) -> tuple[Connection, Account, str]:
    with Client(broker.connection()) as admin:
        topic, account = admin.create_topic(), admin.create_user()
        admin.allow(account.user, Operation.ALL, ResourceType.TOPIC, "*")
        admin.allow(account.user, Operation.ALL, ResourceType.GROUP, "*")
        set_quotas(admin, (("user", account.user),), **quotas)
    return broker.connection(account=account), account, topic


def stored(broker: ShippedBroker, topic: str) -> list[bytes]:
    with Client(broker.connection()) as admin:
        assert admin.list_offset(topic, -1).offset == len(VALUES)
    consumer = Consumer(
        broker.connection().librdkafka() | {"group.id": "check", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    found: list[bytes] = []
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while len(found) < len(VALUES) and time.monotonic() < deadline:
        found += [one.value() or b"" for one in consumer.consume(500, 0.2) if one.error() is None]
    consumer.close()
    return found


def test_librdkafkas_idempotent_producer_loses_and_doubles_nothing(broker: ShippedBroker) -> None:
    connection, _, topic = limited_user(broker, producer_byte_rate=RATE)
    told: list[float] = []
    producer = Producer(
        connection.librdkafka()
        | {
            "enable.idempotence": True,
            "batch.size": 20_000,
            "linger.ms": 5,
            "throttle_cb": lambda event: told.append(event.throttle_time),
        }
    )
    errors: list[object] = []
    started = time.monotonic()
    for value in VALUES:
        producer.produce(topic, value, on_delivery=lambda error, _m: errors.append(error) if error else None)
    assert producer.flush(WAIT_SECONDS_MAX) == 0
    took = time.monotonic() - started
    assert not errors
    assert took > (sum(map(len, VALUES)) - 2 * RATE) / RATE, "the quota holds"
    assert told and max(told) > 0, "the client was told"
    assert stored(broker, topic) == VALUES


async def test_aiokafkas_idempotent_producer_loses_and_doubles_nothing(broker: ShippedBroker) -> None:
    connection, _, topic = limited_user(broker, producer_byte_rate=RATE)
    started = time.monotonic()
    async with AIOKafkaProducer(
        **connection.aiokafka(), enable_idempotence=True, max_batch_size=20_000, request_timeout_ms=2_000
    ) as producer:
        futures = [await producer.send(topic, value, partition=0) for value in VALUES]
        for future in futures:
            await future
    assert time.monotonic() - started > (sum(map(len, VALUES)) - 2 * RATE) / RATE
    assert stored(broker, topic) == VALUES


def test_members_of_a_throttled_group_keep_their_partitions(broker: ShippedBroker) -> None:
    """Data comes slowly and every request is over a quota, yet heartbeats are answered in time."""
    connection, account, topic = limited_user(broker, consumer_byte_rate=RATE)
    with Client(broker.connection()) as admin:
        for value in VALUES:
            admin.produced(topic, value)
    assignments: list[int] = []
    consumer = Consumer(
        connection.librdkafka()
        | {
            "group.id": "slow",
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 3_000,
            "heartbeat.interval.ms": 500,
            "fetch.message.max.bytes": 30_000,
        }
    )
    consumer.subscribe(
        [topic],
        on_assign=lambda _consumer, partitions: assignments.append(len(partitions)),
        on_lost=lambda _consumer, _partitions: assignments.append(-1),
    )
    found: list[bytes] = []
    while not found:
        found += values(consumer)
    with Client(broker.connection()) as admin:
        set_quotas(admin, (("user", account.user),), request_percentage=0.01)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and len(found) < len(VALUES):
        found += values(consumer)
    with Client(broker.connection()) as admin:
        answer = admin.call(ApiKey.DESCRIBE_GROUPS, 5, m.DescribeGroupsRequest(groups=["slow"]))
        [group] = answer.groups
        assert [member.client_id for member in group.members], "a member that was heard of in time"
    assert assignments == [1], "one assignment, kept"
    assert found == VALUES[: len(found)]
    set_free(broker, account)
    consumer.close()


def values(consumer: Consumer) -> list[bytes]:
    found = []
    for message in consumer.consume(100, 0.2):
        assert message.error() is None, message.error()
        found.append(message.value() or b"")
    return found


def set_free(broker: ShippedBroker, account: Account) -> None:
    with Client(broker.connection()) as admin:
        entity = (("user", account.user),)
        set_quotas(admin, entity, request_percentage=None, consumer_byte_rate=None)
