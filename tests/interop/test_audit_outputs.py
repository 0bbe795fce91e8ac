"""Audit lines beyond the file: a real syslog daemon, another broker, and the broker's own topic."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from rivven.types import Operation, ResourceType
from tests.conformance.client import Client
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Connection
from tests.shipped.pki import Pki, make_pki
from tests.shipped.trail import assert_chained, events, log_of, rivven_audit

pytestmark = pytest.mark.interop

WAIT_SECONDS_MAX = 20.0
MODULES = (
    "usr/lib/rsyslog/lmnsd_gtls.so",
    "usr/lib64/rsyslog/lmnsd_gtls.so",
    "usr/lib/*/rsyslog/lmnsd_gtls.so",
)
"""Where distributions put rsyslog's TLS driver."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@dataclass
class Rsyslog:
    """A syslog daemon with one input; what it gets is in `log`, the message alone on each line."""

    port: int
    log: Path

    def lines(self, count: int) -> list[bytes]:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while True:
            found = self.log.read_bytes().splitlines() if self.log.exists() else []
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.05)


def rsyslog_config(transport: str, port: int, log: Path, pki: Pki) -> str:
    load = "imudp" if transport == "udp" else "imtcp"
    tls = ""
    if transport == "tls":
        tls = ' streamdriver.name="gtls" streamdriver.mode="1" streamdriver.authmode="anon"'
    return f"""
global(workDirectory="{log.parent}" maxMessageSize="128k"
       defaultNetstreamDriverCAFile="{pki.ca}"
       defaultNetstreamDriverCertFile="{pki.certificate}"
       defaultNetstreamDriverKeyFile="{pki.key}")
module(load="{load}"{tls})
template(name="only" type="string"
         string="%syslogfacility-text%.%syslogseverity-text% %app-name% %msgid%:%msg%\\n")
input(type="{load}" address="127.0.0.1" port="{port}" ruleset="audit")
ruleset(name="audit") {{ action(type="omfile" file="{log}" template="only") }}
"""


