"""Every client configuration of docs/security.md, used as it stands there by the client it is for.

Only the address, the names of files' places (the working directory) and what is in `<...>` are filled in.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from rivven_client.admin import AdminApi
from rivven_client.profile import Profile
from tests.interop.programs import JavaPrograms, NodePrograms
from tests.interop.reference import Reference
from tests.shipped.broker import ShippedBroker
from tests.shipped.client_certificates import ClientAuthority
from tests.shipped.connection import Account, Connection
from tests.shipped.issuer import ScriptedIssuer
from tests.shipped.pki import make_pki

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"
USER = Account("orders-app", "Wonder-land 42!")
CLIENT_SECRET = "quiet-Otter-77-secret"
TOPIC = "orders"
SECONDS_MAX = 60
MECHANISMS = ["SCRAM-SHA-256", "PLAIN", "OAUTHBEARER"]

SENDING = {
    "aiokafka": """
import asyncio
from aiokafka import AIOKafkaProducer

async def send() -> None:
    async with AIOKafkaProducer(**settings) as producer:
        await producer.send_and_wait("orders", VALUE)

asyncio.run(send())
""",
    "kafka-python": """
from kafka import KafkaProducer

producer = KafkaProducer(**settings)
producer.send("orders", VALUE).get(timeout=20)
producer.close()
""",
    "confluent-kafka": """
from confluent_kafka import Producer

failures = []
producer = Producer(settings)
producer.produce("orders", VALUE, on_delivery=lambda error, _: failures.append(error))
producer.flush(20)
assert failures == [None], failures
""",
    "kafkajs": """
import kafkajs from 'kafkajs'

const producer = new kafkajs.Kafka({ ...settings, logLevel: 1 }).producer()
await producer.connect()
await producer.send({ topic: 'orders', messages: [{ value: VALUE }] })
await producer.disconnect()
""",
}


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: the section it stands in, the clients its first line names, and the text."""

    section: str
    clients: tuple[str, ...]
    text: str


def blocks() -> list[Block]:
    found = []
    for section in re.split(r"^### Clients: ", DOCUMENT.read_text(), flags=re.MULTILINE)[1:]:
        title, _, rest = section.partition("\n")
        rest = re.split(r"^##", rest, flags=re.MULTILINE)[0]
        for text in re.findall(r"^```\w+\n(.*?)^```$", rest, re.MULTILINE | re.DOTALL):
            named = re.match(r"(?:#|//) ([^:;\n]+)", text)
            assert named, f"the first line of a block names its clients: {text[:80]}"
            found.append(Block(title, tuple(name.strip() for name in named[1].split(",")), text))
    return found


CASES = [(block, client) for block in blocks() for client in block.clients]


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedIssuer]:
    with ScriptedIssuer(make_pki(tmp_path_factory.mktemp("idp"))) as issuer:
        issuer.clients[USER.user] = CLIENT_SECRET
        yield issuer


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ClientAuthority:
    return ClientAuthority(tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module")
def documented(
    tmp_path_factory: pytest.TempPathFactory, authority: ClientAuthority, issuer: ScriptedIssuer
) -> Iterator[ShippedBroker]:
    """A broker with every way in; names from outside carry their prefixes."""
    directory = tmp_path_factory.mktemp("documented")
    tls = {
        "cert_path": str(directory / "pki" / "server.crt"),
        "key_path": str(directory / "pki" / "server.key"),
        "ca_path": str(authority.ca),
        "client_auth": "required",
    }
    extra = {
        "listeners": [
            {"name": "sasl_ssl", "bind": "127.0.0.1:0", "protocol": "sasl_ssl", "sasl": MECHANISMS},
            {"name": "ssl", "bind": "127.0.0.1:0", "protocol": "ssl", "tls": tls},
        ],
        "auth": {
            "mtls_mapping": {"type": "common_name", "prefix": "x509:"},
            "oidc": {"issuers": [issuer.settings(prefix="idp-")]},
        },
    }
    with ShippedBroker(directory, extra=extra) as broker:
        reference = Reference(broker.connection())
        reference.create_topic(TOPIC)
        reference.create_user(USER.user, USER.password)
        for name in (USER.user, f"idp-{USER.user}", f"x509:{USER.user}"):
            reference.allow_prefix(name, TOPIC)
        yield broker
        assert broker.stop() == 0, broker.tail()
    assert "Traceback" not in broker.log.read_text(errors="replace"), broker.tail()


@pytest.fixture(scope="module")
def token(documented: ShippedBroker) -> dict[str, Any]:
    connection = documented.connection(account=USER)
    settings = {name: str(value) for name, value in connection.librdkafka().items()}
    api = AdminApi(Profile("test", settings, documented.admin_url(), ""))
    made: dict[str, Any] = api.post("/v1/tokens", {"name": "documented", "ttl_ms": 3_600_000})
    return made


@pytest.fixture
def place(
    tmp_path: Path, documented: ShippedBroker, authority: ClientAuthority, issuer: ScriptedIssuer
) -> Path:
    """A directory with the files the blocks name."""
    client = authority.issue(USER.user)
    for name, content in {
        "ca.crt": documented.pki.ca.read_bytes(),
        "idp-ca.crt": issuer.pki.ca.read_bytes(),
        "client.crt": client.certificate.read_bytes(),
        "client.key": client.key.read_bytes(),
        "client.pem": client.key.read_bytes() + client.certificate.read_bytes(),
    }.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@dataclass(frozen=True, slots=True)
class WrittenConnection(Connection):
    """A connection whose Java file is given."""

    text: str = ""

    def java_file(self, path: Path) -> Path:
        path.write_text(self.text)
        return path


def test_every_way_in_has_a_block_for_every_client_that_can() -> None:
    """The table at the head of the section is what the blocks below it say."""
    table = DOCUMENT.read_text().partition("\n## Clients\n")[2].partition("\n### ")[0]
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|")
    ]
    sections = {
        "SCRAM": "SCRAM",
        "PLAIN": "PLAIN",
        "token as password": "PLAIN",
        "token as bearer": "API tokens as bearer tokens",
        "token by SCRAM": "API tokens as Kafka delegation tokens",
        "OAUTHBEARER": "OAUTHBEARER",
        "certificate": "certificates",
    }
    assert header[1:] == list(sections)
    for who, *cells in rows[:-1]:
        for column, cell in zip(header[1:], cells, strict=True):
            clients = {name for block, name in CASES if block.section == sections[column]}
            named = {name.strip() for name in who.split(",")} & clients
            assert bool(named) == cell.startswith(("yes", "confluent-kafka")), (who, column)
    assert len(CASES) >= 25


