"""Secrets of every kind, used well and badly, with the log at its most talkative: none is found again.

Searched are what the broker logs, answers, counts and stores, its audit trail, the settings it prints, and
the command lines that every user of the machine can read. The controls: names and payloads are found there.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from rivven.protocol.api import ApiKey
from rivven.protocol.messages import SaslHandshakeRequest
from rivven.testing.canary import leaks
from tests.conformance.client import Client, batch
from tests.conformance.live import is_refused
from tests.conformance.test_oauthbearer import message
from tests.conformance.web import web_of
from tests.conformance.wire import Refused, Wire
from tests.shipped.broker import RIVVEN, ShippedBroker
from tests.shipped.client_certificates import ClientAuthority
from tests.shipped.connection import Account, Connection
from tests.shipped.issuer import ScriptedIssuer
from tests.shipped.pki import make_pki

USER = "canary-user"
PAYLOAD = b"canary-payload-2206"
PASSWORD = "Canary-pass 71!"
SECOND_PASSWORD = "Canary-next 72!"
WRONG_PASSWORD = "Canary-wrong 73!"
CHEAP = ("--iterations", "4096")
KEY_PASSWORD = "canary-key-password-74"
MECHANISMS = ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN", "OAUTHBEARER"]


@dataclass
class Gathered:
    """What was secret, and what was said."""

    secrets: list[str | bytes] = field(default_factory=list)
    outputs: dict[str, bytes] = field(default_factory=dict)

    def hear(self, name: str, said: str | bytes) -> None:
        text = said.encode() if isinstance(said, str) else said
        self.outputs[name] = self.outputs.get(name, b"") + text


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedIssuer]:
    with ScriptedIssuer(make_pki(tmp_path_factory.mktemp("idp"))) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ClientAuthority:
    return ClientAuthority(tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module")
def broker(
    tmp_path_factory: pytest.TempPathFactory, issuer: ScriptedIssuer, authority: ClientAuthority
) -> Iterator[ShippedBroker]:
    directory = tmp_path_factory.mktemp("secrets")
    directory.chmod(0o700)
    mtls = {
        "cert_path": str(directory / "pki" / "server.crt"),
        "key_path": str(directory / "pki" / "server.key"),
        "ca_path": str(authority.ca),
        "client_auth": "required",
    }
    made = ShippedBroker(
        directory,
        settings={"connection.failed.authentication.delay.ms": 0},
        extra={
            "logging": {"format": "json", "level": "debug"},
            "listeners": [
                {"name": "sasl_ssl", "bind": "127.0.0.1:0", "protocol": "sasl_ssl", "sasl": MECHANISMS},
                {"name": "ssl", "bind": "127.0.0.1:0", "protocol": "ssl", "tls": mtls},
            ],
            "auth": {
                "mtls_mapping": {"type": "common_name", "prefix": "x509:"},
                "oidc": {"issuers": [issuer.settings(prefix="idp-")]},
                "scram": {"iterations": 4096},
            },
        },
    )
    tls = {"cert_path": str(made.pki.certificate), "key_path": str(locked_key(made)), "key_password": "file:"}
    password = directory / "key.password"
    password.touch(mode=0o600)
    password.write_text(KEY_PASSWORD + "\n")
    made.change(server={"tls": tls | {"key_password": f"file:{password}"}})
    with made:
        yield made


def locked_key(broker: ShippedBroker) -> Path:
    """The server's key again, under a password."""
    key = serialization.load_pem_private_key(broker.pki.key.read_bytes(), None)
    path = broker.directory / "locked.key"
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(KEY_PASSWORD.encode()),
        )
    )
    return path


