"""An authority for client certificates and what it issues, for tests of mTLS."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class ClientFiles:
    """Certificate and key of one client (PEM)."""

    certificate: Path
    key: Path

    @property
    def parsed(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate.read_bytes())

    @property
    def der(self) -> bytes:
        return self.parsed.public_bytes(serialization.Encoding.DER)

    @property
    def serial(self) -> str:
        return f"{self.parsed.serial_number:x}"

    @property
    def fingerprint(self) -> str:
        return self.parsed.fingerprint(hashes.SHA256()).hex()


class ClientAuthority:
    """Issues client certificates into `directory`; its own certificate is `ca`."""

    def __init__(self, directory: Path, name: str = "clients") -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Rivven {name} authority")])
        self.ca = directory / f"{name}-ca.crt"
        certificate = (
            _builder(self._name, self._name, self._key, datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        *names: str,
        dns: Sequence[str] = (),
        uris: Sequence[str] = (),
        seconds: float = 86_400,
        purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
        subject: x509.Name | None = None,
    ) -> ClientFiles:
        """A certificate with these common names; `O=Shop` stands before them."""
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Shop")]
        attributes += [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names]
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(
            subject or x509.Name(attributes), self._name, key, datetime.timedelta(seconds=seconds)
        ).add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        alternatives = [*map(x509.DNSName, dns), *map(x509.UniformResourceIdentifier, uris)]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        stem = f"client-{next(_numbers)}"
        files = ClientFiles(self._directory / f"{stem}.crt", self._directory / f"{stem}.key")
        files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files.key.touch(mode=0o600)
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lifetime: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + lifetime)
    )
