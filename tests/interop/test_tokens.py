"""API tokens with the clients people have: a PLAIN password, a bearer token, SCRAM with tokenauth."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError as AiokafkaError
from confluent_kafka import KafkaException, Producer
from kafka import KafkaProducer
from kafka.errors import KafkaError as KafkaPythonError
from kafka.net.sasl.oauth import AbstractTokenProvider as KafkaPythonTokenProvider

from rivven.testing.canary import leaks
from rivven_client.admin import AdminApi, path
from rivven_client.failures import ClientFailed, FailureKind
from rivven_client.profile import Profile
from tests.interop.programs import JavaPrograms
from tests.interop.reference import Reference
from tests.interop.samples import samples
from tests.shipped.broker import RIVVEN, ShippedBroker
from tests.shipped.connection import Account, Connection
from tests.shipped.running_time import running_time

MECHANISMS = ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN", "OAUTHBEARER"]
HOUR_MS = 3_600_000
DELEGATION_TOKENS = "org.apache.kafka.tools.DelegationTokenCommand"
OWNER = Account("tok-owner", "Wonder-land 42!")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShippedBroker]:
    """A broker that takes every mechanism; no file and no log line of it may hold a secret of a token."""
    listener = {"name": "sasl_ssl", "bind": "127.0.0.1:0", "protocol": "sasl_ssl", "sasl": MECHANISMS}
    made = ShippedBroker(
        tmp_path_factory.mktemp("tokens"),
        settings={"auto.create.topics.enable": False, "connection.failed.authentication.delay.ms": 0},
        extra={"listeners": [listener]},
    )
    with made:
        yield made
        assert made.running, f"the broker died: {made.tail()}"
        assert made.stop() == 0, made.tail()
    said = {str(file): file.read_bytes() for file in made.data.rglob("*") if file.is_file()}
    said["log"] = made.log.read_bytes()
    assert b"Traceback" not in said["log"], made.tail()
    assert Tokens.secrets, "the control: tokens were made"
    assert leaks(Tokens.secrets, said) == []


@pytest.fixture(scope="module")
def reference(broker: ShippedBroker) -> Reference:
    return Reference(broker.connection())


class Tokens:
    """The Admin API, as one user. `secrets` are those of all tests of the module, searched for at its end."""

    secrets: ClassVar[list[str]] = []

    def __init__(self, broker: ShippedBroker, account: Account | None = None, token: str = "") -> None:
        connection = broker.connection(account=account)
        settings = {name: str(value) for name, value in connection.librdkafka().items()}
        url = f"https://localhost:{broker.ready['admin'].rpartition(':')[2]}"
        self.api = AdminApi(Profile("test", settings, url, token))

    def make(self, **body: Any) -> dict[str, Any]:
        """The whole answer; `made["token"]` is the secret."""
        made: dict[str, Any] = self.api.post("/v1/tokens", {"name": "service-a", "ttl_ms": HOUR_MS, **body})
        self.secrets += [made["token"], made["token"][20:63], made["kafka_password"]]
        return made

    def revoke(self, token_id: str) -> None:
        self.api.delete(path("tokens", token_id))


@pytest.fixture(scope="module")
def owner(broker: ShippedBroker, reference: Reference) -> Tokens:
    """A user with rights on open-*; its tokens are made over the Admin API with its password."""
    reference.allow_prefix(reference.create_user(*_fields(OWNER)).user, "open-")
    return Tokens(broker, OWNER)


def _fields(account: Account) -> tuple[str, str]:
    return account.user, account.password


# -- the clients ---------------------------------------------------------------------------------------------


class Refused(Exception):
    """The client could not log in, or was denied."""


def confluent(connection: Connection, topic: str, value: bytes, **settings: Any) -> None:
    failures: list[Any] = []
    conf = {**connection.librdkafka(), "error_cb": failures.append, "message.timeout.ms": 8000, **settings}
    producer = Producer(conf)
    reports: list[Any] = []
    try:
        producer.produce(topic, value, on_delivery=lambda error, _message: reports.append(error))
    except KafkaException as error:
        raise Refused(str(error)) from None
    deadline = time.monotonic() + 15
    while not reports and time.monotonic() < deadline:
        producer.poll(0.05)
        if any(error.name() in ("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED") for error in failures):
            raise Refused(str(failures))
    if not reports or reports[0] is not None:
        raise Refused(str(reports))


def confluent_plain(connection: Connection, text: str, topic: str, value: bytes) -> None:
    confluent(as_plain(connection, text), topic, value)


def confluent_bearer(connection: Connection, text: str, topic: str, value: bytes) -> None:
    settings: dict[str, Any] = {
        "sasl.mechanism": "OAUTHBEARER",
        "oauth_cb": lambda _config: (text, time.time() + 600),
    }
    confluent(replace(connection, account=Account("ignored", "ignored")), topic, value, **settings)


def as_plain(connection: Connection, text: str, user: str = "token") -> Connection:
    return replace(connection, account=Account(user, text), mechanism="PLAIN")


def aiokafka_produce(conf: dict[str, Any], topic: str, value: bytes) -> None:
    async def produce() -> None:
        producer = AIOKafkaProducer(**conf, acks="all")
        try:
            async with asyncio.timeout(15):
                await producer.start()
                await producer.send_and_wait(topic, value, partition=0)
        except (AiokafkaError, TimeoutError) as error:
            raise Refused(repr(error)) from None
        finally:
            await producer.stop()

    asyncio.run(produce())


def aiokafka_plain(connection: Connection, text: str, topic: str, value: bytes) -> None:
    aiokafka_produce(as_plain(connection, text).aiokafka(), topic, value)


def aiokafka_bearer(connection: Connection, text: str, topic: str, value: bytes) -> None:
    class Provider(AbstractTokenProvider):  # type: ignore[misc]
        async def token(self) -> str:
            return text

    conf = replace(connection, mechanism="OAUTHBEARER").aiokafka()
    conf |= {"sasl_oauth_token_provider": Provider()}
    conf = {name: value for name, value in conf.items() if not name.startswith("sasl_plain")}
    aiokafka_produce(conf, topic, value)


QUICK: dict[str, Any] = {
    "acks": "all",
    "max_block_ms": 6000,
    "request_timeout_ms": 6000,
    "bootstrap_timeout_ms": 4000,
}


def kafka_python_produce(conf: dict[str, Any], topic: str, value: bytes) -> None:
    producer = None
    try:
        producer = KafkaProducer(**conf, **QUICK)
        producer.send(topic, value, partition=0).get(timeout=10)
    except KafkaPythonError as error:
        raise Refused(repr(error)) from None
    finally:
        if producer is not None:
            producer.close(timeout=0)


def kafka_python_plain(connection: Connection, text: str, topic: str, value: bytes) -> None:
    kafka_python_produce(as_plain(connection, text).kafka_python(), topic, value)


def kafka_python_bearer(connection: Connection, text: str, topic: str, value: bytes) -> None:
    class Provider(KafkaPythonTokenProvider):  # type: ignore[misc]
        def token(self) -> str:
            return text

    conf = replace(connection, mechanism="OAUTHBEARER").kafka_python()
    conf = {name: value for name, value in conf.items() if not name.startswith("sasl_plain")}
    kafka_python_produce(conf | {"sasl_oauth_token_provider": Provider()}, topic, value)


WAYS: list[Callable[[Connection, str, str, bytes], None]] = [
    confluent_plain,
    confluent_bearer,
    aiokafka_plain,
    aiokafka_bearer,
    kafka_python_plain,
    kafka_python_bearer,
]
PATIENT = (kafka_python_plain, kafka_python_bearer)
"""Refused or not, they try again until their time for a bootstrap is over."""
way = pytest.mark.parametrize("way", WAYS, ids=lambda one: one.__name__)


# -- with them -----------------------------------------------------------------------------------------------


@way
def test_a_token_works_as_its_owner(
    owner: Tokens, broker: ShippedBroker, reference: Reference, topic: str, secret_topic: str, way: Any
) -> None:
    made = owner.make()
    way(broker.connection(), made["token"], topic, b"by token")
    assert [row.value for row in reference.read(topic)] == [b"by token"]
    with pytest.raises(Refused):
        way(broker.connection(), made["token"], secret_topic, b"no right")
    info = owner.api.get(path("tokens", made["info"]["id"]))
    assert info["last_used_from"] == "127.0.0.1"
    assert info["last_used_at_ms"] >= info["issued_at_ms"]


@way
def test_what_does_not_hold_is_refused(
    owner: Tokens, broker: ShippedBroker, reference: Reference, make_topic: Callable[..., str], way: Any
) -> None:
    """Wrong, mistyped, expired, revoked, of another cluster, from elsewhere; and narrowed by its scope."""
    topic, other = make_topic(), make_topic(suffix="-other")
    good = owner.make(
        scope=[f"topic:{topic}:produce,describe", "cluster:produce"], allowed_cidrs=["127.0.0.0/8"]
    )
    revoked = owner.make()
    owner.revoke(revoked["info"]["id"])
    expired = owner.make(ttl_ms=1)["token"]
    elsewhere = owner.make(allowed_cidrs=["10.0.0.0/8"])["token"]
    foreign = "rvn_abcdefghijkl2345003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1xy0bY"
    text = good["token"]
    mistyped = text[:-1] + ("a" if text[-1] != "a" else "b")
    bad_ones = [revoked["token"], expired, elsewhere, foreign, mistyped]
    if way in PATIENT:
        bad_ones = bad_ones[:2]
    for bad in bad_ones:
        with pytest.raises(Refused):
            way(broker.connection(), bad, topic, b"bad")
    way(broker.connection(), text, topic, b"good")
    with pytest.raises(Refused):
        way(broker.connection(), text, other, b"out of scope")
    assert [row.value for row in reference.read(topic)] == [b"good"]
    assert reference.read(other) == []


def test_the_user_name_of_plain_is_never_believed(owner: Tokens, broker: ShippedBroker, topic: str) -> None:
    made = owner.make()
    for name in ("admin", made["info"]["id"], "nobody-at-all"):
        confluent(as_plain(broker.connection(), made["token"], name), topic, b"still the owner")


def test_a_revoked_token_closes_its_connections(owner: Tokens, broker: ShippedBroker, topic: str) -> None:
    made = owner.make()
    failures: list[Any] = []
    settings = as_plain(broker.connection(), made["token"]).librdkafka() | {
        "error_cb": failures.append,
        "reconnect.backoff.ms": 10,
        "reconnect.backoff.max.ms": 50,
    }
    producer = Producer(settings)
    delivered: list[Any] = []
    producer.produce(topic, b"before", on_delivery=lambda error, _message: delivered.append(error))
    assert producer.flush(10) == 0
    assert delivered == [None]
    admin = Tokens(broker)

    def live() -> list[Any]:
        sessions = admin.api.listing("/v1/sessions")
        return [one for one in sessions if (one["credential"], one["mechanism"]) == ("token", "PLAIN")]

    assert live()
    owner.revoke(made["info"]["id"])
    answered = running_time()
    while live():
        assert running_time() - answered < 1
    while not any(error.name() == "_AUTHENTICATION" for error in failures):
        producer.poll(0.02)
        assert running_time() - answered < 5, failures


def test_a_rotated_tokens_old_secret_works_until_the_overlap_ends(
    owner: Tokens, broker: ShippedBroker, topic: str
) -> None:
    old = owner.make()
    target = path("tokens", old["info"]["id"]) + "/rotate"
    new = owner.api.post(target, {"overlap_ms": HOUR_MS})
    owner.secrets += [new["token"], new["kafka_password"]]
    for made in (old, new):
        confluent_plain(broker.connection(), made["token"], topic, b"either")
    newest = owner.api.post(target, {})
    owner.secrets += [newest["token"], newest["kafka_password"]]
    confluent_plain(broker.connection(), newest["token"], topic, b"only this")
    with pytest.raises(Refused):
        confluent_plain(broker.connection(), new["token"], topic, b"gone")


def test_the_admin_api_takes_tokens_that_manage_none(owner: Tokens, broker: ShippedBroker) -> None:
    made = owner.make()
    by_token = Tokens(broker, token=made["token"])
    assert by_token.api.get("/v1/whoami")["principal"] == f"User:{OWNER.user}"
    assert made["info"]["id"] in {one["id"] for one in by_token.api.listing("/v1/tokens")}
    with pytest.raises(ClientFailed) as caught:
        by_token.make()
    assert caught.value.kind is FailureKind.DENIED
    assert "not managed with a token" in caught.value.reason


def test_tokens_of_others_take_permissions(
    owner: Tokens, broker: ShippedBroker, reference: Reference
) -> None:
    admins = Tokens(broker)
    for_owner = admins.make(owner=f"User:{OWNER.user}")
    assert for_owner["info"]["creator"] == "User:admin"
    mine = admins.make()
    with pytest.raises(ClientFailed) as caught:
        owner.revoke(mine["info"]["id"])
    assert caught.value.kind is FailureKind.DENIED
    owner.revoke(for_owner["info"]["id"])


def test_the_command_line(
    owner: Tokens, broker: ShippedBroker, reference: Reference, topic: str, tmp_path: Path
) -> None:
    """create, list, rotate and revoke as a person types them."""
    connection = broker.connection(account=OWNER)
    file = connection.librdkafka_file(tmp_path / "client.properties")
    with file.open("a") as more:
        more.write(f"admin.url=https://localhost:{broker.ready['admin'].rpartition(':')[2]}\n")

    def rivven(*arguments: str, code: int = 0) -> Any:
        command = [RIVVEN, "--command-config", file, "auth", "token", *arguments, "-o", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
        assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout) if code == 0 else done.stderr

    scope = f"topic:{topic}:produce,describe"
    ranges = ["--allow-cidr", "127.0.0.0/8", "--allow-cidr", "::1/128"]
    made = rivven("create", "--name", "typed", "--ttl", "365d", "--scope", scope, *ranges)
    Tokens.secrets += [made["token"], made["kafka_password"]]
    confluent_plain(broker.connection(), made["token"], topic, b"typed")
    assert [row.value for row in reference.read(topic)] == [b"typed"]
    listed = {one["id"]: one for one in rivven("list", "--owner", f"user:{OWNER.user}")}[made["id"]]
    assert (listed["name"], listed["scope"]) == ("typed", [scope])
    assert listed["last_used_from"] == "127.0.0.1"
    year_ms = listed["expires_at_ms"] - listed["issued_at_ms"]
    assert year_ms == 365 * 24 * HOUR_MS
    rotated = rivven("rotate", "typed", "--overlap", "1h")
    Tokens.secrets += [rotated["token"], rotated["kafka_password"]]
    assert (rotated["id"], rotated["token"] != made["token"]) == (made["id"], True)
    assert "no active token" in rivven("revoke", "not-there", "--yes", code=13)
    twin = rivven("create", "--name", "typed")
    Tokens.secrets += [twin["token"], twin["kafka_password"]]
    assert "2 tokens are called" in rivven("revoke", "typed", "--yes", code=2)
    assert rivven("revoke", made["id"], "--yes") == {"revoked": made["id"]}
    assert made["id"] not in {one["id"] for one in rivven("list")}
    assert {one["state"] for one in rivven("list", "--all") if one["id"] == made["id"]} == {"revoked"}
    assert "body.scope" in rivven("create", "--name", "x", "--scope", "topic:x:fly", code=16)
    assert "not '1 year'" in rivven("create", "--name", "x", "--ttl", "1 year", code=2)
    assert "not allowed" in rivven("create", "--name", "x", "--owner", "user:admin", code=12)


# -- Java and Kafka's own tool -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TokenConnection(Connection):
    """A Java client that logs in with a delegation token."""

    def java_file(self, file: Path) -> Path:
        written = Connection.java_file(self, file)
        written.write_text(written.read_text().replace('";\n', '" tokenauth="true";\n'))
        return written


def with_token(connection: Connection, token_id: str, secret: str, mechanism: str) -> TokenConnection:
    return TokenConnection(connection.bootstrap, connection.ca, Account(token_id, secret), mechanism)


@pytest.mark.parametrize("mechanism", MECHANISMS[:2])
def test_java_logs_in_with_tokenauth(
    java: JavaPrograms,
    owner: Tokens,
    broker: ShippedBroker,
    reference: Reference,
    topic: str,
    tmp_path: Path,
    mechanism: str,
) -> None:
    made = owner.make(scope=["topic:open-*:produce", "cluster:produce"])
    file = tmp_path / "client.properties"
    connection = with_token(broker.connection(), made["info"]["id"], made["kafka_password"], mechanism)
    records = [row.to_json() for row in samples()]
    assert java.run("produce", connection, file, topic=topic, codec="none", records=records)["offsets"]
    assert reference.read(topic) == samples()
    wrong = with_token(broker.connection(), made["info"]["id"], "A" * 43 + "=", mechanism)
    refused = java.run("fails", wrong, file, topic=topic)
    assert refused["error"].startswith("SaslAuthenticationException")


def test_java_sends_a_token_as_a_bearer_with_a_login_handler_of_its_own(
    java: JavaPrograms, owner: Tokens, broker: ShippedBroker, reference: Reference, topic: str, tmp_path: Path
) -> None:
    made = owner.make(scope=["topic:open-*:produce", "cluster:produce"])
    file = tmp_path / "client.properties"
    records = [row.to_json() for row in samples()]
    bearer: Any = JavaBearer(broker.connection(), made["token"])
    assert java.run("produce", bearer, file, topic=topic, codec="none", records=records)["offsets"]
    assert reference.read(topic) == samples()
    wrong: Any = JavaBearer(broker.connection(), made["token"][:-1])
    refused = java.run("fails", wrong, file, topic=topic)
    assert refused["error"].startswith("SaslAuthenticationException")


class JavaBearer:
    """A connection as Java's properties file, with `OpaqueToken` as login handler."""

    def __init__(self, connection: Connection, text: str) -> None:
        self._connection = connection
        self._text = text

    def java_file(self, path: Path) -> Path:
        module = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
        kept = self._connection.java_file(path).read_text().splitlines()
        lines = [line for line in kept if not line.startswith("sasl.")]
        lines += [
            "sasl.mechanism=OAUTHBEARER",
            f'sasl.jaas.config={module} required token="{self._text}";',
            "sasl.login.callback.handler.class=OpaqueToken",
        ]
        path.write_text("\n".join(lines) + "\n")
        return path