def test_no_secret_is_found_anywhere(
    broker: ShippedBroker, issuer: ScriptedIssuer, authority: ClientAuthority
) -> None:
    found = Gathered([PASSWORD, SECOND_PASSWORD, WRONG_PASSWORD, KEY_PASSWORD, broker.admin.password])
    by_commands(broker, found)
    by_the_admin_api(broker, found)
    by_passwords(broker, found)
    by_tokens(broker, issuer, found)
    by_certificates(broker, authority, found)
    found.secrets += pem_lines(broker.pki.key)
    shown = subprocess.run(
        [RIVVEN, "config", "show", broker.config_path],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    found.hear("rivven config show", shown.stdout)
    found.hear("metrics", web_of(broker).get("/metrics").text)
    found.hear("processes", command_lines(broker.pid))
    assert broker.stop() == 0, broker.tail()
    found.hear("log", broker.log.read_bytes())
    for path in broker.data.rglob("*"):
        if path.is_file():
            found.hear(str(path.relative_to(broker.data)), path.read_bytes())

    assert leaks(found.secrets, found.outputs) == []
    controls_find_what_is_there(found)


def controls_find_what_is_there(found: Gathered) -> None:
    audit = found.outputs["audit/audit.log"]
    log = found.outputs["log"]
    assert leaks([PAYLOAD], {"audit": audit, "log": log}) == []
    stored = {name: text for name, text in found.outputs.items() if name.endswith(".log") and name != "log"}
    assert leaks([PAYLOAD], stored) != [], "records are in the segments as they came"
    for text in (audit, log):
        assert USER.encode() in text
    for mechanism in MECHANISMS:
        assert mechanism.encode() in audit, mechanism
    assert b'"level":"debug"' in log or b"DEBUG" in log or b'"debug"' in log
    assert b"rivven" in found.outputs["processes"]
    assert len(found.outputs) > 10
    assert leaks(found.secrets[:1], {"control": json.dumps({"password": found.secrets[0]})}) != []


def by_commands(broker: ShippedBroker, found: Gathered) -> None:
    """A user made, changed and looked at with the command line; its own command lines included."""
    profile = broker.connection().librdkafka_file(broker.directory / "admin-client.properties")
    with profile.open("a") as more:
        more.write(f"admin.url={broker.admin_url()}\n")
    typed = broker.directory / "typed.password"
    typed.touch(mode=0o600)
    typed.write_text(PASSWORD + "\n")

    def rivven(*arguments: str) -> str:
        command = [str(RIVVEN), "--command-config", str(profile), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        found.hear("processes", command_lines(process.pid))
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, f"{arguments}: {said}"
        return said

    found.hear("rivven", rivven("user", "create", USER, "--password-file", str(typed), *CHEAP))
    found.hear("rivven", rivven("user", "show", USER))
    made = json.loads(
        rivven("auth", "token", "create", "--name", "canary", "--owner", f"user:{USER}", "-o", "json")
    )
    found.secrets += [made["token"], made["token"][20:63], made["kafka_password"]]
    found.hear("rivven", rivven("auth", "token", "list"))
    random = json.loads(rivven("user", "create", "canary-random", "--generate", "-o", "json"))
    found.secrets.append(random["password"])
    found.hear("rivven", rivven("session", "list"))


def by_the_admin_api(broker: ShippedBroker, found: Gathered) -> None:
    admin = web_of(broker)
    answers = [
        admin.post("/v1/users", {"name": "canary-web", "password": SECOND_PASSWORD}),
        admin.post("/v1/users", {"name": "canary-web", "password": SECOND_PASSWORD}),
        admin.post("/v1/users", {"name": [], "password": {"x": WRONG_PASSWORD}}),
        admin.post(f"/v1/{WRONG_PASSWORD.split()[0]}x", {WRONG_PASSWORD: 1}),
        admin.as_user(Account(USER, WRONG_PASSWORD)).get("/v1/whoami"),
        admin.with_token("rvn_" + WRONG_PASSWORD.replace(" ", "")).get("/v1/whoami"),
    ]
    assert [answer.status for answer in answers] == [201, 409, 422, 404, 401, 401]
    for answer in answers:
        found.hear("admin answers", answer.text)


def by_passwords(broker: ShippedBroker, found: Gathered) -> None:
    """Each mechanism with the right and the wrong password; a record to look for."""
    for mechanism in MECHANISMS[:3]:
        connection = broker.connection(account=Account(USER, PASSWORD)).with_mechanism(mechanism)
        logs_in(connection)
        with pytest.raises(Refused) as caught:
            logs_in(connection.with_password(WRONG_PASSWORD))
        found.hear("refusals", repr(caught.value))
    with Client(broker.connection()) as client:
        topic = client.create_topic()
        assert client.produce(topic, batch(PAYLOAD)).error_code == 0


def by_tokens(broker: ShippedBroker, issuer: ScriptedIssuer, found: Gathered) -> None:
    """API tokens and JWTs, good, expired and damaged."""
    admin = web_of(broker).as_user(Account(USER, PASSWORD))
    made = [
        admin.post("/v1/tokens", {"name": f"canary-{number}", "ttl_ms": 3_600_000}).json for number in (1, 2)
    ]
    found.secrets += [
        part for one in made for part in (one["token"], one["token"][20:63], one["kafka_password"])
    ]
    assert admin.ask("DELETE", f"/v1/tokens/{made[1]['info']['id']}").status in (200, 204)
    good, bad = (one["token"] for one in made)
    jwts = [issuer.token(jti="canary-jwt"), issuer.token(aud="elsewhere"), issuer.token(exp=1)]
    for text, works in [(good, True), (bad, False), (jwts[0], True), (jwts[1], False), (jwts[2], False)]:
        if text.startswith("rvn_"):
            plain = broker.connection(account=Account("token", text)).with_mechanism("PLAIN")
            said(found, works, lambda plain=plain: logs_in(plain))
        said(found, works, lambda text=text: bears(broker, text))
        answer = web_of(broker).with_token(text).get("/v1/whoami")
        assert answer.status == (200 if works else 401)
        found.hear("admin answers", answer.text)
    for jwt in jwts:  # the parts a reader could use: the claims by themselves are names
        found.secrets += [jwt, jwt.rpartition(".")[2]]


def by_certificates(broker: ShippedBroker, authority: ClientAuthority, found: Gathered) -> None:
    files = authority.issue(USER)
    with Client(broker.connection("ssl").with_certificate(files)) as client:
        client.metadata()
    stranger = ClientAuthority(broker.directory / "strangers", "strangers").issue(USER)
    assert is_refused(broker.connection("ssl").with_certificate(stranger))
    found.secrets += pem_lines(files.key) + pem_lines(stranger.key)


def said(found: Gathered, works: bool, attempt: Callable[[], None]) -> None:
    if works:
        attempt()
        return
    with pytest.raises(Refused) as caught:
        attempt()
    found.hear("refusals", repr(caught.value))


def logs_in(connection: Connection) -> None:
    with Wire(connection):
        pass


def bears(broker: ShippedBroker, token: str) -> None:
    with Wire(broker.connection(), login=False) as wire:
        wire.call(ApiKey.SASL_HANDSHAKE, 1, SaslHandshakeRequest(mechanism="OAUTHBEARER"))
        if wire.token(message(token)):
            wire.token(b"\x01")


def pem_lines(path: Path) -> list[str | bytes]:
    """The lines of a private key that are different in every key: all but the first of its body."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("-")]
    return list(lines[1:])


def command_lines(pid: int) -> bytes:
    """What `ps` shows of a process and everything it started."""
    told, waiting = b"", [pid]
    while waiting:
        one = waiting.pop()
        with suppress(FileNotFoundError, ProcessLookupError):
            told += Path(f"/proc/{one}/cmdline").read_bytes().replace(b"\0", b" ") + b"\n"
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return told
