"""The family of revocations: credentials that others issued and that no longer count here.

Pure. A certificate is named by its serial number (of one issuer or of any) or its SHA-256 fingerprint, a JWT
by its ``jti`` (of one issuer or of any) or by issuer, subject and a time before which it was issued. Our own
users and tokens are not revoked here: they are deleted or disabled. It must not know how a credential looked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from rivven.errors import ErrorCode, InvalidRequest, RivvenError
from rivven.metadata.family import EventCodec
from rivven.metadata.tokens import Tokens

if TYPE_CHECKING:
    from rivven.metadata.image import MetadataImage

REVOCATIONS_MAX = 100_000
"""All live in memory, about 0.5 KB each. Whoever needs more has credentials that live too long."""

TEXT_MAX = 2_048
"""Characters of a name, an id or a reason: subjects of certificates are the longest."""

FORGOTTEN_PER_COMMAND_MAX = 1_000
"""Entries past their end that one command may drop, so that no commit grows without bound."""

CERTIFICATE_FINGERPRINT = "certificate-fingerprint"
CERTIFICATE_SERIAL = "certificate-serial"
JWT_ID = "jwt-id"
JWT_SUBJECT = "jwt-subject"
KINDS = (CERTIFICATE_FINGERPRINT, CERTIFICATE_SERIAL, JWT_ID, JWT_SUBJECT)


_Key = tuple[str, str, str]
"""Kind, value, issuer."""


class Revocable(Protocol):
    """What a revocation is recognised by; `security.authn.authenticator.Credential` is one."""

    @property
    def kind(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def issuer(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def serial(self) -> str: ...
    @property
    def issued_at_ms(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Revocation:
    """One entry. `value` is the fingerprint, the serial number (both hex in lower case), the ``jti`` or the
    subject; an empty `issuer` means any, which a subject may not. `issued_before_ms` belongs to subjects.

    `forget_after_ms` (wall clock) is when the credential has ended by itself, so that the entry may go; None
    keeps it for ever. Until it is gone it holds.
    """

    kind: str
    value: str
    issuer: str = ""
    issued_before_ms: int | None = None
    reason: str = ""
    revoked_at_ms: int = 0
    forget_after_ms: int | None = None

    @property
    def key(self) -> _Key:
        """What it is about; a second entry about the same replaces the first."""
        return self.kind, self.value, self.issuer

    @property
    def id(self) -> str:
        """A short name for `key`, the same on every broker."""
        return hashlib.sha256("\0".join(self.key).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.kind} {self.value}" + (f" of {self.issuer}" if self.issuer else "")


@dataclass(frozen=True, slots=True)
class Revoke:
    """Command: from now on the credential does not count. Its reply is the stored `Revocation`."""

    revocation: Revocation


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Command: forget an entry, by its id. Its reply is the entry."""

    id: str


@dataclass(frozen=True, slots=True)
class Revoked:
    """Event: an entry that now holds."""

    revocation: Revocation


@dataclass(frozen=True, slots=True)
class RevocationsForgotten:
    """Event: entries that no longer hold."""

    ids: tuple[str, ...]


def _members(event: Revoked) -> dict[str, Any]:
    entry = event.revocation
    optional = {
        "issuer": entry.issuer or None,
        "issued_before": entry.issued_before_ms,
        "reason": entry.reason or None,
        "forget_after": entry.forget_after_ms,
    }
    stored = {name: value for name, value in optional.items() if value is not None}
    return {"of": entry.kind, "value": entry.value, "revoked_at": entry.revoked_at_ms, **stored}


def _build(document: dict[str, Any]) -> Revoked:
    return Revoked(
        Revocation(
            document["of"],
            document["value"],
            document.get("issuer", ""),
            document.get("issued_before"),
            document.get("reason", ""),
            document["revoked_at"],
            document.get("forget_after"),
        )
    )


