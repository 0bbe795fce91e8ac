"""aiokafka: the oldest versions any listed client sends, and the first to meet version zero of many APIs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError
from aiokafka.structs import OffsetAndMetadata

from tests.interop.disk import codecs_on_disk
from tests.interop.groups import SETTLE_SECONDS_MAX, SIZES, is_settled
from tests.interop.reference import Reference
from tests.interop.samples import CODECS, Sample, samples
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Connection

PARTITIONS = 6


async def produce(connection: Connection, topic: str, rows: list[Sample], **settings: Any) -> list[int]:
    async with AIOKafkaProducer(**connection.aiokafka(), acks="all", linger_ms=20, **settings) as producer:
        futures = [
            await producer.send(
                topic,
                row.value,
                row.key,
                partition=0,
                timestamp_ms=row.timestamp,
                headers=list(row.headers),
            )
            for row in rows
        ]
        return [(await future).offset for future in futures]


def subscriber(connection: Connection, group: str, topic: str, **settings: Any) -> AIOKafkaConsumer:
    defaults = {
        "group_id": group,
        "auto_offset_reset": "earliest",
        "session_timeout_ms": 6000,
        "heartbeat_interval_ms": 200,
        "fetch_max_wait_ms": 200,
        "metadata_max_age_ms": 1000,
    }
    return AIOKafkaConsumer(topic, **(connection.aiokafka() | defaults | settings))


async def consume(consumer: AIOKafkaConsumer, count: int) -> list[Sample]:
    rows: list[Sample] = []
    async with asyncio.timeout(30):
        while len(rows) < count:
            row = await consumer.getone()
            rows.append(Sample(row.key, row.value, tuple(row.headers), row.timestamp))
    return rows


async def settled(members: list[AIOKafkaConsumer]) -> None:
    """Wait until the group is at rest; aiokafka joins in its own tasks and tells nobody when it is done."""
    async with asyncio.timeout(SETTLE_SECONDS_MAX):
        while True:
            owned = [[row.partition for row in member.assignment()] for member in members]
            if is_settled(owned, PARTITIONS):
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("codec", CODECS)
async def test_produce_consume(
    user: Connection, broker: ShippedBroker, reference: Reference, topic: str, codec: str
) -> None:
    sent = samples(corner_cases=True)
    compression = None if codec == "none" else codec
    assert await produce(user, topic, sent, compression_type=compression) == list(range(len(sent)))
    async with subscriber(user, topic, topic, check_crcs=True) as consumer:
        assert await consume(consumer, len(sent)) == sent
    assert codecs_on_disk(broker.data, reference.topic_id(topic)) == {codec}


async def test_group_members_join_and_leave(user: Connection, make_topic: Callable[..., str]) -> None:
    topic = make_topic(PARTITIONS)
    members: list[AIOKafkaConsumer] = []
    for size in SIZES:
        while len(members) < size:
            member = subscriber(user, topic, topic)
            await member.start()
            members.append(member)
        while len(members) > size:
            await members.pop().stop()
        await settled(members)
    for member in members:
        await member.stop()


async def test_commit_is_resumed(user: Connection, topic: str) -> None:
    await produce(user, topic, samples(6))
    partition = TopicPartition(topic, 0)
    async with subscriber(user, topic, topic, enable_auto_commit=False) as consumer:
        await consume(consumer, 2)
        await consumer.commit({partition: OffsetAndMetadata(2, "two")})
    async with subscriber(user, topic, topic) as consumer:
        assert await consumer.committed(partition) == 2
        assert await consume(consumer, 4) == samples(6)[2:]


async def test_offsets_by_time(user: Connection, topic: str) -> None:
    rows = samples(10)
    await produce(user, topic, rows)
    partition = TopicPartition(topic, 0)
    async with subscriber(user, topic, topic) as consumer:
        found = await consumer.offsets_for_times({partition: rows[3].timestamp})
        assert found[partition].offset == 3
        assert await consumer.offsets_for_times({partition: rows[-1].timestamp + 1}) == {partition: None}
        assert await consumer.end_offsets([partition]) == {partition: 10}


async def test_idempotent_produce_across_restart(own_broker: ShippedBroker) -> None:
    reference = Reference(own_broker.connection())
    topic = reference.create_topic("steady")
    count, restarted_at = 1000, 300
    conf = own_broker.connection().aiokafka()
    async with AIOKafkaProducer(**conf, enable_idempotence=True, linger_ms=2) as producer:
        futures, restart = [], None
        for index in range(count):
            futures.append(await producer.send(topic, str(index).encode(), partition=0))
            await asyncio.sleep(0.001)
            if index == restarted_at:
                restart = asyncio.create_task(asyncio.to_thread(own_broker.restart))
        assert restart is not None
        await restart
        async with asyncio.timeout(60):
            await asyncio.gather(*futures)
    assert [row.value for row in reference.read(topic)] == [str(index).encode() for index in range(count)]


async def test_admin(broker: ShippedBroker, user: Connection, name: str) -> None:
    admin = AIOKafkaAdminClient(**broker.connection().aiokafka())
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 2, 1, topic_configs={"retention.ms": "3600000"})])
        assert name in await admin.list_topics()
        await admin.create_partitions({name: NewPartitions(3)})
        [described] = await admin.describe_topics([name])
        assert len(described["partitions"]) == 3
        await admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name, {"retention.ms": "7200000"})]
        )
        [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
        assert "7200000" in str(answer)
        await produce(user, name, samples(4))
        partition = TopicPartition(name, 0)
        assert await admin.delete_records({partition: RecordsToDelete(before_offset=2)}) == {partition: 2}
        async with subscriber(user, name, name) as consumer:
            await consume(consumer, 2)
            await consumer.commit()
            assert name in {row[0] for row in await admin.list_consumer_groups()}
            await admin.describe_consumer_groups([name])
        committed = await admin.list_consumer_group_offsets(name)
        assert committed[partition].offset == 4
        assert (await admin.describe_cluster())["cluster_id"] == broker.ready["cluster_id"]
        await admin.delete_topics([name])
        assert name not in await admin.list_topics()
    finally:
        await admin.close()


async def test_wrong_password_is_refused(wrong_password: Connection) -> None:
    producer = AIOKafkaProducer(**wrong_password.aiokafka())
    with pytest.raises(KafkaError):
        await producer.start()
    await producer.stop()


async def test_wrong_ca_is_refused(wrong_ca: Connection) -> None:
    producer = AIOKafkaProducer(**wrong_ca.aiokafka())
    with pytest.raises(KafkaError):
        await producer.start()
    await producer.stop()


async def test_denied_topic(user: Connection, secret_topic: str) -> None:
    with pytest.raises(TopicAuthorizationFailedError):
        await produce(user, secret_topic, samples(1))


async def test_transactions_are_refused_quickly(broker: ShippedBroker) -> None:
    producer = AIOKafkaProducer(**broker.connection().aiokafka(), transactional_id="open-transaction")
    started = time.monotonic()
    with pytest.raises(KafkaError):
        await producer.start()
    assert time.monotonic() - started < 5
    await producer.stop()
