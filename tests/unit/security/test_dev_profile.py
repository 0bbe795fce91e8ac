"""The client files of the development profile, read back with the rules of the clients that read them."""

from __future__ import annotations

import os
import re
import shlex
import stat
from pathlib import Path

import pytest

from rivven.security.bootstrap import FirstAdmin, make_first_admin
from rivven.security.dev_profile import (
    ADMIN_FILE,
    CLIENT_FILE,
    JAVA_CLIENT_FILE,
    first_start_lines,
    later_start_lines,
    update_address,
    write_admin_file,
    write_client_files,
)
from rivven.testing.canary import leaks


def admin(name: str = "admin") -> FirstAdmin:
    return make_first_admin(name, os.urandom)


def librdkafka_properties(text: str) -> dict[str, str]:
    """As kcat -F reads them: one ``key=value`` a line, nothing escaped."""
    return dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))


def java_properties(text: str) -> dict[str, str]:
    """As java.util.Properties reads them: ISO 8859-1, backslash escapes."""
    assert text.isascii()
    unescaped = re.sub(
        r"\\(u[0-9a-f]{4}|.)",
        lambda found: chr(int(found[1][1:], 16)) if found[1][0] == "u" else found[1],
        text,
    )
    joined = unescaped.encode("utf-16", "surrogatepass").decode("utf-16")
    return dict(line.split("=", 1) for line in joined.splitlines())


@pytest.mark.parametrize("below", ["dev", "dir with space", "Üml-äut 😀", "back\\slash"])
def test_both_files_hold_what_their_clients_need(tmp_path: Path, below: str) -> None:
    directory = tmp_path / below
    directory.mkdir()
    one = admin()
    write_client_files(directory, one, "127.0.0.1:9092", directory / "ca.crt")
    plain = librdkafka_properties((directory / CLIENT_FILE).read_text())
    assert plain == {
        "bootstrap.servers": "127.0.0.1:9092",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": "admin",
        "sasl.password": one.password,
        "ssl.ca.location": str(directory / "ca.crt"),
    }
    java = java_properties((directory / JAVA_CLIENT_FILE).read_text())
    assert java == {
        "bootstrap.servers": "127.0.0.1:9092",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required "
        f'username="admin" password="{one.password}";',
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(directory / "ca.crt"),
    }


def test_a_name_with_quotes_stays_one_jaas_value(tmp_path: Path) -> None:
    write_client_files(tmp_path, admin('o"neil\\'), "127.0.0.1:9092", tmp_path / "ca.crt")
    java = java_properties((tmp_path / JAVA_CLIENT_FILE).read_text())
    assert 'username="o\\"neil\\\\" password="' in java["sasl.jaas.config"]


def test_only_the_owner_may_read_them(tmp_path: Path) -> None:
    write_client_files(tmp_path, admin(), "127.0.0.1:9092", tmp_path / "ca.crt")
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_client_files(Path(), admin(), "127.0.0.1:9092", Path("ca.crt"))
    assert f"ssl.ca.location={tmp_path}/ca.crt" in (tmp_path / CLIENT_FILE).read_text()


def test_a_path_that_would_break_the_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        write_client_files(tmp_path, admin(), "127.0.0.1:9092", tmp_path / "a\nsasl.username=x")
    assert list(tmp_path.iterdir()) == []


def test_a_new_address_changes_nothing_else(tmp_path: Path) -> None:
    write_client_files(tmp_path, admin(), "127.0.0.1:0", tmp_path / "ca.crt")
    client = tmp_path / CLIENT_FILE
    client.write_text(client.read_text() + "# mine\nlinger.ms=5\n")
    before = client.read_text()
    update_address(tmp_path, "127.0.0.1:43210")
    assert client.read_text() == before.replace("127.0.0.1:0", "127.0.0.1:43210")
    assert "bootstrap.servers=127.0.0.1:43210" in (tmp_path / JAVA_CLIENT_FILE).read_text()
    assert stat.S_IMODE(client.stat().st_mode) == 0o600


def test_an_unchanged_address_writes_nothing(tmp_path: Path) -> None:
    write_client_files(tmp_path, admin(), "127.0.0.1:9092", tmp_path / "ca.crt")
    before = (tmp_path / CLIENT_FILE).stat().st_ino
    update_address(tmp_path, "127.0.0.1:9092")
    assert (tmp_path / CLIENT_FILE).stat().st_ino == before


def test_files_a_user_removed_stay_removed(tmp_path: Path) -> None:
    update_address(tmp_path, "127.0.0.1:9092")
    assert list(tmp_path.iterdir()) == []


def test_what_is_shown_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one = admin()
    lines = first_start_lines(tmp_path / "data" / "dev", one, "127.0.0.1:9092")
    text = "\n".join(lines)
    assert text.count(one.password) == 1
    assert "    kcat -F data/dev/client.properties -L" in lines
    pasted = [line.strip() for line in lines if re.match(r"    (rivven|kcat|kafka-topics)", line)]
    assert len(pasted) == 5
    for line in pasted:
        assert shlex.split(line)
        assert leaks([one.password], {"pasted": line}) == [], "a command line shows up in process lists"


def test_lines_fit_how_the_command_is_typed_and_where_the_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    usual = first_start_lines(tmp_path / "data" / "dev", admin(), "localhost:9092", ".venv/bin/rivven")
    assert "    .venv/bin/rivven topic create hello" in usual
    other = first_start_lines(tmp_path / "other dir" / "dev", admin(), "localhost:9092")
    assert "    rivven --command-config 'other dir/dev/client.properties' topic create hello" in other


def test_a_later_start_says_where_the_login_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [line] = later_start_lines(tmp_path / "data" / "dev", "localhost:9092")
    assert "localhost:9092" in line
    assert "data/dev/client.properties" in line


def test_where_the_admin_api_is_stands_in_a_file_of_its_own(tmp_path: Path) -> None:
    """librdkafka refuses a file with keys it does not know, and kcat reads the others."""
    write_admin_file(tmp_path, "https://localhost:9094")
    path = tmp_path / ADMIN_FILE
    assert path.read_text() == "admin.url=https://localhost:9094\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_admin_file(tmp_path, "")
    write_admin_file(tmp_path, "")
    assert not path.exists(), "an address of an earlier start leads nowhere"
