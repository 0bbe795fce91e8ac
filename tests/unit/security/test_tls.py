"""Contexts for every listener, and one line for everything that can be wrong with their files."""

from __future__ import annotations

import contextlib
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from rivven.config.secrets import SecretReference
from rivven.config.tls import TlsConfig
from rivven.security.dev_pki import DevPki, ensure_dev_pki
from rivven.security.tls import client_context, peer_chain
from rivven.security.tls_files import TlsConfigError
from tests.shipped.authority import Authority
from tests.unit.security.listener_context import server_context

NOW_MS = 1_700_000_000_000
PASSWORD = "canary-key-password"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> DevPki:
    return ensure_dev_pki(tmp_path_factory.mktemp("pki"), NOW_MS)


def config(pki: DevPki, **changes: object) -> TlsConfig:
    return TlsConfig(**{"cert_path": pki.cert_path, "key_path": pki.key_path, **changes})  # type: ignore[arg-type]


def refusal(tls: TlsConfig, where: str = "server.tls") -> str:
    with pytest.raises(TlsConfigError) as refused:
        server_context(tls, where)
    text = str(refused.value)
    assert "\n" not in text
    assert text.startswith(where)
    return text


def test_versions_and_suites(pki: DevPki) -> None:
    context = server_context(config(pki))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.maximum_version is ssl.TLSVersion.MAXIMUM_SUPPORTED
    for cipher in context.get_ciphers():
        assert cipher["aead"], cipher["name"]
        assert cipher["protocol"] == "TLSv1.3" or cipher["name"].startswith("ECDHE-"), cipher["name"]
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_TICKET
    assert context.num_tickets == 0
    assert context.verify_mode is ssl.CERT_NONE


def test_min_version_1_3(pki: DevPki) -> None:
    assert server_context(config(pki, min_version="1.3")).minimum_version is ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(
    ("client_version", "min_version", "agreed"),
    [
        (ssl.TLSVersion.TLSv1_2, "1.2", "TLSv1.2"),
        (ssl.TLSVersion.TLSv1_3, "1.2", "TLSv1.3"),
        (ssl.TLSVersion.TLSv1_3, "1.3", "TLSv1.3"),
        (ssl.TLSVersion.TLSv1_2, "1.3", None),
    ],
)
def test_what_clients_of_each_version_get(
    pki: DevPki, client_version: ssl.TLSVersion, min_version: str, agreed: str | None
) -> None:
    server = server_context(config(pki, min_version=min_version))
    client = ssl.create_default_context(cafile=str(pki.ca_path))
    client.maximum_version = client_version
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs, ours = server.wrap_bio(to_server, to_client, True), client.wrap_bio(to_client, to_server)
    failed = False
    for _ in range(6):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                failed = True
    if agreed is None:
        assert failed
    else:
        assert ours.version() == theirs.version() == agreed
        assert ours.compression() is None


def test_missing_files(pki: DevPki, tmp_path: Path) -> None:
    gone = tmp_path / "gone.pem"
    assert refusal(config(pki, cert_path=gone)) == f"server.tls.cert_path: {gone}: No such file or directory"
    assert refusal(config(pki, key_path=gone), "listeners[0].tls") == (
        f"listeners[0].tls.key_path: {gone}: No such file or directory"
    )
    assert refusal(config(pki, cert_path=tmp_path)) == f"server.tls.cert_path: {tmp_path}: Is a directory"


def test_files_of_the_wrong_kind(pki: DevPki, tmp_path: Path) -> None:
    assert refusal(config(pki, cert_path=pki.key_path)).endswith("server.key: holds no PEM certificate")
    assert refusal(config(pki, key_path=pki.cert_path)).endswith("server.crt: holds no PEM private key")
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n")
    assert refusal(config(pki, cert_path=broken)).endswith("broken.pem: a certificate has no END line")
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert refusal(config(pki, cert_path=broken)).endswith("broken.pem: holds a damaged certificate")
    text = pki.key_path.read_text()
    broken.write_text(text[:60] + "AAAAAAAA" + text[68:])
    assert refusal(config(pki, key_path=broken)).endswith("broken.pem: holds a damaged private key")
    huge = tmp_path / "huge.pem"
    huge.write_bytes(b"-----BEGIN CERTIFICATE-----" + b"A" * (1 << 20))
    assert "larger than" in refusal(config(pki, cert_path=huge))


