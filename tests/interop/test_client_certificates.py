"""Client certificates as stock clients show them, each by its own settings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from kafka import KafkaProducer

from tests.interop.programs import JavaPrograms
from tests.interop.reference import Reference
from tests.interop.samples import samples
from tests.shipped.broker import ShippedBroker
from tests.shipped.client_certificates import ClientAuthority
from tests.shipped.connection import Connection

RULES = ["RULE:^CN=([^,]*),O=Shop$/$1@shop/L", "DEFAULT"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ClientAuthority:
    return ClientAuthority(tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module")
def mtls(tmp_path_factory: pytest.TempPathFactory, authority: ClientAuthority) -> Iterator[ShippedBroker]:
    directory = tmp_path_factory.mktemp("mtls")
    tls = {
        "cert_path": str(directory / "pki" / "server.crt"),
        "key_path": str(directory / "pki" / "server.key"),
        "ca_path": str(authority.ca),
        "client_auth": "required",
    }
    extra = {
        "listeners": [
            {"name": "sasl_ssl", "bind": "127.0.0.1:0", "protocol": "sasl_ssl"},
            {"name": "ssl", "bind": "127.0.0.1:0", "protocol": "ssl", "tls": tls},
            {"name": "sasl_and_ssl", "bind": "127.0.0.1:0", "protocol": "sasl_ssl", "tls": dict(tls)},
        ],
        "auth": {"mtls_mapping": {"type": "rules", "rules": RULES}},
    }
    with ShippedBroker(directory, extra=extra) as broker:
        yield broker
        assert broker.stop() == 0, broker.tail()
    assert "Traceback" not in broker.log.read_text(errors="replace"), broker.tail()


@pytest.fixture(scope="module")
def reference(mtls: ShippedBroker) -> Reference:
    made = Reference(mtls.connection())
    made.allow_prefix("duke@shop", "open-")
    return made


@pytest.fixture(scope="module")
def duke(mtls: ShippedBroker, authority: ClientAuthority) -> Connection:
    return mtls.connection("ssl").with_certificate(authority.issue("Duke"))


def test_librdkafka(duke: Connection, reference: Reference) -> None:
    topic = reference.create_topic("open-librdkafka", 1, {})
    answers: list[object] = []
    producer = Producer(duke.librdkafka(acks="all"))
    producer.produce(topic, b"x", on_delivery=lambda error, _: answers.append(error))
    producer.flush(20)
    assert answers == [None]


async def test_aiokafka(duke: Connection, reference: Reference) -> None:
    topic = reference.create_topic("open-aiokafka", 1, {})
    async with AIOKafkaProducer(**duke.aiokafka(), acks="all") as producer:
        assert (await producer.send_and_wait(topic, b"x")).offset == 0


def test_kafka_python(duke: Connection, reference: Reference) -> None:
    topic = reference.create_topic("open-kafka-python", 1, {})
    producer = KafkaProducer(**duke.kafka_python(), acks="all")
    try:
        assert producer.send(topic, b"x").get(20).offset == 0
    finally:
        producer.close()


def test_java(java: JavaPrograms, duke: Connection, reference: Reference, tmp_path: Path) -> None:
    topic = reference.create_topic("open-java", 1, {})
    records = [row.to_json() for row in samples()]
    produced = java.run(
        "produce", duke, tmp_path / "client.properties", topic=topic, codec="none", records=records
    )
    assert produced == {"offsets": list(range(len(records)))}


def test_a_foreign_certificate_is_refused(mtls: ShippedBroker, tmp_path: Path) -> None:
    foreign = ClientAuthority(tmp_path / "foreign", "foreign").issue("Duke")
    client = AdminClient(mtls.connection("ssl").with_certificate(foreign).librdkafka())
    with pytest.raises(KafkaException):
        client.list_topics(timeout=3)


def test_librdkafka_works_under_sasl_until_its_certificate_ends(
    mtls: ShippedBroker, authority: ClientAuthority, reference: Reference
) -> None:
    """It logs in anew when it is told to; what a new login cannot renew must not make it try, and fail."""
    topic = reference.create_topic("open-brief", 1, {})
    files = authority.issue("Brief", seconds=6)
    errors: list[KafkaError] = []
    answers: list[KafkaError | None] = []
    settings = mtls.connection("sasl_and_ssl").with_certificate(files).librdkafka(acks="all")
    producer = Producer(settings | {"error_cb": errors.append})
    end = files.parsed.not_valid_after_utc.timestamp()
    while time.time() < end + 1:
        producer.produce(topic, b"x", on_delivery=lambda error, _: answers.append(error))
        producer.poll(0.02)
        if time.time() < end - 0.05:
            assert errors == []
    assert answers.count(None) > 50
    assert {one.code() for one in errors} <= {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}
    assert errors, "nobody gets in with a certificate that has ended"
