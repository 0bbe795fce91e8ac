"""API tokens in the metadata: issue, renew, expire, revoke, rotate, and when each was last used.

Pure. Secrets, ids and their hashes are made by whoever sends a command. Who may do what is decided before a
command is sent, except what only the token itself can tell: renewing and expiring are for its owner and
renewers (KIP-48). Error codes are Kafka's: 62 unknown, 63 neither owner nor renewer, 66 expired.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from rivven.errors import ErrorCode, InvalidRequest, RivvenError
from rivven.metadata.family import EventCodec
from rivven.metadata.token_records import (
    TOKEN_CODECS,
    Token,
    TokenOrigin,
    TokenSecret,
    TokensForgotten,
    TokenStored,
    TokensUsed,
)
from rivven.types import Principal

if TYPE_CHECKING:
    from rivven.metadata.image import MetadataImage

TOKENS_MAX = 20_000
"""All tokens live in memory, about 2 KB each; ended ones count until they are forgotten."""

TOKENS_PER_OWNER_MAX = 500
"""Valid tokens of one owner: more is a program that issues in a loop, and it must not use up everybody's."""

LABEL_CHARACTERS_MAX = 128
RENEWERS_MAX = 32
SCOPE_ENTRIES_MAX = 64
SCOPE_CHARACTERS_MAX = 512
ORIGIN_CHARACTERS_MAX = 2_048
"""Of each name in an origin: as long as what a revocation can name."""

CIDRS_MAX = 32
"""Each is looked at with every login of the token."""

LIFETIME_MAX_MS = 3_660 * 86_400_000
"""Ten years: a token without an end is a password nobody changes."""

OVERLAP_MAX_MS = 30 * 86_400_000
"""How long an old secret may live beside its successor."""

LISTED_AFTER_END_MS = 7 * 86_400_000
"""An ended token stays in lists for a week, so that its owner sees why a client is refused."""

FORGOTTEN_AT_ONCE_MAX = 200
"""Ended tokens forgotten by one issue; it adds one, so the number falls."""

USES_MAX = 1_000
"""Last uses in one event, so that a record stays below 100 KB."""

Events = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class IssueToken:
    """Make a token that is valid for `validity_ms` and can be renewed up to `lifetime_ms` from now.

    Reply: the `Token`. Refused when the owner or the cluster has too many.
    """

    token_id: str
    owner: Principal
    creator: Principal
    secret: TokenSecret
    lifetime_ms: int
    validity_ms: int
    label: str = ""
    renewers: tuple[Principal, ...] = ()
    scope: tuple[str, ...] | None = None
    allowed_cidrs: tuple[str, ...] = ()
    local_owner: bool = False
    origin: TokenOrigin | None = None


@dataclass(frozen=True, slots=True)
class RenewToken:
    """Move the expiry of the token with this digest to `period_ms` from now. Reply: the `Token`."""

    digest: bytes
    by: Principal
    period_ms: int


@dataclass(frozen=True, slots=True)
class ExpireToken:
    """As `RenewToken`, for an earlier end; a negative period revokes it at once. Reply: the `Token`."""

    digest: bytes
    by: Principal
    period_ms: int


@dataclass(frozen=True, slots=True)
class RevokeToken:
    """End a token for good. Reply: the `Token`; one that has ended already stays as it is."""

    token_id: str


@dataclass(frozen=True, slots=True)
class RevokeTokensOf:
    """End every token that belongs to an owner (who is no more). Reply: how many."""

    owner: Principal


@dataclass(frozen=True, slots=True)
class RotateToken:
    """Give a token a new secret; the old one works for `overlap_ms` more. Reply: the `Token`.

    An `origin` takes the place of the token's; None leaves it.
    """

    token_id: str
    secret: TokenSecret
    overlap_ms: int = 0
    origin: TokenOrigin | None = None


@dataclass(frozen=True, slots=True)
class RecordTokenUses:
    """Note when tokens were last used: (token id, time, address). Reply: None."""

    uses: tuple[tuple[str, int, str], ...]


