"""Routes about API tokens: list, make, rotate, revoke.

Everybody manages its own; those of others take Kafka's permissions: DescribeTokens on the owner (or Describe
on the token) to see, CreateTokens on the owner to make, rotate and revoke. A secret is in the answer to its
making and nowhere else. Nothing is managed with a token.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rivven.actions import WordError
from rivven.api.tokens import TokenService, TokenTerms, may_manage_tokens, visible_tokens
from rivven.errors import ErrorCode, RivvenError
from rivven.http.admin.pages import Listing, PageQuery, page
from rivven.http.admin.problems import not_found
from rivven.http.admin.routes import Asked, Call, Route, denied
from rivven.metadata.token_records import Token
from rivven.metadata.tokens import (
    CIDRS_MAX,
    LABEL_CHARACTERS_MAX,
    LIFETIME_MAX_MS,
    OVERLAP_MAX_MS,
    SCOPE_CHARACTERS_MAX,
    SCOPE_ENTRIES_MAX,
)
from rivven.security.authn.authenticator import NO_CREDENTIAL
from rivven.security.authn.token_text import NewToken
from rivven.security.authn.tokens import canonical_range
from rivven.security.authz.rbac import parse_scope
from rivven.types import Operation, Principal, ResourceType

TTL_DEFAULT_MS = 90 * 86_400_000
"""Long enough to be no burden, short enough that a forgotten token ends."""

PRINCIPAL_CHARACTERS_MAX = 256

SEE = Asked("its owner, or describe-tokens on the owner, or describe on the token")
CHANGE = Asked("its owner, or create-tokens on the owner; never with a token")


class TokenInfo(BaseModel):
    """One token, without its secret. Times are milliseconds since 1970."""

    id: str
    name: str = Field(description="A label; it identifies nothing.")
    owner: str = Field(description="As whom the token acts.")
    creator: str
    state: str = Field(description="active, expired or revoked; ended tokens are listed for a week.")
    scope: list[str] | None = Field(description="The ceiling of what it may do; null: what its owner may.")
    allowed_cidrs: list[str] = Field(description="Where it works from; empty: everywhere.")
    renewers: list[str]
    version: int = Field(description="Rises with each rotation.")
    issued_at_ms: int
    expires_at_ms: int
    max_expires_at_ms: int = Field(description="Until when it can be renewed (Kafka's API 39).")
    old_secret_until_ms: int | None = Field(description="While a rotation's old secret still works.")
    revoked_at_ms: int | None
    last_used_at_ms: int | None = Field(description="May be an hour too early after a crash.")
    last_used_from: str


class TokenSecret(BaseModel):
    """A token with its secret: shown this once, stored nowhere."""

    info: TokenInfo
    token: str = Field(repr=False, description="The token: a PLAIN or Basic password, or a bearer token.")
    kafka_password: str = Field(
        repr=False, description="For SCRAM with tokenauth=true; the user name is the token's id."
    )


class TokenRequest(BaseModel):
    """A token to make."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=LABEL_CHARACTERS_MAX, description="A label.")
    owner: str | None = Field(
        default=None,
        max_length=PRINCIPAL_CHARACTERS_MAX,
        description="User:NAME; yourself by default, others take create-tokens on them.",
    )
    ttl_ms: int = Field(default=TTL_DEFAULT_MS, ge=1, le=LIFETIME_MAX_MS, description="How long it lives.")
    scope: list[str] | None = Field(
        default=None,
        min_length=1,
        max_length=SCOPE_ENTRIES_MAX,
        description="Entries role:NAME or RESOURCE:ACTIONS, as topic:a-*:produce; null: what its owner may.",
    )
    allowed_cidrs: list[str] = Field(
        default=[], max_length=CIDRS_MAX, description="Address ranges it works from."
    )

    @field_validator("owner")
    @classmethod
    def _is_a_user(cls, owner: str | None) -> str | None:
        if owner is not None and Principal.parse(owner).kind != "User":
            raise ValueError("a token's owner is a User")
        return owner

    @field_validator("scope")
    @classmethod
    def _is_a_scope(cls, scope: list[str] | None) -> list[str] | None:
        if scope is None:
            return None
        if any(len(one) > SCOPE_CHARACTERS_MAX for one in scope):
            raise ValueError(f"an entry has at most {SCOPE_CHARACTERS_MAX} characters")
        try:
            return list(parse_scope(scope))
        except WordError as error:
            raise ValueError(str(error)) from None

    @field_validator("allowed_cidrs")
    @classmethod
    def _are_ranges(cls, ranges: list[str]) -> list[str]:
        return [canonical_range(one) for one in ranges]


class RotationRequest(BaseModel):
    """A new secret."""

    model_config = ConfigDict(extra="forbid", strict=True)

    overlap_ms: int = Field(
        default=0, ge=0, le=OVERLAP_MAX_MS, description="How long the old secret still works."
    )


class TokenQuery(PageQuery):
    """A list, perhaps of one owner's."""

    owner: str = Field(default="", max_length=PRINCIPAL_CHARACTERS_MAX, description="User:NAME.")


