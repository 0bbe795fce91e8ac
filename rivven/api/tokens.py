"""The one service behind both ways to manage tokens: Kafka's APIs 38-41 and the Admin API.

Driver. It makes ids, secrets and their hashes and submits the commands; it asks no permission, its callers
do. A new secret is in the value returned and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from rivven.clock import Clock
from rivven.metadata.service import MetadataService
from rivven.metadata.token_records import Token, TokenOrigin, TokenSecret
from rivven.metadata.tokens import (
    ExpireToken,
    IssueToken,
    RenewToken,
    RevokeToken,
    RotateToken,
    Tokens,
)
from rivven.security.authn.authenticator import NO_CREDENTIAL, Credential, Entropy
from rivven.security.authn.token_text import (
    SALT_BYTES,
    SECRET_BYTES,
    NewToken,
    TokenHashKeys,
    new_token,
    token_verifiers,
)
from rivven.security.authn.token_uses import TokenUses
from rivven.security.authz.access import Access
from rivven.security.authz.authorizer import Subject
from rivven.types import ANONYMOUS, Operation, Principal, ResourceType

TOKENS_A_TURN = 500
"""Tokens looked at for a list before others get the loop: each may cost two decisions, 5 µs."""

DERIVATIONS_MAX = 1
"""Secrets hashed at once: 5 ms of a core each, and whoever may log in may ask for a token of its own."""


EXTERNAL_KINDS = ("jwt", "certificate")
"""Credentials others issue: what is made under one counts only while it does."""


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """What a token is to be; see `metadata.token_records.Token`. `made_with` is what its maker's session was
    opened with."""

    owner: Principal
    creator: Principal
    lifetime_ms: int
    validity_ms: int
    label: str = ""
    renewers: tuple[Principal, ...] = ()
    scope: tuple[str, ...] | None = None
    allowed_cidrs: tuple[str, ...] = ()
    made_with: Credential = NO_CREDENTIAL


def may_manage_tokens(subject: Subject, credential: Credential) -> bool:
    """Whether a session may create or change tokens at all: never with a token, never as nobody.

    Else a token could make one without its own scope or end.
    """
    return subject.principal != ANONYMOUS and credential.kind != "token" and subject.scope is None


def token_origin(credential: Credential) -> TokenOrigin | None:
    """The identity from outside behind a session, None when it logged in with what is kept here."""
    if credential.kind not in EXTERNAL_KINDS:
        return None
    return TokenOrigin(
        kind=credential.kind,
        id=credential.id,
        issuer=credential.issuer,
        subject=credential.subject,
        serial=credential.serial,
        issued_at_ms=credential.issued_at_ms,
    )


async def visible_tokens(access: Access, tokens: Iterable[Token]) -> list[Token]:
    """Those of `tokens` that a subject may see: its own, those it may renew, and with DescribeTokens on the
    owner or Describe on the token those of others."""
    waiting, seen = list(tokens), []
    for start in range(0, len(waiting), TOKENS_A_TURN):
        seen += _visible(access, waiting[start : start + TOKENS_A_TURN])
        await asyncio.sleep(0)
    return seen


def _visible(access: Access, tokens: Sequence[Token]) -> list[Token]:
    subject = access.subject
    if subject is None:
        return []
    others = [token for token in tokens if not token.may_renew(subject.principal)]
    owners = access.filter(
        Operation.DESCRIBE_TOKENS, ResourceType.USER, {str(token.owner) for token in others}
    )
    asked = [token.token_id for token in others if str(token.owner) not in owners]
    hidden = set(asked) - access.filter(Operation.DESCRIBE, ResourceType.DELEGATION_TOKEN, asked)
    return [token for token in tokens if token.token_id not in hidden]


class TokenService:
    """Belongs to the event loop. `is_local(name)` tells whether a user of this cluster is called so."""

    def __init__(
        self,
        metadata: MetadataService,
        keys: TokenHashKeys,
        uses: TokenUses,
        clock: Clock,
        entropy: Entropy,
        is_local: Callable[[str], bool],
    ) -> None:
        self._metadata = metadata
        self._keys = keys
        self._uses = uses
        self._clock = clock
        self._entropy = entropy
        self._is_local = is_local
        self._derivations = asyncio.Semaphore(DERIVATIONS_MAX)

    @property
    def _tokens(self) -> Tokens:
        return self._metadata.image.of(Tokens)

    def all(self) -> Iterator[Token]:
        """Every token, with its last use as of now; ended ones among them for a week."""
        return (self._with_use(token) for token in self._tokens)

    def find(self, token_id: str) -> Token | None:
        """One token, with its last use as of now."""
        token = self._tokens.find(token_id)
        return None if token is None else self._with_use(token)

    def id_of(self, secret: bytes) -> str | None:
        """The id of the token with this secret; None when there is none, or it was rotated away."""
        return self._tokens.id_of(self._digest_of(secret))

    def now_ms(self) -> int:
        """The time by which tokens end."""
        return self._clock.now_ms()

    async def issue(self, terms: TokenTerms) -> tuple[Token, NewToken]:
        """Make a token. Raises RivvenError when it is refused."""
        new = new_token(self._entropy)
        secret = await self._stored(new.secret, self._entropy(SALT_BYTES))
        owner = terms.owner
        command = IssueToken(
            token_id=new.token_id,
            owner=owner,
            creator=terms.creator,
            secret=secret,
            lifetime_ms=terms.lifetime_ms,
            validity_ms=terms.validity_ms,
            label=terms.label,
            renewers=terms.renewers,
            scope=terms.scope,
            allowed_cidrs=terms.allowed_cidrs,
            local_owner=owner.kind == "User" and self._is_local(owner.name),
            origin=token_origin(terms.made_with),
        )
        token: Token = await self._metadata.submit(command)
        return token, new

    async def renew(self, secret: bytes, by: Principal, period_ms: int) -> Token:
        """Move the expiry of the token with this secret. Raises RivvenError."""
        token: Token = await self._metadata.submit(RenewToken(self._digest_of(secret), by, period_ms))
        return token

    async def expire(self, secret: bytes, by: Principal, period_ms: int) -> Token:
        """Move the expiry nearer, or with a negative period end the token now. Raises RivvenError."""
        token: Token = await self._metadata.submit(ExpireToken(self._digest_of(secret), by, period_ms))
        return token

    async def revoke(self, token_id: str) -> Token:
        """End a token for good. Raises RivvenError when there is none."""
        token: Token = await self._metadata.submit(RevokeToken(token_id))
        return token

    async def rotate(
        self, token_id: str, overlap_ms: int, made_with: Credential = NO_CREDENTIAL
    ) -> tuple[Token, NewToken]:
        """Give a token a new secret. Raises RivvenError when there is none, or it has ended.

        `made_with` is what the session of an owner was opened with: the token then rests on that identity.
        """
        new = NewToken(token_id, self._entropy(SECRET_BYTES))
        secret = await self._stored(new.secret, self._salt_of(token_id))
        origin = token_origin(made_with)
        token: Token = await self._metadata.submit(RotateToken(token_id, secret, overlap_ms, origin))
        return token, new

    def _salt_of(self, token_id: str) -> bytes:
        """The salt of a token for its life: a SCRAM login says its salt before it shows which of two valid
        secrets it has. Secrets of 256 random bits do not need another salt each."""
        token = self._tokens.find(token_id)
        return token.secret.verifiers[0].salt if token is not None else self._entropy(SALT_BYTES)

    async def _stored(self, secret: bytes, salt: bytes) -> TokenSecret:
        async with self._derivations:
            verifiers = await asyncio.to_thread(token_verifiers, secret, salt)
        return TokenSecret(self._keys.digest(secret), self._keys.key_id, verifiers)

    def _digest_of(self, secret: bytes) -> bytes:
        """The hash a token with this secret is found by: under the key that it was made with."""
        found = self._keys.digests(secret).values()
        return next((one for one in found if self._tokens.id_of(one) is not None), next(iter(found)))

    def _with_use(self, token: Token) -> Token:
        used_ms, used_from = self._uses.last(token.token_id, (token.last_used_ms, token.last_used_from))
        if used_ms == token.last_used_ms:
            return token
        return replace(token, last_used_ms=used_ms, last_used_from=used_from)