@pytest.fixture
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rsyslog]:
    """rsyslogd in the foreground, listening as the test's parameter says."""
    binary = shutil.which("rsyslogd") or shutil.which("/usr/sbin/rsyslogd")
    if binary is None:
        pytest.skip("rsyslogd is not installed")
    transport: str = request.param
    if transport == "tls" and not [file for places in MODULES for file in Path("/").glob(places)]:
        pytest.skip("rsyslog's TLS driver (rsyslog-gnutls) is not installed")
    made = Rsyslog(free_port(), tmp_path / "received.log")
    config = tmp_path / "rsyslog.conf"
    config.write_text(rsyslog_config(transport, made.port, made.log, make_pki(tmp_path / "pki")))
    process = subprocess.Popen(
        [binary, "-n", "-f", config, "-i", tmp_path / "rsyslog.pid"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_port(made.port, transport)
        yield made
    finally:
        process.terminate()
        process.wait(10)


def wait_for_port(port: int, transport: str) -> None:
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return  # taken: somebody listens
        time.sleep(0.05)
    raise AssertionError("the syslog daemon does not listen")


@pytest.mark.parametrize(
    ("daemon", "transport"), [(t, t) for t in ("udp", "tcp", "tls")], indirect=["daemon"]
)
def test_a_real_syslog_daemon_gets_every_line(daemon: Rsyslog, transport: str, tmp_path: Path) -> None:
    syslog: dict[str, object] = {
        "type": "syslog",
        "address": f"localhost:{daemon.port}",
        "facility": "authpriv",
        "transport": transport,
    }
    if transport == "udp":
        syslog["address"] = f"127.0.0.1:{daemon.port}"
    if transport == "tls":
        syslog["ca_path"] = str(tmp_path / "pki" / "ca.crt")
    with ShippedBroker(tmp_path / "own", extra={"audit": {"output": [{"type": "file"}, syslog]}}) as broker:
        with Client(broker.connection()) as client:
            client.create_topic("seen-by-syslog")
        broker.stop()
        written = log_of(broker).read_bytes().splitlines()
        received = daemon.lines(len(written))
    heads, bodies = zip(*(line.split(b":", 1) for line in received), strict=True)
    assert [body.strip() for body in bodies] == written, "the very same bytes, in order"
    assert_chained([body.strip() for body in bodies])
    assert b"authpriv.notice rivven topic_create" in heads
    kept = tmp_path / "kept.log"
    kept.write_bytes(b"\n".join(body.strip() for body in bodies) + b"\n")
    rivven_audit("verify", kept)


def consumed(connection: Connection, topic: str, count: int) -> list[bytes]:
    consumer = Consumer(connection.librdkafka(group_id="auditor", enable_auto_commit="false"))
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[bytes] = []
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while len(found) < count:
        message = consumer.poll(0.5)
        if message is not None and message.error() is None:
            found.append(message.value() or b"")
        assert time.monotonic() < deadline, f"{len(found)} of {count}"
    consumer.close()
    return found


def test_the_topic_is_read_with_an_ordinary_grant_and_written_by_nobody(tmp_path: Path) -> None:
    output = [{"type": "file"}, {"type": "topic", "required": True}]
    with ShippedBroker(tmp_path / "own", extra={"audit": {"output": output}}) as broker:
        with Client(broker.connection()) as admin:
            admin.create_topic("seen-in-the-topic")
            auditor = admin.create_user()
            admin.allow(auditor.user, Operation.READ, ResourceType.TOPIC, "__rivven_audit")
            admin.allow(auditor.user, Operation.READ, ResourceType.GROUP, "auditor")
        written = log_of(broker).read_bytes().splitlines()
        received = consumed(broker.connection(account=auditor), "__rivven_audit", len(written))
        assert received[: len(written)] == written
        forger = Producer(broker.connection().librdkafka(delivery_timeout_ms=5000))
        errors: list[object] = []
        forger.produce("__rivven_audit", b"forged", on_delivery=lambda error, _message: errors.append(error))
        forger.flush(10)
        assert errors and errors[0] is not None
        broker.restart()
        written = log_of(broker).read_bytes().splitlines()
        received = consumed(broker.connection(account=auditor), "__rivven_audit", len(written))
        numbers = [json.loads(line)["sequence"] for line in received]
        assert numbers == list(range(len(numbers))), "no line is missing and none is there twice"


def test_another_cluster_gets_every_line(tmp_path: Path) -> None:
    with ShippedBroker(tmp_path / "archive") as archive:
        with Client(archive.connection()) as admin:
            admin.create_topic("security-audit")
        password = tmp_path / "password"
        password.write_text(archive.admin.password)
        stream = {
            "type": "stream",
            "bootstrap_servers": archive.connection().bootstrap,
            "topic": "security-audit",
            "username": archive.admin.user,
            "password": f"file:{password}",
            "mechanism": "SCRAM-SHA-256",
            "ca_path": str(archive.pki.ca),
            "required": True,
        }
        extra = {"audit": {"output": [{"type": "file"}, stream]}}
        with ShippedBroker(tmp_path / "own", extra=extra) as broker:
            with Client(broker.connection()) as client:
                client.create_topic("seen-elsewhere")
            broker.stop()
            written = log_of(broker).read_bytes().splitlines()
            assert archive.admin.password not in broker.tail(100_000)
        assert consumed(archive.connection(), "security-audit", len(written)) == written


def test_clients_cannot_take_the_name_of_the_topic(broker: ShippedBroker) -> None:
    with Client(broker.connection()) as admin:
        assert admin.try_create_topic("__rivven_audit").error_code == 17
        assert [e["result"] for e in events(broker) if e["resource"] == "topic:__rivven_audit"][
            -1
        ] == "failure"


def test_librdkafka_sees_why_a_change_was_refused(tmp_path: Path) -> None:
    from confluent_kafka.admin import AdminClient, NewTopic

    stream = {"type": "stream", "bootstrap_servers": "127.0.0.1:1", "topic": "t", "required": True}
    extra = {"audit": {"output": [{"type": "file"}, stream]}}
    with ShippedBroker(tmp_path / "own", extra=extra) as broker:
        admin = AdminClient(broker.connection().librdkafka())
        (future,) = admin.create_topics([NewTopic("refused", 1, 1)]).values()
        with pytest.raises(KafkaException, match="POLICY_VIOLATION"):
            future.result(20)
