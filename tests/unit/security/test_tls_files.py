"""What is read of a section's files, which are watched, and which secrets no repr shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from rivven.config.tls import CertificatePair, TlsConfig
from rivven.security import tls_files
from rivven.security.certificate import CHAIN_MAX
from rivven.security.tls_files import TlsConfigError, paths_of, read_authorities, read_files, read_pair
from tests.shipped.authority import Authority, rsa_key

PASSWORD = "canary-password-of-a-key"


def test_everything_is_read_once_and_everything_is_watched(tmp_path: Path) -> None:
    root = Authority()
    (tmp_path / "ca.crt").write_bytes(root.pem)
    (tmp_path / "crl.pem").write_bytes(root.crl())
    leaf, other, named = root.issue(), root.issue(key=rsa_key()), root.issue()
    leaf.write(tmp_path, "leaf")
    other.write(tmp_path, "rsa")
    named.write(tmp_path, "named")
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "leaf.key").write_bytes(leaf.encrypted_key_pem(PASSWORD))
    tls = TlsConfig.model_validate(
        {
            "cert_path": tmp_path / "leaf.crt",
            "key_path": tmp_path / "leaf.key",
            "key_password": f"file:{tmp_path / 'password'}",
            "certificates": [{"cert_path": tmp_path / "rsa.crt", "key_path": tmp_path / "rsa.key"}],
            "sni": {"x.example": {"cert_path": tmp_path / "named.crt", "key_path": tmp_path / "named.key"}},
            "ca_path": tmp_path / "ca.crt",
            "client_auth": "required",
            "crl_path": tmp_path / "crl.pem",
        }
    )
    files = read_files(tls, "server.tls")
    assert [pair.where for pair in files.pairs] == ["server.tls", "server.tls.certificates[0]"]
    assert files.pairs[0].chain == leaf.ders
    assert files.sni["x.example"].where == "server.tls.sni.x.example"
    assert files.authorities == (root.der,)
    assert files.crls == (tmp_path / "crl.pem").read_bytes()
    assert {path.name for path in paths_of(tls)} == {path.name for path in tmp_path.iterdir()}
    assert PASSWORD not in repr(files)
    assert "PRIVATE KEY" not in repr(files)


def test_two_pairs_of_one_kind_are_refused(tmp_path: Path) -> None:
    """OpenSSL would silently forget the first."""
    root = Authority()
    root.issue().write(tmp_path, "one")
    root.issue().write(tmp_path, "two")
    pair = {"cert_path": tmp_path / "two.crt", "key_path": tmp_path / "two.key"}
    tls = TlsConfig.model_validate(
        {"cert_path": tmp_path / "one.crt", "key_path": tmp_path / "one.key", "certificates": [pair]}
    )
    with pytest.raises(TlsConfigError, match=r"certificates\[0\].cert_path: .* same kind of key"):
        read_files(tls, "server.tls")


def test_lists_are_bounded_and_must_be_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "crl.pem"
    path.write_bytes(Authority().pem)
    with pytest.raises(TlsConfigError, match=r"crl_path: .*: holds no PEM revocation list"):
        tls_files.read_crls(path, "server.tls.crl_path")
    monkeypatch.setattr(tls_files, "CRL_BYTES_MAX", 10)
    with pytest.raises(TlsConfigError, match="larger than"):
        tls_files.read_crls(path, "server.tls.crl_path")


def test_no_authority_of_a_bundle_is_left_out_and_a_chain_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A company's bundle, or the system's, has more certificates than any chain."""
    bundle, key = tmp_path / "ca.crt", Authority().key
    authorities = [Authority(f"{number}", key=key) for number in range(CHAIN_MAX + 5)]
    bundle.write_bytes(b"".join(one.pem for one in authorities))
    assert read_authorities(bundle, "ca_path") == tuple(one.der for one in authorities)
    leaf = authorities[0].issue()
    leaf.write(tmp_path, "leaf")
    (tmp_path / "leaf.crt").write_bytes(leaf.pem + bundle.read_bytes())
    settings = CertificatePair(cert_path=tmp_path / "leaf.crt", key_path=tmp_path / "leaf.key")
    with pytest.raises(TlsConfigError, match=f"holds more than {CHAIN_MAX} certificates"):
        read_pair(settings, "server.tls")
    monkeypatch.setattr(tls_files, "BUNDLE_MAX", CHAIN_MAX)
    with pytest.raises(TlsConfigError, match=f"holds more than {CHAIN_MAX} certificates"):
        read_authorities(bundle, "ca_path")
