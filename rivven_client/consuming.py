"""Reading records of topics: as a member of a group, or from chosen places without one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rivven_client.connection import Connection
from rivven_client.failures import ClientFailed, FailureKind, from_kafka_error
from rivven_client.groups import target_offsets
from rivven_client.topics import partition_numbers

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

QUIET_POLL_S = 0.2
END_TIMEOUT_S = 30.0  # without a record for this long, reading to the end is given up
END_FETCH_WAIT_MS = 20
"""How long the broker may hold a fetch that is at the end back: who reads to the end waits for no record."""


@dataclass(frozen=True, slots=True)
class Received:
    """One record. `timestamp_ms` is -1 when the record has none."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin without a group: earliest, latest, offset or time, with the value of the last two."""

    at: str = "latest"
    value: int | None = None


class RecordReader:
    """Iterates over records for ever, or up to the offsets that were the ends of the partitions at the start
    (`to_the_end`). Raises ClientFailed."""

    def __init__(
        self,
        connection: Connection,
        topics: Sequence[str],
        *,
        start: Start | None,
        group: str | None = None,
        partition: int | None = None,
        to_the_end: bool = False,
    ) -> None:
        self._connection = connection
        self._topics = topics
        self._group = group
        self._ends: dict[tuple[str, int], int] | None = None
        self._done: set[tuple[str, int]] = set()
        no_wait = {"fetch.wait.max.ms": END_FETCH_WAIT_MS} if to_the_end else {}
        self._consumer = connection.consumer(
            {
                **no_wait,
                # librdkafka demands a group even where nothing is committed.
                "group.id": group or f"rivven-cli-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest" if start is not None and start.at == "earliest" else "latest",
                # The only sign of an end behind which compaction removed records.
                "enable.partition.eof": True,
            }
        )
        if group is None:
            self._assign(start or Start(), partition)
        else:
            for topic in topics:
                partition_numbers(connection, topic)  # a missing topic is an error, not silence
            self._consumer.subscribe(list(topics))
        if to_the_end:
            self._ends = target_offsets(connection, topics, to="latest")

    def __iter__(self) -> Iterator[Received]:
        quiet_since = time.monotonic()
        while not self._finished():
            message = self._consumer.poll(QUIET_POLL_S)
            if message is None:
                self._connection.check()
                if self._ends is not None and time.monotonic() - quiet_since > END_TIMEOUT_S:
                    raise ClientFailed("no record came, though the end is not reached", FailureKind.TIMEOUT)
                continue
            topic, partition = message.topic() or "", message.partition() or 0
            offset = message.offset() or 0
            error = message.error()
            if error is not None:
                if error.name() == "_PARTITION_EOF":
                    self._connection.connected()
                    self._reached(topic, partition, offset)
                elif not (error.retriable() or self._irrelevant(error)):
                    raise from_kafka_error(error, topic)
                continue
            quiet_since = time.monotonic()
            self._connection.connected()
            self._reached(topic, partition, offset + 1)
            yield Received(
                topic,
                partition,
                offset,
                message.timestamp()[1],
                _bytes(message.key()),
                _bytes(message.value()),
                tuple((str(name), _bytes(value)) for name, value in _pairs(message.headers())),
            )

    def close(self) -> None:
        """Leave; with a group, commit what was handed out."""
        from confluent_kafka import KafkaException

        try:
            if self._group is not None:
                self._consumer.commit(asynchronous=False)
        except KafkaException as error:
            if error.args[0].name() != "_NO_OFFSET":
                raise from_kafka_error(error.args[0]) from None
        finally:
            self._consumer.close()

    def _assign(self, start: Start, partition: int | None) -> None:
        from confluent_kafka import TopicPartition

        places = target_offsets(self._connection, self._topics, to=start.at, value=start.value)
        if partition is not None:
            places = {key: offset for key, offset in places.items() if key[1] == partition}
            if not places:
                raise ClientFailed(f"there is no partition {partition}", FailureKind.NOT_FOUND)
        self._consumer.assign(
            [TopicPartition(topic, number, offset) for (topic, number), offset in places.items()]
        )

    def _irrelevant(self, error: KafkaError) -> bool:
        """Without a group librdkafka still looks for its coordinator, which the user need not be allowed
        to."""
        return self._group is None and error.name() == "GROUP_AUTHORIZATION_FAILED"

    def _finished(self) -> bool:
        if self._ends is None:
            return False
        assigned = {(place.topic, place.partition) for place in self._consumer.assignment()}
        return bool(assigned) and assigned <= self._done  # nothing assigned: the group still decides

    def _reached(self, topic: str, partition: int, position: int) -> None:
        if self._ends is not None and position >= self._ends.get((topic, partition), 0):
            self._done.add((topic, partition))


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _pairs(headers: Any) -> Sequence[tuple[str, bytes | str | None]]:
    """Headers as pairs: a received record has them as a list, or none."""
    return headers or ()
