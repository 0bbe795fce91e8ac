"""A topic under load from idempotent producers, and what is in it: for the tests that kill the broker."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from tests.durability.ledger import Ledger
from tests.interop.reference import SLICE_SECONDS, TO_THE_END, Reference
from tests.shipped.broker import ShippedBroker

PARTITIONS = 3
PAYLOAD_BYTES = (1, 4000)
SETTLE_SECONDS_MAX = 30.0


@dataclass
class Site:
    """The broker under test and what it has promised so far."""

    broker: ShippedBroker
    reference: Reference
    topic: str
    ledger: Ledger
    committed: dict[int, int]

    def begin_again(self, topic: str) -> None:
        """With an empty topic, in the same broker."""
        self.topic, self.ledger, self.committed = topic, Ledger(), {}


class Load(threading.Thread):
    """One idempotent producer with acks=all that notes what it sends and what is acknowledged."""

    def __init__(self, site: Site, name: str, seed: int, stop: threading.Event) -> None:
        super().__init__(name=name)
        self._site, self._stop_now = site, stop
        self._random = random.Random(f"{seed} {name}")
        settings = {"enable_idempotence": True, "acks": "all", "linger_ms": self._random.choice([0, 5])}
        tries = {"retry.backoff.ms": 50, "reconnect.backoff.max.ms": 200}
        self.producer = Producer(site.broker.connection().librdkafka(**settings) | tries)

    def run(self) -> None:
        numbers = [0] * PARTITIONS
        while not self._stop_now.is_set():
            partition = self._random.randrange(PARTITIONS)
            head = f"{self.name}:{numbers[partition]} ".encode()
            value = head + b"x" * self._random.randint(*PAYLOAD_BYTES)
            numbers[partition] += 1
            self._site.ledger.sent(partition, value)
            self.producer.produce(self._site.topic, value, partition=partition, on_delivery=self._delivered)
            self.producer.poll(self._random.choice([0, 0, 0.001]))
        self.producer.poll(0)

    def _delivered(self, error: object, message: Message) -> None:
        if error is None:
            self._site.ledger.acknowledge(message.partition(), message.offset(), message.value())


def stored(site: Site) -> dict[int, list[tuple[int, bytes]]]:
    """Everything in the topic now."""
    ends = site.reference.end_offsets(site.topic)
    consumer = Consumer(site.broker.connection().librdkafka(group_id="reader") | TO_THE_END)
    rows: dict[int, list[tuple[int, bytes]]] = {partition: [] for partition in ends}
    try:
        consumer.assign([TopicPartition(site.topic, partition, 0) for partition in ends])
        unread = {partition for partition, end in ends.items() if end}
        moved = time.monotonic()
        while unread:
            assert time.monotonic() < moved + SETTLE_SECONDS_MAX, f"partitions {unread} do not go on"
            for message in consumer.consume(2000, SLICE_SECONDS):
                moved = time.monotonic()
                if message.error() is None:
                    rows[message.partition()].append((message.offset(), message.value()))
                else:
                    unread.discard(message.partition())
    finally:
        consumer.close()
    return rows
