"""An authority for tests of living TLS: roots and intermediates, both kinds of keys, revocation lists.

Our own tools for certificates are things under test and must not be used here.
"""

from __future__ import annotations

import datetime
import ipaddress
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.shipped.pki import key_usage

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Extension = tuple[x509.ExtensionType, bool]

DAY_S = 86_400.0
_serials = itertools.count(1000)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its key; `chain` are the authorities between it and the root."""

    certificate: x509.Certificate
    key: Key
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def ders(self) -> tuple[bytes, ...]:
        return (self.der, *(one.public_bytes(serialization.Encoding.DER) for one in self.chain))

    @property
    def pem(self) -> bytes:
        return pem_of(self.certificate, *self.chain)

    @property
    def key_pem(self) -> bytes:
        return self.encrypted_key_pem(None)

    def encrypted_key_pem(self, password: str | None) -> bytes:
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password is not None:
            encryption = serialization.BestAvailableEncryption(password.encode())
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )

    def write(self, directory: Path, stem: str) -> tuple[Path, Path]:
        """`stem`.crt and `stem`.key."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        certificate, key = directory / f"{stem}.crt", directory / f"{stem}.key"
        certificate.write_bytes(self.pem)
        key.touch(mode=0o600)
        key.write_bytes(self.key_pem)
        return certificate, key


class Authority:
    """A root, or below `issuer` an intermediate. Times are seconds from now."""

    def __init__(
        self,
        name: str = "root",
        issuer: Authority | None = None,
        *,
        key: Key | None = None,
        seconds: float = 10 * DAY_S,
        path_length: int | None = None,
        ca: bool = True,
        extensions: Sequence[Extension] = (),
    ) -> None:
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self._issuer = issuer
        builder = _builder(self.name, issuer.name if issuer else self.name, self.key, -DAY_S, seconds)
        builder = builder.add_extension(x509.BasicConstraints(ca, path_length if ca else None), critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        builder = builder.add_extension((issuer or self).key_identifier, critical=False)
        if ca and not any(isinstance(one, x509.KeyUsage) for one, _ in extensions):
            builder = builder.add_extension(key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        self.certificate = builder.sign((issuer or self).key, hashes.SHA256())

    @property
    def key_identifier(self) -> x509.AuthorityKeyIdentifier:
        """How certificates and lists of this authority name its key; strict clients look for it."""
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return pem_of(self.certificate)

    @property
    def above(self) -> tuple[x509.Certificate, ...]:
        """What a leaf is sent with: this authority and those above it, without the root."""
        return () if self._issuer is None else (self.certificate, *self._issuer.above)

    def issue(
        self,
        name: str = "localhost",
        *,
        dns: Sequence[str] = ("localhost",),
        addresses: Sequence[str] = ("127.0.0.1",),
        begin: float = -DAY_S,
        seconds: float = 5 * DAY_S,
        purpose: x509.ObjectIdentifier | None = None,
        key: Key | None = None,
    ) -> Issued:
        """A leaf for servers and clients, or for one `purpose`."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        purposes = [purpose] if purpose else both
        names: list[x509.GeneralName] = [*map(x509.DNSName, dns)]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        builder = (
            _builder(subject, self.name, key, begin, seconds)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(self.key_identifier, critical=False)
        )
        return Issued(builder.sign(self.key, hashes.SHA256()), key, self.above)

    def crl(
        self,
        *revoked: Issued | Authority,
        begin: float = -60.0,
        seconds: float = DAY_S,
        extensions: Sequence[Extension] = (),
        signed_by: Key | None = None,
    ) -> bytes:
        """A revocation list, PEM."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(_moment(begin))
            .next_update(_moment(seconds))
            .add_extension(self.key_identifier, critical=False)
        )
        for one in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(_moment(begin)).build())
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        signed = builder.sign(signed_by or self.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def pem_of(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, begin: float, seconds: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(next(_serials))
        .not_valid_before(_moment(begin))
        .not_valid_after(_moment(seconds))
    )


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
