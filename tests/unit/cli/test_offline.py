"""Commands that need no server: config, auth, and reading arguments."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path

import click
import pytest
import yaml

from rivven.protocol.scram import parse_verifier
from rivven_cli.exits import Exit
from rivven_cli.main import run
from rivven_cli.output import show_one, show_rows, visible
from rivven_cli.pairs import point_in_time
from rivven_cli.produce import _headers, _lines, _split

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "Canary-77-secret"


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    return path


def test_config_check_accepts_the_shipped_files(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("development", "production", "rivven"):
        assert run(["config", "check", str(ROOT / "config" / f"{name}.yaml"), "-o", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["valid"] is True


def test_config_check_tells_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text((ROOT / "config" / "production.yaml").read_text() + "lisners: 1\nnumber: 2\n")
    assert run(["config", "check", str(path)]) == Exit.CONFIG
    lines = capsys.readouterr().err.splitlines()
    assert "bad.yaml: lisners: unknown key; did you mean listeners?" in lines[0]
    assert "bad.yaml: number: unknown key" in lines[1]
    assert "config defaults" in lines[2]


def test_config_check_warns_about_insecure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "open.yaml"
    path.write_text("insecure: true\nlisteners: [{name: a, bind: '127.0.0.1:0', protocol: plaintext}]\n")
    assert run(["config", "check", str(path)]) == 0
    assert "anybody" in capsys.readouterr().out


def test_config_show_in_every_format_hides_secrets(
    tmp_path: Path, password_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "config" / "production.yaml").read_text()
    path = tmp_path / "rivven.yaml"
    path.write_text(
        text.replace(
            "# key_password: file:/etc/rivven/tls/key-password", f"key_password: file:{password_file}"
        )
    )
    monkeypatch.setenv("RIVVEN_BROKER__NUM_PARTITIONS", "9")
    shown = []
    for output in ("table", "json", "yaml"):
        assert run(["config", "show", str(path), "-o", output]) == 0
        shown.append(capsys.readouterr().out)
    assert PASSWORD not in "".join(shown)
    assert "broker.num.partitions = 9" in shown[0]
    assert f"server.tls.key_password = file:{password_file}" in shown[0]
    assert json.loads(shown[1]) == yaml.safe_load(shown[2])
    assert json.loads(shown[1])["listeners"][0]["protocol"] == "sasl_ssl"


def test_config_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "defaults"]) == 0
    assert capsys.readouterr().out == (ROOT / "config" / "rivven.yaml").read_text()
    assert run(["config", "defaults", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["topic"]["cleanup.policy"] == "delete"


def test_what_config_show_prints_is_a_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["config", "show", str(ROOT / "config" / "production.yaml"), "-o", "yaml"]) == 0
    first = capsys.readouterr().out
    (tmp_path / "again.yaml").write_text(first)
    assert run(["config", "show", str(tmp_path / "again.yaml"), "-o", "yaml"]) == 0
    assert capsys.readouterr().out == first


def test_hash_password_prints_a_verifier_and_no_password(
    password_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["auth", "hash-password", "--password-file", str(password_file), "--iterations", "4096"]
    assert run(arguments) == 0
    text = capsys.readouterr().out.strip()
    assert parse_verifier(text).iterations == 4096
    assert PASSWORD not in text
    assert run([*arguments, "--mechanism", "scram-sha-512", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["password_hash"].startswith("$scram-sha-512$4096$")


def test_a_simple_password_is_refused_without_repeating_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p").write_text("canarycanary")
    assert run(["auth", "hash-password", "--password-file", str(tmp_path / "p")]) == Exit.USAGE
    message = capsys.readouterr().err
    assert "needs an upper case letter, a digit, a special character" in message
    assert "canarycanary" not in message


@pytest.mark.parametrize(("content", "reason"), [(b"\xff\xfe\n", "not UTF-8"), (b"x" * 9000, "larger than")])
def test_a_file_that_holds_no_password_is_refused(
    tmp_path: Path, content: bytes, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p").write_bytes(content)
    assert run(["auth", "hash-password", "--password-file", str(tmp_path / "p")]) == Exit.USAGE
    assert reason in capsys.readouterr().err


def test_a_password_can_come_from_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(PASSWORD.encode() + b"\r\n")))
    assert run(["auth", "hash-password", "--password-file", "-", "--iterations", "4096"]) == 0
    assert capsys.readouterr().out.startswith("$scram-sha-256$4096$")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15m", 1_000_000_000_000 - 900_000),
        ("2d", 1_000_000_000_000 - 172_800_000),
        ("500ms", 1_000_000_000_000 - 500),
        ("1767225600000", 1_767_225_600_000),
        ("2026-01-01T00:00:00Z", 1_767_225_600_000),
        ("2026-01-01T01:00:00+01:00", 1_767_225_600_000),
        ("2026-01-01", 1_767_225_600_000),
    ],
)
def test_points_in_time(text: str, expected: int) -> None:
    assert point_in_time(text, 1_000_000_000_000) == expected


@pytest.mark.parametrize("text", ["", "soon", "5 m", "2026-13-01", "-5m", "٣m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError):
        point_in_time(text, 0)


def test_lines_of_standard_input_become_records() -> None:
    assert list(_lines(BytesIO(b"a\nb\r\n\nlast"))) == [b"a", b"b", b"", b"last"]
    assert _split(b"k:v:w", b":") == (b"k", b"v:w")
    with pytest.raises(click.UsageError, match="no key separator"):
        _split(b"value", b":")
    assert _headers(("a=1", "a=2", "b==")) == [("a", b"1"), ("a", b"2"), ("b", b"=")]


ROWS = [{"name": "a[red]b\x1b[0m", "size": 3, "parts": (1, 2), "gone": None, "on": True}]


@pytest.mark.parametrize(
    ("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)], ids=["json", "yaml"]
)
def test_rows_for_programs(
    output: str, read: Callable[[str], object], capsys: pytest.CaptureFixture[str]
) -> None:
    show_rows(output, [{**ROWS[0], "parts": [1, 2]}], ("name",))
    assert read(capsys.readouterr().out) == [{**ROWS[0], "parts": [1, 2]}]


def test_a_table_escapes_control_characters_reads_no_markup_and_loses_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = "x" * 300
    show_rows("table", [*ROWS, {"name": long}], ("name", "size", "parts", "gone", "on"))
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "a[red]b\\x1b[0m" in text
    assert long in text
    assert text.splitlines()[0].split() == ["NAME", "SIZE", "PARTS", "GONE", "ON"]
    assert text.splitlines()[1].split()[1:] == ["3", "1,2", "-", "yes"]


def test_one_thing_as_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show_one("table", {"name": "x", "settings": {"a": 1}, "empty": []})
    assert capsys.readouterr().out.splitlines() == ["name:     x", "settings: a=1", "empty:    -"]
    assert visible("plain ünïcode") == "plain ünïcode"
