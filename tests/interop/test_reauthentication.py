"""Sessions of two seconds under real clients: those that can re-authenticate do it on the live connection,
the others reconnect, and nobody loses or doubles a record."""

from __future__ import annotations

import asyncio
import os
import re
import time
import urllib.request
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer

from tests.interop.reference import Reference
from tests.shipped.broker import ShippedBroker

LIFETIME_MS = 2_000
SECONDS = float(os.environ.get("RIVVEN_REAUTH_SECONDS", "10"))
"""How long aiokafka produces; a minute in `make nightly`."""


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShippedBroker]:
    settings = {"connections.max.reauth.ms": LIFETIME_MS}
    with ShippedBroker(tmp_path_factory.mktemp("brief"), settings=settings) as broker:
        yield broker
        assert broker.stop() == 0, broker.tail()
    assert "Traceback" not in broker.log.read_text(errors="replace"), broker.tail()


def total(broker: ShippedBroker, name: str) -> float:
    """The sum of a metric over its labels."""
    host, port = broker.metrics_address()
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as response:
        text = response.read().decode()
    return sum(map(float, re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)))


async def test_aiokafka_which_cannot_loses_nothing_and_doubles_nothing(brief: ShippedBroker) -> None:
    """Its idempotent producer lives through a new connection every two seconds."""
    reference = Reference(brief.connection())
    topic = await asyncio.to_thread(reference.create_topic, "aiokafka", 1, {})
    before = total(brief, "rivven_connections_accepted_total")
    sent = 0
    async with AIOKafkaProducer(**brief.connection().aiokafka(), enable_idempotence=True) as producer:
        pending = []
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            pending.append(await producer.send(topic, str(sent).encode(), partition=0))
            sent += 1
            if len(pending) >= 200:
                await asyncio.gather(*pending)
                pending.clear()
            await asyncio.sleep(0.001)
        await asyncio.gather(*pending)
    reconnected = total(brief, "rivven_connections_accepted_total") - before
    assert reconnected >= SECONDS / (LIFETIME_MS / 1000) - 1, "sessions did end"
    stored = [int(row.value or b"") for row in await asyncio.to_thread(reference.read, topic)]
    assert stored == list(range(sent)), f"{sent} sent, {len(stored)} stored, {len(set(stored))} different"


def test_librdkafka_renews_on_the_live_connection(brief: ShippedBroker) -> None:
    reference = Reference(brief.connection())
    topic = reference.create_topic("librdkafka", 1, {})
    failures: list[object] = []
    producer = Producer(brief.connection().librdkafka(acks="all") | {"error_cb": failures.append})
    delivered: list[object] = []

    def produce_for(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            producer.produce(topic, b"v", on_delivery=lambda error, _: delivered.append(error))
            producer.poll(0.02)
        producer.flush(10)

    produce_for(1)
    accepted = total(brief, "rivven_connections_accepted_total")
    logins = total(brief, "rivven_authentications_total")
    produce_for(7)
    assert total(brief, "rivven_connections_accepted_total") == accepted, "no new connection"
    assert total(brief, "rivven_authentications_total") - logins >= 3, "and yet it logged in again"
    assert failures == []
    assert set(delivered) == {None}
