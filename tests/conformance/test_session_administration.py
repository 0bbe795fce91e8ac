"""Sessions and revocations over the Admin API and the command: shown, ended, revoked, taken back."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rivven.types import Operation, ResourceType
from rivven_cli.exits import Exit
from rivven_client.admin import AdminApi, path
from rivven_client.failures import ClientFailed, FailureKind
from rivven_client.profile import Profile
from tests.conformance.client import Client
from tests.conformance.live import KINDS, PROMISED_S, Live, is_refused
from tests.shipped.broker import RIVVEN, ShippedBroker
from tests.shipped.client_certificates import ClientAuthority
from tests.shipped.connection import Account, Connection
from tests.shipped.running_time import running_time

MTLS = "ssl"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ClientAuthority:
    return ClientAuthority(tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, authority: ClientAuthority) -> Iterator[ShippedBroker]:
    directory = tmp_path_factory.mktemp("broker")
    tls = {
        "cert_path": str(directory / "pki" / "server.crt"),
        "key_path": str(directory / "pki" / "server.key"),
        "ca_path": str(authority.ca),
        "client_auth": "required",
    }
    extra = {
        "listeners": [
            {"name": "sasl_ssl", "bind": "127.0.0.1:0", "protocol": "sasl_ssl"},
            {"name": MTLS, "bind": "127.0.0.1:0", "protocol": "ssl", "tls": tls},
        ],
        "auth": {"mtls_mapping": {"type": "common_name", "prefix": "x509:"}},
    }
    with ShippedBroker(directory, extra=extra) as made:
        yield made
        assert made.stop() == 0, made.tail()
    assert "Traceback" not in made.log.read_text(errors="replace"), made.tail()


@pytest.fixture(scope="module")
def plain(broker: ShippedBroker) -> Connection:
    return broker.connection("sasl_ssl")


def api_of(broker: ShippedBroker, account: Account) -> AdminApi:
    settings = broker.connection("sasl_ssl", account).librdkafka()
    return AdminApi(Profile("test", {k: str(v) for k, v in settings.items()}, broker.admin_url()))


@pytest.fixture
def api(broker: ShippedBroker) -> AdminApi:
    return api_of(broker, broker.admin)


class Command:
    """The shipped command as the administrator."""

    def __init__(self, broker: ShippedBroker, directory: Path) -> None:
        self._properties = broker.connection("sasl_ssl").librdkafka_file(directory / "admin.conf")
        self._url = broker.admin_url()

    def __call__(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [RIVVEN, "--command-config", self._properties, "--admin-url", self._url, *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode} {done.stdout} {done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "-o", "json"))


@pytest.fixture
def command(broker: ShippedBroker, tmp_path: Path) -> Command:
    return Command(broker, tmp_path)


def sessions_of(api: AdminApi, name: str) -> list[dict[str, Any]]:
    return [one for one in api.listing(path("sessions")) if one["principal"] == f"User:{name}"]


def test_what_is_known_of_a_session(
    api: AdminApi, broker: ShippedBroker, user: Account, authority: ClientAuthority
) -> None:
    with (
        Client(broker.connection("sasl_ssl", user)) as client,
        Client(broker.connection(MTLS).with_certificate(authority.issue("shop"))) as shop,
    ):
        assert client.metadata().brokers
        assert shop.metadata().brokers
        [one] = sessions_of(api, user.user)
        assert (one["mechanism"], one["credential"], one["listener"]) == (
            "SCRAM-SHA-256",
            "password",
            "sasl_ssl",
        )
        assert (one["address"], one["client_id"]) == ("127.0.0.1", "wire")
        lived = time.time() * 1000 - one["connected_at_ms"]
        assert 0 <= lived < 30_000
        assert 3_200_000 < one["expires_at_ms"] - time.time() * 1000 <= 3_600_000, "an hour, or a tenth less"
        [other] = sessions_of(api, "x509:shop")
        assert (other["mechanism"], other["credential"]) == ("MTLS", "certificate")
    deadline = time.monotonic() + 5
    while sessions_of(api, user.user) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sessions_of(api, user.user) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_session_is_over_within_a_second(
    api: AdminApi, broker: ShippedBroker, admin: Client, user: Account, kind: str
) -> None:
    topic = admin.create_topic()
    admin.allow(user.user, Operation.ALL, ResourceType.TOPIC, topic)
    connection = broker.connection("sasl_ssl", user)
    with Client(connection) as client, Client(connection) as other:
        live = Live(client, kind, topic)
        [first, _] = sorted(sessions_of(api, user.user), key=lambda one: int(one["id"]))
        api.delete(path("sessions", first["id"]))
        assert live.closed_after(running_time()) <= PROMISED_S
        assert other.metadata().brokers, "the other one stays"
        with pytest.raises(ClientFailed) as gone:
            api.delete(path("sessions", first["id"]))
        assert gone.value.kind is FailureKind.NOT_FOUND


@pytest.mark.parametrize("kind", KINDS)
def test_a_revoked_certificate_is_gone_within_a_second_and_stays_out(
    api: AdminApi, broker: ShippedBroker, admin: Client, authority: ClientAuthority, kind: str
) -> None:
    topic = admin.create_topic()
    admin.allow("x509:revoked", Operation.ALL, ResourceType.TOPIC, topic)
    files = authority.issue("revoked")
    connection = broker.connection(MTLS).with_certificate(files)
    with Client(connection) as client:
        live = Live(client, kind, topic)
        body = {
            "kind": "certificate-serial",
            "value": files.serial.upper(),
            "issuer": "CN=Rivven clients authority",
            "reason": "stolen",
        }
        entry = api.post(path("revocations"), body)
        assert live.closed_after(running_time()) <= PROMISED_S
    assert is_refused(connection)
    with Client(broker.connection(MTLS).with_certificate(authority.issue("revoked"))) as renewed:
        assert renewed.metadata().brokers, "another certificate of the same name is another credential"
    api.delete(path("revocations", entry["id"]))
    with Client(connection) as back:
        assert back.metadata().brokers
    admin.revoke_all("x509:revoked")


def test_revocations_outlive_the_broker(
    api: AdminApi, broker: ShippedBroker, authority: ClientAuthority
) -> None:
    files = authority.issue("stays-out")
    entry = api.post(path("revocations"), {"kind": "certificate-fingerprint", "value": files.fingerprint})
    broker.restart()
    assert is_refused(broker.connection(MTLS).with_certificate(files))
    assert entry["id"] in {one["id"] for one in api_of(broker, broker.admin).listing(path("revocations"))}


def test_who_may_not_alter_the_cluster_ends_and_revokes_nothing(broker: ShippedBroker, user: Account) -> None:
    stranger = api_of(broker, user)
    for call in (
        lambda: stranger.get(path("sessions")),
        lambda: stranger.delete(path("sessions", "1")),
        lambda: stranger.get(path("revocations")),
        lambda: stranger.post(path("revocations"), {"kind": "jwt-id", "value": "x"}),
        lambda: stranger.delete(path("revocations", "x")),
    ):
        with pytest.raises(ClientFailed) as refused:
            call()
        assert refused.value.kind is FailureKind.DENIED


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "user", "value": "x"},
        {"kind": "jwt-id", "value": ""},
        {"kind": "certificate-fingerprint", "value": "abc"},
        {"kind": "certificate-serial", "value": "xyz"},
        {"kind": "jwt-subject", "value": "alice", "issuer": "https://issuer"},
        {"kind": "jwt-id", "value": "x", "surprise": 1},
    ],
)
def test_what_cannot_be_revoked(api: AdminApi, body: dict[str, str]) -> None:
    with pytest.raises(ClientFailed) as refused:
        api.post(path("revocations"), body)
    assert refused.value.kind is FailureKind.INVALID


def test_the_commands(
    command: Command, broker: ShippedBroker, user: Account, authority: ClientAuthority
) -> None:
    with Client(broker.connection("sasl_ssl", user)) as client:
        [one] = command.json("session", "list", "--principal", f"user:{user.user}")
        assert one["mechanism"] == "SCRAM-SHA-256"
        command("session", "kill", one["id"], "--yes")
        assert client.is_closed(PROMISED_S)
    with Client(broker.connection("sasl_ssl", user)) as client:
        assert "1 sessions ended" in command("session", "kill", "--principal", user.user, "--yes")
        assert client.is_closed(PROMISED_S)
    command("session", "kill", "--principal", user.user, "--yes", code=Exit.NOT_FOUND)
    command("session", "kill", "--yes", code=Exit.USAGE)
    files = authority.issue("by-command")
    with Client(broker.connection(MTLS).with_certificate(files)) as client:
        entry = command.json(
            "revocation",
            "add",
            "--certificate",
            str(files.certificate),
            "--reason",
            "lost",
            "--forget-after",
            "90d",
        )
        assert client.is_closed(PROMISED_S)
    assert entry["value"] == files.fingerprint
    assert entry["forget_after_ms"] - entry["revoked_at_ms"] == pytest.approx(90 * 86_400_000, abs=60_000)
    assert entry["id"] in command("revocation", "list")
    command("revocation", "remove", entry["id"], "--yes")
    command("revocation", "remove", entry["id"], "--yes", code=Exit.NOT_FOUND)
    with Client(broker.connection(MTLS).with_certificate(files)) as client:
        assert client.metadata().brokers
    jwt = command.json(
        "revocation",
        "add",
        "--subject",
        "alice",
        "--issuer",
        "https://issuer",
        "--issued-before",
        "1767225600000",
    )
    assert (jwt["kind"], jwt["issued_before_ms"]) == ("jwt-subject", 1767225600000)
    command("revocation", "add", "--jti", "a", "--serial", "b", code=Exit.USAGE)


def test_the_principal_of_a_certificate_is_told_offline(
    command: Command, broker: ShippedBroker, authority: ClientAuthority, tmp_path: Path
) -> None:
    files = authority.issue("Duke")
    told = command.json("tls", "principal-test", str(files.certificate), "--config", str(broker.config_path))
    assert (told["principal"], told["mapped_by"]) == ("User:x509:Duke", "common_name")
    told = command.json("tls", "principal-test", str(files.certificate))
    assert (told["principal"], told["mapped_by"]) == ("User:CN=Duke,O=Shop", "distinguished_name")
    rule = "RULE:^CN=([^,]+),.*$/$1/L"
    told = command.json("tls", "principal-test", str(files.certificate), "--rule", rule, "--rule", "DEFAULT")
    assert (told["principal"], told["mapped_by"], told["sha256"]) == ("User:duke", rule, files.fingerprint)
    command("tls", "principal-test", str(files.certificate), "--rule", "RULE:^O=.*$/x/", code=Exit.REFUSED)
    command("tls", "principal-test", str(files.certificate), "--rule", "RULE:(/x/", code=Exit.CONFIG)
    command("tls", "principal-test", str(files.key), code=Exit.CONFIG)
    command("tls", "principal-test", str(tmp_path / "none"), code=Exit.CONFIG)
