"""Sessions of seconds under real clients: those that can re-authenticate do it on the live connection,
the others reconnect, and nobody loses or doubles a record."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer

from tests.interop.reference import Reference
from tests.shipped.broker import ShippedBroker

LIFETIME_MS = 2_000
SECONDS = float(os.environ.get("RIVVEN_REAUTH_SECONDS", "10"))
"""How long aiokafka produces; a minute in `make nightly`."""
RENEWALS = 2


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


def test_librdkafka_renews_on_the_live_connection(tmp_path: Path) -> None:
    """It does so after nine tenths of the time: the last tenth must outlast the pauses of a busy machine."""
    settings = {"connections.max.reauth.ms": 4 * LIFETIME_MS}
    with ShippedBroker(tmp_path, settings=settings) as broker:
        topic = Reference(broker.connection()).create_topic("librdkafka", 1, {})
        failures: list[object] = []
        delivered: list[object] = []
        statistics: dict[str, Any] = {}
        producer = Producer(
            broker.connection().librdkafka(acks="all")
            | {
                "error_cb": failures.append,
                "statistics.interval.ms": 200,
                "stats_cb": lambda text: statistics.update(json.loads(text)["brokers"]),
            }
        )
        deadline = time.monotonic() + 60
        while max((logins(one) for one in statistics.values()), default=0) < 1 + RENEWALS:
            assert time.monotonic() < deadline, statistics
            producer.produce(topic, b"v", on_delivery=lambda error, _: delivered.append(error))
            producer.poll(0.02)
        assert producer.flush(20) == 0
        assert total(broker, "rivven_authentications_total") > RENEWALS
        assert {name: one["disconnects"] for name, one in statistics.items() if one["disconnects"]} == {}
        assert max(one["connects"] for one in statistics.values()) == 1
    assert failures == []
    assert set(delivered) == {None}


def logins(connection: dict[str, Any]) -> int:
    """How often librdkafka says that it authenticated to a broker."""
    return int(connection["req"].get("SaslHandshake", 0))
