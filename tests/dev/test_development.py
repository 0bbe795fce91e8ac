"""`rivven server --dev`, the first thing a stranger runs: what it makes, shows, keeps and refuses."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.shipped.broker import RIVVEN, ShippedBroker
from tests.shipped.dev import DevBroker

ROOT = Path(__file__).parents[2]


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[DevBroker]:
    with DevBroker(tmp_path) as broker:
        yield broker


def profile_of(dev: DevBroker) -> dict[str, str]:
    return dict(line.split("=", 1) for line in dev.profile.read_text().splitlines() if "=" in line)


def topics(profile: dict[str, str]) -> set[str]:
    return set(AdminClient(dict(profile)).list_topics(timeout=10).topics)


def refused(dev: DevBroker, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Start a second server beside or after `dev` and return how it was refused."""
    return subprocess.run(
        [RIVVEN, "server", "--dev", *arguments],
        cwd=dev.directory,
        env=dev.server_environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def assert_one_line_and_hint(done: subprocess.CompletedProcess[str], what: str) -> None:
    lines = done.stderr.strip().splitlines()
    assert done.returncode not in (0, 1), done.stderr
    assert what in lines[0], done.stderr
    assert len(lines) == 2 and lines[1].strip().startswith("hint:"), done.stderr


def test_first_start_shows_the_password_once_and_keeps_only_a_verifier(dev: DevBroker) -> None:
    profile = profile_of(dev)
    password = profile["sasl.password"]
    assert dev.printed().count(password) == 1
    assert "kcat -F data/dev/client.properties" in dev.printed()
    assert topics(profile) <= {"__consumer_offsets"}
    dev.stop()
    elsewhere = [
        path
        for path in (dev.directory / "data").rglob("*")
        if path.is_file() and password.encode() in path.read_bytes()
    ]
    assert {path.name for path in elsewhere} == {"client.properties", "client-java.properties"}


def test_client_files_are_private(dev: DevBroker) -> None:
    for path in [dev.directory / "data", *(dev.directory / "data").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.suffix == ".crt", path


def test_second_start_keeps_data_and_credentials(dev: DevBroker) -> None:
    before = profile_of(dev)
    admin = AdminClient(dict(before))
    [future] = admin.create_topics([NewTopic("kept", 1, 1)]).values()
    future.result(10)
    assert dev.stop() == 0
    first_output = dev.printed()
    dev.start()
    after = profile_of(dev)
    assert after["sasl.password"] == before["sasl.password"]
    assert before["sasl.password"] in first_output
    assert before["sasl.password"] not in dev.printed()
    assert "kept" in topics(after)


def test_certificate_is_strict_and_for_this_machine_only(dev: DevBroker) -> None:
    context = ssl.create_default_context(cafile=str(dev.directory / "data/dev/ca.crt"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    host, _, port = profile_of(dev)["bootstrap.servers"].rpartition(":")
    for name in ("localhost", "127.0.0.1"):
        with (
            socket.create_connection(("127.0.0.1", int(port)), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=name) as secured,
        ):
            assert secured.version() == "TLSv1.3"
    assert host in ("localhost", "127.0.0.1")


def test_tls_12_is_accepted(dev: DevBroker) -> None:
    _, _, port = profile_of(dev)["bootstrap.servers"].rpartition(":")
    context = ssl.create_default_context(cafile=str(dev.directory / "data/dev/ca.crt"))
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", int(port)), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        assert secured.version() == "TLSv1.2"


def test_java_file_names_the_same_login(dev: DevBroker) -> None:
    text = (dev.directory / "data/dev/client-java.properties").read_text()
    assert "ssl.truststore.type=PEM" in text
    assert profile_of(dev)["sasl.password"] in text


def test_sigterm_ends_with_zero(dev: DevBroker) -> None:
    assert dev.stop() == 0


def test_one_interrupt_drains(dev: DevBroker) -> None:
    dev.signal(signal.SIGINT)
    assert dev.wait() == 0


def test_a_taken_port_is_said_in_one_line(dev: DevBroker, tmp_path: Path) -> None:
    _, _, port = profile_of(dev)["bootstrap.servers"].rpartition(":")
    other = DevBroker(tmp_path / "other", port=int(port))
    other.directory.mkdir()
    assert_one_line_and_hint(refused(other), "cannot listen on")


def test_a_locked_data_directory_is_said_in_one_line(dev: DevBroker) -> None:
    assert_one_line_and_hint(refused(dev), "data")


def test_a_key_that_others_can_read_is_refused(dev: DevBroker) -> None:
    dev.stop()
    (dev.directory / "data/dev/server.key").chmod(0o644)
    assert_one_line_and_hint(refused(dev), "server.key")


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a directory")
    assert_one_line_and_hint(refused(DevBroker(tmp_path)), "data")


def test_a_server_without_a_user_is_refused_with_the_command(tmp_path: Path) -> None:
    broker = ShippedBroker(tmp_path / "bare")
    config = tmp_path / "bare" / "rivven.yaml"
    done = subprocess.run(
        [RIVVEN, "server", "--config", config], capture_output=True, text=True, timeout=30, check=False
    )
    assert not broker.running
    assert done.returncode not in (0, 1)
    assert "rivven server init --config" in done.stderr
    assert "Traceback" not in done.stderr


def test_make_run_starts_it(tmp_path: Path) -> None:
    """The README's command itself, with its environment made already."""
    dev = DevBroker(tmp_path)
    process = subprocess.Popen(
        ["make", "-s", "run", f"ARGS=--data-dir {tmp_path / 'data'}"],
        cwd=ROOT,
        env=dev.server_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if '"event": "ready"' in line or '"event":"ready"' in line:
                break
        os.killpg(process.pid, signal.SIGTERM)
        process.stdout.read()
    process.wait(30)
    assert any("password" in line for line in lines), "".join(lines)
    assert re.search(r"ready", lines[-1]), "".join(lines)
