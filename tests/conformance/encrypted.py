"""A broker with encryption at rest, used by a stock client so that everything it stores holds a marker.

Driver. Each marker is a text that nothing but one kind of data contains; where it is found on the disk, that
kind of data is readable there.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from rivven.protocol import scram
from tests.shipped.broker import ShippedBroker
from tests.shipped.on_disk import contents

MARKERS = {name: f"marker-of-the-{name}-7731" for name in ("value", "key", "header", "offset-metadata")}
SALT = b"a salt of our own, 7731"
PASSWORD = b"Marker-password 77!"
SECONDS_MAX = 20.0


def encryption(**settings: Any) -> dict[str, Any]:
    """The section `storage` of a broker that encrypts."""
    return {"encryption": {"enabled": True} | settings}


def key_directory(broker: ShippedBroker) -> Path:
    return broker.data.with_name(f"{broker.data.name}-keys")


class EncryptedUse:
    """What clients do with one broker."""

    def __init__(self, broker: ShippedBroker) -> None:
        self.broker = broker

    def settings(self, **more: object) -> dict[str, Any]:
        return self.broker.connection().librdkafka(**more)

    def create(self, topic: str, partitions: int = 1, **configs: str) -> None:
        """Raises KafkaException."""
        named = {name.replace("_", "."): value for name, value in configs.items()}
        admin = AdminClient(self.settings())
        admin.create_topics([NewTopic(topic, partitions, 1, config=named)])[topic].result(SECONDS_MAX)

    def alter(self, topic: str, name: str, value: str) -> None:
        """Raises KafkaException."""
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        admin = AdminClient(self.settings())
        [future] = admin.incremental_alter_configs([resource]).values()
        future.result(SECONDS_MAX)

    def delete(self, topic: str) -> None:
        admin = AdminClient(self.settings())
        admin.delete_topics([topic])[topic].result(SECONDS_MAX)

    def store_verifier(self, user: str) -> list[bytes]:
        """Give a user a password; the verifier's keys, raw and as the metadata writes them."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
        upsertion = UserScramCredentialUpsertion(user, info, PASSWORD, SALT)
        admin = AdminClient(self.settings())
        [future] = admin.alter_user_scram_credentials([upsertion]).values()
        future.result(SECONDS_MAX)
        made = scram.derive_verifier(scram.ScramMechanism.SCRAM_SHA_256, PASSWORD.decode(), SALT, 4096)
        raw = [made.stored_key, made.server_key]
        return [*raw, *(base64.b64encode(one) for one in raw)]

    def produce(self, topic: str, count: int, value: str = MARKERS["value"], **more: object) -> None:
        """Idempotent, acknowledged by all; raises KafkaException for the first that fails."""
        failures: list[KafkaError] = []
        producer = Producer(self.settings(enable_idempotence="true", message_timeout_ms=15_000, **more))
        for number in range(count):
            producer.produce(
                topic,
                value=f"{number} {value}",
                key=f"{number} {MARKERS['key']}",
                headers=[("header", MARKERS["header"])],
                on_delivery=lambda error, _message: failures.append(error) if error else None,
            )
        assert producer.flush(SECONDS_MAX) == 0
        if failures:
            raise KafkaException(failures[0])

    def consume(self, topic: str, count: int, group: str = "readers") -> list[str]:
        """The next values of a group, committed with a text."""
        consumer = Consumer(
            self.settings(
                group_id=group,
                auto_offset_reset="earliest",
                enable_auto_commit="false",
                session_timeout_ms=6000,
            )
        )
        values: list[str] = []
        try:
            consumer.subscribe([topic])
            deadline = time.monotonic() + SECONDS_MAX
            positions: dict[int, int] = {}
            while len(values) < count and time.monotonic() < deadline:
                message = consumer.poll(0.2)
                if message is None or message.error():
                    continue
                values.append(message.value().decode())
                positions[message.partition()] = message.offset() + 1
            if positions:
                text = MARKERS["offset-metadata"]
                offsets = [TopicPartition(topic, one, at, text) for one, at in positions.items()]
                consumer.commit(offsets=offsets, asynchronous=False)
        finally:
            consumer.close()
        return values

    def read(self, topic: str, seconds: float = 3.0) -> list[str]:
        """What the only partition of a topic gives from its beginning to its end, or until nothing comes."""
        to_the_end = {"enable_partition_eof": "true", "fetch_wait_max_ms": 20}  # nothing more is waited for
        consumer = Consumer(self.settings(group_id="none", **to_the_end))
        values: list[str] = []
        try:
            consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                message = consumer.poll(0.1)
                if message is None:
                    continue
                if message.error():
                    if message.error().code() == KafkaError._PARTITION_EOF:
                        break
                    continue
                values.append(message.value().decode())
        finally:
            consumer.close()
        return values

    def error_of_producing(self, topic: str) -> str:
        """The Kafka error that a record meets at once, without the client's retries."""
        errors: list[KafkaError] = []
        settings = self.settings(retries=0, message_timeout_ms=5000, acks="all")
        producer = Producer(settings)
        producer.produce(topic, b"x", on_delivery=lambda error, _message: errors.append(error))
        producer.flush(SECONDS_MAX)
        assert errors and errors[0] is not None, "the record was taken"
        return str(errors[0].name())


def marked_files(directories: Iterable[Path], markers: Iterable[str | bytes]) -> dict[str, set[str]]:
    """Which files hold which marker; names of files count as content too."""
    wanted = {one if isinstance(one, bytes) else one.encode() for one in markers}
    found: dict[str, set[str]] = {}
    for directory in directories:
        for path, content in contents(directory):
            here = {repr(marker) for marker in wanted if marker in content + path.name.encode()}
            if here:
                found[str(path.relative_to(directory))] = here
    return found
