"""kafka-python 3: pure Python; asks for the newest versions and infers a Kafka release from the answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ConfigResource,
    ConfigResourceType,
    OffsetSpec,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)
from kafka.errors import KafkaError, TopicAuthorizationFailedError
from kafka.structs import OffsetAndMetadata

from tests.interop.disk import codecs_on_disk
from tests.interop.groups import SIZES, settle
from tests.interop.reference import Reference
from tests.interop.samples import CODECS, Sample, samples
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Connection

PARTITIONS = 6
QUICK = {"bootstrap_timeout_ms": 2000}  # a refused login must end the test, not the suite


def produce(connection: Connection, topic: str, rows: list[Sample], **settings: Any) -> list[int]:
    conf = (
        connection.kafka_python()
        | QUICK
        | {"acks": "all", "linger_ms": 20, "max_block_ms": 10_000}
        | settings
    )
    producer = KafkaProducer(**conf)
    try:
        futures = [
            producer.send(
                topic,
                value=row.value,
                key=row.key,
                headers=list(row.headers),
                partition=0,
                timestamp_ms=row.timestamp,
            )
            for row in rows
        ]
        return [future.get(20).offset for future in futures]
    finally:
        producer.close(timeout=5)


def subscriber(connection: Connection, group: str, topic: str, **settings: Any) -> KafkaConsumer:
    defaults = {
        "group_id": group,
        "auto_offset_reset": "earliest",
        "session_timeout_ms": 6000,
        "heartbeat_interval_ms": 200,
        "fetch_max_wait_ms": 200,
        "metadata_max_age_ms": 1000,
    }
    return KafkaConsumer(topic, **(connection.kafka_python() | QUICK | defaults | settings))


def consume(consumer: KafkaConsumer, count: int, seconds_max: float = 30.0) -> list[Sample]:
    rows: list[Sample] = []
    deadline = time.monotonic() + seconds_max
    while len(rows) < count:
        assert time.monotonic() < deadline, f"{len(rows)} of {count} records within {seconds_max} s"
        for records in consumer.poll(timeout_ms=500).values():
            rows += [Sample(row.key, row.value, tuple(row.headers), row.timestamp) for row in records]
    return rows


@pytest.mark.parametrize("codec", CODECS)
def test_produce_consume(
    user: Connection, broker: ShippedBroker, reference: Reference, topic: str, codec: str
) -> None:
    sent = samples(corner_cases=True, null_header=False)
    compression = None if codec == "none" else codec
    assert produce(user, topic, sent, compression_type=compression) == list(range(len(sent)))
    consumer = subscriber(user, topic, topic, check_crcs=True)
    assert consume(consumer, len(sent)) == sent
    consumer.close()
    assert codecs_on_disk(broker.data, reference.topic_id(topic)) == {codec}


class Member(threading.Thread):
    """A consumer polled by a thread of its own: a poll that is cut short makes kafka-python join anew."""

    def __init__(self, connection: Connection, topic: str) -> None:
        super().__init__()
        self._consumer = subscriber(connection, topic, topic)
        self._leaving = threading.Event()
        self.owned: list[int] = []
        self.start()

    def run(self) -> None:
        while not self._leaving.is_set():
            self._consumer.poll(timeout_ms=500)
            self.owned = [row.partition for row in self._consumer.assignment()]
        self._consumer.close()

    def leave(self) -> None:
        self._leaving.set()
        self.join(20)
        assert not self.is_alive()


def test_group_members_join_and_leave(user: Connection, make_topic: Callable[..., str]) -> None:
    topic = make_topic(PARTITIONS)
    members: list[Member] = []

    def owned() -> list[list[int]]:
        time.sleep(0.02)
        return [member.owned for member in members]

    for size in SIZES:
        while len(members) < size:
            members.append(Member(user, topic))
        while len(members) > size:
            members.pop().leave()
        settle(owned, PARTITIONS)
    for member in members:
        member.leave()


def test_idempotent_produce_across_restart(own_broker: ShippedBroker) -> None:
    reference = Reference(own_broker.connection())
    topic = reference.create_topic("steady")
    count, restarted_at = 1000, 300
    started = threading.Event()
    failures: list[BaseException] = []
    conf = own_broker.connection().kafka_python() | {"linger_ms": 2, "reconnect_backoff_max_ms": 200}

    def send() -> None:
        try:
            producer = KafkaProducer(**conf, enable_idempotence=True)
            futures = []
            for index in range(count):
                futures.append(producer.send(topic, str(index).encode(), partition=0))
                time.sleep(0.001)
                if index == restarted_at:
                    started.set()
            for future in futures:
                future.get(60)
            producer.close()
        except (KafkaError, AssertionError) as error:
            failures.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    assert started.wait(30)
    own_broker.restart()
    sender.join(90)
    assert not sender.is_alive() and not failures, failures
    assert [row.value for row in reference.read(topic)] == [str(index).encode() for index in range(count)]


@pytest.fixture
def admin(broker: ShippedBroker) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(**broker.connection().kafka_python())
    yield client
    client.close()


def test_admin_topics_and_configs(admin: KafkaAdminClient, name: str) -> None:
    admin.create_topics({name: {"num_partitions": 2, "configs": {"retention.ms": "3600000"}}})
    assert name in admin.list_topics()
    admin.create_partitions({name: 3})
    [described] = admin.describe_topics([name])
    assert len(described["partitions"]) == 3
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"retention.ms": "7200000"})])
    resource = ConfigResource(ConfigResourceType.TOPIC, name)
    configs = admin.describe_configs([resource], config_filter="all")["topic"][name]
    assert configs["retention.ms"]["value"] == "7200000"
    assert configs["cleanup.policy"]["value"] == "delete"
    admin.delete_topics([name])
    assert name not in admin.list_topics()


def test_admin_offsets_and_groups(admin: KafkaAdminClient, user: Connection, topic: str) -> None:
    rows = samples(6)
    produce(user, topic, rows)
    partition = TopicPartition(topic, 0)
    for spec, offset in ((OffsetSpec.EARLIEST, 0), (OffsetSpec.LATEST, 6), (rows[4].timestamp, 4)):
        assert admin.list_partition_offsets({partition: spec})[partition].offset == offset
    admin.delete_records({partition: 2})
    assert admin.list_partition_offsets({partition: OffsetSpec.EARLIEST})[partition].offset == 2
    admin.alter_group_offsets(topic, {partition: OffsetAndMetadata(3, "noted", -1)})
    committed = admin.list_group_offsets({topic: [partition]})[topic][partition]
    assert (committed.offset, committed.metadata) == (3, "noted")
    assert topic in {row["group_id"] for row in admin.list_groups()}
    assert topic in admin.describe_groups([topic])
    admin.delete_groups([topic])
    assert topic not in {row["group_id"] for row in admin.list_groups()}


def test_admin_acls(admin: KafkaAdminClient, topic: str) -> None:
    acl = ACL(
        "User:bob",
        "*",
        ACLOperation.READ,
        ACLPermissionType.ALLOW,
        ResourcePattern(ResourceType.TOPIC, topic),
    )
    admin.create_acls([acl])
    everything = ACLFilter(
        None,
        None,
        ACLOperation.ANY,
        ACLPermissionType.ANY,
        ResourcePatternFilter(ResourceType.TOPIC, topic, ACLResourcePatternType.LITERAL),
    )
    found, _ = admin.describe_acls(everything)
    assert found == [acl]
    admin.delete_acls([everything])
    assert admin.describe_acls(everything)[0] == []


def test_admin_cluster_and_log_dirs(admin: KafkaAdminClient, broker: ShippedBroker, topic: str) -> None:
    cluster = admin.describe_cluster()
    assert cluster["cluster_id"] == broker.ready["cluster_id"]
    [answer] = admin.describe_log_dirs([topic])
    assert [row["name"] for row in answer["log_dirs"][0]["topics"]] == [topic]
    assert set(admin.describe_user_scram_credentials()) >= {"admin"}


def test_wrong_password_is_refused(wrong_password: Connection) -> None:
    with pytest.raises(KafkaError) as caught:
        KafkaAdminClient(**(wrong_password.kafka_python() | QUICK))
    assert "alice" not in str(caught.value)


def test_wrong_ca_is_refused(wrong_ca: Connection) -> None:
    with pytest.raises(KafkaError):
        KafkaAdminClient(**(wrong_ca.kafka_python() | QUICK))


def test_denied_topic(user: Connection, secret_topic: str) -> None:
    with pytest.raises(TopicAuthorizationFailedError):
        produce(user, secret_topic, samples(1))


def test_transactions_are_refused(broker: ShippedBroker) -> None:
    producer = KafkaProducer(**broker.connection().kafka_python(), transactional_id="open-transaction")
    with pytest.raises(KafkaError):
        producer.init_transactions()
    producer.close(timeout=1)
