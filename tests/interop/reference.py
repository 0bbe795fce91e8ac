"""The administrator through confluent-kafka: it prepares what a test needs and reads back what is stored.

Every call waits for its answer and raises the broker's error.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.interop.samples import Sample
from tests.shipped.connection import Account, Connection

ANSWER_SECONDS_MAX = 15.0
TO_THE_END = {"enable.partition.eof": True, "fetch.wait.max.ms": 20}
"""librdkafka's settings of who reads to the end: the broker need not wait for more."""
SLICE_SECONDS = 0.05
"""`Consumer.consume` returns no earlier than this, unless it has as many records as it was asked for."""


class Reference:
    """One administrator of one broker."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.admin = AdminClient(connection.librdkafka())

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        self._wait(self.admin.create_topics([topic]))
        return name

    def delete_topic(self, name: str) -> None:
        self._wait(self.admin.delete_topics([name]))

    def topic_id(self, name: str) -> uuid.UUID:
        futures = self.admin.describe_topics(TopicCollection([name]))
        described = self._wait(futures)[name]
        high = described.topic_id.get_most_significant_bits() & (2**64 - 1)
        low = described.topic_id.get_least_significant_bits() & (2**64 - 1)
        return uuid.UUID(int=(high << 64) | low)

    def create_user(self, user: str, password: str) -> Account:
        """A user who can log in with either mechanism and may do nothing yet."""
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            info = ScramCredentialInfo(mechanism, 4096)
            upsertion = UserScramCredentialUpsertion(user, info, password.encode())
            self._wait(self.admin.alter_user_scram_credentials([upsertion]))
        return Account(user, password)

    def allow(
        self,
        user: str,
        operation: AclOperation,
        resource: ResourceType,
        name: str,
        *,
        prefixed: bool = False,
        permission: AclPermissionType = AclPermissionType.ALLOW,
    ) -> AclBinding:
        """Add one ACL for `User:user` from any host."""
        pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
        binding = AclBinding(resource, name, pattern, f"User:{user}", "*", operation, permission)
        self._wait(self.admin.create_acls([binding]))
        return binding

    def allow_prefix(self, user: str, prefix: str) -> None:
        """Everything on topics and groups whose names start with `prefix`."""
        self.allow(user, AclOperation.ALL, ResourceType.TOPIC, prefix, prefixed=True)
        self.allow(user, AclOperation.ALL, ResourceType.GROUP, prefix, prefixed=True)

    def end_offsets(self, topic: str) -> dict[int, int]:
        """The high watermark of each partition."""
        consumer = Consumer(self.connection.librdkafka(group_id="reference"))
        try:
            metadata = consumer.list_topics(topic, ANSWER_SECONDS_MAX).topics[topic]
            return {
                partition: consumer.get_watermark_offsets(
                    TopicPartition(topic, partition), timeout=ANSWER_SECONDS_MAX
                )[1]
                for partition in metadata.partitions
            }
        finally:
            consumer.close()

    def read(self, topic: str, seconds_max: float = 30.0) -> list[Sample]:
        """Every record of a topic up to its end, ordered by partition and offset."""
        rows = sorted(self._read_all(topic, seconds_max), key=lambda row: row[:2])
        return [sample for _, _, sample in rows]

    def _read_all(self, topic: str, seconds_max: float) -> list[tuple[int, int, Sample]]:
        ends = self.end_offsets(topic)
        settings = TO_THE_END | {"check.crcs": True, "enable.auto.commit": False}
        consumer = Consumer(self.connection.librdkafka(group_id="reference") | settings)
        rows: list[tuple[int, int, Sample]] = []
        try:
            consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
            open_partitions = {partition for partition, end in ends.items() if end > 0}
            deadline = time.monotonic() + seconds_max
            while open_partitions:
                assert time.monotonic() < deadline, (
                    f"{topic}: {open_partitions} not read within {seconds_max} s"
                )
                for message in consumer.consume(1000, SLICE_SECONDS):
                    error = message.error()
                    if error is None:
                        rows.append((message.partition(), message.offset(), as_sample(message)))
                    elif error.code() == -191:  # end of partition, librdkafka's own code
                        open_partitions.discard(message.partition())
                    else:
                        raise KafkaException(error)
        finally:
            consumer.close()
        return rows

    def _wait(self, futures: Mapping[Any, Any]) -> dict[Any, Any]:
        return {name: future.result(ANSWER_SECONDS_MAX) for name, future in futures.items()}


def as_sample(message: Any) -> Sample:
    """A confluent-kafka message as a Sample."""
    headers = tuple(message.headers() or ())
    return Sample(message.key(), message.value(), headers, message.timestamp()[1])
