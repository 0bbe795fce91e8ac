"""Certificate files as they lie on disk: until when they count, and everything that stands in them.

`chain_expiry` needs no crypto library and is cheap enough for a running broker; the other functions import
one and are for the command line. It must not judge trust (the TLS library's) nor a configuration
(`tls_verification`), and never reads a private key.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rivven.security.certificate import BUNDLE_MAX, MalformedCertificate, certificates_in, validity
from rivven.security.tls_files import CRL_BYTES_MAX, PEM_BYTES_MAX

if TYPE_CHECKING:
    from cryptography import x509

    _Extension = TypeVar("_Extension", bound=x509.ExtensionType)

_DAY_S = 86_400.0
_CRL_BEGIN = "-----BEGIN X509 CRL-----"
_CRL_END = "-----END X509 CRL-----"


class CertificateFileError(Exception):
    """A file that cannot be read as certificates: one line that begins with its path."""


@dataclass(frozen=True, slots=True)
class CertificateDates:
    """When one certificate of a file counts. `place` is its position in the file: 0 is the certificate
    itself, what follows are its intermediates (or the other authorities of a bundle). Times are UTC."""

    path: Path
    place: int
    not_before: datetime
    not_after: datetime

    def days_left(self, now: datetime) -> float:
        """Days from `now` until it ends; negative once it has."""
        return (self.not_after - now).total_seconds() / _DAY_S


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What one certificate says (RFC 5280). Names are RFC 2253 text, `serial`, `sha256` and key identifiers
    hex; `path_length` is None without a limit; `problems` are what strict verifiers refuse it for."""

    dates: CertificateDates
    version: int
    subject: str
    issuer: str
    serial: str
    sha256: str
    key: str
    signature: str
    authority: bool
    path_length: int | None
    key_usage: tuple[str, ...]
    extended_key_usage: tuple[str, ...]
    dns_names: tuple[str, ...]
    addresses: tuple[str, ...]
    uris: tuple[str, ...]
    subject_key_id: str
    authority_key_id: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RevocationListFacts:
    """What one list of revoked certificates says (RFC 5280 5). `next_update` is None where it names none;
    `revoked` are serial numbers in hex, in the order of the list."""

    path: Path
    issuer: str
    number: int | None
    last_update: datetime
    next_update: datetime | None
    revoked: tuple[str, ...]


def chain_expiry(path: Path) -> list[CertificateDates]:
    """The dates of every certificate of a PEM file, in the order of the file, at least one.

    Raises CertificateFileError.
    """
    try:
        periods = [validity(der) for der in certificates_in(read_pem(path), BUNDLE_MAX)]
    except MalformedCertificate as error:
        raise CertificateFileError(f"{path}: {error}") from None
    if not periods:
        raise CertificateFileError(f"{path}: holds no PEM certificate")
    return [CertificateDates(path, place, start, end) for place, (start, end) in enumerate(periods)]


def certificate_facts(path: Path) -> list[CertificateFacts]:
    """Everything the certificates of a PEM file say; empty where it holds none. Raises
    CertificateFileError."""
    from cryptography.utils import CryptographyDeprecationWarning

    try:
        found = certificates_in(read_pem(path, CRL_BYTES_MAX), BUNDLE_MAX + 1)
        if len(found) > BUNDLE_MAX:
            raise CertificateFileError(f"{path}: holds more than {BUNDLE_MAX} certificates")
        with warnings.catch_warnings():
            # The library writes to standard error about serial numbers that `problems` tells of.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            return [_facts(path, place, der) for place, der in enumerate(found)]
    except MalformedCertificate as error:
        raise CertificateFileError(f"{path}: {error}") from None


def revocation_list_facts(path: Path) -> list[RevocationListFacts]:
    """The lists of revoked certificates of a PEM file; empty where it holds none. Raises
    CertificateFileError."""
    try:
        return [_list_facts(path, found) for found in revocation_lists_in(path)]
    except _unreadable():
        raise CertificateFileError(f"{path}: holds a damaged list of revoked certificates") from None


def revocation_lists_in(path: Path) -> list[x509.CertificateRevocationList]:
    """The same, as the crypto library's objects, to check their signatures. Raises CertificateFileError."""
    from cryptography import x509

    text, found, position = read_pem(path, CRL_BYTES_MAX), list[x509.CertificateRevocationList](), 0
    while (position := text.find(_CRL_BEGIN, position)) >= 0:
        end = text.find(_CRL_END, position)
        if end < 0:
            raise CertificateFileError(f"{path}: a list of revoked certificates has no END line")
        try:
            found.append(x509.load_pem_x509_crl(text[position : end + len(_CRL_END)].encode("ascii")))
        except _unreadable():
            raise CertificateFileError(f"{path}: holds a damaged list of revoked certificates") from None
        position = end
    return found


def read_pem(path: Path, bytes_max: int = PEM_BYTES_MAX) -> str:
    """The text of a PEM file, bytes beyond ASCII replaced. Raises CertificateFileError."""
    try:
        with path.open("rb") as file:
            content = file.read(bytes_max + 1)
    except OSError as error:
        raise CertificateFileError(f"{path}: {error.strerror}") from None
    if len(content) > bytes_max:
        raise CertificateFileError(f"{path}: larger than {bytes_max} bytes")
    return content.decode("ascii", errors="replace").replace("\ufffd", "?")


