"""`rivven tls inspect` and `expiry` as a user and a monitoring script call them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rivven_cli.exits import Exit
from rivven_cli.main import run
from tests.shipped.pki import Pki, make_pki


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Both certificates end in two days."""
    return make_pki(tmp_path_factory.mktemp("pki"))


def test_inspect_for_people(pki: Pki, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tls", "inspect", str(pki.certificate), str(pki.ca)]) == 0
    shown = capsys.readouterr().out
    first, second = shown.split("\n\n")
    assert "subject:            CN=localhost" in first
    assert "addresses:          127.0.0.1,::1" in first
    assert "problems" not in first
    assert "authority:" in second and "keyCertSign,cRLSign" in second


def test_inspect_for_programs(pki: Pki, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tls", "inspect", str(pki.certificate), "-o", "json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["kind"] == "certificate"
    assert row["dns_names"] == ["localhost"]
    assert row["days_left"] == 1
    assert row["problems"] == []


@pytest.mark.parametrize("command", ["inspect", "expiry"])
def test_a_file_without_certificates_is_refused(
    command: str, pki: Pki, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file, reason in ((pki.key, "holds no"), (tmp_path / "none.crt", "No such file")):
        assert run(["tls", command, str(file)]) == Exit.CONFIG
        said = capsys.readouterr().err
        assert str(file) in said and (reason in said or "holds neither" in said)
        assert "PRIVATE" not in said


def test_expiry_exits_for_monitoring(pki: Pki, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(pki.certificate), str(pki.ca)]
    assert run(["tls", "expiry", *files]) == Exit.FAILED, "30 days by default"
    assert "ends soon" in capsys.readouterr().out
    assert run(["tls", "expiry", *files, "--within", "24h", "-o", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in rows] == ["ok", "ok"]
    assert {row["file"] for row in rows} == set(files)
    assert run(["tls", "expiry", *files, "--within", "soon"]) == Exit.USAGE
    assert "30d" in capsys.readouterr().err


def test_verify_config(pki: Pki, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rivven.yaml"
    text = (
        "data_dir: {data}\n"
        "listeners: [{{name: main, bind: '127.0.0.1:9092', protocol: sasl_ssl}}]\n"
        "server: {{tls: {{cert_path: {cert}, key_path: {key}}}}}\n"
    )
    file.write_text(text.format(data=tmp_path / "data", cert=pki.certificate, key=pki.key))
    typed = ["tls", "verify-config", str(file)]
    assert run([*typed, "--ca", str(pki.ca), "--within", "24h"]) == 0
    assert "connects to 127.0.0.1" in capsys.readouterr().out
    assert run(typed) == 0, "a warning is no failure"
    assert "warning" in capsys.readouterr().out
    assert run([*typed, "--ca", str(pki.key)]) == Exit.CONFIG
    assert "--ca" in capsys.readouterr().err
    file.write_text(text.format(data=tmp_path / "data", cert=pki.ca, key=pki.key))
    assert run([*typed, "-o", "json"]) == Exit.CONFIG
    [row] = json.loads(capsys.readouterr().out)
    assert (row["verdict"], row["key"]) == ("problem", "server.tls.key_path")
    assert run(["tls", "verify-config", str(tmp_path / "none.yaml")]) == Exit.CONFIG


def test_one_certificate_that_ends_is_enough_for_monitoring(
    pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["tls", "init-ca", "--cn", "Example CA"]) == 0
    assert run(["tls", "expiry", "pki/ca.crt"]) == 0
    bundle = tmp_path / "both.pem"
    bundle.write_bytes((tmp_path / "pki" / "ca.crt").read_bytes() + pki.certificate.read_bytes())
    capsys.readouterr()
    assert run(["tls", "expiry", str(bundle), "-o", "json"]) == Exit.FAILED
    rows = json.loads(capsys.readouterr().out)
    assert [(row["place"], row["state"]) for row in rows] == [(2, "ends soon"), (1, "ok")]