class Revocations:
    """The family; see `family.Family`."""

    codecs: ClassVar[tuple[EventCodec, ...]] = (
        EventCodec(Revoked, "revoked", lambda event: event.revocation.id, _members, _build),
        EventCodec(
            RevocationsForgotten,
            "revocations-forgotten",
            lambda event: str(len(event.ids)),
            lambda event: {"ids": list(event.ids)},
            lambda document: RevocationsForgotten(tuple(document["ids"])),
        ),
    )
    commands: ClassVar[tuple[type, ...]] = (Revoke, TakeBack)

    def __init__(self) -> None:
        self.version = 0
        self._entries: dict[tuple[str, str, str], Revocation] = {}
        self._by_id: dict[str, Revocation] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self) -> Iterator[Revocation]:
        """All entries, the oldest first."""
        return iter(self._entries.values())

    def reason(self, credential: Revocable) -> str | None:
        """Why a credential does not count, None while it does."""
        if not self._entries:
            return None
        if credential.kind == "certificate":
            found = self._find(CERTIFICATE_FINGERPRINT, credential.id, credential.issuer) or self._find(
                CERTIFICATE_SERIAL, credential.serial, credential.issuer
            )
        elif credential.kind == "jwt":
            found = self._find(JWT_ID, credential.id, credential.issuer) or self._subject(credential)
        else:
            return None
        if found is None:
            return None
        return f"revoked: {found}" + (f" ({found.reason})" if found.reason else "")

    def _find(self, kind: str, value: str, issuer: str) -> Revocation | None:
        if not value:
            return None
        return self._entries.get((kind, value, "")) or self._entries.get((kind, value, issuer))

    def _subject(self, credential: Revocable) -> Revocation | None:
        found = self._entries.get((JWT_SUBJECT, credential.subject, credential.issuer))
        if found is None or found.issued_before_ms is None:
            return None
        issued = credential.issued_at_ms
        # A token that does not say when it was issued may be older than the time named.
        return found if issued is None or issued < found.issued_before_ms else None

    def decide(self, command: Any, image: MetadataImage, now_ms: int) -> tuple[tuple[Any, ...], Any]:
        """See `Family.decide`."""
        if isinstance(command, TakeBack):
            entry = self._by_id.get(command.id)
            if entry is None:
                raise RivvenError("there is no such revocation", ErrorCode.RESOURCE_NOT_FOUND)
            return (RevocationsForgotten((command.id,)),), entry
        entry = command.revocation
        _check(entry)
        past = self._past(image.of(Tokens), now_ms, entry.key)
        if entry.key not in self._entries and len(self._entries) - len(past) >= REVOCATIONS_MAX:
            raise RivvenError(
                f"there can be at most {REVOCATIONS_MAX} revocations", ErrorCode.POLICY_VIOLATION
            )
        forgotten = (RevocationsForgotten(past),) if past else ()
        return (*forgotten, Revoked(entry)), entry

    def _past(self, tokens: Tokens, now_ms: int, kept: _Key) -> tuple[str, ...]:
        """Entries whose credential has ended by itself, and no API token lives that was made with it."""
        past = [
            entry
            for entry in self._entries.values()
            if entry.forget_after_ms is not None and entry.forget_after_ms <= now_ms and entry.key != kept
        ]
        needed = _keys_of_origins(tokens, now_ms) if past else frozenset()
        over = (entry.id for entry in past if entry.key not in needed)
        return tuple(islice(over, FORGOTTEN_PER_COMMAND_MAX))

    def apply(self, event: Any, version: int) -> None:
        """See `Family.apply`."""
        if isinstance(event, Revoked):
            entry = event.revocation
            self._entries[entry.key] = self._by_id[entry.id] = entry
        else:
            for one in event.ids:
                del self._entries[self._by_id.pop(one).key]
        self.version = version

    def events(self) -> Iterator[Any]:
        """See `Family.events`."""
        return (Revoked(entry) for entry in self._entries.values())


def _keys_of_origins(tokens: Tokens, now_ms: int) -> frozenset[_Key]:
    """Every entry that may be about an identity some valid token was made under."""
    keys: set[_Key] = set()
    for token in tokens:
        origin = token.origin
        if origin is None or token.state(now_ms) != "active":
            continue
        for issuer in ("", origin.issuer):
            keys.add((CERTIFICATE_FINGERPRINT, origin.id, issuer))
            keys.add((CERTIFICATE_SERIAL, origin.serial, issuer))
            keys.add((JWT_ID, origin.id, issuer))
            keys.add((JWT_SUBJECT, origin.subject, issuer))
    return frozenset(keys)


def _check(entry: Revocation) -> None:
    """Raises InvalidRequest for an entry that could never match, or would match what was not meant."""
    if entry.kind not in KINDS:
        raise InvalidRequest(f"a revocation is one of {', '.join(KINDS)}")
    if not entry.value or max(map(len, (entry.value, entry.issuer, entry.reason))) > TEXT_MAX:
        raise InvalidRequest(f"what is revoked must be named, in at most {TEXT_MAX} characters")
    if (entry.kind == JWT_SUBJECT) != (entry.issued_before_ms is not None):
        raise InvalidRequest("a time of issue belongs to a subject, and a subject needs one")
    if entry.kind == JWT_SUBJECT and not entry.issuer:
        raise InvalidRequest("a subject is revoked together with its issuer")
    if entry.kind == CERTIFICATE_FINGERPRINT and entry.issuer:
        raise InvalidRequest("a fingerprint has no issuer")
    if entry.kind in (CERTIFICATE_FINGERPRINT, CERTIFICATE_SERIAL) and not set(entry.value) <= _HEX:
        raise InvalidRequest("fingerprints and serial numbers are hexadecimal digits in lower case")


_HEX = frozenset("0123456789abcdef")
