"""A real identity provider, Keycloak, and the stock clients that fetch or carry its tokens.

One broker trusts one realm; clients log in with OAUTHBEARER and may do what their principal's rules allow.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.abc import AbstractTokenProvider
from confluent_kafka import Consumer, KafkaError, Producer
from kafka import KafkaProducer
from kafka.errors import KafkaError as KafkaPythonError
from kafka.net.sasl.oauth import AbstractTokenProvider as KafkaPythonProvider

from tests.interop.keycloak import OTHER_SERVICE, SERVICE, Keycloak, keycloak_home
from tests.interop.programs import JavaPrograms
from tests.interop.reference import Reference
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Connection
from tests.shipped.pki import make_pki

pytestmark = pytest.mark.timeout(480)  # the first test waits for a download and the provider's start

PRINCIPAL = "kc-service-account-producer-app"
TOPIC = "orders"


@pytest.fixture(scope="module")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    home, reason = keycloak_home()
    if home is None:
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("keycloak")
    with Keycloak(home, directory, make_pki(directory / "pki")) as keycloak:
        yield keycloak


@pytest.fixture(scope="module")
def trusting(keycloak: Keycloak, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShippedBroker]:
    """A broker that trusts the provider; its service may use the topic."""
    listener = {
        "name": "sasl_ssl",
        "bind": "127.0.0.1:0",
        "protocol": "sasl_ssl",
        "sasl": ["OAUTHBEARER", "SCRAM-SHA-256"],
    }
    extra = {"listeners": [listener], "auth": {"oidc": {"issuers": [keycloak.settings()]}}}
    with ShippedBroker(tmp_path_factory.mktemp("trusting"), extra=extra) as broker:
        reference = Reference(broker.connection())
        reference.create_topic(TOPIC)
        reference.allow_prefix(PRINCIPAL, TOPIC)
        yield broker
        assert "Traceback" not in broker.log.read_text(errors="replace"), broker.tail()


@pytest.fixture
def bearer(trusting: ShippedBroker) -> Connection:
    """Address and authority; each client adds its own way to a token."""
    return trusting.connection()


def librdkafka(connection: Connection, **settings: Any) -> dict[str, Any]:
    conf = connection.librdkafka()
    for name in ("sasl.username", "sasl.password"):
        del conf[name]
    return conf | {"sasl.mechanism": "OAUTHBEARER"} | {k.replace("_", "."): v for k, v in settings.items()}


def built_in(keycloak: Keycloak, service: tuple[str, str] = SERVICE) -> dict[str, Any]:
    """librdkafka fetches tokens itself."""
    return {
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.token.endpoint.url": keycloak.token_url,
        "sasl.oauthbearer.client.id": service[0],
        "sasl.oauthbearer.client.secret": service[1],
        "https.ca.location": str(keycloak.pki.ca),
    }


def delivered(conf: dict[str, Any], value: bytes, seconds_max: float = 30.0) -> list[Any]:
    """Produce one record; its offset, or the errors."""
    answers: list[Any] = []
    producer = Producer(conf | {"acks": "all", "delivery.timeout.ms": int(seconds_max * 1000)})
    producer.produce(
        TOPIC, value, on_delivery=lambda error, message: answers.append(error or message.offset())
    )
    producer.flush(seconds_max + 5)
    return answers


def first_error(conf: dict[str, Any], seconds_max: float = 20.0) -> KafkaError:
    seen: list[KafkaError] = []
    producer = Producer(conf | {"error_cb": seen.append})
    deadline = time.monotonic() + seconds_max
    while not any(one.code() == KafkaError._AUTHENTICATION for one in seen):
        assert time.monotonic() < deadline, seen
        producer.poll(0.1)
    return next(one for one in seen if one.code() == KafkaError._AUTHENTICATION)


def test_librdkafka_with_its_own_oidc(
    keycloak: Keycloak, bearer: Connection, trusting: ShippedBroker
) -> None:
    conf = librdkafka(bearer) | built_in(keycloak)
    [offset] = delivered(conf, b"by librdkafka")
    assert isinstance(offset, int), offset
    consumer = Consumer(conf | {"group.id": f"{TOPIC}-rd", "auto.offset.reset": "earliest"})
    consumer.subscribe([TOPIC])
    deadline = time.monotonic() + 30
    while (message := consumer.poll(0.5)) is None or message.error():
        assert time.monotonic() < deadline
    assert message.value() is not None
    consumer.close()
    assert f"authenticated User:{PRINCIPAL}" in trusting.log.read_text()


def test_librdkafka_with_a_callback(keycloak: Keycloak, bearer: Connection) -> None:
    def fetch(_config: str) -> tuple[str, float]:
        return keycloak.service_token(), time.time() + 300

    [offset] = delivered(librdkafka(bearer) | {"oauth_cb": fetch}, b"by callback")
    assert isinstance(offset, int), offset


def test_a_token_for_somebody_else_is_refused(
    keycloak: Keycloak, bearer: Connection, trusting: ShippedBroker
) -> None:
    error = first_error(librdkafka(bearer) | built_in(keycloak, OTHER_SERVICE))
    assert "account" not in str(error)  # what was wrong is the operator's to know
    assert "aud: 'account' names no accepted audience" in trusting.log.read_text()


def test_a_changed_token_is_refused(keycloak: Keycloak, bearer: Connection, trusting: ShippedBroker) -> None:
    head, body, signature = keycloak.service_token().split(".")
    bad = ".".join(
        [head, body, signature[:-8] + ("AAAAAAAA" if signature[-8:] != "AAAAAAAA" else "BBBBBBBB")]
    )
    first_error(librdkafka(bearer) | {"oauth_cb": lambda _config: (bad, time.time() + 300)})
    assert "signature: not made by the key" in trusting.log.read_text()


def test_a_person_gets_in_under_the_claim_that_names_persons_and_may_nothing(
    keycloak: Keycloak, bearer: Connection, trusting: ShippedBroker
) -> None:
    token = keycloak.person_token()
    answers = delivered(
        librdkafka(bearer) | {"oauth_cb": lambda _config: (token, time.time() + 300)}, b"no", seconds_max=8
    )
    assert answers[0].code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._MSG_TIMED_OUT)
    assert "authenticated User:kc-alice" in trusting.log.read_text()


class Tokens(AbstractTokenProvider):  # type: ignore[misc]
    """aiokafka asks at each connection."""

    def __init__(self, fetch: Callable[[], str]) -> None:
        self._fetch = fetch

    async def token(self) -> str:
        return await asyncio.to_thread(self._fetch)


def aiokafka(connection: Connection, fetch: Callable[[], str]) -> dict[str, Any]:
    conf = connection.aiokafka()
    for name in ("sasl_plain_username", "sasl_plain_password"):
        del conf[name]
    return conf | {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": Tokens(fetch)}


async def test_aiokafka(keycloak: Keycloak, bearer: Connection) -> None:
    conf = aiokafka(bearer, keycloak.service_token)
    async with AIOKafkaProducer(**conf, acks="all") as producer:
        sent = await producer.send_and_wait(TOPIC, b"by aiokafka")
    async with AIOKafkaConsumer(
        TOPIC, **conf, group_id=f"{TOPIC}-aio", auto_offset_reset="earliest"
    ) as consumer:
        async with asyncio.timeout(30):
            while (await consumer.getone()).offset < sent.offset:
                pass


async def test_aiokafka_with_a_bad_token(bearer: Connection) -> None:
    producer = AIOKafkaProducer(**aiokafka(bearer, lambda: "bad"), request_timeout_ms=5000)
    with pytest.raises(Exception, match=r"(?i)connect|auth|bootstrap"):
        await producer.start()
    await producer.stop()


def kafka_python(connection: Connection, fetch: Callable[[], str]) -> dict[str, Any]:
    class Given(KafkaPythonProvider):  # type: ignore[misc]
        def token(self) -> str:
            return fetch()

        def extensions(self) -> dict[str, str]:
            return {"traceId": "42"}

    conf = connection.kafka_python()
    for name in ("sasl_plain_username", "sasl_plain_password"):
        del conf[name]
    return conf | {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": Given()}


def test_kafka_python(keycloak: Keycloak, bearer: Connection) -> None:
    producer = KafkaProducer(**kafka_python(bearer, keycloak.service_token), acks="all")
    assert producer.send(TOPIC, b"by kafka-python").get(30).offset >= 0
    producer.close()


def test_kafka_python_with_a_bad_token(bearer: Connection) -> None:
    with (
        pytest.raises(KafkaPythonError),
        contextlib.closing(
            KafkaProducer(**kafka_python(bearer, lambda: "bad"), bootstrap_timeout_ms=2000)
        ) as producer,
    ):
        producer.send(TOPIC, b"no").get(10)


def test_java(
    keycloak: Keycloak,
    bearer: Connection,
    java: JavaPrograms,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The newest Java client with the login handler it brings, a token in a file."""
    token = tmp_path / "token.jwt"
    token.write_text(keycloak.service_token())
    urls = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={token.as_uri()}"
    files = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.files={token}"
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", f"{urls} {files}")
    by_file = JavaBearer(bearer, token)
    record = {"key": None, "value": "by java", "headers": [], "timestamp": 1_700_000_000_000}
    arguments = {"topic": TOPIC, "codec": "none", "records": [record]}
    produced = java.run("produce", by_file, tmp_path / "p", **arguments)  # type: ignore[arg-type]
    assert produced["offsets"][0] >= 0
    token.write_text(keycloak.service_token(OTHER_SERVICE))
    failed = java.run("fails", by_file, tmp_path / "p", topic=TOPIC)  # type: ignore[arg-type]
    assert failed["failed"]
    assert failed["error"].startswith("SaslAuthenticationException"), failed
    assert "account" not in failed["error"]


