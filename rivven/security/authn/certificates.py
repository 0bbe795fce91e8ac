"""Client certificates as credentials: who the owner is, until when, and whether it was revoked (mTLS).

The TLS library has verified chain, dates, purpose and the proof of the private key before anything comes here
(RFC 5280, RFC 8446 4.4.2). Parsing is the crypto library's, which costs a tenth of a second to import: only
listeners that ask for certificates import this module. It must not read files or touch sockets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from rivven.security.authn.authenticator import CERTIFICATE_MECHANISM, Authenticated, Credential, Rejected
from rivven.security.authn.external_names import ExternalNames
from rivven.security.authn.principal_rules import CertificateNames, Mapped, NameMapping, Unmapped
from rivven.security.authz.authorizer import Subject
from rivven.security.certificate import MalformedCertificate
from rivven.security.tls_trust import ClientTrust, PeerChain
from rivven.types import Principal

# RFC 2253 2.3 and RFC 4514 3 name these; every other attribute is its number and its bytes in hex.
_KEYWORDS = {
    NameOID.COMMON_NAME: "CN",
    NameOID.LOCALITY_NAME: "L",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.COUNTRY_NAME: "C",
    NameOID.STREET_ADDRESS: "STREET",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.USER_ID: "UID",
}
_ESCAPED = frozenset(',=+<>#;"\\')
"""Java escapes = and # too, and so must we: Kafka's rules and ACLs were written for its spelling."""


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The facts of one certificate. Names are RFC 2253 text, `serial` is hex without leading zeros,
    `fingerprint` the SHA-256 of the whole certificate in hex; times are wall-clock milliseconds."""

    names: CertificateNames
    issuer: str
    serial: str
    fingerprint: str
    not_before_ms: int
    not_after_ms: int

    @property
    def credential(self) -> Credential:
        """What revocations recognise it by."""
        return Credential(
            kind="certificate",
            id=self.fingerprint,
            issuer=self.issuer,
            subject=self.names.distinguished_name,
            issued_at_ms=self.not_before_ms,
            serial=self.serial,
        )


def read_certificate(der: bytes) -> ClientCertificate:
    """The facts of a certificate (DER). Raises MalformedCertificate."""
    try:
        parsed = x509.load_der_x509_certificate(der)
        subject = parsed.subject
        dns_names, uris = _alternative_names(parsed)
        return ClientCertificate(
            CertificateNames(
                distinguished_name(subject),
                tuple(_text(one) for one in subject.get_attributes_for_oid(NameOID.COMMON_NAME)),
                dns_names,
                uris,
            ),
            distinguished_name(parsed.issuer),
            f"{parsed.serial_number:x}",
            hashlib.sha256(der).hexdigest(),
            _milliseconds(parsed.not_valid_before_utc),
            _milliseconds(parsed.not_valid_after_utc),
        )
    except (
        ValueError,
        TypeError,
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise MalformedCertificate(f"an unreadable certificate: {error}") from None


def distinguished_name(name: x509.Name) -> str:
    """The name as Java's ``X500Principal.getName()`` writes it (RFC 2253, the last RDN first)."""
    return ",".join("+".join(_attribute(attribute) for attribute in rdn) for rdn in reversed(list(name.rdns)))


class CertificateAuthentication:
    """What a verified client certificate means here: a principal, or a reason to refuse it.

    `names` judges names from outside; `revoked(credential)` tells why a certificate no longer counts, None
    while it does.
    """

    def __init__(
        self,
        mapping: NameMapping,
        prefix: str,
        names: ExternalNames,
        revoked: Callable[[Credential], str | None],
    ) -> None:
        self._mapping = mapping
        self._prefix = prefix
        self._names = names
        self._revoked = revoked

    def verify(self, der: bytes, now_ms: int) -> Authenticated | Rejected:
        """Who shows this certificate, until its end."""
        certificate = self.check(der, now_ms)
        if isinstance(certificate, Rejected):
            return certificate
        mapped = self.name_of(certificate)
        if isinstance(mapped, Unmapped):
            return Rejected(mapped.reason)
        problem = self._names.problem(mapped.name, ())
        if problem is not None:
            return Rejected(problem)
        return Authenticated(
            Principal("User", mapped.name),
            expires_at_ms=certificate.not_after_ms,
            credential=certificate.credential,
        )

    def check(self, der: bytes, now_ms: int) -> ClientCertificate | Rejected:
        """The certificate itself, whoever it names: readable, not ended, not revoked."""
        try:
            certificate = read_certificate(der)
        except MalformedCertificate as error:
            return Rejected(str(error))
        if now_ms >= certificate.not_after_ms:
            return Rejected(f"the certificate of {certificate.names.distinguished_name} has expired")
        reason = self._revoked(certificate.credential)
        return certificate if reason is None else Rejected(reason)

    def peer(
        self, chain: Sequence[bytes], trust: Callable[[], ClientTrust], now_ms: Callable[[], int]
    ) -> PeerChain:
        """A connection's chain (DER, the client's own certificate first), to be judged again and again."""
        return PeerChain(chain, trust, now_ms)

    def name_of(self, certificate: ClientCertificate) -> Mapped | Unmapped:
        """The principal's name with its prefix, and the rule that gave it."""
        mapped = self._mapping(certificate.names)
        return mapped if isinstance(mapped, Unmapped) else Mapped(self._prefix + mapped.name, mapped.by)

    def still_valid(self, subject: Subject, credential: Credential) -> str | None:
        """A `sessions.Validator`: certificates that were revoked, names that became somebody else's."""
        if credential.kind != "certificate":
            return None
        reason = self._revoked(credential)
        if reason is None and subject.mechanism == CERTIFICATE_MECHANISM:
            reason = self._names.problem(subject.principal.name, ())
        return reason


def _alternative_names(certificate: x509.Certificate) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(DNS names, URIs)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (), ()
    return (
        tuple(names.get_values_for_type(x509.DNSName)),
        tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
    )


def _attribute(attribute: x509.NameAttribute[Any]) -> str:
    keyword = _KEYWORDS.get(attribute.oid)
    if keyword is None or isinstance(attribute.value, bytes):
        return f"{attribute.oid.dotted_string}=#{_value_bytes(attribute).hex()}"
    return f"{keyword}={_escaped(attribute.value)}"


def _escaped(value: str) -> str:
    text = "".join(
        f"\\{character}" if character in _ESCAPED else "\\00" if character == "\0" else character
        for character in value
    )
    stripped = text.strip(" ")
    before = len(text) - len(text.lstrip(" "))
    after = len(text) - before - len(stripped) if stripped else 0
    return "\\ " * before + stripped + "\\ " * after


def _value_bytes(attribute: x509.NameAttribute[Any]) -> bytes:
    """The DER of an attribute's value, which ends the name that holds nothing else::

    Name ::= SEQUENCE { SET { SEQUENCE { type OBJECT IDENTIFIER, value ANY } } }
    """
    data = x509.Name([attribute]).public_bytes()
    for _ in ("Name", "RDN", "attribute"):
        data = data[_header_bytes(data) :]
    return data[_header_bytes(data) + data[1] :]  # an object identifier here is shorter than 128 bytes


def _header_bytes(data: bytes) -> int:
    return 2 + (data[1] & 0x7F if data[1] & 0x80 else 0)


def _text(attribute: x509.NameAttribute[Any]) -> str:
    value = attribute.value
    return value if isinstance(value, str) else value.hex()


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
