"""Whose a bearer token is: ours go to the store, all others to the verifier of JWTs."""

from __future__ import annotations

import pytest

from rivven.security.authn.authenticator import Authenticated, Rejected
from rivven.security.authn.bearer import BearerAuthentication
from rivven.types import Principal
from tests.unit.security.authn.bearing import HOST, NOW, World, as_it_is, token


class Tokens:
    """A store with the one token rvn_good."""

    def verify(self, text: str, *, host: str, now_ms: int) -> Authenticated | Rejected:
        assert (host, now_ms) == (HOST, NOW)
        return Authenticated(Principal("User", "owner")) if text == "rvn_good" else Rejected("no such token")


def test_each_token_goes_to_its_judge() -> None:
    bearer = BearerAuthentication(Tokens(), World().verifier)
    own, foreign = bearer.verify("rvn_good", HOST, NOW), bearer.verify(token(), HOST, NOW)
    assert isinstance(own, Authenticated) and own.principal.name == "owner"
    assert isinstance(foreign, Authenticated) and foreign.principal.name == "kc-alice"
    assert bearer.verify("rvn_bad", HOST, NOW) == Rejected("no such token")
    assert isinstance(bearer.verify(token(aud="else"), HOST, NOW), Rejected)


@pytest.mark.parametrize("text", ["rvn_good", token(), ""])
def test_without_judges_nothing_is_accepted(text: str) -> None:
    assert isinstance(BearerAuthentication().verify(text, HOST, NOW), Rejected)


def test_the_verdict_goes_through_what_the_caller_makes_of_it() -> None:
    bearer = BearerAuthentication(Tokens(), World().verifier)
    seen: list[object] = []
    for text in ("rvn_good", "rvn_bad", token(), "garbage"):
        bearer.verify(text, HOST, NOW, lambda verdict: seen.append(verdict) or as_it_is(verdict))  # type: ignore[func-returns-value]
    assert [type(one) for one in seen] == [Authenticated, Rejected, Authenticated, Rejected]
