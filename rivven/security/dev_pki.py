"""The development certificates: a CA of this data directory and a server certificate for this machine.

    <data_dir>/dev/  ca.crt  ca.key  server.crt  server.key       all readable by the owner only

The CA may sign for localhost and loopback addresses only (critical name constraints), so a copied `ca.key`
cannot impersonate anything else. The server certificate is made again when it nears its end or is missing;
clients keep trusting the same CA. The crypto library is imported only when something must be
made: a later start reads one file. It must not be used outside development.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rivven.security.certificate import MalformedCertificate, certificates_in, validity
from rivven.security.private_files import read_bounded, read_private, write_private

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

CA_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=397)
"""The longest that strict verifiers (browsers, Apple) accept for a server certificate."""

RENEW_BEFORE = timedelta(days=30)
CLOCK_SKEW = timedelta(hours=1)
"""Certificates start this much earlier, for clients whose clock is behind."""

DNS_NAMES = ("localhost",)
ADDRESSES = ("127.0.0.1", "::1")
_PERMITTED_NETWORKS = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True, slots=True)
class DevPki:
    """Where the development certificates are; `made` says what this start had to make, for the log."""

    ca_path: Path
    cert_path: Path
    key_path: Path
    made: tuple[str, ...] = ()


def ensure_dev_pki(directory: Path, now_ms: int) -> DevPki:
    """Make what is missing or about to end in `directory` (which must exist, owner-only).

    Raises OSError or PrivateFileError. A certificate goes before its key is replaced and comes last, so a
    crash in between leaves something missing, never a pair that does not match.
    """
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    ca_path, ca_key_path = directory / "ca.crt", directory / "ca.key"
    cert_path, key_path = directory / "server.crt", directory / "server.key"
    made: list[str] = []
    if not _usable(ca_path, ca_key_path, now, SERVER_LIFETIME):
        cert_path.unlink(missing_ok=True)
        ca_path.unlink(missing_ok=True)
        certificate, key = _make_ca(now)
        write_private(ca_key_path, _key_pem(key))
        write_private(ca_path, _cert_pem(certificate))
        made.append("ca")
    if not _usable(cert_path, key_path, now, RENEW_BEFORE):
        cert_path.unlink(missing_ok=True)
        certificate, key = _make_server(ca_path, ca_key_path, now)
        write_private(key_path, _key_pem(key))
        write_private(cert_path, _cert_pem(certificate))
        made.append("server")
    return DevPki(ca_path, cert_path, key_path, tuple(made))


def _usable(cert_path: Path, key_path: Path, now: datetime, at_least: timedelta) -> bool:
    """Whether both files are there and the certificate is valid for `at_least` longer."""
    cert, key = read_bounded(cert_path), read_private(key_path)
    if cert is None or key is None:
        return False
    try:
        found = certificates_in(cert.decode("ascii", errors="replace"))
        if not found:
            return False
        start, end = validity(found[0])
    except MalformedCertificate:
        return False
    return start <= now and end - now > at_least


def _make_ca(now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Rivven development"),
            # The serial in the name keeps two CAs apart in one trust store.
            x509.NameAttribute(NameOID.COMMON_NAME, f"Rivven development CA {serial % 2**32:08x}"),
        ]
    )
    permitted: list[x509.GeneralName] = [x509.DNSName(name) for name in DNS_NAMES]
    permitted += [x509.IPAddress(ipaddress.ip_network(network)) for network in _PERMITTED_NETWORKS]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _make_server(
    ca_path: Path, ca_key_path: Path, now: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    ca = x509.load_pem_x509_certificate(read_bounded(ca_path) or b"")
    ca_key = serialization.load_pem_private_key(read_private(ca_key_path) or b"", None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{ca_key_path} is not an elliptic curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in DNS_NAMES]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES]
    ca_identifier = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DNS_NAMES[0])]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now - CLOCK_SKEW + SERVER_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_identifier), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    return certificate, key


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _cert_pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
