"""The stream sink: every line a record of a topic in a cluster that speaks the Kafka protocol.

Driver, on a thread of its own, over librdkafka (imported when the sink is opened, never before the broker
serves clients for its sake alone). Acceptance is the other cluster's acknowledgement by all replicas. After a
failure lines may be there twice; their numbers tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rivven.audit.chain import Line
from rivven.audit.events import AuditEvent
from rivven.audit.sinks import Opened, SinkFailed

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

DELIVERY_SECONDS_MAX: Final = 10.0
"""For one batch; then it is tried again with a new attempt of its own."""


class StreamSink:
    """Implements `AuditSink`. `settings` are librdkafka's and may hold a password."""

    def __init__(self, topic: str, settings: Mapping[str, str]) -> None:
        self._topic = topic
        self._settings = dict(settings)
        self._producer: Producer | None = None

    def __repr__(self) -> str:
        return f"StreamSink({self._topic!r} at {self._settings.get('bootstrap.servers')!r})"

    def open(self) -> Opened:
        self._producer = self._connect()
        return Opened()

    def _connect(self) -> Producer:
        """A client with the settings, and what their files hold, as they are now."""
        from confluent_kafka import KafkaException, Producer

        try:
            return Producer(
                {
                    "enable.idempotence": "true",
                    "delivery.timeout.ms": str(int(DELIVERY_SECONDS_MAX * 1000)),
                    "linger.ms": "0",
                    "log_level": "0",  # what fails is reported by the queue, without settings
                    **self._settings,
                }
            )
        except KafkaException as error:
            raise SinkFailed(f"stream: {error.args[0].str()}") from None

    def write(self, lines: Sequence[Line], durable: bool) -> Sequence[AuditEvent]:
        producer = self._producer or self._connect()
        self._producer = None  # after a failure with another one: authorities are read when it is made
        failures: list[str] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failures.append(error.str())

        for line in lines:
            self._produce(producer, line, delivered)
        left = producer.flush(DELIVERY_SECONDS_MAX + 1)
        if left or failures:
            producer.purge()
            producer.flush(1)
            raise SinkFailed(f"stream: {failures[0] if failures else 'no acknowledgement in time'}")
        self._producer = producer
        return ()

    def _produce(self, producer: Producer, line: Line, delivered: Any) -> None:
        try:
            # No key: the topic has one order only when it has one partition, and the lines say theirs.
            producer.produce(self._topic, line.data, on_delivery=delivered)
        except BufferError:
            raise SinkFailed("stream: librdkafka's queue is full") from None

    def close(self) -> None:
        self._producer = None
