"""Certificate revocation lists (RFC 5280 5) as the broker uses them: complete lists of one authority. Pure.

Delta lists, indirect lists and lists of a part of an authority's certificates are refused: taken for complete
ones they would let revoked certificates in. It must not read files, nor decide what an expired list means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509

from rivven.security.x509_signatures import Name, comparable, list_issued_by

LISTS_MAX = 64
"""Lists of one file: an authority has one, and a bundle a few authorities."""

ENTRIES_MAX = 500_000
"""Revoked certificates of one file; each costs some 100 bytes of memory."""

CLOCK_SKEW_MS = 300_000
"""How far ahead of ours an authority's clock may be."""

_BEGIN, _END = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"


class UnusableCrl(ValueError):
    """A list that cannot be used, with the reason."""


@dataclass(frozen=True, slots=True)
class Crl:
    """One authority's list. Times are wall-clock milliseconds; `revoked` are serial numbers."""

    issuer: str
    name: Name = field(repr=False)
    key_id: bytes | None = field(repr=False)
    this_update_ms: int
    next_update_ms: int
    revoked: frozenset[int] = field(repr=False)
    _list: x509.CertificateRevocationList = field(repr=False)

    def is_of(self, authority: x509.Certificate) -> bool:
        """Whether this authority signed it."""
        return self.may_be_of(authority) and list_issued_by(self._list, authority)

    def may_be_of(self, authority: x509.Certificate) -> bool:
        """Whether names and key ids say that the list is this authority's; the signature is not looked at."""
        if comparable(authority.subject) != self.name:
            return False
        own = key_id_of(authority)
        return own is None or self.key_id is None or own == self.key_id


def parse_crls(pem: bytes, now_ms: int) -> list[Crl]:
    """The lists of a PEM file. Raises UnusableCrl."""
    found: list[Crl] = []
    entries = 0
    position = pem.find(_BEGIN)
    while position >= 0:
        end = pem.find(_END, position)
        if end < 0:
            raise UnusableCrl("a list has no END line")
        if len(found) >= LISTS_MAX:
            raise UnusableCrl(f"more than {LISTS_MAX} lists")
        found.append(_parse(pem[position : end + len(_END)], now_ms, ENTRIES_MAX - entries))
        entries += len(found[-1].revoked)
        position = pem.find(_BEGIN, end)
    return found


def check_signatures(crls: Sequence[Crl], authorities: Sequence[x509.Certificate]) -> None:
    """Refuse a list that is an authority's by its name but not by its signature: without it the authority
    would be one without a list, and nothing would be checked. Raises UnusableCrl."""
    for crl in crls:
        named = [one for one in authorities if crl.may_be_of(one)]
        if named and not any(crl.is_of(one) for one in named):
            raise UnusableCrl(f"the list of {crl.issuer} is not signed by it")


def check_newer(crls: Sequence[Crl], before: Sequence[Crl]) -> None:
    """Refuse a list older than the one it would replace: whoever was revoked since would come in again.

    Raises UnusableCrl.
    """
    for crl in crls:
        for old in before:
            if (old.name, old.key_id) == (crl.name, crl.key_id) and crl.this_update_ms < old.this_update_ms:
                raise UnusableCrl(f"the list of {crl.issuer} is older than the one in force")


def check_kept(crls: Sequence[Crl], before: Sequence[Crl], authorities: Sequence[x509.Certificate]) -> None:
    """Refuse lists among which that of an authority is missing which had one and is still trusted: without it
    nothing of the authority's would be checked, and whoever it revoked would come in again.

    Raises UnusableCrl.
    """
    for authority in authorities:
        had = next((old for old in before if old.is_of(authority)), None)
        if had is not None and not any(crl.is_of(authority) for crl in crls):
            raise UnusableCrl(f"has no list of {had.issuer} any more, which is still in ca_path")


def key_id_of(authority: x509.Certificate) -> bytes | None:
    """The authority's own key identifier, None when it does not say one."""
    try:
        return authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None


def _parse(pem: bytes, now_ms: int, entries_max: int) -> Crl:
    try:
        crl = x509.load_pem_x509_crl(pem)
        issuer = crl.issuer.rfc4514_string()
        _refuse_partial(crl, issuer)
        serials: set[int] = set()
        for entry in crl:
            if len(serials) >= entries_max:
                raise UnusableCrl(f"more than {ENTRIES_MAX} revoked certificates")
            serials.add(entry.serial_number)
        updated, due = crl.last_update_utc, crl.next_update_utc
        key_id = _authority_key_id(crl)
        name = comparable(crl.issuer)
    except UnusableCrl:
        raise
    except (ValueError, TypeError, x509.DuplicateExtension, x509.InvalidVersion) as error:
        raise UnusableCrl(f"a damaged list: {error}") from None
    if due is None:
        raise UnusableCrl(f"the list of {issuer} does not say when the next one comes")
    this_ms, next_ms = int(updated.timestamp() * 1000), int(due.timestamp() * 1000)
    if this_ms > now_ms + CLOCK_SKEW_MS:
        raise UnusableCrl(f"the list of {issuer} begins at {updated:%Y-%m-%dT%H:%M:%SZ}")
    return Crl(issuer, name, key_id, this_ms, next_ms, frozenset(serials), crl)


def _refuse_partial(crl: x509.CertificateRevocationList, issuer: str) -> None:
    for extension in crl.extensions:
        if isinstance(extension.value, x509.DeltaCRLIndicator):
            raise UnusableCrl(f"the list of {issuer} is a delta; a complete list is needed")
        if extension.critical:  # the others that RFC 5280 marks so narrow what the list is about
            raise UnusableCrl(f"the list of {issuer} covers only a part, or is not its own authority's")


def _authority_key_id(crl: x509.CertificateRevocationList) -> bytes | None:
    try:
        return crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None
