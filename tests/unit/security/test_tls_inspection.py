"""What files say, against what the TLS library says about the same certificates."""

from __future__ import annotations

import ipaddress
import ssl
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rivven.security.tls_files import CRL_BYTES_MAX, PEM_BYTES_MAX
from rivven.security.tls_inspection import (
    CertificateFileError,
    certificate_facts,
    chain_expiry,
    revocation_list_facts,
)
from tests.shipped.pki import key_usage, make_pki

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


def usage(*allowed: str) -> x509.KeyUsage:
    return key_usage(**dict.fromkeys(allowed, True))


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass
class Recipe:
    """A certificate to make: extensions by name, so that a test leaves one out or bends it."""

    subject: x509.Name
    issuer: x509.Name
    key: Any
    signer: Any
    extensions: dict[str, tuple[x509.ExtensionType, bool]] = field(default_factory=dict)
    ends: timedelta = 10 * DAY

    def made(self) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(self.issuer)
            .public_key(self.key.public_key())
            .serial_number(0x7A11)
            .not_valid_before(NOW - DAY)
            .not_valid_after(NOW + self.ends)
        )
        for extension, critical in self.extensions.values():
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.signer, hashes.SHA256())

    def but(self, **changed: tuple[x509.ExtensionType, bool] | None) -> Recipe:
        kept = {
            name: one
            for name, one in (self.extensions | changed).items()  # type: ignore[operator]
            if one is not None
        }
        return Recipe(self.subject, self.issuer, self.key, self.signer, kept, self.ends)