def _facts(path: Path, place: int, der: bytes) -> CertificateFacts:
    from cryptography import x509

    from rivven.security.authn.certificates import distinguished_name

    dates = CertificateDates(path, place, *validity(der))
    try:
        parsed = x509.load_der_x509_certificate(der)
        extensions = _Extensions(parsed)
        basic, names = extensions.basic, extensions.names
        return CertificateFacts(
            dates,
            parsed.version.value + 1,
            distinguished_name(parsed.subject),
            distinguished_name(parsed.issuer),
            f"{parsed.serial_number:x}",
            hashlib.sha256(der).hexdigest(),
            _key_name(parsed),
            parsed.signature_algorithm_oid._name,
            basic is not None and basic.ca,
            None if basic is None else basic.path_length,
            extensions.usage,
            extensions.purposes,
            () if names is None else tuple(names.get_values_for_type(x509.DNSName)),
            () if names is None else tuple(map(str, names.get_values_for_type(x509.IPAddress))),
            () if names is None else tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
            extensions.subject_key_id,
            extensions.authority_key_id,
            tuple(extensions.problems()),
        )
    except _unreadable() as error:
        reason = " ".join(str(error).split())
        raise MalformedCertificate(f"certificate {place + 1} is unreadable: {reason}") from None


def _unreadable() -> tuple[type[Exception], ...]:
    """What the crypto library raises for bytes that are no certificate or list, now or when it is asked for
    one of their fields."""
    from cryptography import x509

    return (
        ValueError,
        TypeError,
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    )


def _key_name(certificate: x509.Certificate) -> str:
    """A public key's kind and size, as people name it."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    try:
        key = certificate.public_key()
    except UnsupportedAlgorithm:
        return f"unknown ({certificate.public_key_algorithm_oid.dotted_string})"
    if isinstance(key, ec.EllipticCurvePublicKey):
        curves = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
        return f"ECDSA {curves.get(key.curve.name, key.curve.name)}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return type(key).__name__.removesuffix("PublicKey")


class _Extensions:
    """The extensions of one certificate that verifiers look at, absent ones as None or empty."""

    def __init__(self, certificate: x509.Certificate) -> None:
        from cryptography import x509

        self._certificate = certificate
        self._critical: dict[str, bool] = {}
        self.basic = self._value(x509.BasicConstraints)
        self.names = self._value(x509.SubjectAlternativeName)
        usage = self._value(x509.KeyUsage)
        self.usage = () if usage is None else _usage_names(usage)
        purposes = self._value(x509.ExtendedKeyUsage)
        self.purposes = () if purposes is None else tuple(one._name for one in purposes)
        subject = self._value(x509.SubjectKeyIdentifier)
        self.subject_key_id = "" if subject is None else subject.digest.hex()
        authority = self._value(x509.AuthorityKeyIdentifier)
        self.authority_key_id = "" if authority is None else (authority.key_identifier or b"").hex()

    def problems(self) -> list[str]:
        """Why a verifier that takes RFC 5280 at its word (OpenSSL's VERIFY_X509_STRICT, the default of
        Python 3.13) refuses the certificate whatever signed it."""
        from cryptography import x509

        certificate, basic = self._certificate, self.basic
        authority = basic is not None and basic.ca
        if certificate.version is not x509.Version.v3:
            return ["not X.509 version 3: it has no extensions, so no names and no purpose"]
        found = [] if certificate.serial_number > 0 else ["a serial number that is not positive"]
        if authority and not self._critical["BasicConstraints"]:
            found.append("basicConstraints of an authority is not critical")
        if authority and "keyCertSign" not in self.usage:
            found.append("an authority without keyUsage keyCertSign")
        if not authority and "keyCertSign" in self.usage:
            found.append("keyUsage keyCertSign without basicConstraints CA")
        if authority and not self.subject_key_id:
            found.append("an authority without subjectKeyIdentifier")
        if certificate.subject != certificate.issuer and not self.authority_key_id:
            found.append("no authorityKeyIdentifier")
        if "serverAuth" in self.purposes and self.names is None:
            found.append("a server certificate without subjectAltName: no client finds its host name in it")
        if not certificate.subject.rdns and self.names is None:
            found.append("neither a subject nor a subjectAltName")
        return found

    def _value(self, kind: type[_Extension]) -> _Extension | None:
        from cryptography import x509

        try:
            found = self._certificate.extensions.get_extension_for_class(kind)
        except x509.ExtensionNotFound:
            return None
        self._critical[kind.__name__] = found.critical
        return found.value


def _usage_names(usage: x509.KeyUsage) -> tuple[str, ...]:
    names = {
        "digitalSignature": usage.digital_signature,
        "nonRepudiation": usage.content_commitment,
        "keyEncipherment": usage.key_encipherment,
        "dataEncipherment": usage.data_encipherment,
        "keyAgreement": usage.key_agreement,
        "keyCertSign": usage.key_cert_sign,
        "cRLSign": usage.crl_sign,
    }
    return tuple(name for name, is_set in names.items() if is_set)


def _list_facts(path: Path, found: x509.CertificateRevocationList) -> RevocationListFacts:
    from cryptography import x509

    from rivven.security.authn.certificates import distinguished_name

    try:
        number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        number = None
    return RevocationListFacts(
        path,
        distinguished_name(found.issuer),
        number,
        found.last_update_utc,
        found.next_update_utc,
        tuple(f"{one.serial_number:x}" for one in found),
    )