class Tokens:
    """Implements `Family`."""

    codecs: ClassVar[tuple[EventCodec, ...]] = TOKEN_CODECS
    commands: ClassVar[tuple[type, ...]] = (
        IssueToken,
        RenewToken,
        ExpireToken,
        RevokeToken,
        RevokeTokensOf,
        RotateToken,
        RecordTokenUses,
    )

    def __init__(self) -> None:
        self.version = 0
        """The image's version when a token last changed; a use is no change."""
        self._tokens: dict[str, Token] = {}
        self._by_digest: dict[bytes, str] = {}
        self._by_owner: dict[Principal, dict[str, None]] = {}

    # -- reading ---------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._tokens)

    def __iter__(self) -> Iterator[Token]:
        """Tokens in the order of their issue, ended ones among them for a week."""
        return iter(self._tokens.values())

    def find(self, token_id: str) -> Token | None:
        """The token with this id, ended or not."""
        return self._tokens.get(token_id)

    def id_of(self, digest: bytes) -> str | None:
        """The id of the token whose present secret has this hash."""
        return self._by_digest.get(digest)

    def of_owner(self, owner: Principal) -> list[Token]:
        """The tokens of one owner."""
        return [self._tokens[token_id] for token_id in self._by_owner.get(owner, ())]

    # -- deciding --------------------------------------------------------------------------------------------

    def decide(self, command: Any, image: MetadataImage, now_ms: int) -> tuple[Events, Any]:
        """See `Family.decide`."""
        match command:
            case IssueToken():
                return self._issue(command, now_ms)
            case RenewToken(digest, by, period_ms):
                token = self._renewable(digest, by)
                return self._until(token, period_ms, now_ms)
            case ExpireToken(digest, by, period_ms):
                token = self._renewable(digest, by)
                if period_ms < 0:
                    return self._revoked(token, now_ms)
                return self._until(token, period_ms, now_ms)
            case RevokeToken(token_id):
                return self._revoked(self._known(token_id), now_ms)
            case RevokeTokensOf(owner):
                events = self.revoked_with(owner, now_ms)
                return events, len(events)
            case RotateToken():
                return self._rotate(command, now_ms)
            case RecordTokenUses(uses):
                known = tuple(use for use in uses if use[0] in self._tokens)[:USES_MAX]
                return ((TokensUsed(known),) if known else ()), None
            case _:
                raise TypeError(f"not a command about tokens: {type(command).__name__}")

    def revoked_with(self, owner: Principal, now_ms: int) -> Events:
        """What ends every valid token of an owner who goes."""
        living = [token for token in self.of_owner(owner) if token.state(now_ms) == "active"]
        return tuple(TokenStored(replace(token, revoked_at_ms=now_ms)) for token in living)

    def _issue(self, command: IssueToken, now_ms: int) -> tuple[Events, Token]:
        _check_issue(command)
        if command.token_id in self._tokens:
            raise InvalidRequest("the token id is in use")
        owned = sum(token.state(now_ms) == "active" for token in self.of_owner(command.owner))
        if owned >= TOKENS_PER_OWNER_MAX:
            raise RivvenError(
                f"an owner can have at most {TOKENS_PER_OWNER_MAX} valid tokens", ErrorCode.POLICY_VIOLATION
            )
        forgotten = self._forgettable(now_ms)
        if len(self._tokens) - len(forgotten) >= TOKENS_MAX:
            raise RivvenError(f"there can be at most {TOKENS_MAX} tokens", ErrorCode.POLICY_VIOLATION)
        end = now_ms + command.lifetime_ms
        token = Token(
            token_id=command.token_id,
            owner=command.owner,
            creator=command.creator,
            label=command.label,
            secret=command.secret,
            issued_at_ms=now_ms,
            expires_at_ms=min(end, now_ms + command.validity_ms),
            max_expires_at_ms=end,
            renewers=command.renewers,
            scope=command.scope,
            allowed_cidrs=command.allowed_cidrs,
            local_owner=command.local_owner,
            origin=command.origin,
        )
        events: Events = (TokenStored(token),)
        if forgotten:
            events = (TokensForgotten(forgotten), *events)
        return events, token

    def _forgettable(self, now_ms: int) -> tuple[str, ...]:
        """Tokens whose time in the lists is over; with a full house also those that ended just now."""
        grace_ms = LISTED_AFTER_END_MS if len(self._tokens) < TOKENS_MAX else 0
        over = (one.token_id for one in self._tokens.values() if one.ended_at_ms() + grace_ms <= now_ms)
        return tuple(token_id for token_id, _ in zip(over, range(FORGOTTEN_AT_ONCE_MAX), strict=False))

    def _known(self, token_id: str) -> Token:
        token = self._tokens.get(token_id)
        if token is None:
            raise RivvenError("there is no such token", ErrorCode.DELEGATION_TOKEN_NOT_FOUND)
        return token

    def _renewable(self, digest: bytes, by: Principal) -> Token:
        token = self._known(self._by_digest.get(digest, ""))
        if token.revoked_at_ms is not None:
            raise RivvenError("there is no such token", ErrorCode.DELEGATION_TOKEN_NOT_FOUND)
        if not token.may_renew(by):
            raise RivvenError(
                "only the owner and the renewers of a token may do this",
                ErrorCode.DELEGATION_TOKEN_OWNER_MISMATCH,
            )
        return token

    def _until(self, token: Token, period_ms: int, now_ms: int) -> tuple[Events, Token]:
        _check_active(token, now_ms)
        changed = replace(token, expires_at_ms=min(token.max_expires_at_ms, now_ms + period_ms))
        return (TokenStored(changed),), changed

    def _revoked(self, token: Token, now_ms: int) -> tuple[Events, Token]:
        if token.revoked_at_ms is not None:
            return (), token
        changed = replace(token, revoked_at_ms=now_ms, previous=None, previous_until_ms=0)
        return (TokenStored(changed),), changed

    def _rotate(self, command: RotateToken, now_ms: int) -> tuple[Events, Token]:
        token = self._known(command.token_id)
        _check_active(token, now_ms)
        if not 0 <= command.overlap_ms <= OVERLAP_MAX_MS:
            raise InvalidRequest(f"the overlap must be 0 to {OVERLAP_MAX_MS} ms")
        _check_origin(command.origin)
        keep = command.overlap_ms > 0
        changed = replace(
            token,
            secret=command.secret,
            origin=command.origin or token.origin,
            version=token.version + 1,
            previous=token.secret if keep else None,
            previous_until_ms=now_ms + command.overlap_ms if keep else 0,
        )
        return (TokenStored(changed),), changed

    # -- changing --------------------------------------------------------------------------------------------

    def apply(self, event: Any, version: int) -> None:
        """See `Family.apply`."""
        match event:
            case TokenStored(token):
                self._forget(token.token_id, keep_place=True)
                self._tokens[token.token_id] = token
                self._by_digest[token.secret.digest] = token.token_id
                self._by_owner.setdefault(token.owner, {})[token.token_id] = None
                self.version = version
            case TokensForgotten(token_ids):
                for token_id in token_ids:
                    self._forget(token_id)
                self.version = version
            case TokensUsed(uses):
                for token_id, used_ms, used_from in uses:
                    known = self._tokens.get(token_id)
                    if known is not None:
                        changed = replace(known, last_used_ms=used_ms, last_used_from=used_from)
                        self._tokens[token_id] = changed

    def _forget(self, token_id: str, *, keep_place: bool = False) -> None:
        token = self._tokens.get(token_id)
        if token is None:
            return
        if not keep_place:
            del self._tokens[token_id]
        self._by_digest.pop(token.secret.digest, None)
        owned = self._by_owner[token.owner]
        del owned[token_id]
        if not owned:
            del self._by_owner[token.owner]

    def events(self) -> Iterator[Any]:
        """See `Family.events`."""
        return (TokenStored(token) for token in self._tokens.values())


