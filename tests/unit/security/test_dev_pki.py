"""The development certificates: strict verifiers accept them, nobody else can use them for more."""

from __future__ import annotations

import ssl
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rivven.config.listeners import TlsConfig
from rivven.security.certificate import certificates_in, validity
from rivven.security.dev_pki import DevPki, ensure_dev_pki
from rivven.security.private_files import PrivateFileError
from tests.unit.security.listener_context import server_context

NOW_MS = int(datetime.now(UTC).timestamp() * 1000)
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> DevPki:
    return ensure_dev_pki(tmp_path_factory.mktemp("pki"), NOW_MS)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> ssl.SSLObject:
    """A TLS handshake in memory; raises what the client raises."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    done = set()
    for _ in range(10):
        for side in (ours, theirs):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
        if len(done) == 2:
            return ours
    raise AssertionError("the handshake does not end")


def strict_client(ca_path: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca_path))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_strict_clients_accept_the_server_under_all_its_names(pki: DevPki, name: str) -> None:
    server = server_context(TlsConfig(cert_path=pki.cert_path, key_path=pki.key_path))
    connection = handshake(server, strict_client(pki.ca_path), name)
    assert connection.version() == "TLSv1.3"


@pytest.mark.parametrize("name", ["broker.example", "127.0.0.2", "10.0.0.1"])
def test_clients_refuse_it_under_other_names(pki: DevPki, name: str) -> None:
    server = server_context(TlsConfig(cert_path=pki.cert_path, key_path=pki.key_path))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, strict_client(pki.ca_path), name)


def test_clients_of_another_ca_refuse_it(pki: DevPki, tmp_path: Path) -> None:
    other = ensure_dev_pki(tmp_path, NOW_MS)
    server = server_context(TlsConfig(cert_path=pki.cert_path, key_path=pki.key_path))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, strict_client(other.ca_path), "localhost")


def test_the_ca_as_rfc_5280_wants_it(pki: DevPki) -> None:
    ca = x509.load_pem_x509_certificate(pki.ca_path.read_bytes())
    basic = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert basic.value == x509.BasicConstraints(ca=True, path_length=0)
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature
    subject = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority = ca.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert subject.digest == authority.key_identifier
    assert ca.extensions.get_extension_for_class(x509.NameConstraints).critical


def test_the_server_certificate(pki: DevPki) -> None:
    ca = x509.load_pem_x509_certificate(pki.ca_path.read_bytes())
    server = x509.load_pem_x509_certificate(pki.cert_path.read_bytes())
    key = server.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert server.not_valid_after_utc - server.not_valid_before_utc <= timedelta(days=397)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    usage = server.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    authority = server.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    identifier = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert authority.key_identifier == identifier.digest
    assert server.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    server.verify_directly_issued_by(ca)


def test_the_ca_cannot_vouch_for_other_names(pki: DevPki, tmp_path: Path) -> None:
    """Whoever copies ca.key gains nothing beyond this machine."""
    ca = x509.load_pem_x509_certificate(pki.ca_path.read_bytes())
    ca_key = serialization.load_pem_private_key(pki.ca_path.with_name("ca.key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bank.example")]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("bank.example")]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    cert_path, key_path = tmp_path / "forged.crt", tmp_path / "forged.key"
    cert_path.write_bytes(forged.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    server = server_context(TlsConfig(cert_path=cert_path, key_path=key_path))
    client = ssl.create_default_context(cafile=str(pki.ca_path))
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        handshake(server, client, "bank.example")


def test_everything_is_readable_by_the_owner_only(pki: DevPki) -> None:
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in pki.ca_path.parent.iterdir()}
    assert files == dict.fromkeys(["ca.crt", "ca.key", "server.crt", "server.key"], 0o600)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_second_start_keeps_everything(tmp_path: Path) -> None:
    assert ensure_dev_pki(tmp_path, NOW_MS).made == ("ca", "server")
    before = contents(tmp_path)
    assert ensure_dev_pki(tmp_path, NOW_MS + 300 * DAY_MS).made == ()
    assert contents(tmp_path) == before


def test_a_second_start_does_not_load_the_crypto_library(tmp_path: Path) -> None:
    """It costs more than the rest of the start together."""
    ensure_dev_pki(tmp_path, NOW_MS)
    code = (
        "import sys, pathlib; from rivven.security.dev_pki import ensure_dev_pki;"
        f"ensure_dev_pki(pathlib.Path({str(tmp_path)!r}), {NOW_MS});"
        "sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_server_certificate_is_renewed_near_its_end_by_the_same_ca(tmp_path: Path) -> None:
    ensure_dev_pki(tmp_path, NOW_MS)
    before = contents(tmp_path)
    late = NOW_MS + 380 * DAY_MS
    assert ensure_dev_pki(tmp_path, late).made == ("server",)
    after = contents(tmp_path)
    assert after["ca.crt"] == before["ca.crt"]
    assert after["server.crt"] != before["server.crt"]
    assert after["server.key"] != before["server.key"]
    end = validity(certificates_in(after["server.crt"].decode())[0])[1]
    assert end > datetime.fromtimestamp(late / 1000, UTC) + timedelta(days=390)


def test_a_ca_near_its_end_is_replaced_with_what_it_signed(tmp_path: Path) -> None:
    ensure_dev_pki(tmp_path, NOW_MS)
    before = contents(tmp_path)
    assert ensure_dev_pki(tmp_path, NOW_MS + 3400 * DAY_MS).made == ("ca", "server")
    after = contents(tmp_path)
    assert not set(before.values()) & set(after.values())


@pytest.mark.parametrize("missing", ["ca.crt", "ca.key", "server.crt", "server.key"])
def test_what_is_missing_is_made_again_and_fits(tmp_path: Path, missing: str) -> None:
    """Also the states a crash can leave: a certificate goes first and comes last."""
    ensure_dev_pki(tmp_path, NOW_MS)
    (tmp_path / missing).unlink()
    made = ensure_dev_pki(tmp_path, NOW_MS)
    assert "server" in made.made
    server = server_context(TlsConfig(cert_path=made.cert_path, key_path=made.key_path))
    handshake(server, strict_client(made.ca_path), "localhost")


@pytest.mark.parametrize("crash_at", range(1, 5))
def test_a_crash_at_any_write_is_healed_by_the_next_start(
    tmp_path: Path, crash_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rivven.security import dev_pki

    ensure_dev_pki(tmp_path, NOW_MS)
    late = NOW_MS + 3400 * DAY_MS  # everything must be replaced
    write, writes = dev_pki.write_private, 0

    def crash(path: Path, content: bytes) -> None:
        nonlocal writes
        writes += 1
        if writes == crash_at:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(dev_pki, "write_private", crash)
    with pytest.raises(KeyboardInterrupt):
        ensure_dev_pki(tmp_path, late)
    monkeypatch.undo()
    ensure_dev_pki(tmp_path, late)
    ca = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    server = x509.load_pem_x509_certificate((tmp_path / "server.crt").read_bytes())
    server.verify_directly_issued_by(ca)
    for name, certificate in (("ca.key", ca), ("server.key", server)):
        key = serialization.load_pem_private_key((tmp_path / name).read_bytes(), None)
        assert key.public_key() == certificate.public_key()  # type: ignore[union-attr]


def test_garbage_is_replaced(tmp_path: Path) -> None:
    ensure_dev_pki(tmp_path, NOW_MS)
    (tmp_path / "server.crt").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert ensure_dev_pki(tmp_path, NOW_MS).made == ("server",)


def test_a_key_open_to_others_is_refused(tmp_path: Path) -> None:
    ensure_dev_pki(tmp_path, NOW_MS)
    (tmp_path / "server.key").chmod(0o644)
    with pytest.raises(PrivateFileError, match="chmod 600"):
        ensure_dev_pki(tmp_path, NOW_MS)
