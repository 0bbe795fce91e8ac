"""CreateDelegationToken (38), RenewDelegationToken (39), ExpireDelegationToken (40) and
DescribeDelegationToken (41), KIP-48 and KIP-373: API tokens as Kafka's clients and tools manage them.

A user makes tokens for itself without further permission, for others with CreateTokens on ``User:name``. One
difference from Kafka: describing answers an empty HMAC, because the secret is not stored.
"""

from __future__ import annotations

from typing import Any

from rivven.api.context import RequestContext
from rivven.api.rules import Filter
from rivven.api.tokens import TokenService, TokenTerms, may_manage_tokens, visible_tokens
from rivven.errors import ErrorCode, RivvenError
from rivven.metadata.token_records import Token
from rivven.protocol import messages as m
from rivven.types import Operation, Principal, ResourceType

_Described = m.DescribeDelegationTokenResponse.DescribedDelegationToken
_Renewer = m.DescribeDelegationTokenResponse.DescribedDelegationTokenRenewer

CREATE_DELEGATION_TOKEN_RULES = (Filter(),)
RENEW_DELEGATION_TOKEN_RULES = (Filter(),)
EXPIRE_DELEGATION_TOKEN_RULES = (Filter(),)
DESCRIBE_DELEGATION_TOKEN_RULES = (Filter(),)

PERIOD_MAX_MS = 2**53
"""Longer periods mean forever, and a token's own end bounds them; the sum with the time stays an int64."""


def create_failed(_request: Any, _version: int, code: ErrorCode) -> Any:
    """As Kafka: no principals, no times, no secret."""
    return m.CreateDelegationTokenResponse(
        error_code=code, issue_timestamp_ms=-1, expiry_timestamp_ms=-1, max_timestamp_ms=-1
    )


def renew_failed(_request: Any, _version: int, code: ErrorCode) -> Any:
    """The answer to a renewal that is refused."""
    return m.RenewDelegationTokenResponse(error_code=code, expiry_timestamp_ms=-1)


def expire_failed(_request: Any, _version: int, code: ErrorCode) -> Any:
    """The answer to an expiry that is refused."""
    return m.ExpireDelegationTokenResponse(error_code=code, expiry_timestamp_ms=-1)


def describe_failed(_request: Any, _version: int, code: ErrorCode) -> Any:
    """The answer to a failed description."""
    return m.DescribeDelegationTokenResponse(error_code=code)


class DelegationTokenHandlers:
    """Handles CreateDelegationToken 1-3, RenewDelegationToken 1-2, ExpireDelegationToken 1-2 and
    DescribeDelegationToken 1-3.

    `max_lifetime_ms` and `expiry_ms` are Kafka's ``delegation.token.max.lifetime.ms`` and
    ``delegation.token.expiry.time.ms``.
    """

    def __init__(self, tokens: TokenService, max_lifetime_ms: int, expiry_ms: int) -> None:
        self._tokens = tokens
        self._max_lifetime_ms = max_lifetime_ms
        self._expiry_ms = expiry_ms

    def id_of_secret(self, secret: bytes) -> str | None:
        """The id of the token with this secret, ended or not; for the audit trail."""
        return self._tokens.id_of(secret)

    async def create_delegation_token(self, context: RequestContext, request: Any) -> Any:
        """Make a token; its secret is in this answer only."""
        requester = self._requester(context)
        owner = _owner(request, requester)
        if owner != requester and not context.access.allowed(
            Operation.CREATE_TOKENS, ResourceType.USER, str(owner)
        ):
            raise RivvenError("not authorised", ErrorCode.DELEGATION_TOKEN_AUTHORIZATION_FAILED)
        if any(one.principal_type != "User" for one in request.renewers):
            raise RivvenError("a renewer must be a User", ErrorCode.INVALID_PRINCIPAL_TYPE)
        asked_ms = request.max_lifetime_ms
        lifetime_ms = self._max_lifetime_ms if asked_ms <= 0 else min(asked_ms, self._max_lifetime_ms)
        token, new = await self._tokens.issue(
            TokenTerms(
                owner=owner,
                creator=requester,
                lifetime_ms=lifetime_ms,
                validity_ms=self._expiry_ms,
                made_with=context.session.credential,
                renewers=tuple(
                    dict.fromkeys(Principal("User", one.principal_name) for one in request.renewers)
                ),
            )
        )
        return m.CreateDelegationTokenResponse(
            principal_type=owner.kind,
            principal_name=owner.name,
            token_requester_principal_type=requester.kind,
            token_requester_principal_name=requester.name,
            issue_timestamp_ms=token.issued_at_ms,
            expiry_timestamp_ms=token.expires_at_ms,
            max_timestamp_ms=token.max_expires_at_ms,
            token_id=token.token_id,
            hmac=new.secret,
        )

    async def renew_delegation_token(self, context: RequestContext, request: Any) -> Any:
        """Move a token's expiry to a period from now, never beyond its end."""
        requester = self._requester(context)
        period_ms = self._expiry_ms if request.renew_period_ms < 0 else request.renew_period_ms
        token = await self._tokens.renew(request.hmac, requester, min(period_ms, PERIOD_MAX_MS))
        return m.RenewDelegationTokenResponse(expiry_timestamp_ms=token.expires_at_ms)

    async def expire_delegation_token(self, context: RequestContext, request: Any) -> Any:
        """End a token after a period, or now when it is negative."""
        requester = self._requester(context)
        period_ms = min(request.expiry_time_period_ms, PERIOD_MAX_MS)
        token = await self._tokens.expire(request.hmac, requester, period_ms)
        ended_ms = token.revoked_at_ms if token.revoked_at_ms is not None else token.expires_at_ms
        return m.ExpireDelegationTokenResponse(expiry_timestamp_ms=ended_ms)

    async def describe_delegation_token(self, context: RequestContext, request: Any) -> Any:
        """Valid tokens of the named owners (of all without names) that the requester may see."""
        context.access.about_oneself()
        wanted = None
        if request.owners is not None:
            wanted = {Principal(one.principal_type, one.principal_name) for one in request.owners}
        now_ms = self._tokens.now_ms()
        asked = (
            token
            for token in self._tokens.all()
            if token.state(now_ms) == "active" and _concerns(token, wanted)
        )
        shown = [_described(token) for token in await visible_tokens(context.access, asked)]
        return m.DescribeDelegationTokenResponse(tokens=shown)

    def _requester(self, context: RequestContext) -> Principal:
        """Who asks, as itself. Raises RivvenError on sessions that may not manage tokens (64)."""
        context.access.about_oneself()
        subject = context.session.subject
        if subject is None or not may_manage_tokens(subject, context.session.credential):
            raise RivvenError(
                "tokens are not managed with a token, nor by nobody",
                ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED,
            )
        return subject.principal


def _owner(request: Any, requester: Principal) -> Principal:
    if not request.owner_principal_name:
        return requester
    return Principal(request.owner_principal_type or "User", request.owner_principal_name)


def _concerns(token: Token, wanted: set[Principal] | None) -> bool:
    return wanted is None or token.owner in wanted or not wanted.isdisjoint(token.renewers)


def _described(token: Token) -> Any:
    return _Described(
        principal_type=token.owner.kind,
        principal_name=token.owner.name,
        token_requester_principal_type=token.creator.kind,
        token_requester_principal_name=token.creator.name,
        issue_timestamp=token.issued_at_ms,
        expiry_timestamp=token.expires_at_ms,
        max_timestamp=token.max_expires_at_ms,
        token_id=token.token_id,
        renewers=[_Renewer(principal_type=one.kind, principal_name=one.name) for one in token.renewers],
    )
