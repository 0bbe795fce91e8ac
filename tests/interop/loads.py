"""Real clients that produce all the time while a test does something to their broker."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from confluent_kafka import KafkaError, Message, Producer

from tests.interop.programs import JavaPrograms
from tests.shipped.connection import Connection

JAVA_RECORDS = 20_000
"""Of one program, which may run for a minute."""


class Load:
    """A client that produces on a thread of its own until it is told to stop."""

    def __init__(self, connection: Connection, topic: str) -> None:
        self.acknowledged = 0
        self.failures: list[str] = []
        self._connection = connection
        self._topic = topic
        self._stop = threading.Event()
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._began.wait(20), self.failures

    def end(self) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._produce()
        except Exception as error:  # noqa: BLE001 - for the test to judge
            self.failures.append(repr(error))

    def _produce(self) -> None:
        raise AssertionError("each client produces in its own way")


class Confluent(Load):
    def _produce(self) -> None:
        settings = self._connection.librdkafka(linger_ms=5, enable_idempotence=True)
        producer = Producer(settings | {"error_cb": lambda error: self.failures.append(str(error))})

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                self.failures.append(str(error))
            else:
                self.acknowledged += 1
                self._began.set()

        while not self._stop.is_set():
            producer.produce(self._topic, b"v" * 100, on_delivery=delivered)
            producer.poll(0.005)
        assert producer.flush(30) == 0


class Aiokafka(Load):
    def _produce(self) -> None:
        asyncio.run(self._run_loop())

    async def _run_loop(self) -> None:
        settings: dict[str, Any] = self._connection.aiokafka()
        async with AIOKafkaProducer(**settings, enable_idempotence=True) as producer:
            while not self._stop.is_set():
                await producer.send_and_wait(self._topic, b"v" * 100)
                self.acknowledged += 1
                self._began.set()
                await asyncio.sleep(0.005)


class Java(Load):
    """Program after program: each may run for a minute."""

    def __init__(
        self,
        connection: Connection,
        topic: str,
        java: JavaPrograms,
        properties: Path,
        records: int = JAVA_RECORDS,
    ) -> None:
        super().__init__(connection, topic)
        self._java = java
        self._properties = properties
        self._records = records

    def _produce(self) -> None:
        while not self._stop.is_set():
            program = self._java.start(
                "steady", self._connection, self._properties, topic=self._topic, count=self._records
            )
            program.line()
            self._began.set()
            sent = program.result()["sent"]
            self.acknowledged += sent
            if sent != self._records:
                self.failures.append(f"{sent} of {self._records}")
