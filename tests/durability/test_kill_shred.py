"""kill -9 while a topic is shredded: it never began or it comes to its end, and nothing else is lost. And
while keys are rotated and rewrapped: nothing is lost.

All runs use one data directory and key store. `RIVVEN_KILL_RUNS` sets their number (3 in `make test`); its
number is the seed of a run.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from rivven.security.keys.erasure_certificate import verify
from tests.conformance.keys_commands import encrypted, found_in
from tests.conformance.web import Web, web_of
from tests.interop.reference import SLICE_SECONDS, Reference
from tests.shipped.broker import ShippedBroker

pytestmark = pytest.mark.durability

RUNS = int(os.environ.get("RIVVEN_KILL_RUNS", "3"))
RECORDS = 50
KEEPER = "keeper"
KILL_SECONDS = (0.0, 0.12)  # a whole erasure takes some 40 ms, more on a busy machine
SETTLE_SECONDS_MAX = 60.0
ENDED = OSError, HTTPException
"""What a request may meet whose broker is killed."""


@dataclass
class Site:
    """The broker, and topics that were shredded in earlier runs."""

    broker: ShippedBroker
    store: Path
    shredded: set[str] = field(default_factory=set)
    began: int = 0

    @property
    def web(self) -> Web:
        return web_of(self.broker)

    def produce(self, topic: str) -> None:
        Reference(self.broker.connection()).create_topic(topic, 2, {})
        producer = Producer(self.broker.connection().librdkafka(acks="all"))
        for number in range(RECORDS):
            producer.produce(topic, f"marker {topic} {number}".encode(), partition=number % 2)
        assert producer.flush(30) == 0

    def records(self, topic: str) -> int:
        ends = Reference(self.broker.connection()).end_offsets(topic)
        consumer = Consumer(self.broker.connection().librdkafka(group_id="reader"))
        found, deadline = 0, time.monotonic() + SETTLE_SECONDS_MAX
        try:
            consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
            while found < sum(ends.values()):
                assert time.monotonic() < deadline, f"{topic} cannot be read to its end"
                for message in consumer.consume(1000, SLICE_SECONDS):
                    assert message.error() is None, message.error()
                    assert message.value().startswith(f"marker {topic} ".encode())
                    found += 1
        finally:
            consumer.close()
        return found

    def topics(self) -> set[str]:
        return {one["topic"] for one in self.web.get("/v1/keys/topics?limit=1000").json["items"]}

    def settled(self) -> dict[str, Any]:
        """What is known of keys once no erasure runs."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while True:
            shown = self.web.get("/v1/keys").json
            if shown["running"] is None:
                return dict(shown)
            assert time.monotonic() < deadline, shown["running"]
            time.sleep(0.02)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("kill-shred")
    with ShippedBroker(place / "broker", extra=encrypted(place)) as broker:
        site = Site(broker, place / "key-store")
        site.produce(KEEPER)
        yield site


def shred(web: Web, topic: str) -> None:
    with suppress(*ENDED):  # the connection ends with the broker
        web.post("/v1/keys/shred", {"topic": topic})


@pytest.mark.parametrize("run", range(RUNS))
def test_kill_while_shredding(site: Site, run: int) -> None:
    chance = random.Random(run)
    topic = f"topic-{run}"
    site.produce(topic)
    asking = threading.Thread(target=shred, args=(site.web, topic))
    asking.start()
    time.sleep(chance.uniform(*KILL_SECONDS))
    site.broker.kill()
    asking.join(30)
    site.broker.start()
    began = site.settled() and topic not in site.topics()
    site.began += began
    if not began:
        assert site.records(topic) == RECORDS
        assert site.web.post("/v1/keys/shred", {"topic": topic}).status == 200
    site.shredded.add(topic)
    check(site)


def rotate(web: Web) -> None:
    with suppress(*ENDED):
        for operation in ("rotate", "rewrap", "signing/erasure/rotate"):
            web.post(f"/v1/keys/{operation}", {})


@pytest.mark.parametrize("run", range(RUNS))
def test_kill_while_rotating(site: Site, run: int) -> None:
    chance = random.Random(f"rotate {run}")
    asking = threading.Thread(target=rotate, args=(site.web,))
    asking.start()
    time.sleep(chance.uniform(*KILL_SECONDS))
    site.broker.kill()
    asking.join(30)
    site.broker.start()
    assert site.records(KEEPER) == RECORDS
    assert site.web.post("/v1/keys/rewrap", {}).status == 200
    shown = site.settled()
    assert shown["newest_percent"] == 100
    assert all(one["retirable"] for one in shown["keys"] if one["state"] == "enabled" and not one["current"])
    assert len(site.web.get("/v1/keys/signing/erasure").json["items"]) >= 1


def check(site: Site) -> None:
    """Everything that was shredded is gone and proved; everything else is there, under living keys."""
    shown = site.settled()
    assert not site.topics() & site.shredded
    assert {one["state"] for one in shown["keys"] if not one["current"]} <= {"destroyed"}
    assert shown["newest_percent"] == 100
    entries = site.web.get("/v1/keys/certificates?limit=1000").json["items"]
    assert sorted(one["topic"] for one in entries) == sorted(site.shredded)
    public = {
        one["key_id"]: one["pem"].encode() for one in site.web.get("/v1/keys/signing/erasure").json["items"]
    }
    for entry in entries:
        content = site.web.get(f"/v1/keys/certificates/{entry['id']}")
        fields = verify(content.text, public[content.json["signature"]["key_id"]]).fields
        assert (fields["state"], fields["topic"]["name"]) == ("complete", entry["topic"])
        assert sum(one["segment_count"] for one in fields["partitions"]) == 2
    assert site.records(KEEPER) == RECORDS
    assert found_in(site.broker.data, b"marker ") == []
    assert found_in(site.store, b"marker ") == []