CA_KEY, KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
CA = Recipe(
    named("an authority"),
    named("an authority"),
    CA_KEY,
    CA_KEY,
    {
        "basic": (x509.BasicConstraints(True, 0), True),
        "usage": (usage("key_cert_sign", "crl_sign"), True),
        "subject_key": (x509.SubjectKeyIdentifier.from_public_key(CA_KEY.public_key()), False),
    },
)
LEAF = Recipe(
    named("localhost"),
    named("an authority"),
    KEY,
    CA_KEY,
    {
        "basic": (x509.BasicConstraints(False, None), True),
        "usage": (usage("digital_signature"), True),
        "purposes": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        "names": (x509.SubjectAlternativeName([x509.DNSName("localhost")]), False),
        "subject_key": (x509.SubjectKeyIdentifier.from_public_key(KEY.public_key()), False),
        "authority_key": (
            x509.AuthorityKeyIdentifier.from_issuer_public_key(CA_KEY.public_key()),
            False,
        ),
    },
)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def accepted_by_a_strict_client(directory: Path, leaf: x509.Certificate, ca: x509.Certificate) -> bool:
    """A handshake in memory with a client that knows `ca` and looks for localhost."""
    chain, authority = directory / "chain.pem", directory / "ca.pem"
    chain.write_bytes(
        pem(leaf)
        + KEY.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    authority.write_bytes(pem(ca))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(chain)
    trusting = ssl.create_default_context(cafile=str(authority))
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    trusting.hostname_checks_common_name = False  # as Go, Node and urllib3 have it
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(back, there, server_hostname="localhost")
    server = serving.wrap_bio(there, back, server_side=True)
    for _ in range(6):
        for side in (client, server):
            try:
                side.do_handshake()
                if side is client:
                    return True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError:
                return False
    raise AssertionError("the handshake does not end")


def sequence(content: bytes) -> bytes:
    """DER of a SEQUENCE of 128 bytes or more."""
    size = len(content)
    header = bytes([0x30, 0x81, size]) if size < 256 else b"\x30\x82" + size.to_bytes(2, "big")
    return header + content


def without_extensions(recipe: Recipe) -> Recipe:
    return recipe.but(**dict.fromkeys(recipe.extensions))


BENT: dict[str, tuple[Callable[[], Recipe], Callable[[], Recipe], str]] = {
    "nothing": (lambda: LEAF, lambda: CA, ""),
    "critical names": (
        lambda: LEAF.but(names=(x509.SubjectAlternativeName([x509.DNSName("localhost")]), True)),
        lambda: CA,
        "",
    ),
    "no names": (lambda: LEAF.but(names=None), lambda: CA, "subjectAltName"),
    "no authority key": (lambda: LEAF.but(authority_key=None), lambda: CA, "authorityKeyIdentifier"),
    "signs without being an authority": (
        lambda: LEAF.but(usage=(usage("digital_signature", "key_cert_sign"), True)),
        lambda: CA,
        "keyCertSign",
    ),
    "authority not critical": (
        lambda: LEAF,
        lambda: CA.but(basic=(x509.BasicConstraints(True, 0), False)),
        "basicConstraints",
    ),
    "authority without usage": (lambda: LEAF, lambda: CA.but(usage=None), "keyUsage"),
    "authority without its key": (
        lambda: LEAF,
        lambda: CA.but(subject_key=None),
        "subjectKeyIdentifier",
    ),
}


@pytest.mark.parametrize("bent", BENT)
def test_problems_are_what_a_strict_client_refuses(bent: str, tmp_path: Path) -> None:
    leaf, ca, problem = BENT[bent]
    file = tmp_path / "both.pem"
    file.write_bytes(pem(leaf().made(), ca().made()))
    found = [text for one in certificate_facts(file) for text in one.problems]
    assert accepted_by_a_strict_client(tmp_path, leaf().made(), ca().made()) is (not found)
    assert problem in " ".join(found)
    assert bool(problem) is bool(found)


def test_a_certificate_of_version_one_is_told(tmp_path: Path) -> None:
    """openssl x509 -req without extensions makes one, as many recipes of the web do."""
    file = tmp_path / "v1.pem"
    made = without_extensions(LEAF).made()
    tbs = made.tbs_certificate_bytes
    explicit = bytes.fromhex("a003020102")
    first = sequence(tbs[tbs.index(explicit) + len(explicit) :])  # absent means version one
    whole = made.public_bytes(serialization.Encoding.DER)
    der = sequence(first + whole[whole.index(tbs) + len(tbs) :])  # nobody here checks the signature
    file.write_text(ssl.DER_cert_to_PEM_cert(der))
    [facts] = certificate_facts(file)
    assert facts.version == 1
    assert "version 3" in facts.problems[0]


def test_all_facts(tmp_path: Path) -> None:
    file = tmp_path / "leaf.pem"
    names = [
        x509.DNSName("broker.example"),
        x509.IPAddress(ipaddress.ip_address("::1")),
        x509.UniformResourceIdentifier("spiffe://example/broker"),
    ]
    made = LEAF.but(names=(x509.SubjectAlternativeName(names), False)).made()
    file.write_bytes(pem(made))
    [facts] = certificate_facts(file)
    assert (facts.subject, facts.issuer, facts.serial) == ("CN=localhost", "CN=an authority", "7a11")
    assert facts.sha256 == made.fingerprint(hashes.SHA256()).hex()
    assert (facts.dns_names, facts.addresses, facts.uris) == (
        ("broker.example",),
        ("::1",),
        ("spiffe://example/broker",),
    )
    assert facts.key == "ECDSA P-256"
    assert facts.signature == "ecdsa-with-SHA256"
    assert facts.key_usage == ("digitalSignature",)
    assert facts.extended_key_usage == ("serverAuth",)
    assert not facts.authority and facts.path_length is None
    assert len(facts.subject_key_id) == len(facts.authority_key_id) == 40
    assert facts.dates.not_after == NOW + 10 * DAY
    assert facts.dates.days_left(NOW) == 10.0


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (lambda: rsa.generate_private_key(65537, 2048), "RSA 2048"),
        (lambda: ec.generate_private_key(ec.SECP384R1()), "ECDSA P-384"),
        (ed25519.Ed25519PrivateKey.generate, "Ed25519"),
    ],
)
def test_kinds_of_keys(key: Callable[[], Any], name: str, tmp_path: Path) -> None:
    file = tmp_path / "leaf.pem"
    file.write_bytes(pem(Recipe(named("x"), named("an authority"), key(), CA_KEY).made()))
    assert certificate_facts(file)[0].key == name