def test_kafkas_own_tool_manages_the_same_tokens(
    java: JavaPrograms, owner: Tokens, broker: ShippedBroker, topic: str, tmp_path: Path
) -> None:
    connection = broker.connection(account=OWNER)
    file = connection.java_file(tmp_path / "command.properties")

    def tool(*arguments: str) -> str:
        where = ["--bootstrap-server", connection.bootstrap, "--command-config", str(file)]
        done = java.tool(DELEGATION_TOKENS, *arguments, *where)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    created = tool("--create", "--max-life-time-period", "-1", "--renewer-principal", "User:admin")
    token_id, secret = re.findall(r"^(\w{16})\s+(\S+=)\s", created, re.MULTILINE)[0]
    Tokens.secrets.append(secret)
    listed = {one["id"]: one for one in owner.api.listing("/v1/tokens")}
    assert listed[token_id]["renewers"] == ["User:admin"]
    described = tool("--describe", "--owner-principal", f"User:{OWNER.user}")
    assert token_id in described
    assert secret not in described
    tool("--renew", "--renew-time-period", "3600000", "--hmac", secret)
    nearer = owner.api.get(path("tokens", token_id))["expires_at_ms"]
    assert nearer < listed[token_id]["expires_at_ms"]
    tool("--expire", "--expiry-time-period", "-1", "--hmac", secret)
    assert owner.api.get(path("tokens", token_id))["state"] == "revoked"
    assert token_id not in tool("--describe", "--owner-principal", f"User:{OWNER.user}")
