"""The deny-list of client certificates that configuration and a file give (`auth.mtls`). Pure.

One entry a line, ``#`` begins a comment, letters of either case, colons between bytes allowed::

    sha256:4F:1B:...                      the fingerprint of the whole certificate
    serial:0A3F                           a serial number, of whatever issuer
    serial:0A3F issuer:CN=Our CA,O=We     of this issuer, as RFC 2253 text

Certificates revoked over the admin API are the metadata's; this list must not be changed by the broker.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rivven.security.authn.authenticator import Credential

ENTRIES_MAX = 100_000
"""About 20 MB; a longer list calls for an authority that issues certificates for shorter times."""

_ENTRY = re.compile(
    r"sha256:(?P<fingerprint>[0-9A-Fa-f:]+)|serial:(?P<serial>[0-9A-Fa-f:]+)(?:\s+issuer:(?P<issuer>.+))?"
)


class DeniedEntryError(ValueError):
    """An entry that cannot be read, with the reason."""


def normal_serial(text: str) -> str:
    """A serial number in hex as certificates' are compared: lower case, no colons, no leading zeros."""
    return text.replace(":", "").lower().lstrip("0") or "0"


def normal_fingerprint(text: str) -> str:
    """A SHA-256 fingerprint in hex, lower case, no colons. Raises DeniedEntryError for another length."""
    plain = text.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", plain):
        raise DeniedEntryError("a SHA-256 fingerprint has 64 hex digits")
    return plain


@dataclass(frozen=True, slots=True)
class DeniedCertificates:
    """The list, parsed."""

    fingerprints: frozenset[str] = frozenset()
    serials: frozenset[tuple[str, str]] = frozenset()
    """(serial, issuer); the issuer is empty where any is meant."""

    def reason(self, credential: Credential) -> str | None:
        """Why a certificate is refused, None when it is not on the list."""
        if credential.kind != "certificate":
            return None
        serial = credential.serial
        if credential.id in self.fingerprints:
            return f"the certificate sha256:{credential.id} is on the deny-list"
        if (serial, "") in self.serials or (serial, credential.issuer) in self.serials:
            return f"the certificate with serial {serial} is on the deny-list"
        return None

    def __or__(self, other: DeniedCertificates) -> DeniedCertificates:
        return DeniedCertificates(self.fingerprints | other.fingerprints, self.serials | other.serials)


def parse_denied(lines: Iterable[str]) -> DeniedCertificates:
    """The list of these entries. Raises DeniedEntryError naming the entry's number."""
    fingerprints: set[str] = set()
    serials: set[tuple[str, str]] = set()
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        if len(fingerprints) + len(serials) >= ENTRIES_MAX:
            raise DeniedEntryError(f"more than {ENTRIES_MAX} entries")
        found = _ENTRY.fullmatch(text)
        if found is None:
            raise DeniedEntryError(f"entry {number}: not sha256:FINGERPRINT or serial:NUMBER [issuer:NAME]")
        if found["fingerprint"] is not None:
            try:
                fingerprints.add(normal_fingerprint(found["fingerprint"]))
            except DeniedEntryError as error:
                raise DeniedEntryError(f"entry {number}: {error}") from None
        else:
            serials.add((normal_serial(found["serial"]), (found["issuer"] or "").strip()))
    return DeniedCertificates(frozenset(fingerprints), frozenset(serials))