def test_expiry_tells_of_the_whole_chain_in_its_order(tmp_path: Path) -> None:
    file = tmp_path / "chain.pem"
    short = Recipe(CA.subject, CA.issuer, CA_KEY, CA_KEY, CA.extensions, 3 * DAY)
    file.write_bytes(b"a comment\n" + pem(LEAF.made(), short.made()))
    found = chain_expiry(file)
    assert [(one.path, one.place, one.not_after) for one in found] == [
        (file, 0, NOW + 10 * DAY),
        (file, 1, NOW + 3 * DAY),
    ]
    assert found[0].not_before == NOW - DAY
    assert min(one.days_left(NOW + 4 * DAY) for one in found) == -1.0


def test_expiry_leaves_no_certificate_of_a_bundle_out(tmp_path: Path) -> None:
    file = tmp_path / "bundle.pem"
    file.write_bytes(pem(*[CA.made()] * 60))
    assert len(chain_expiry(file)) == len(certificate_facts(file)) == 60


def test_expiry_does_not_load_the_crypto_library(tmp_path: Path) -> None:
    pki = make_pki(tmp_path)
    code = (
        "import sys, pathlib; from rivven.security.tls_inspection import chain_expiry;"
        f"chain_expiry(pathlib.Path({str(pki.certificate)!r}));"
        "sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds no PEM certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA", "no END line"),
        (b"-----BEGIN CERTIFICATE-----\nA*A=\n-----END CERTIFICATE-----\n", "base64"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "tag 0x0"),
        (b" " * (PEM_BYTES_MAX + 1), "larger than"),
    ],
)
def test_what_is_no_certificate_is_refused_with_its_path(content: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.pem"
    file.write_bytes(content)
    with pytest.raises(CertificateFileError, match=reason) as caught:
        chain_expiry(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CertificateFileError, match="No such file"):
        chain_expiry(tmp_path / "none.pem")
    with pytest.raises(CertificateFileError, match="Is a directory"):
        certificate_facts(tmp_path)


def test_a_damaged_certificate_is_refused_by_its_place(tmp_path: Path) -> None:
    file = tmp_path / "damaged.pem"
    der = bytearray(LEAF.made().public_bytes(serialization.Encoding.DER))
    der[der.index(b"localhost") - 2] = 0x13 + 0x40
    file.write_bytes(pem(CA.made()) + ssl.DER_cert_to_PEM_cert(bytes(der)).encode())
    with pytest.raises(CertificateFileError, match="certificate 2 is unreadable"):
        certificate_facts(file)


def revocation_list(*serials: int, number: int | None = 4) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(CA.subject)
        .last_update(NOW - DAY)
        .next_update(NOW + DAY)
    )
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(CA_KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_lists_of_revoked_certificates(tmp_path: Path) -> None:
    file = tmp_path / "lists.pem"
    file.write_bytes(revocation_list(0xBEEF, 17) + pem(CA.made()) + revocation_list(number=None))
    first, second = revocation_list_facts(file)
    assert (first.path, first.issuer, first.number) == (file, "CN=an authority", 4)
    assert (first.last_update, first.next_update) == (NOW - DAY, NOW + DAY)
    assert first.revoked == ("beef", "11")
    assert (second.number, second.revoked) == (None, ())
    assert len(certificate_facts(file)) == 1


def test_a_list_may_be_larger_than_any_chain(tmp_path: Path) -> None:
    """As large as the broker takes it: tens of thousands of revoked certificates."""
    file = tmp_path / "list.pem"
    file.write_bytes(b"#" * PEM_BYTES_MAX + b"\n" + revocation_list(0xBEEF))
    assert [one.revoked for one in revocation_list_facts(file)] == [("beef",)]
    assert certificate_facts(file) == []
    file.write_bytes(b"#" * CRL_BYTES_MAX + revocation_list(0xBEEF))
    with pytest.raises(CertificateFileError, match="larger than"):
        revocation_list_facts(file)


def test_damaged_lists_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "list.pem"
    whole = revocation_list(1)
    file.write_bytes(whole[:60] + b"AAAA" + whole[64:])
    with pytest.raises(CertificateFileError, match="damaged list"):
        revocation_list_facts(file)
    file.write_bytes(whole[:-20])
    with pytest.raises(CertificateFileError, match="no END line"):
        revocation_list_facts(file)