def routes(tokens: TokenService) -> list[Route]:
    """The rows of this module."""

    async def listing(call: Call) -> Listing[TokenInfo]:
        call.access.about_oneself()
        wanted = [one for one in tokens.all() if call.query.owner in ("", str(one.owner))]
        seen = await visible_tokens(call.access, wanted)
        return page(seen, lambda one: one.token_id, lambda one: _shown(one, tokens.now_ms()), call.query)

    async def show(call: Call) -> TokenInfo:
        return _shown(await _seen(call, tokens), tokens.now_ms())

    async def create(call: Call) -> TokenSecret:
        _refuse_tokens(call)
        asked: TokenRequest = call.body
        owner = call.subject.principal if asked.owner is None else Principal.parse(asked.owner)
        _require(call, Operation.CREATE_TOKENS, owner)
        terms = TokenTerms(
            owner=owner,
            creator=call.subject.principal,
            lifetime_ms=asked.ttl_ms,
            validity_ms=asked.ttl_ms,
            label=asked.name,
            scope=None if asked.scope is None else tuple(asked.scope),
            allowed_cidrs=tuple(asked.allowed_cidrs),
            made_with=call.identity.credential,
        )
        token, new = await tokens.issue(terms)
        call.made = f"delegation-token:{token.token_id}"
        return _secret(token, new, tokens.now_ms())

    async def rotate(call: Call) -> TokenSecret:
        token = _changeable(call, tokens)
        own = token.owner == call.subject.principal  # who rotates for another does not vouch for it
        made_with = call.identity.credential if own else NO_CREDENTIAL
        rotated = await tokens.rotate(token.token_id, call.body.overlap_ms, made_with)
        return _secret(*rotated, tokens.now_ms())

    async def revoke(call: Call) -> TokenInfo:
        token = _changeable(call, tokens)
        return _shown(await tokens.revoke(token.token_id), tokens.now_ms())

    one, target = "/v1/tokens/{id}", "delegation-token:{id}"
    return [
        Route(
            "GET", "/v1/tokens", SEE, listing, "API tokens you may see", Listing[TokenInfo], query=TokenQuery
        ),
        Route("GET", one, SEE, show, "One API token", TokenInfo),
        Route(
            "POST",
            "/v1/tokens",
            CHANGE,
            create,
            "Make an API token; its secret is in this answer only",
            TokenSecret,
            request=TokenRequest,
            status=201,
            audited="token_change",
            target="delegation-token:new",
            facts=lambda call: call.body.model_dump(exclude_none=True),
        ),
        Route(
            "POST",
            f"{one}/rotate",
            CHANGE,
            rotate,
            "Give an API token a new secret",
            TokenSecret,
            request=RotationRequest,
            audited="token_change",
            facts=lambda call: {"change": "rotate", "overlap_ms": call.body.overlap_ms},
            target=target,
        ),
        Route(
            "DELETE",
            one,
            CHANGE,
            revoke,
            "Revoke an API token for good; its sessions end",
            TokenInfo,
            audited="token_change",
            target=target,
        ),
    ]


def _refuse_tokens(call: Call) -> None:
    call.access.about_oneself()
    if not may_manage_tokens(call.subject, call.identity.credential):
        raise RivvenError(
            "tokens are not managed with a token, nor by nobody",
            ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED,
        )


def _require(call: Call, operation: Operation, owner: Principal) -> None:
    """For tokens of others."""
    if owner != call.subject.principal:
        call.require(operation, ResourceType.USER, str(owner))


def _changeable(call: Call, tokens: TokenService) -> Token:
    _refuse_tokens(call)
    token = tokens.find(call.path["id"])
    if token is None:
        raise _missing(call)
    _require(call, Operation.CREATE_TOKENS, token.owner)
    return token


async def _seen(call: Call, tokens: TokenService) -> Token:
    token = tokens.find(call.path["id"])
    if token is None:
        raise _missing(call)
    call.access.about_oneself()
    if not await visible_tokens(call.access, [token]):
        raise denied()
    return token


def _missing(call: Call) -> Exception:
    """404 for who may see any token of this id, else what somebody else's would get."""
    call.require(Operation.DESCRIBE, ResourceType.DELEGATION_TOKEN, call.path["id"])
    return not_found("there is no such token")


def _secret(token: Token, new: NewToken, now_ms: int) -> TokenSecret:
    return TokenSecret(info=_shown(token, now_ms), token=new.text, kafka_password=new.kafka_password)


def _shown(token: Token, now_ms: int) -> TokenInfo:
    overlap = token.previous is not None and now_ms < token.previous_until_ms
    return TokenInfo(
        id=token.token_id,
        name=token.label,
        owner=str(token.owner),
        creator=str(token.creator),
        state=token.state(now_ms),
        scope=None if token.scope is None else list(token.scope),
        allowed_cidrs=list(token.allowed_cidrs),
        renewers=[str(one) for one in token.renewers],
        version=token.version,
        issued_at_ms=token.issued_at_ms,
        expires_at_ms=token.expires_at_ms,
        max_expires_at_ms=token.max_expires_at_ms,
        old_secret_until_ms=token.previous_until_ms if overlap else None,
        revoked_at_ms=token.revoked_at_ms,
        last_used_at_ms=token.last_used_ms,
        last_used_from=token.last_used_from,
    )
