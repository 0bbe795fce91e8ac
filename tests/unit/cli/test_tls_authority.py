"""`rivven tls init-ca`, `issue` and `crl` as somebody types them: keys stay private and are never lost."""

from __future__ import annotations

import json
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509

from rivven.testing.canary import leaks
from rivven_cli.exits import Exit
from rivven_cli.main import run

PASSPHRASE = "Canary-88-open-sesame"


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert run(["tls", "init-ca", "--cn", "Example CA", "-o", "json"]) == 0
    return tmp_path / "pki"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_an_authority_and_a_broker(authority: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    typed = ["tls", "issue", "--cn", "broker-1.example", "--san", "broker-1.example", "--san", "10.0.0.1"]
    assert run([*typed, "--valid-for", "365d", "-o", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["certificate"] == "pki/broker-1.example.crt"
    assert {path.name: oct(mode(path)) for path in authority.iterdir()} == {
        "ca.crt": "0o644",
        "ca.key": "0o600",
        "broker-1.example.crt": "0o644",
        "broker-1.example.key": "0o600",
    }
    assert mode(authority) == 0o700
    made = certificate(authority / "broker-1.example.crt")
    made.verify_directly_issued_by(certificate(authority / "ca.crt"))
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker-1.example"]
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
        authority / "broker-1.example.crt", authority / "broker-1.example.key"
    )


def test_a_server_without_names_gets_its_common_name_and_a_client_gets_none(authority: Path) -> None:
    assert run(["tls", "issue", "--cn", "localhost"]) == 0
    assert run(["tls", "issue", "--cn", "alice", "--profile", "client"]) == 0
    server = certificate(authority / "localhost.crt").extensions
    names = server.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    with pytest.raises(x509.ExtensionNotFound):
        certificate(authority / "alice.crt").extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_nothing_is_replaced_unless_asked(authority: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tls", "issue", "--cn", "localhost"]) == 0
    before = {path.name: path.read_bytes() for path in authority.iterdir()}
    for typed in (["init-ca", "--cn", "Another"], ["issue", "--cn", "localhost"]):
        assert run(["tls", *typed]) == Exit.EXISTS
        assert "--force" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in authority.iterdir()} == before
    (authority / "localhost.crt").unlink()
    assert run(["tls", "issue", "--cn", "localhost"]) == Exit.EXISTS, "a key alone is kept as well"
    assert run(["tls", "issue", "--cn", "localhost", "--force"]) == 0
    assert (authority / "localhost.key").read_bytes() != before["localhost.key"]
    assert mode(authority / "localhost.key") == 0o600


def test_a_passphrase_is_needed_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    right, wrong, empty = (tmp_path / name for name in ("right", "wrong", "empty"))
    right.write_text(PASSPHRASE + "\n")
    wrong.write_text(PASSPHRASE + "!\n")
    empty.write_text("\n")
    assert run(["tls", "init-ca", "--cn", "CA", "--passphrase-file", str(empty)]) == Exit.CONFIG
    assert run(["tls", "init-ca", "--cn", "CA", "--passphrase-file", str(right)]) == 0
    assert "BEGIN ENCRYPTED PRIVATE KEY" in (tmp_path / "pki" / "ca.key").read_text()
    typed = ["tls", "issue", "--cn", "localhost"]
    assert run(typed) == Exit.USAGE, "there is no terminal to ask on"
    assert run([*typed, "--passphrase-file", str(wrong)]) == Exit.CONFIG
    assert run([*typed, "--passphrase-file", str(tmp_path / "none")]) == Exit.CONFIG
    assert run([*typed, "--passphrase-file", str(right)]) == 0
    said = capfd.readouterr()
    assert leaks([PASSPHRASE], {"out": said.out, "err": said.err}) == []
    assert leaks([PASSPHRASE], {"control": right.read_text()})


def test_a_passphrase_for_a_key_without_one_is_refused(authority: Path, tmp_path: Path) -> None:
    file = tmp_path / "phrase"
    file.write_text(PASSPHRASE)
    assert run(["tls", "issue", "--cn", "localhost", "--passphrase-file", str(file)]) == Exit.CONFIG


def test_an_authority_elsewhere(authority: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ca, key = authority.rename(tmp_path / "vault") / "ca.crt", tmp_path / "vault" / "ca.key"
    assert run(["tls", "issue", "--cn", "localhost"]) == Exit.CONFIG
    assert "rivven tls init-ca" in capsys.readouterr().err
    typed = ["tls", "issue", "--cn", "127.0.0.1", "--ca", str(ca), "--ca-key", str(key)]
    assert run([*typed, "--out", str(tmp_path / "broker"), "--name", "server"]) == 0
    assert {path.name for path in (tmp_path / "broker").iterdir()} == {"server.crt", "server.key"}
    key.chmod(0o644)
    assert run([*typed, "--name", "again"]) == Exit.CONFIG
    assert "open to other users" in capsys.readouterr().err


@pytest.mark.parametrize(
    "typed",
    [
        ["--cn", "localhost", "--valid-for", "12h"],
        ["--cn", "localhost", "--valid-for", "398d"],
        ["--cn", "localhost", "--valid-for", "soon"],
        ["--cn", "localhost", "--san", "not a name"],
        ["--cn", "../evil"],
        ["--cn", "A name with blanks", "--profile", "client"],
        ["--cn", "x" * 65, "--name", "x", "--san", "localhost"],
        ["--cn", "spiffe", "--san", "uri:spiffe://a/b"],
        ["--cn", "localhost", "--key-type", "dsa"],
    ],
)
def test_what_makes_no_certificate_is_refused(typed: list[str], authority: Path) -> None:
    before = sorted(authority.iterdir())
    assert run(["tls", "issue", *typed]) == Exit.USAGE
    assert sorted(authority.iterdir()) == before


def test_init_ca_refuses_what_makes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for typed in (["--valid-for", "7301d"], ["--permit", "example.com"], ["--valid-for", "1h"]):
        assert run(["tls", "init-ca", "--cn", "CA", *typed]) == Exit.USAGE
    both = ["--ask-passphrase", "--passphrase-file", "x"]
    assert run(["tls", "init-ca", "--cn", "CA", *both]) == Exit.USAGE
    assert not (tmp_path / "pki").exists()
    assert run(["tls", "init-ca", "--cn", "CA", "--permit", "dns:example.com"]) == 0
    made = certificate(tmp_path / "pki" / "ca.crt")
    assert made.extensions.get_extension_for_class(x509.NameConstraints).critical


def revoked(path: Path) -> list[int]:
    return [one.serial_number for one in x509.load_pem_x509_crl(path.read_bytes())]


def test_a_list_grows_and_is_renewed(authority: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("alice", "bob"):
        assert run(["tls", "issue", "--cn", name, "--profile", "client"]) == 0
    capsys.readouterr()
    alice, bob = (certificate(authority / f"{name}.crt").serial_number for name in ("alice", "bob"))
    path = authority / "ca.crl"
    assert run(["tls", "crl", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["number"] == 1
    assert revoked(path) == [] and mode(path) == 0o644
    assert run(["tls", "crl", "--revoke", "pki/alice.crt", "--reason", "key-compromise"]) == 0
    assert run(["tls", "crl", "--revoke", "pki/bob.crt", "--revoke", "pki/alice.crt"]) == 0
    assert revoked(path) == [alice, bob]
    capsys.readouterr()
    assert run(["tls", "crl", "--valid-for", "7d", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["number"] == 4
    assert revoked(path) == [alice, bob], "nobody is forgiven by a renewal"
    made = x509.load_pem_x509_crl(path.read_bytes())
    assert made.is_signature_valid(certificate(authority / "ca.crt").public_key())  # type: ignore[arg-type]


def test_a_list_keeps_those_of_other_authorities_and_refuses_strangers(
    authority: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["tls", "crl", "--out", "both.crl"]) == 0
    assert run(["tls", "init-ca", "--cn", "Second CA", "--dir", "second"]) == 0
    assert run(["tls", "crl", "--dir", "second", "--out", "both.crl"]) == 0
    assert Path("both.crl").read_text().count("BEGIN X509 CRL") == 2
    assert run(["tls", "issue", "--cn", "alice", "--profile", "client"]) == 0
    assert run(["tls", "crl", "--dir", "second", "--revoke", "pki/alice.crt"]) == Exit.REFUSED
    assert "not issued by this authority" in capsys.readouterr().err
    assert run(["tls", "crl", "--revoke", "pki/none.crt"]) == Exit.CONFIG
    assert run(["tls", "crl", "--reason", "superseded"]) == Exit.USAGE
    assert run(["tls", "crl", "--valid-for", "1h"]) == Exit.USAGE
    assert run(["tls", "crl"]) == 0
    assert run(["tls", "init-ca", "--cn", "Example CA", "--force"]) == 0
    assert run(["tls", "crl"]) == Exit.CONFIG, "the same name with another key"
    assert "signed with another key" in capsys.readouterr().err