@pytest.mark.parametrize(
    ("block", "client"), CASES, ids=lambda value: value if isinstance(value, str) else value.section
)
def test_block(
    block: Block,
    client: str,
    place: Path,
    documented: ShippedBroker,
    issuer: ScriptedIssuer,
    token: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(place / "idp-ca.crt"))
    endpoints = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={issuer.url}/token"
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", endpoints)
    listener = "ssl" if "example.com:9095" in block.text else "sasl_ssl"
    address = documented.connection(listener).bootstrap
    reference = Reference(documented.connection())
    fillings = [{"orders-app": USER.user, "<password>": USER.password}]
    if block.section == "PLAIN":
        fillings.append({"orders-app": "token", "<password>": token["token"]})
    for number, filling in enumerate(fillings):
        text = filled(
            block.text,
            {
                **filling,
                f"broker.example.com:{9095 if listener == 'ssl' else 9093}": address,
                "https://idp.example.com": issuer.url,
                "<token id>": token["info"]["id"],
                "<kafka password>": token["kafka_password"],
                "<token>": token["token"],
                "<client secret>": CLIENT_SECRET,
            },
        )
        value = f"{block.section} {client} {number}"
        sender(block, client, request)(text, address, value)
        assert reference.read(TOPIC)[-1].value == value.encode()


def filled(text: str, values: dict[str, str]) -> str:
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    assert not re.search(r"<[a-z ]+>|example\.com", text), text
    return text


Sender = Callable[[str, str, str], None]
"""(configuration, address, value): one record to TOPIC, from the working directory."""


def sender(block: Block, client: str, request: pytest.FixtureRequest) -> Sender:
    """How that client is used; skips where the machine does not have it."""
    if client == "librdkafka" or (client == "confluent-kafka" and "{" not in block.text):
        return by_properties
    if client == "kcat":
        return partial(by_kcat, request.getfixturevalue("kcat"))
    if client == "Java":
        return partial(by_java, request.getfixturevalue("java"))
    if client == "Kafka's tools":
        return partial(by_tool, request.getfixturevalue("java"))
    if client == "kafkajs":
        return partial(by_node, request.getfixturevalue("node"))
    return partial(by_python, client)


def by_properties(text: str, _address: str, value: str) -> None:
    rows = [line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#")]
    answers: list[object] = []
    producer = Producer(dict(rows))  # type: ignore[arg-type]
    producer.produce(TOPIC, value.encode(), on_delivery=lambda error, _: answers.append(error))
    producer.flush(20)
    assert answers == [None]


def by_kcat(kcat: str, text: str, _address: str, value: str) -> None:
    Path("client.properties").write_text(text)
    run([kcat, "-F", "client.properties", "-P", "-t", TOPIC], value)


def by_python(client: str, text: str, _address: str, value: str) -> None:
    Path("snippet.py").write_text(text + SENDING[client].replace("VALUE", repr(value.encode())))
    run([sys.executable, "snippet.py"])


def by_node(node: NodePrograms, text: str, _address: str, value: str) -> None:
    script = Path("snippet.mjs").absolute()
    script.write_text(text + SENDING["kafkajs"].replace("VALUE", repr(value)))
    node.run_file(script, script.parent)


def by_java(java: JavaPrograms, text: str, address: str, value: str) -> None:
    row = {"key": None, "value": value, "headers": [], "timestamp": 1_700_000_000_000}
    written = WrittenConnection(address, text=text)
    java.run("produce", written, Path("java.properties"), topic=TOPIC, codec="none", records=[row])


def by_tool(java: JavaPrograms, text: str, address: str, value: str) -> None:
    Path("java.properties").write_text(text)
    where = ["--bootstrap-server", address, "--topic", TOPIC, "--command-config", "java.properties"]
    done = java.tool("org.apache.kafka.tools.ConsoleProducer", *where, text=value + "\n")
    assert done.returncode == 0, done.stdout + done.stderr


def run(command: list[str], text: str = "") -> None:
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, timeout=SECONDS_MAX
    )
    assert done.returncode == 0, done.stdout + done.stderr