def _check_active(token: Token, now_ms: int) -> None:
    state = token.state(now_ms)
    if state == "revoked":
        raise RivvenError("the token was revoked", ErrorCode.DELEGATION_TOKEN_NOT_FOUND)
    if state == "expired":
        raise RivvenError("the token has expired", ErrorCode.DELEGATION_TOKEN_EXPIRED)


def _check_issue(command: IssueToken) -> None:
    """Bounds; what a scope or an address range means is checked by who knows it."""
    if not 0 < command.lifetime_ms <= LIFETIME_MAX_MS or command.validity_ms <= 0:
        raise InvalidRequest("a token lives at least a millisecond and at most ten years")
    if len(command.label) > LABEL_CHARACTERS_MAX or not command.label.isprintable():
        raise InvalidRequest(f"a token's name has at most {LABEL_CHARACTERS_MAX} printable characters")
    if len(command.renewers) > RENEWERS_MAX:
        raise InvalidRequest(f"a token has at most {RENEWERS_MAX} renewers")
    if len(command.allowed_cidrs) > CIDRS_MAX:
        raise InvalidRequest(f"a token has at most {CIDRS_MAX} address ranges")
    _check_origin(command.origin)
    scope = command.scope
    if scope is not None and (
        not 0 < len(scope) <= SCOPE_ENTRIES_MAX or any(len(one) > SCOPE_CHARACTERS_MAX for one in scope)
    ):
        raise InvalidRequest(
            f"a scope has 1 to {SCOPE_ENTRIES_MAX} entries of at most {SCOPE_CHARACTERS_MAX} characters"
        )


def _check_origin(origin: TokenOrigin | None) -> None:
    """An identity that no revocation could name must not leave a token behind."""
    if origin is None:
        return
    names = (origin.id, origin.issuer, origin.subject, origin.serial)
    if max(map(len, names)) > ORIGIN_CHARACTERS_MAX:
        raise InvalidRequest(
            f"tokens are not made under an identity with names of over {ORIGIN_CHARACTERS_MAX} characters"
        )