def test_a_pair_the_library_does_not_accept(pki: DevPki, tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weak")])
    start = datetime(2024, 1, 1, tzinfo=UTC)
    weak = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=9999))
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = tmp_path / "weak.crt", tmp_path / "weak.key"
    cert_path.write_bytes(weak.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    assert refusal(config(pki, cert_path=cert_path, key_path=key_path)).endswith(": ee key too small")


def test_a_mismatched_pair(pki: DevPki, tmp_path: Path) -> None:
    other = ensure_dev_pki(tmp_path, NOW_MS)
    assert refusal(config(pki, key_path=other.key_path)) == (
        f"server.tls.key_path: {other.key_path}: is not the key of the certificate {pki.cert_path}"
    )


class TestEncryptedKeys:
    @pytest.fixture
    def encrypted(self, pki: DevPki, tmp_path: Path) -> Path:
        key = serialization.load_pem_private_key(pki.key_path.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        path = tmp_path / "encrypted.key"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(PASSWORD.encode()),
            )
        )
        return path

    def test_open_with_their_password(
        self, pki: DevPki, encrypted: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TLS_KEY_PASSWORD", PASSWORD)
        server_context(config(pki, key_path=encrypted, key_password="env:TLS_KEY_PASSWORD"))

    def test_never_ask_on_the_terminal(self, pki: DevPki, encrypted: Path) -> None:
        assert refusal(config(pki, key_path=encrypted)).endswith(
            "encrypted.key: the key is encrypted; set server.tls.key_password"
        )

    def test_wrong_password(self, pki: DevPki, encrypted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TLS_KEY_PASSWORD", "not-" + PASSWORD)
        text = refusal(config(pki, key_path=encrypted, key_password="env:TLS_KEY_PASSWORD"))
        assert text == f"server.tls.key_path: {encrypted}: server.tls.key_password does not open it"
        assert PASSWORD not in text

    def test_missing_password(self, pki: DevPki, encrypted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TLS_KEY_PASSWORD", raising=False)
        reference = SecretReference("env:TLS_KEY_PASSWORD")
        text = refusal(config(pki, key_path=encrypted, key_password=str(reference)))
        assert text.startswith("server.tls.key_password: env:TLS_KEY_PASSWORD")

    def test_a_password_for_an_open_key_is_refused(self, pki: DevPki) -> None:
        assert refusal(config(pki, key_password="env:X")).endswith("is not encrypted; remove the password")


@pytest.mark.parametrize(
    ("asked", "mode"), [("optional", ssl.CERT_OPTIONAL), ("required", ssl.CERT_REQUIRED)]
)
def test_clients_are_asked_for_certificates_of_these_authorities_only(
    pki: DevPki, asked: str, mode: ssl.VerifyMode
) -> None:
    context = server_context(config(pki, client_auth=asked, ca_path=pki.cert_path.with_name("ca.crt")))
    assert context.verify_mode is mode
    assert context.cert_store_stats()["x509"] == 1, "and none of the system's"
    assert server_context(config(pki)).verify_mode is ssl.CERT_NONE


def test_an_authority_that_cannot_be_used_is_named(pki: DevPki, tmp_path: Path) -> None:
    for text, reason in (("", "holds no PEM certificate"), (None, "No such file")):
        path = tmp_path / "ca.crt"
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        found = refusal(config(pki, client_auth="required", ca_path=path))
        assert found.startswith("server.tls.ca_path")
        assert reason in found


class TestPeerChains:
    """What a client showed is known after every handshake, a resumed one too."""

    @staticmethod
    def shake_hands(
        server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None
    ) -> tuple[ssl.SSLObject, ssl.SSLObject]:
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        ours = server.wrap_bio(to_server, to_client, server_side=True)
        theirs = client.wrap_bio(to_client, to_server, server_hostname="localhost", session=session)
        for _ in range(4):
            for side in (theirs, ours):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
        return ours, theirs

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_the_clients_own_comes_first(self, tmp_path: Path, version: ssl.TLSVersion) -> None:
        root = Authority()
        middle = Authority("middle", root)
        (tmp_path / "ca.crt").write_bytes(root.pem)
        root.issue().write(tmp_path, "server")
        shown = middle.issue("client")
        tls = {
            "cert_path": tmp_path / "server.crt",
            "key_path": tmp_path / "server.key",
            "ca_path": tmp_path / "ca.crt",
            "client_auth": "optional",
        }
        server = server_context(TlsConfig.model_validate(tls))
        client = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        client.minimum_version = client.maximum_version = version
        ours, theirs = self.shake_hands(server, client, None)
        assert peer_chain(ours) == ()
        client.load_cert_chain(*shown.write(tmp_path, "client"))
        ours, theirs = self.shake_hands(server, client, None)
        assert peer_chain(ours) == shown.ders
        again, back = self.shake_hands(server, client, theirs.session)
        assert back.session_reused is (version is ssl.TLSVersion.TLSv1_2), "by id; there are no tickets"
        assert peer_chain(again) == shown.ders


def test_suites_of_tls_1_2_can_be_chosen(pki: DevPki) -> None:
    chosen = ["ECDHE-ECDSA-AES256-GCM-SHA384"]
    found = server_context(config(pki, ciphers=chosen)).get_ciphers()
    assert [one["name"] for one in found if one["protocol"] != "TLSv1.3"] == chosen


def test_connections_of_our_own_verify_their_peers(pki: DevPki) -> None:
    context = client_context(pki.ca_path)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.cert_store_stats()["x509"] == 1, "and none of the system's"
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert all(cipher["aead"] for cipher in context.get_ciphers())
    with pytest.raises(OSError, match="No such file"):
        client_context(pki.ca_path.with_name("gone"))


def test_without_files_in_memory_a_private_one_serves(pki: DevPki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    server_context(config(pki))
