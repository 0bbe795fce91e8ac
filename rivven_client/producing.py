"""Producing records: every record is acknowledged by every replica, or the failure is raised."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rivven_client.connection import Connection
from rivven_client.failures import ClientFailed, FailureKind, from_kafka_error

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

Headers = Sequence[tuple[str, bytes]]


class RecordWriter:
    """Sends records to one topic; `close` waits for the acknowledgements. Raises ClientFailed."""

    def __init__(self, connection: Connection, topic: str, *, compression: str = "none") -> None:
        self._connection = connection
        self._topic = topic
        self._producer = connection.producer({"compression.type": compression, "linger.ms": 5})
        self._failure: ClientFailed | None = None
        self.acknowledged = 0
        self.last: tuple[int, int] | None = None
        """Partition and offset of the record acknowledged last."""

    def write(
        self, value: bytes | None, key: bytes | None, headers: Headers, partition: int | None = None
    ) -> None:
        """Queue one record; blocks while the queue is full."""
        options: dict[str, Any] = {} if partition is None else {"partition": partition}
        while True:
            try:
                self._producer.produce(
                    self._topic, value, key, headers=list(headers), on_delivery=self._delivered, **options
                )
                break
            except BufferError:
                self._producer.poll(0.1)
                self._check()
        self._producer.poll(0)
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Wait until every record is acknowledged."""
        deadline = time.monotonic() + self._connection.timeout_s
        seen = -1
        while self._producer.flush(0.1):
            self._check()
            if self.acknowledged != seen:
                seen, deadline = self.acknowledged, time.monotonic() + self._connection.timeout_s
            if time.monotonic() > deadline:
                waiting = len(self._producer)
                raise ClientFailed(f"{waiting} records were not acknowledged in time", FailureKind.TIMEOUT)
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._connection.check()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = self._failure or from_kafka_error(error, self._topic)
            return
        self.acknowledged += 1
        self._connection.connected()
        self.last = (message.partition() or 0, message.offset() or 0)
