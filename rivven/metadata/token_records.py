"""API tokens as values, their events, and the bytes of those events in the journal.

Pure. A token's secret is never here: only a keyed hash of it and SCRAM verifiers. See docs/formats.md.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rivven.metadata.family import EventCodec
from rivven.protocol.scram import ScramMechanism, ScramVerifier, format_verifier, parse_verifier
from rivven.types import Principal


@dataclass(frozen=True, slots=True)
class TokenSecret:
    """What is stored instead of a secret.

    `digest` is the keyed hash of its 32 bytes, `key_id` tells under which key; `verifiers` are those of its
    base64, for SCRAM with ``tokenauth=true`` (KIP-48).
    """

    digest: bytes = field(repr=False)
    key_id: str
    verifiers: tuple[ScramVerifier, ...] = field(repr=False)

    def verifier(self, mechanism: ScramMechanism) -> ScramVerifier | None:
        """The verifier of a mechanism."""
        return next((one for one in self.verifiers if one.mechanism is mechanism), None)


@dataclass(frozen=True, slots=True)
class TokenOrigin:
    """The identity from outside a token was made under, as far as its revocation must recognise it.

    `kind` is jwt (`id` its ``jti``, then ``iss``, ``sub``, ``iat``) or certificate (`id` its SHA-256
    fingerprint in hex, its issuer, serial in hex): the members of `metadata.revocations.Revocable`.
    """

    kind: str
    id: str = ""
    issuer: str = ""
    subject: str = ""
    serial: str = ""
    issued_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """One API token. Times are wall clock milliseconds.

    `version` rises with each rotation; `previous` is the secret before the last one and counts as version - 1
    until `previous_until_ms`. `scope` None is no ceiling. `local_owner` says that the owner was a user of
    this cluster: the token then lives no longer than that user. `origin` is the identity from outside under
    which it was made: it counts only while that does. `last_used_ms` may be an hour behind.
    """

    token_id: str
    owner: Principal
    creator: Principal
    label: str
    secret: TokenSecret
    issued_at_ms: int
    expires_at_ms: int
    max_expires_at_ms: int
    renewers: tuple[Principal, ...] = ()
    scope: tuple[str, ...] | None = None
    allowed_cidrs: tuple[str, ...] = ()
    local_owner: bool = False
    origin: TokenOrigin | None = None
    version: int = 1
    previous: TokenSecret | None = None
    previous_until_ms: int = 0
    revoked_at_ms: int | None = None
    last_used_ms: int | None = None
    last_used_from: str = ""

    def state(self, now_ms: int) -> str:
        """``active``, ``expired`` or ``revoked``."""
        if self.revoked_at_ms is not None:
            return "revoked"
        return "expired" if now_ms >= self.expires_at_ms else "active"

    def ended_at_ms(self) -> int:
        """When it ceased, or will cease, to be valid."""
        return self.expires_at_ms if self.revoked_at_ms is None else self.revoked_at_ms

    def secrets(self, now_ms: int) -> tuple[tuple[int, TokenSecret], ...]:
        """(version, secret) of what may prove the token now, the current one first."""
        current = (self.version, self.secret)
        if self.previous is None or now_ms >= self.previous_until_ms:
            return (current,)
        return (current, (self.version - 1, self.previous))

    def may_renew(self, principal: Principal) -> bool:
        """Owner and renewers may move or end the expiry (KIP-48)."""
        return principal == self.owner or principal in self.renewers


@dataclass(frozen=True, slots=True)
class TokenStored:
    """A token as it is now: issued, or changed in any way but its last use."""

    token: Token


@dataclass(frozen=True, slots=True)
class TokensUsed:
    """Last uses: (token id, time, address)."""

    uses: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True, slots=True)
class TokensForgotten:
    """Tokens that ended long ago and are no longer listed."""

    token_ids: tuple[str, ...]


def _secret_members(secret: TokenSecret) -> dict[str, Any]:
    return {
        "digest": b64encode(secret.digest).decode(),
        "key": secret.key_id,
        "scram": [format_verifier(one) for one in secret.verifiers],
    }


def _secret(document: Mapping[str, Any]) -> TokenSecret:
    return TokenSecret(
        b64decode(document["digest"], validate=True),
        str(document["key"]),
        tuple(parse_verifier(text) for text in document["scram"]),
    )


def _origin_members(origin: TokenOrigin) -> dict[str, Any]:
    named = {"id": origin.id, "issuer": origin.issuer, "subject": origin.subject, "serial": origin.serial}
    members: dict[str, Any] = {"kind": origin.kind, **{name: text for name, text in named.items() if text}}
    if origin.issued_at_ms is not None:
        members["issued"] = origin.issued_at_ms
    return members


def _origin(document: Mapping[str, Any]) -> TokenOrigin:
    return TokenOrigin(
        kind=str(document["kind"]),
        id=str(document.get("id", "")),
        issuer=str(document.get("issuer", "")),
        subject=str(document.get("subject", "")),
        serial=str(document.get("serial", "")),
        issued_at_ms=document.get("issued"),
    )


def _token_members(event: TokenStored) -> dict[str, Any]:
    token = event.token
    members: dict[str, Any] = {
        "id": token.token_id,
        "owner": str(token.owner),
        "creator": str(token.creator),
        "label": token.label,
        "secret": _secret_members(token.secret),
        "issued": token.issued_at_ms,
        "expires": token.expires_at_ms,
        "max": token.max_expires_at_ms,
        "version": token.version,
        "local": token.local_owner,
    }
    if token.renewers:
        members["renewers"] = [str(one) for one in token.renewers]
    if token.scope is not None:
        members["scope"] = list(token.scope)
    if token.allowed_cidrs:
        members["cidrs"] = list(token.allowed_cidrs)
    if token.origin is not None:
        members["origin"] = _origin_members(token.origin)
    if token.previous is not None:
        members["previous"] = _secret_members(token.previous)
        members["previous_until"] = token.previous_until_ms
    if token.revoked_at_ms is not None:
        members["revoked"] = token.revoked_at_ms
    if token.last_used_ms is not None:
        members["used"] = [token.last_used_ms, token.last_used_from]
    return members


def _token(document: dict[str, Any]) -> TokenStored:
    scope, previous, origin = (document.get(name) for name in ("scope", "previous", "origin"))
    used_ms, used_from = document.get("used", (None, ""))
    return TokenStored(
        Token(
            token_id=document["id"],
            owner=Principal.parse(document["owner"]),
            creator=Principal.parse(document["creator"]),
            label=document["label"],
            secret=_secret(document["secret"]),
            issued_at_ms=document["issued"],
            expires_at_ms=document["expires"],
            max_expires_at_ms=document["max"],
            renewers=tuple(Principal.parse(one) for one in document.get("renewers", ())),
            scope=None if scope is None else tuple(scope),
            allowed_cidrs=tuple(document.get("cidrs", ())),
            local_owner=document["local"],
            origin=None if origin is None else _origin(origin),
            version=document["version"],
            previous=None if previous is None else _secret(previous),
            previous_until_ms=document.get("previous_until", 0),
            revoked_at_ms=document.get("revoked"),
            last_used_ms=used_ms,
            last_used_from=used_from,
        )
    )


TOKEN_CODECS = (
    EventCodec(TokenStored, "token", lambda event: event.token.token_id, _token_members, _token),
    EventCodec(
        TokensUsed,
        "tokens-used",
        lambda event: str(len(event.uses)),
        lambda event: {"uses": [list(use) for use in event.uses]},
        lambda document: TokensUsed(tuple((one, ms, where) for one, ms, where in document["uses"])),
    ),
    EventCodec(
        TokensForgotten,
        "tokens-forgotten",
        lambda event: str(len(event.token_ids)),
        lambda event: {"ids": list(event.token_ids)},
        lambda document: TokensForgotten(tuple(document["ids"])),
    ),
)
"""Codecs of the three events; `metadata.tokens` is the family that has them."""
