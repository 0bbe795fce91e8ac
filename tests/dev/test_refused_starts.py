"""A start that cannot be: one line, a hint, an exit code of docs/cli.md, and nothing broken by it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.dev.configured import ConfiguredServer
from tests.dev.stranger import Stranger
from tests.shipped.broker import RIVVEN
from tests.shipped.dev import DevBroker

ROOT = Path(__file__).parents[2]
CONFIG, ADDRESS, DATA_DIRECTORY, NO_CREDENTIALS, STORAGE = 3, 4, 5, 6, 7


def refused(dev: DevBroker, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Start a server that is expected to give up, beside `dev` or after it."""
    return subprocess.run(
        [RIVVEN, "server", "--dev", *arguments],
        cwd=dev.directory,
        env=dev.server_environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def assert_refused(done: subprocess.CompletedProcess[str], code: int, reason: str) -> None:
    lines = done.stderr.strip().splitlines()
    assert done.returncode == code, done.stderr
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("rivven: ") and re.search(reason, lines[0]), done.stderr
    assert lines[1].startswith("  hint: ") and len(lines[1]) > 20, done.stderr
    assert done.stdout == ""


def test_codes_are_those_of_the_manual() -> None:
    manual = (ROOT / "docs/cli.md").read_text()
    codes = dict(re.findall(r"^\| (\d+) \| (\w+) \|", manual, re.MULTILINE))
    here = {"CONFIG": CONFIG, "ADDRESS": ADDRESS, "DATA_DIRECTORY": DATA_DIRECTORY}
    here |= {"NO_CREDENTIALS": NO_CREDENTIALS, "STORAGE": STORAGE}
    assert {name: int(code) for code, name in codes.items() if name in here} == here


def test_taken_port(stranger: Stranger, tmp_path: Path) -> None:
    port = int(stranger.profile["bootstrap.servers"].rpartition(":")[2])
    other = DevBroker(tmp_path / "other", port=port)
    other.directory.mkdir()
    done = refused(other)
    assert_refused(done, ADDRESS, rf"cannot listen on 127\.0\.0\.1:{port} \(listener dev\)")
    assert "--port" in done.stderr
    # The next start is a first start again: it shows the password that nobody has seen yet.
    other = DevBroker(tmp_path / "other")
    with other:
        assert "password" in other.printed()


def test_locked_data_directory(stranger: Stranger) -> None:
    assert_refused(refused(stranger.broker), DATA_DIRECTORY, "data is in use by another process")


def test_secret_that_others_can_read(stopped: DevBroker) -> None:
    for name in ("server.key", "ca.key", "client.properties"):
        path = stopped.directory / "data/dev" / name
        path.chmod(0o644)
        reason = rf"{re.escape(name)} is open to other users: chmod 600"
        assert_refused(refused(stopped), DATA_DIRECTORY, reason)
        path.chmod(0o600)
    with stopped:
        pass  # the control: it starts, so each was refused for its own mode


def test_directory_of_secrets_that_others_can_enter(stopped: DevBroker) -> None:
    (stopped.directory / "data/dev").chmod(0o755)
    assert_refused(refused(stopped), DATA_DIRECTORY, "dev is open to other users: chmod 700")


def test_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a directory")
    assert_refused(refused(DevBroker(tmp_path)), DATA_DIRECTORY, "data")
    assert (tmp_path / "data").read_text() == "not a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_data_directory_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    assert_refused(refused(DevBroker(tmp_path)), DATA_DIRECTORY, "data")


def test_data_directory_of_a_newer_version(stopped: DevBroker) -> None:
    identity = stopped.directory / "data/identity.json"
    identity.write_text(json.dumps(json.loads(identity.read_text()) | {"format": 999}))
    assert_refused(refused(stopped), DATA_DIRECTORY, "format 999, newer than")


def test_data_directory_of_another_node(stopped: DevBroker) -> None:
    stopped.server_environment["RIVVEN_NODE__ID"] = "2"
    assert_refused(refused(stopped), DATA_DIRECTORY, "belongs to node 1, this is node 2")


def test_damaged_metadata(stopped: DevBroker) -> None:
    journal = stopped.directory / "data/metadata.journal"
    content = bytearray(journal.read_bytes())
    content[len(content) // 3] ^= 0xFF
    journal.write_bytes(content)
    done = refused(stopped)
    assert done.returncode in (DATA_DIRECTORY, STORAGE)
    assert_refused(done, done.returncode, r"metadata\.journal")
    assert journal.read_bytes() == content, "evidence stays as it was found"


def test_no_user(tmp_path: Path) -> None:
    server = ConfiguredServer(tmp_path / "server")
    done = server.run("rivven server --config config/production.yaml")
    assert_refused(done, NO_CREDENTIALS, "no user|credential|log in")
    assert "rivven server init --config config/production.yaml --admin" in done.stderr


def test_unknown_key(tmp_path: Path) -> None:
    path = tmp_path / "rivven.yaml"
    path.write_text("data_dri: x\nlisteners: [{name: a, bind: '127.0.0.1:0', protocol: sasl_ssl}]\n")
    done = subprocess.run(
        [RIVVEN, "server", "--config", path], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == CONFIG
    assert f"{path}: data_dri: unknown key; did you mean data_dir?" in done.stderr


@pytest.mark.parametrize(
    ("variable", "reason"),
    [
        ("RIVVEN_SERVER__TLS__CERT_PATH", r"server\.tls\.cert_path: nowhere\.pem: No such file"),
        ("RIVVEN_SERVER__TLS__KEY_PATH", r"server\.tls\.key_path: nowhere\.pem: No such file"),
    ],
)
def test_missing_certificate(tmp_path: Path, variable: str, reason: str) -> None:
    server = ConfiguredServer(tmp_path / "server")
    server.environment[variable] = "nowhere.pem"
    assert server.run("rivven server init --config config/production.yaml --admin root").returncode == 0
    assert_refused(server.run("rivven server --config config/production.yaml"), CONFIG, reason)
