"""Server certificates are swapped again and again while real clients produce: nobody notices.

`RIVVEN_TLS_SWAPS` says how often (1,000 take some eight minutes: a swap is seen within 0.3 s and made again).
"""

from __future__ import annotations

import os
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from tests.conformance.tls_peers import served_by
from tests.interop.loads import Aiokafka, Confluent, Java, Load
from tests.interop.programs import java_programs
from tests.interop.reference import Reference
from tests.shipped.authority import Authority, Issued
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Connection

SWAPS = int(os.environ.get("RIVVEN_TLS_SWAPS", "20"))
PICKED_UP_S = 10.0
NEWCOMER_EVERY = 10
"""Swaps between two clients that connect for the first time."""

LISTENERS = ("confluent", "aiokafka", "java", "probe")


class Swapped:
    """A broker with a listener for each client, all with one certificate, and whoever renews that."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._root = Authority()
        self.ca = directory / "root.crt"
        self.picked_up_s: list[float] = []
        self.leaf = self._root.issue()
        self.leaf.write(directory, "leaf")
        self.ca.write_bytes(self._root.pem)
        extra = {
            "listeners": [{"name": one, "bind": "127.0.0.1:0", "protocol": "sasl_ssl"} for one in LISTENERS],
            "server": {
                "tls": {"cert_path": str(directory / "leaf.crt"), "key_path": str(directory / "leaf.key")}
            },
        }
        self.broker = ShippedBroker(directory / "broker", extra=extra)

    def connection(self, listener: str) -> Connection:
        address = self.broker.ready["listeners"][listener]
        return Connection(address.replace("127.0.0.1", "localhost"), self.ca, self.broker.admin)

    def swap(self) -> Issued:
        """Renew the certificate and wait until new connections are shown it."""
        self.leaf = self._root.issue()
        self.leaf.write(self._directory, "new")
        began = time.monotonic()
        for end in ("crt", "key"):
            os.replace(self._directory / f"new.{end}", self._directory / f"leaf.{end}")
        port = int(self.broker.ready["listeners"]["probe"].rpartition(":")[2])
        while served_by(port) != self.leaf.der:
            assert time.monotonic() - began < PICKED_UP_S, self.broker.tail()
            time.sleep(0.02)
        self.picked_up_s.append(time.monotonic() - began)
        return self.leaf

    def metric(self, start: str) -> float:
        host, port = self.broker.metrics_address()
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
            page: str = answer.read().decode()
        return float(next(line for line in page.splitlines() if line.startswith(start)).rpartition(" ")[2])

    def accepted(self, listener: str) -> float:
        return self.metric(f'rivven_connections_accepted_total{{listener="{listener}"}}')


@pytest.fixture
def swapped(tmp_path: Path) -> Iterator[Swapped]:
    made = Swapped(tmp_path)
    with made.broker:
        yield made


def test_nobody_notices(swapped: Swapped, tmp_path: Path) -> None:
    reference = Reference(swapped.connection("probe"))
    for name in LISTENERS:
        reference.create_topic(name)
    loads: dict[str, Load] = {
        "confluent": Confluent(swapped.connection("confluent"), "confluent"),
        "aiokafka": Aiokafka(swapped.connection("aiokafka"), "aiokafka"),
    }
    java, why = java_programs()
    if java is not None:
        loads["java"] = Java(swapped.connection("java"), "java", java, tmp_path / "java.properties")
    for load in loads.values():
        load.start()
    time.sleep(1)  # librdkafka connects to the bootstrap address and to the broker
    steady = ("confluent", "aiokafka")
    before = {name: swapped.accepted(name) for name in steady}
    for number in range(SWAPS):
        swapped.swap()
        if number % NEWCOMER_EVERY == 0:
            newcomer = AdminClient(swapped.connection("probe").librdkafka())
            assert "confluent" in newcomer.list_topics(timeout=10).topics
    assert {name: swapped.accepted(name) for name in steady} == before, "nobody had to connect again"
    for load in loads.values():
        load.end()
    assert {name: load.failures for name, load in loads.items()} == {name: [] for name in loads}
    for name, load in loads.items():
        assert load.acknowledged > 0
        assert sum(reference.end_offsets(name).values()) == load.acknowledged
    picked_up = sorted(swapped.picked_up_s)
    print(
        f"{SWAPS} swaps: picked up in {picked_up[len(picked_up) // 2]:.2f} s (median),"
        f" {picked_up[-1]:.2f} s (longest); acknowledged: "
        + ", ".join(f"{name} {load.acknowledged}" for name, load in loads.items())
        + ("" if java is not None else f"; no Java: {why}")
    )
    assert picked_up[-1] <= PICKED_UP_S
    assert swapped.metric('rivven_tls_reloads_total{outcome="success",section="server.tls"}') >= SWAPS
    assert swapped.metric('rivven_tls_reloads_total{outcome="failure",section="server.tls"}') == 0
    if java is None:
        pytest.skip(f"done without the Java client: {why}")
