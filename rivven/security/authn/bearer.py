"""Bearer credentials, wherever they come in: SASL OAUTHBEARER and the HTTP header `Authorization: Bearer`.

Pure. It only tells whose a token is: one of our own (`rvn_...`) goes to the token store and never to the JWT
parser, everything else is a JWT of an identity provider.
"""

from __future__ import annotations

from typing import Protocol

from rivven.security.authn.authenticator import Authenticated, Deferred, Rejected, Step
from rivven.security.authn.jwt_verifier import Finish, JwtVerifier, Verdict

OWN_PREFIX = "rvn_"
"""How API tokens begin."""


class OwnTokens(Protocol):
    """The store of API tokens."""

    def verify(self, text: str, *, host: str, now_ms: int) -> Authenticated | Rejected: ...


class BearerAuthentication:
    """One judgement about a bearer token, by the store of API tokens and the verifier of JWTs there are."""

    def __init__(self, tokens: OwnTokens | None = None, jwts: JwtVerifier | None = None) -> None:
        self.tokens = tokens
        self.jwts = jwts

    def verify(self, text: str, host: str, now_ms: int, finish: Finish | None = None) -> Step | Deferred:
        """Authenticated or Rejected (through `finish`, if given), Deferred when a key has to be fetched."""
        end = finish or _as_it_is
        if text.startswith(OWN_PREFIX):
            if self.tokens is None:
                return end(Rejected("an API token, which are not used here"))
            return end(self.tokens.verify(text, host=host, now_ms=now_ms))
        if self.jwts is None:
            return end(Rejected("a bearer token that is no API token, and no issuer is configured"))
        return self.jwts.verify(text, host, now_ms, end)


def _as_it_is(verdict: Verdict) -> Step:
    return verdict
