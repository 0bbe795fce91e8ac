"""SASL PLAIN with stock clients: a user of the file with Argon2id, one of the metadata with a SCRAM verifier.

No file of the broker and no line of its log may hold a password at the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError as AiokafkaError
from confluent_kafka import KafkaError, Producer
from kafka import KafkaAdminClient
from kafka.errors import KafkaError as KafkaPythonError

from rivven.testing.canary import leaks
from tests.interop import test_aiokafka as aio
from tests.interop import test_confluent as confluent
from tests.interop import test_kafka_python as pure
from tests.interop.programs import JavaPrograms
from tests.interop.reference import Reference
from tests.interop.samples import samples
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Account, Connection

OF_FILE = Account("argon", "Canary-of-file 42!")
STORED = Account("stored", "Canary-of-store 42!")
DISABLED = Account("disabled", "Canary-disabled 42!")
WRONG = "Canary-of-guess 42!"
COUNT = 20


def argon2_hash(password: str) -> str:
    from argon2.low_level import Type, hash_secret

    return hash_secret(password.encode(), b"salt" * 4, 1, 1024, 1, 32, Type.ID).decode()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShippedBroker]:
    users = tmp_path_factory.mktemp("users") / "users.yaml"
    users.touch(mode=0o600)
    users.write_text(
        "users:\n"
        f"  {OF_FILE.user}: {{password_hash: '{argon2_hash(OF_FILE.password)}'}}\n"
        f"  {DISABLED.user}: {{password_hash: '{argon2_hash(DISABLED.password)}', enabled: false}}\n"
    )
    listener = {
        "name": "sasl_ssl",
        "bind": "127.0.0.1:0",
        "protocol": "sasl_ssl",
        "sasl": ["SCRAM-SHA-256", "PLAIN"],
    }
    made = ShippedBroker(
        tmp_path_factory.mktemp("plain"),
        settings={"auto.create.topics.enable": False, "connection.failed.authentication.delay.ms": 0},
        extra={"listeners": [listener], "auth": {"users_file": str(users)}},
    )
    with made:
        yield made
        assert made.running, f"the broker died: {made.tail()}"
        assert made.stop() == 0, made.tail()
    said = {str(file): file.read_bytes() for file in made.data.rglob("*") if file.is_file()}
    said["log"] = made.log.read_bytes()
    assert b"Traceback" not in said["log"], made.tail()
    secrets = [OF_FILE.password, STORED.password, DISABLED.password, WRONG]
    assert leaks(secrets, said) == []
    assert leaks([STORED.user], said), "the control: what was said is searched"


@pytest.fixture(scope="module")
def reference(broker: ShippedBroker) -> Reference:
    made = Reference(broker.connection())
    made.create_user(STORED.user, STORED.password)
    for account in (OF_FILE, STORED, DISABLED):
        made.allow_prefix(account.user, "open-")
    return made


@pytest.fixture(params=[OF_FILE, STORED], ids=lambda account: account.user)
def user(request: pytest.FixtureRequest, broker: ShippedBroker, reference: Reference) -> Connection:
    account: Account = request.param
    return broker.connection(account=account).with_mechanism("PLAIN")


@pytest.fixture(
    params=[Account(OF_FILE.user, WRONG), DISABLED, Account("nobody", WRONG)],
    ids=lambda account: account.user,
)
def refused(request: pytest.FixtureRequest, broker: ShippedBroker, reference: Reference) -> Connection:
    account: Account = request.param
    return broker.connection(account=account).with_mechanism("PLAIN")


def test_confluent_client(user: Connection, topic: str) -> None:
    sent = samples(COUNT)
    assert confluent.produce(user, topic, sent) == list(range(COUNT))
    consumer = confluent.subscriber(user, topic, topic)
    assert confluent.consume(consumer, COUNT) == sent
    consumer.close()


async def test_aiokafka_client(user: Connection, topic: str) -> None:
    sent = samples(COUNT)
    assert await aio.produce(user, topic, sent) == list(range(COUNT))
    consumer = aio.subscriber(user, topic, topic)
    await consumer.start()
    try:
        assert await aio.consume(consumer, COUNT) == sent
    finally:
        await consumer.stop()


def test_kafka_python_client(user: Connection, reference: Reference, topic: str) -> None:
    sent = samples(COUNT)
    assert pure.produce(user, topic, sent) == list(range(COUNT))
    assert reference.read(topic) == sent


def test_java(java: JavaPrograms, tmp_path: Path, user: Connection, topic: str) -> None:
    sent = [row.to_json() for row in samples(COUNT)]
    properties = tmp_path / "client.properties"
    produced = java.run("produce", user, properties, topic=topic, codec="none", records=sent)
    assert produced == {"offsets": list(range(COUNT))}


def test_confluent_is_refused(refused: Connection) -> None:
    seen: list[KafkaError] = []
    producer = Producer(refused.librdkafka() | {"error_cb": seen.append})
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and not any(row.code() == KafkaError._AUTHENTICATION for row in seen):
        producer.poll(0.1)
    assert any(row.code() == KafkaError._AUTHENTICATION for row in seen), seen


async def test_aiokafka_is_refused(refused: Connection) -> None:
    producer = AIOKafkaProducer(**refused.aiokafka())
    with pytest.raises(AiokafkaError):
        await producer.start()
    await producer.stop()


def test_kafka_python_is_refused(refused: Connection) -> None:
    with pytest.raises(KafkaPythonError) as caught:
        KafkaAdminClient(**(refused.kafka_python() | pure.QUICK))
    assert WRONG not in str(caught.value)


def test_java_is_refused(java: JavaPrograms, tmp_path: Path, refused: Connection) -> None:
    result = java.run("fails", refused, tmp_path / "client.properties", topic="open-none")
    assert result["error"].startswith("SaslAuthenticationException")