class JavaBearer:
    """A connection as Java's properties file."""

    def __init__(self, connection: Connection, token: Path) -> None:
        self._connection = connection
        self._token = token

    def java_file(self, path: Path) -> Path:
        package = "org.apache.kafka.common.security.oauthbearer"
        lines = [
            line
            for line in self._connection.java_file(path).read_text().splitlines()
            if not line.startswith("sasl.")
        ]
        lines += [
            "sasl.mechanism=OAUTHBEARER",
            f"sasl.jaas.config={package}.OAuthBearerLoginModule required;",
            f"sasl.login.callback.handler.class={package}.OAuthBearerLoginCallbackHandler",
            f"sasl.oauthbearer.token.endpoint.url={self._token.as_uri()}",
        ]
        path.write_text("\n".join(lines) + "\n")
        return path


def test_a_rotated_key_is_no_outage(keycloak: Keycloak, bearer: Connection) -> None:
    before = keycloak.service_token()
    keycloak.rotate_keys()
    after = keycloak.service_token()
    assert before.split(".")[0] != after.split(".")[0]
    for token in (after, before):
        conf = librdkafka(bearer) | {"oauth_cb": lambda _config, token=token: (token, time.time() + 300)}
        [offset] = delivered(conf, b"after the rotation")
        assert isinstance(offset, int), offset
