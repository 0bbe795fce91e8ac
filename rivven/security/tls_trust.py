"""Whether a client's chain is trusted now: by the authorities and revocation lists that are in force. Pure.

OpenSSL verifies a chain once, in the handshake, against what the context held then. This is asked after every
handshake and again whenever authorities or lists change, so that what was resumed, or begun before the
change, is judged by the same rules (RFC 5280 6). It must not be asked about chains OpenSSL has not verified:
purposes of the client's own certificate, policies and the like are judged there alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from rivven.security.crls import Crl
from rivven.security.x509_signatures import Name, comparable, issued_by

Kind = TypeVar("Kind", bound=x509.ExtensionType)

CHAIN_MAX = 10
"""Certificates of one client that are looked at, and steps of one path; real chains have two to four."""

SIGNATURES_MAX = 32
"""Checked for one chain, some 3 ms: a client may add certificates that only cost time."""


INTERMEDIATES_MAX = 1_000
"""Authorities that clients sent whose list is remembered: to find it costs a signature."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """A chain that is trusted. `path` are fingerprints from the client's certificate to an authority;
    `ends_ms` is when the first certificate of it ends, `until_ms` when the judgement must be made anew though
    nothing changes."""

    path: tuple[bytes, ...] = field(repr=False)
    ends_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Distrusted:
    """Why a chain is not trusted, for the operator."""

    reason: str


@dataclass(slots=True)
class _Certificate:
    parsed: x509.Certificate
    fingerprint: bytes
    subject: Name
    issuer: Name
    begins_ms: int
    ends_ms: int

    @property
    def text(self) -> str:
        return self.parsed.subject.rfc4514_string() or f"serial {self.parsed.serial_number:x}"


class _Signatures:
    """Finds issuers by name and signature, for one chain. Each of `proven` was signed by the next."""

    def __init__(self, proven: tuple[bytes, ...] = ()) -> None:
        self._proven = frozenset(pairwise(proven))
        self._left = SIGNATURES_MAX

    def issuers(self, certificate: _Certificate, among: Sequence[_Certificate]) -> Iterator[_Certificate]:
        for one in among:
            if one.subject != certificate.issuer:
                continue
            if (certificate.fingerprint, one.fingerprint) in self._proven:
                yield one
            elif self._left > 0:
                self._left -= 1
                if issued_by(certificate.parsed, one.parsed):
                    yield one


class ClientTrust:
    """The authorities of one TLS section and their lists, as they were at one moment; never changes.

    `anchors` are DER. Raises ValueError for one that cannot be read.
    """

    def __init__(self, anchors: Sequence[bytes], crls: Sequence[Crl] = (), *, reject_expired: bool = True):
        self._anchors = {one.fingerprint: one for one in map(_certificate, anchors)}
        self.crls = tuple(crls)
        self._reject_expired = reject_expired
        self._by_issuer: dict[bytes, Crl | None] = {}

    @property
    def authorities(self) -> list[x509.Certificate]:
        """The anchors, parsed."""
        return [one.parsed for one in self._anchors.values()]

    def judge(
        self, chain: Sequence[bytes], now_ms: int, before: tuple[bytes, ...] = ()
    ) -> Trusted | Distrusted:
        """Whether a client's chain (DER, its own certificate first) is trusted at this moment. `before` is
        the path by which it was trusted when OpenSSL had just verified it, empty now that it has."""
        try:
            return self._judge(chain, now_ms, before)
        except (ValueError, x509.DuplicateExtension) as error:
            return Distrusted(f"an unreadable certificate: {error}")

    def _judge(self, chain: Sequence[bytes], now_ms: int, before: tuple[bytes, ...]) -> Trusted | Distrusted:
        own, *sent = map(_certificate, chain[:CHAIN_MAX])
        refused = "no authority of ca_path issued it"
        for path in self._paths((own,), sent, _Signatures(before)):
            problem = self._problem(path, now_ms, before)
            if problem is None:
                ends_ms = min(one.ends_ms for one in path)
                due = self.next_expiry_ms(now_ms)
                until_ms = ends_ms if due is None else min(ends_ms, due)
                return Trusted(tuple(one.fingerprint for one in path), ends_ms, until_ms)
            refused = problem
        return Distrusted(refused)

    def next_expiry_ms(self, now_ms: int) -> int | None:
        """When the next list in force runs out; None when none will."""
        return min((one.next_update_ms for one in self.crls if one.next_update_ms > now_ms), default=None)

    def expired(self, now_ms: int) -> list[Crl]:
        """The lists that have run out."""
        return [one for one in self.crls if one.next_update_ms <= now_ms]

    def _paths(
        self, path: tuple[_Certificate, ...], sent: Sequence[_Certificate], signatures: _Signatures
    ) -> Iterator[tuple[_Certificate, ...]]:
        """Every way from the last certificate of `path` to an anchor, shortest first."""
        last = path[-1]
        if last.fingerprint in self._anchors:
            yield path
            return
        if len(path) >= CHAIN_MAX:
            return
        for issuer in signatures.issuers(last, [*self._anchors.values(), *sent]):
            if all(issuer.fingerprint != one.fingerprint for one in path):
                yield from self._paths((*path, issuer), sent, signatures)

    def _problem(self, path: tuple[_Certificate, ...], now_ms: int, before: tuple[bytes, ...]) -> str | None:
        for depth, one in enumerate(path):
            if not one.begins_ms <= now_ms < one.ends_ms:
                return f"{one.text} has expired" if now_ms >= one.ends_ms else f"{one.text} is not valid yet"
            if depth:
                problem = self._authority_problem(one, depth - 1)
                if problem is not None:
                    return f"{one.text} {problem}"
        known = tuple(one.fingerprint for one in path)
        if before and known != before and any(map(_narrows_names, path[1:])):
            return "another authority than before, which narrows names, would have to vouch for it"
        return self._revocation(path, now_ms)

    def _authority_problem(self, one: _Certificate, below: int) -> str | None:
        """Why this authority may issue nothing, with `below` authorities below it (RFC 5280 6.1.4)."""
        found = one.parsed.extensions
        anchor = one.fingerprint in self._anchors
        basic = _value(found, x509.BasicConstraints)
        if not anchor if basic is None else not basic.ca:
            return "is no authority"
        if basic is not None and basic.path_length is not None and below > basic.path_length:
            return "may not have further authorities below it"
        usage = _value(found, x509.KeyUsage)
        if usage is not None and not usage.key_cert_sign:
            return "may not issue certificates"
        purposes = _value(found, x509.ExtendedKeyUsage)
        wanted = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
        if purposes is not None and not any(purpose in purposes for purpose in wanted):
            return "may not issue certificates of clients"
        if not anchor and any(
            one.critical and isinstance(one.value, x509.UnrecognizedExtension) for one in found
        ):
            return "has a critical extension that is not understood"
        return None

    def _revocation(self, path: tuple[_Certificate, ...], now_ms: int) -> str | None:
        if not self.crls:
            return None
        for one, issuer in zip(path, (*path[1:], None), strict=True):
            issuers = [issuer] if issuer else self._above(one)
            for above in issuers:
                crl = self._crl_of(above)
                if crl is None:
                    continue
                if one.parsed.serial_number in crl.revoked:
                    return f"{one.text} is revoked by {crl.issuer}"
                if self._reject_expired and now_ms >= crl.next_update_ms:
                    return f"the revocation list of {crl.issuer} has expired"
        return None

    def _above(self, anchor: _Certificate) -> list[_Certificate]:
        """The authority at the end of a path may itself be below one with a list."""
        if anchor.subject == anchor.issuer:
            return []
        return [*_Signatures().issuers(anchor, list(self._anchors.values()))]

    def _crl_of(self, authority: _Certificate) -> Crl | None:
        """The newest list this authority signed."""
        known = authority.fingerprint
        if known in self._by_issuer:
            return self._by_issuer[known]
        own = [crl for crl in self.crls if crl.is_of(authority.parsed)]
        newest = max(own, key=lambda crl: crl.this_update_ms, default=None)
        if known in self._anchors or len(self._by_issuer) < INTERMEDIATES_MAX:
            self._by_issuer[known] = newest
        return newest


class PeerChain:
    """What one live connection rests on: the chain its client showed, judged by what is in force now.

    `trust` and `now_ms` (wall clock) are asked whenever the question is."""

    __slots__ = ("_chain", "_found", "_judged_by", "_now_ms", "_path", "_trust")

    def __init__(
        self, chain: Sequence[bytes], trust: Callable[[], ClientTrust], now_ms: Callable[[], int]
    ) -> None:
        self._chain = tuple(chain[:CHAIN_MAX])
        self._trust = trust
        self._now_ms = now_ms
        self._judged_by: ClientTrust | None = None
        self._path: tuple[bytes, ...] = ()
        self._found: Trusted | Distrusted = Distrusted("")

    @property
    def ends_ms(self) -> int | None:
        """When the first certificate ends of those that made it trusted; None when it is not."""
        return self._found.ends_ms if isinstance(self._found, Trusted) else None

    def problem(self) -> str | None:
        """Why the certificate no longer counts, None while it does; dear only after something has changed."""
        trust, now_ms = self._trust(), self._now_ms()
        found = self._found
        if trust is not self._judged_by or (isinstance(found, Trusted) and now_ms >= found.until_ms):
            found = self._found = trust.judge(self._chain, now_ms, self._path)
            self._judged_by = trust
            if isinstance(found, Trusted):
                self._path = self._path or found.path
        return found.reason if isinstance(found, Distrusted) else None


def _certificate(der: bytes) -> _Certificate:
    try:
        parsed = x509.load_der_x509_certificate(der)
    except x509.InvalidVersion as error:  # is no ValueError
        raise ValueError(str(error)) from None
    return _Certificate(
        parsed,
        hashlib.sha256(der).digest(),
        comparable(parsed.subject),
        comparable(parsed.issuer),
        int(parsed.not_valid_before_utc.timestamp() * 1000),
        int(parsed.not_valid_after_utc.timestamp() * 1000),
    )


def _narrows_names(authority: _Certificate) -> bool:
    return _value(authority.parsed.extensions, x509.NameConstraints) is not None


def _value(found: x509.Extensions, kind: type[Kind]) -> Kind | None:
    try:
        return found.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
