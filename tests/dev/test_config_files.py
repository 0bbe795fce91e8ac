"""The files in config/ start a server as they stand; what they say about themselves is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.dev.configured import ROOT, ConfiguredServer
from tests.shipped.broker import RIVVEN
from tests.shipped.dev import has_ipv6_loopback

FILES = ("config/rivven.yaml", "config/production.yaml", "config/development.yaml")


@pytest.fixture
def server(tmp_path: Path) -> ConfiguredServer:
    return ConfiguredServer(tmp_path / "server")


def test_every_file_is_started_here() -> None:
    """Beside them stand policies to start from, which tests of the authorizer `cedar` run."""
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / "config").iterdir()}
    assert found == {*FILES, "config/policies"}


@pytest.mark.parametrize("file", FILES)
def test_file_passes_the_check(server: ConfiguredServer, file: str) -> None:
    done = server.run(f"{RIVVEN} config check {file}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", ["config/rivven.yaml", "config/production.yaml"])
def test_file_starts_a_server(server: ConfiguredServer, file: str) -> None:
    refused = server.run(f"rivven server --config {file}")
    assert refused.returncode == 6
    [command] = re.findall(r"rivven server init --config .*", refused.stderr)
    stored = server.run(command.replace("NAME", "root"))
    assert stored.returncode == 0, stored.stderr
    facts, code = server.serve(f"rivven server --config {file}")
    assert len(facts["listeners"]) == 1
    assert code == 0


def test_production_file_with_its_encryption_switched_on(server: ConfiguredServer) -> None:
    """The lines that are a comment there, taken as settings."""
    text = (ROOT / "config/production.yaml").read_text()
    found = re.search(r"^# storage:\n(?:# .*\n)+", text, re.MULTILINE)
    assert found
    settings = re.sub(r"^# ", "", found[0], flags=re.MULTILINE)
    file, keys = server.directory / "production.yaml", server.directory / "keys"
    file.write_text(text.replace(found[0], settings.replace("/var/lib/rivven-keys", str(keys))))
    stored = server.run(f"rivven server init --config {file} --admin admin")
    assert stored.returncode == 0, stored.stderr
    _, code = server.serve(f"rivven server --config {file}")
    assert code == 0
    assert (keys / "keyring").exists() and (server.data / "encryption.key").exists()


def test_development_file_starts_a_server(server: ConfiguredServer) -> None:
    if not has_ipv6_loopback():
        pytest.skip("no ::1 on this machine, which the file listens on")
    server.environment |= {
        "RIVVEN_LISTENERS__1__BIND": "[::1]:0",
        "RIVVEN_SERVER__TLS__CERT_PATH": str(server.data / "dev/server.crt"),
        "RIVVEN_SERVER__TLS__KEY_PATH": str(server.data / "dev/server.key"),
    }
    facts, code = server.serve("rivven server --dev --config config/development.yaml")
    assert set(facts["listeners"]) == {"dev", "dev6"}
    assert code == 0
    assert (server.data / "dev/client.properties").exists()
