"""The authority of brokers and clients is changed for another under stock clients: nobody is cut off who has
a certificate of the new one in time (the runbook of docs/tls.md, stage by stage)."""

from __future__ import annotations

import os
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.client import Client
from tests.conformance.live import PROMISED_S, is_refused
from tests.conformance.tls_peers import served_by
from tests.interop.loads import Aiokafka, Confluent, Java, Load
from tests.interop.programs import java_programs
from tests.interop.reference import Reference
from tests.shipped.authority import Authority, Issued
from tests.shipped.broker import ShippedBroker
from tests.shipped.client_certificates import ClientFiles
from tests.shipped.connection import Connection

STEADY = ("confluent", "aiokafka")
"""They keep the connections they have; the Java load is one program after the other."""

JAVA_RECORDS = 2_000
NAME = "app"
PICKED_UP_S = 10.0


class Company:
    """A broker that asks for certificates, an authority that goes and one that comes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.old, self.new = Authority("old"), Authority("new")
        self.both = self._written("both.crt", self.old, self.new)
        self.show(self.old.issue())
        self.trust(self.old)
        pair = {"cert_path": str(directory / "leaf.crt"), "key_path": str(directory / "leaf.key")}
        asking = {**pair, "ca_path": str(directory / "ca.crt"), "client_auth": "required"}
        extra = {
            "listeners": [
                {"name": "sasl_ssl", "bind": "127.0.0.1:0", "protocol": "sasl_ssl"},
                *(
                    {"name": one, "bind": "127.0.0.1:0", "protocol": "ssl", "tls": dict(asking)}
                    for one in (*STEADY, "java")
                ),
            ],
            "server": {"tls": pair},
            "auth": {"mtls_mapping": {"type": "common_name"}},
        }
        self.broker = ShippedBroker(directory / "broker", extra=extra)

    def show(self, leaf: Issued) -> Issued:
        leaf.write(self._directory, "new-leaf")
        for end in ("crt", "key"):
            os.replace(self._directory / f"new-leaf.{end}", self._directory / f"leaf.{end}")
        return leaf

    def trust(self, *authorities: Authority) -> None:
        os.replace(self._written("ca.new", *authorities), self._directory / "ca.crt")

    def connection(self, listener: str, authority: Authority) -> Connection:
        """Of a client that trusts both and shows a certificate of `authority`."""
        files = ClientFiles(*authority.issue(NAME).write(self._directory, f"{listener}-{id(authority)}"))
        return self.broker.connection(listener).with_ca(self.both).with_certificate(files)

    def accepted(self) -> dict[str, float]:
        """Connections so far, of the clients that keep theirs."""
        host, port = self.broker.metrics_address()
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        starts = {one: f'rivven_connections_accepted_total{{listener="{one}"}}' for one in STEADY}
        return {
            one: float(next(line for line in lines if line.startswith(start)).rpartition(" ")[2])
            for one, start in starts.items()
        }

    def port(self, listener: str) -> int:
        return int(self.broker.ready["listeners"][listener].rpartition(":")[2])

    def _written(self, name: str, *authorities: Authority) -> Path:
        path = self._directory / name
        path.write_bytes(b"".join(one.pem for one in authorities))
        return path


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    made = Company(tmp_path)
    with made.broker:
        yield made
        assert made.broker.stop() == 0, made.broker.tail()
    assert "Traceback" not in made.broker.log.read_text(errors="replace"), made.broker.tail()


def loads_of(company: Company, authority: Authority, directory: Path) -> dict[str, Load]:
    """Every client, producing with certificates of this authority."""
    at = {one: company.connection(one, authority) for one in (*STEADY, "java")}
    found: dict[str, Load] = {
        "confluent": Confluent(at["confluent"], "confluent"),
        "aiokafka": Aiokafka(at["aiokafka"], "aiokafka"),
    }
    java, _ = java_programs()
    if java is not None:
        properties = directory / f"java-{id(authority)}.properties"
        found["java"] = Java(at["java"], "java", java, properties, JAVA_RECORDS)
    for load in found.values():
        load.start()
    time.sleep(1)  # librdkafka connects to the bootstrap address and to the broker
    return found


def nobody_failed(loads: dict[str, Load]) -> dict[str, int]:
    """Ends them; what each was acknowledged."""
    for load in loads.values():
        load.end()
    assert {name: load.failures for name, load in loads.items()} == {name: [] for name in loads}
    return {name: load.acknowledged for name, load in loads.items()}


def test_nobody_is_cut_off_who_was_in_time(company: Company, tmp_path: Path) -> None:
    reference = Reference(company.broker.connection("sasl_ssl").with_ca(company.both))
    for name in (*STEADY, "java"):
        reference.allow_prefix(NAME, reference.create_topic(name))
    early = loads_of(company, company.old, tmp_path)
    before = company.accepted()
    newcomer = company.connection("java", company.new)
    assert is_refused(newcomer)

    company.trust(company.old, company.new)  # stage 1: both, everywhere
    deadline = time.monotonic() + PICKED_UP_S
    while is_refused(newcomer):
        assert time.monotonic() < deadline, company.broker.tail()
    leaf = company.show(company.new.issue())  # stage 2: certificates of the new one, the broker's first
    while served_by(company.port("sasl_ssl")) != leaf.der or served_by(company.port("java")) != leaf.der:
        assert time.monotonic() < deadline, company.broker.tail()
    assert company.accepted() == before, "nobody had to connect again"
    late = loads_of(company, company.new, tmp_path)
    forgotten = Client(company.connection("java", company.old))
    assert forgotten.metadata().brokers
    acknowledged = nobody_failed(early)

    before = company.accepted()
    company.trust(company.new)  # stage 3: the old one goes
    assert forgotten.is_closed(PICKED_UP_S)
    assert is_refused(company.connection("java", company.old))
    time.sleep(PROMISED_S)
    assert company.accepted() == before, "nobody else had to connect again"
    for name, count in nobody_failed(late).items():
        assert count > 0
        assert sum(reference.end_offsets(name).values()) == acknowledged[name] + count
    if "java" not in late:
        pytest.skip(f"done without the Java client: {java_programs()[1]}")
