"""The README's two recipes for certificates, typed as they stand; a broker serves with what they made."""

from __future__ import annotations

import shutil
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from rivven.security.tls_inspection import certificate_facts
from tests.dev.runbook import Operator
from tests.dev.test_readme_snippets import CERTIFICATES, OPENSSL, blocks


@pytest.fixture
def operator(tmp_path: Path) -> Any:
    made = Operator(tmp_path)
    yield made
    made.stops()


def serve(operator: Operator, tls: dict[str, str]) -> None:
    configuration = {
        "data_dir": str(operator.data),
        "listeners": [
            {
                "name": "main",
                "bind": f"127.0.0.1:{operator.port}",
                "advertised": f"localhost:{operator.port}",
                "protocol": "ssl",
            }
        ],
        "server": {"tls": {name: str(operator.directory / path) for name, path in tls.items()}},
        "insecure": True,
        "authorization": {"super_users": ["User:ANONYMOUS", "User:CN=alice"]},
    }
    if "ca_path" in tls:
        configuration["server"]["tls"] |= {"client_auth": "required"}  # type: ignore[index]
    operator.saves("rivven.yaml", yaml.safe_dump(configuration))
    operator.serves("rivven server --config rivven.yaml")


def settings(operator: Operator, **more: str) -> dict[str, Any]:
    files = {name.replace("_", "."): str(operator.directory / path) for name, path in more.items()}
    return {"bootstrap.servers": f"localhost:{operator.port}", "security.protocol": "SSL"} | files


def exchange(client: dict[str, Any]) -> bytes | None:
    """One record there and back, with librdkafka, which checks host names."""
    admin = AdminClient(client)  # must outlive its futures
    admin.create_topics([NewTopic("recipes", 1)])["recipes"].result(20)
    producer = Producer(client)
    producer.produce("recipes", b"sealed")
    assert producer.flush(20) == 0
    consumer = Consumer(client | {"group.id": "recipes", "auto.offset.reset": "earliest"})
    consumer.subscribe(["recipes"])
    message = consumer.poll(20)
    consumer.close()
    assert message is not None
    return message.value()


def strict_handshake(operator: Operator, ca: str, pair: tuple[str, str] | None = None) -> str | None:
    """As Python 3.13 connects by default."""
    context = ssl.create_default_context(cafile=str(operator.directory / ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.hostname_checks_common_name = False
    if pair is not None:
        context.load_cert_chain(*(operator.directory / name for name in pair))
    with (
        socket.create_connection(("localhost", operator.port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        return connection.version()


def test_the_commands(operator: Operator) -> None:
    printed = operator.types(blocks()[CERTIFICATES])
    assert "dns_names" in printed and "problems" not in printed
    serve(operator, {"cert_path": "pki/localhost.crt", "key_path": "pki/localhost.key"})
    assert strict_handshake(operator, "pki/ca.crt") == "TLSv1.3"
    assert exchange(settings(operator, ssl_ca_location="pki/ca.crt")) == b"sealed"


@pytest.fixture
def needs_openssl() -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")


@pytest.mark.usefixtures("needs_openssl")
def test_openssl(operator: Operator) -> None:
    operator.types(blocks()[OPENSSL])
    for name in ("ca", "server", "client"):
        [facts] = certificate_facts(operator.directory / f"{name}.crt")
        assert facts.version == 3
        assert facts.problems == ()
        assert facts.key_usage and facts.subject_key_id
        assert (operator.directory / f"{name}.key").stat().st_mode & 0o077 == 0
    serve(operator, {"cert_path": "server.crt", "key_path": "server.key", "ca_path": "ca.crt"})
    assert strict_handshake(operator, "ca.crt", ("client.crt", "client.key")) == "TLSv1.3"
    client = settings(
        operator,
        ssl_ca_location="ca.crt",
        ssl_certificate_location="client.crt",
        ssl_key_location="client.key",
    )
    assert exchange(client) == b"sealed"


THE_USUAL_RECIPE = """
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj "/CN=Some CA" -days 30
openssl req -new -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj "/CN=localhost"
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 30 -sha256
"""


@pytest.mark.usefixtures("needs_openssl")
def test_the_usual_recipe_is_refused_by_strict_clients_and_told_by_inspect(operator: Operator) -> None:
    """The control: what the README's recipe repairs."""
    operator.types(THE_USUAL_RECIPE)
    assert "problems" in operator.types("rivven tls inspect server.crt")
    serve(operator, {"cert_path": "server.crt", "key_path": "server.key"})
    with pytest.raises(ssl.SSLCertVerificationError):
        strict_handshake(operator, "ca.crt")
