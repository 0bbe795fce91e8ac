"""Makes keys, authorities, certificates and lists of revoked ones (X.509 v3, RFC 5280). Pure but for the
randomness of keys and serial numbers, which the crypto library draws.

What it makes is accepted by verifiers that take the RFC at its word: version 3, critical basicConstraints and
keyUsage, subject and authority key identifiers, names in subjectAltName. It must not read or write files, and
judges no trust. Importing it costs a crypto library: never on the way to a broker's ready line.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

KEY_KINDS: Final = ("ecdsa-p256", "ecdsa-p384", "rsa-3072", "rsa-4096")
"""The first is the default: small, fast, and known to every client. RSA is for clients that know nothing
else; 3072 bits are as strong as P-256 (NIST SP 800-57)."""

PROFILES: Final = {
    "server": (ExtendedKeyUsageOID.SERVER_AUTH,),
    "client": (ExtendedKeyUsageOID.CLIENT_AUTH,),
    "node": (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
}
"""What a certificate is for (RFC 5280 4.2.1.12): a broker, a client of one, or a broker that is both."""

LIFETIME_MIN = timedelta(hours=24)
"""Shorter ones would end before somebody could look after a failed renewal."""

LIFETIME_MAX = timedelta(days=397)
"""The longest that strict verifiers (browsers, Apple) accept for a server certificate."""

AUTHORITY_LIFETIME_MAX = timedelta(days=7300)
"""Twenty years: beyond that nobody knows which algorithms hold."""

CLOCK_SKEW = timedelta(hours=1)
"""Certificates and lists start this much earlier, for verifiers whose clock is behind."""

NAMES_MAX = 100
"""Alternative names of one certificate; a handshake carries all of them."""

_HOST = re.compile(
    r"(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.I
)
_URI = re.compile(r"[a-z][a-z0-9+.-]*:[!-~]+", re.I)


class PkiError(ValueError):
    """A request that makes no certificate, or an authority that cannot sign: one line."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs: `chain` begins with the signer's own certificate, `key` belongs to it."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey

    @property
    def certificate(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def intermediates(self) -> tuple[x509.Certificate, ...]:
        """What a certificate made here must bring along: everything but self-signed roots."""
        return tuple(one for one in self.chain if one.subject != one.issuer)


@dataclass(frozen=True, slots=True)
class Request:
    """A certificate somebody wants: who it names, for what, and for how long from now."""

    subject: x509.Name
    names: tuple[x509.GeneralName, ...]
    profile: str
    lifetime: timedelta


def make_key(kind: str = KEY_KINDS[0]) -> PrivateKey:
    """A new private key of one of KEY_KINDS."""
    if kind == "ecdsa-p256":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "ecdsa-p384":
        return ec.generate_private_key(ec.SECP384R1())
    return rsa.generate_private_key(65537, int(kind.removeprefix("rsa-")))


def subject_name(common_name: str, organization: str = "") -> x509.Name:
    """A subject. Raises PkiError for a name that X.509 cannot hold (64 characters, RFC 5280 A.1), or that is
    more than 64 bytes in UTF-8, where the library draws the line."""
    attributes = [(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    attributes.append((NameOID.COMMON_NAME, common_name))
    for _, text in attributes:
        if not text.isprintable() or not 1 <= len(text.encode()) <= 64:
            raise PkiError(f"{text!r} must have 1 to 64 printable characters, and at most 64 bytes in UTF-8")
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in attributes])


def alternative_name(text: str) -> x509.GeneralName:
    """A name of subjectAltName from ``dns:broker.example``, ``ip:10.0.0.1``, ``uri:spiffe://a/b``, or the
    same without the prefix where its form tells. Raises PkiError."""
    kind, colon, value = text.partition(":")
    if not colon or kind not in ("dns", "ip", "uri"):
        kind, value = _kind_of(text), text
    if kind == "ip":
        try:
            return x509.IPAddress(ipaddress.ip_address(value))
        except ValueError:
            raise PkiError(f"{text!r} is not an IP address") from None
    if kind == "uri":
        if not _URI.fullmatch(value):
            raise PkiError(f"{text!r} is not a URI in ASCII")
        return x509.UniformResourceIdentifier(value)
    if not _HOST.fullmatch(value) or len(value) > 253:
        raise PkiError(f"{text!r} is not a host name in ASCII (write xn--... for others)")
    return x509.DNSName(value.lower())


def permitted_name(text: str) -> x509.GeneralName:
    """A name constraint (RFC 5280 4.2.1.10) from ``dns:example.com``, which covers what is below it too, or
    ``ip:10.0.0.0/8``. Raises PkiError."""
    kind, _, value = text.partition(":")
    if kind == "ip":
        try:
            return x509.IPAddress(ipaddress.ip_network(value))
        except ValueError as error:
            raise PkiError(f"{text!r}: {error}") from None
    if kind != "dns" or not _HOST.fullmatch(value) or value.startswith("*"):
        raise PkiError(f"{text!r} must be dns:DOMAIN or ip:NETWORK")
    return x509.DNSName(value.lower())


def make_authority(
    subject: x509.Name,
    key: PrivateKey,
    now: datetime,
    lifetime: timedelta,
    permitted: Sequence[x509.GeneralName] = (),
) -> x509.Certificate:
    """A self-signed authority for end certificates only; with `permitted` it can vouch for these names
    alone (critical name constraints)."""
    if not LIFETIME_MIN <= lifetime <= AUTHORITY_LIFETIME_MAX:
        raise PkiError(f"an authority lives from 1 to {AUTHORITY_LIFETIME_MAX.days} days")
    builder = (
        _builder(subject, subject, key, now - CLOCK_SKEW, now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    if permitted:
        builder = builder.add_extension(x509.NameConstraints(list(permitted), None), critical=True)
    return builder.sign(key, _digest(key))


def issue(request: Request, key: PrivateKey, authority: Authority, now: datetime) -> x509.Certificate:
    """The certificate of `key`. Raises PkiError for a lifetime or names that will not do."""
    if not LIFETIME_MIN <= request.lifetime <= LIFETIME_MAX:
        raise PkiError(f"a certificate lives from 24 hours to {LIFETIME_MAX.days} days")
    if len(request.names) > NAMES_MAX:
        raise PkiError(f"more than {NAMES_MAX} alternative names")
    serves = ExtendedKeyUsageOID.SERVER_AUTH in PROFILES[request.profile]
    if serves and not any(isinstance(name, x509.DNSName | x509.IPAddress) for name in request.names):
        raise PkiError("clients look for a host name or address: name at least one")
    starts = now - CLOCK_SKEW
    ends = min(now + request.lifetime, starts + LIFETIME_MAX)
    if ends > authority.certificate.not_valid_after_utc:
        left = (authority.certificate.not_valid_after_utc - now) // timedelta(days=1)
        raise PkiError(
            f"it would outlive its authority, which ends in {left} days: renew the authority first"
        )
    builder = (
        _builder(request.subject, authority.certificate.subject, key, starts, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(PROFILES[request.profile]), critical=False)
        .add_extension(_authority_key_identifier(authority), critical=False)
    )
    if request.names:
        builder = builder.add_extension(x509.SubjectAlternativeName(request.names), critical=False)
    return builder.sign(authority.key, _digest(authority.key))


def revocation_list(
    authority: Authority,
    revoked: Sequence[x509.RevokedCertificate],
    number: int,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateRevocationList:
    """The whole list (RFC 5280 5), not a change to one. `number` grows with every list of an authority.

    Raises PkiError.
    """
    if not LIFETIME_MIN <= lifetime <= LIFETIME_MAX:
        raise PkiError(f"a list lives from 24 hours to {LIFETIME_MAX.days} days")
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - CLOCK_SKEW)
        .next_update(now + lifetime)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(_authority_key_identifier(authority), critical=False)
    )
    for entry in revoked:
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(authority.key, _digest(authority.key))


def revoked_entry(
    certificate: x509.Certificate, reason: x509.ReasonFlags | None, now: datetime
) -> x509.RevokedCertificate:
    """One line of a list. No reason is written rather than `unspecified` (RFC 5280 5.3.1)."""
    builder = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(now)
    if reason is not None:
        builder = builder.add_extension(x509.CRLReason(reason), critical=False)
    return builder.build()


def load_authority(certificates: bytes, key: bytes, passphrase: str | None) -> Authority:
    """An authority from its PEM files. Raises PkiError: damaged, not an authority, not its key, or a
    passphrase that is missing, needless or wrong. No error holds a secret."""
    try:
        chain = tuple(x509.load_pem_x509_certificates(certificates))
    except (ValueError, x509.InvalidVersion):
        raise PkiError("the authority's certificate is damaged or not PEM") from None
    signer = _load_key(key, passphrase)
    found = Authority(chain, signer)
    if found.certificate.public_key() != signer.public_key():
        raise PkiError("the key is not the key of the authority's certificate")
    try:
        basic = found.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        basic = x509.BasicConstraints(ca=False, path_length=None)
    if not basic.ca:
        raise PkiError("the certificate is not one of an authority (basicConstraints)")
    return found


def issued_by(authority: Authority, certificate: x509.Certificate) -> bool:
    """Whether `certificate` was signed by exactly this authority, whatever its dates."""
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def certificate_pem(*certificates: x509.Certificate) -> bytes:
    """PEM, one after the other."""
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def key_pem(key: PrivateKey, passphrase: str | None = None) -> bytes:
    """PKCS #8, encrypted where there is a passphrase."""
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        protection = serialization.BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def is_encrypted(key: bytes) -> bool:
    """Whether a PEM key needs a passphrase."""
    return b"BEGIN ENCRYPTED PRIVATE KEY" in key or b"Proc-Type: 4,ENCRYPTED" in key


def key_id(key: PrivateKey) -> str:
    """The key's identifier in certificates (RFC 5280 4.2.1.2, method 1), hex."""
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()


def _load_key(pem: bytes, passphrase: str | None) -> PrivateKey:
    if is_encrypted(pem) is not (passphrase is not None):
        raise PkiError(
            "the authority's key needs a passphrase"
            if passphrase is None
            else "the authority's key has no passphrase"
        )
    try:
        key = serialization.load_pem_private_key(pem, None if passphrase is None else passphrase.encode())
    except (ValueError, TypeError):
        problem = "is damaged" if passphrase is None else "is damaged, or the passphrase does not open it"
        raise PkiError(f"the authority's key {problem}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise PkiError("the authority's key is neither ECDSA nor RSA")
    return key


def _kind_of(text: str) -> str:
    if "://" in text:
        return "uri"
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return "dns"
    return "ip"


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, starts: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
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


def _authority_key_identifier(authority: Authority) -> x509.AuthorityKeyIdentifier:
    """As the authority's own certificate names its key, which need not be by the usual hash."""
    try:
        found = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found.value)


def _digest(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """As strong as the key: CNSA and NIST pair P-384 with SHA-384."""
    is_p384 = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256
    return hashes.SHA384() if is_p384 else hashes.SHA256()
