"""Headers and claims: what must be there, what it must say, at which moment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rivven.security.authn.issuers import TrustedIssuer
from rivven.security.authn.jwt_claims import ClaimRefused, SignatureHeader, read_claims, read_header
from tests.shipped.issuer import AUDIENCE, claims

NAME = "https://issuer.example"
ISSUER = TrustedIssuer(NAME, frozenset({AUDIENCE, "other"}), clock_skew_ms=30_000)
NOW_S = 1_700_000_000
NOW = NOW_S * 1000


def good(**members: Any) -> dict[str, Any]:
    return claims(NAME, now=NOW_S, **members)


@pytest.mark.parametrize(
    ("header", "read"),
    [
        ({"alg": "ES256"}, SignatureHeader("ES256", None)),
        ({"alg": "RS256", "kid": "k", "typ": "JWT"}, SignatureHeader("RS256", "k")),
        ({"alg": "RS256", "kid": "k", "typ": "jwt"}, SignatureHeader("RS256", "k")),
        ({"alg": "RS256", "kid": "k", "typ": "at+jwt"}, SignatureHeader("RS256", "k")),
        ({"alg": "RS256", "kid": "k", "typ": "application/AT+JWT"}, SignatureHeader("RS256", "k")),
        (
            {"alg": "RS256", "kid": "k", "jku": "https://evil.example", "jwk": {}, "x5u": "x", "x5c": []},
            SignatureHeader("RS256", "k"),
        ),
    ],
)
def test_headers_that_are_accepted(header: dict[str, Any], read: SignatureHeader) -> None:
    assert read_header(header, ISSUER) == read


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({}, "alg: None"),
        ({"alg": "none"}, "alg: 'none'"),
        ({"alg": "HS256"}, "alg: 'HS256'"),
        ({"alg": "PS256"}, "alg: 'PS256'"),
        ({"alg": "es256"}, "alg: 'es256'"),
        ({"alg": ["ES256"]}, "alg: "),
        ({"alg": "ES256", "crit": ["exp"], "exp": 1}, "crit: "),
        ({"alg": "ES256", "crit": []}, "crit: "),
        ({"alg": "ES256", "typ": "dpop+jwt"}, "typ: 'dpop"),
        ({"alg": "ES256", "typ": None}, "typ: None"),
        ({"alg": "ES256", "typ": 7}, "typ: 7"),
        ({"alg": "ES256", "kid": 7}, "kid: "),
        ({"alg": "ES256", "kid": ""}, "kid: "),
        ({"alg": "ES256", "kid": "k" * 257}, "kid: "),
    ],
)
def test_headers_that_are_refused(header: dict[str, Any], reason: str) -> None:
    with pytest.raises(ClaimRefused, match=f"^{reason}"):
        read_header(header, ISSUER)


def test_only_access_tokens_if_the_issuer_is_set_up_so() -> None:
    strict = replace(ISSUER, token_types=frozenset({"at+jwt"}))
    assert read_header({"alg": "ES256", "typ": "at+jwt"}, strict)
    for header in ({"alg": "ES256"}, {"alg": "ES256", "typ": "JWT"}):
        with pytest.raises(ClaimRefused, match=r"^typ: "):
            read_header(header, strict)


def test_the_claims_of_a_good_token() -> None:
    found = read_claims(good(jti="7", groups=["a"]), ISSUER, NOW)
    assert (found.name, found.subject, found.token_id, found.groups) == ("alice", "alice", "7", ())
    assert found.expires_at_ms == NOW + 300_000
    assert found.issued_at_ms == NOW


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"aud": None}, "aud: missing"),
        ({"aud": "else"}, "aud: 'else' names no"),
        ({"aud": ["else", "rivven2"]}, "aud: "),
        ({"aud": []}, "aud: "),
        ({"aud": {"rivven": 1}}, "aud: missing, or neither"),
        ({"aud": [AUDIENCE, 7]}, "aud: missing, or neither"),
        ({"exp": None}, "exp: missing"),
        ({"exp": NOW_S - 30}, "exp: expired 30 s ago"),
        ({"exp": NOW_S - 1e9}, "exp: expired"),
        ({"exp": "1900000000"}, "exp: not a number"),
        ({"exp": True}, "exp: not a number"),
        ({"exp": 1e300}, "exp: not a time"),
        ({"exp": 10**400}, "exp: not a time"),  # more than a floating point number can hold
        ({"exp": -1}, "exp: not a time"),
        ({"nbf": NOW_S + 31}, "nbf: 31 s in the future"),
        ({"nbf": "soon"}, "nbf: not a number"),
        ({"iat": NOW_S + 31}, "iat: 31 s in the future"),
        ({"iat": []}, "iat: not a number"),
        ({"cnf": {"jkt": "x"}}, "cnf: "),
        ({"sub": None}, "sub: missing"),
        ({"sub": ""}, "sub: missing"),
        ({"sub": 7}, "sub: missing, or not a text"),
        ({"jti": 7}, "jti: not a text"),
    ],
)
def test_claims_that_are_refused(members: dict[str, Any], reason: str) -> None:
    with pytest.raises(ClaimRefused, match=f"^{reason}"):
        read_claims(good(**members), ISSUER, NOW)


def test_null_is_not_missing_for_times() -> None:
    for name in ("exp", "nbf", "iat"):
        with pytest.raises(ClaimRefused, match=f"^{name}: not a number"):
            read_claims(good() | {name: None}, ISSUER, NOW)


@pytest.mark.parametrize(
    "members",
    [
        {"aud": [AUDIENCE]},
        {"aud": ["else", "other"]},
        {"exp": NOW_S + 0.5},
        {"nbf": NOW_S + 30, "iat": NOW_S + 30},
        {"iat": None},
        {"nbf": 0},
    ],
)
def test_claims_that_are_accepted(members: dict[str, Any]) -> None:
    assert read_claims(good(**members), ISSUER, NOW).name == "alice"


def test_the_skew_forgives_a_late_login_but_lengthens_no_session() -> None:
    assert read_claims(good(exp=NOW_S + 1), ISSUER, NOW).expires_at_ms == NOW + 1_000
    assert read_claims(good(exp=NOW_S - 29), ISSUER, NOW).expires_at_ms == NOW + 1_000
    exact = replace(ISSUER, clock_skew_ms=0)
    with pytest.raises(ClaimRefused, match="expired 0 s ago"):
        read_claims(good(exp=NOW_S), exact, NOW)


def test_other_claims_for_the_name_and_the_groups() -> None:
    issuer = replace(ISSUER, principal_claim="email", groups_claim="groups")
    found = read_claims(good(email="a@b.example", groups=["x", "y", "x"]), issuer, NOW)
    assert (found.name, found.groups, found.subject) == ("a@b.example", ("x", "y"), "alice")
    assert read_claims(good(email="a", groups="x"), issuer, NOW).groups == ("x",)
    assert read_claims(good(email="a"), issuer, NOW).groups == ()
    with pytest.raises(ClaimRefused, match=r"^email: missing"):
        read_claims(good(), issuer, NOW)
    for wrong in (7, {"x": 1}, ["x", 7], [""]):
        with pytest.raises(ClaimRefused, match=r"^groups: "):
            read_claims(good(email="a", groups=wrong), issuer, NOW)


def test_a_claim_inside_others() -> None:
    issuer = replace(ISSUER, groups_claim="/realm_access/roles", principal_claim="/person/name")
    found = read_claims(
        good(realm_access={"roles": ["dev"]}, person={"name": "Al"}) | {"realm_access/roles": ["no"]},
        issuer,
        NOW,
    )
    assert (found.name, found.groups) == ("Al", ("dev",))
    assert read_claims(good(realm_access=["dev"], person={"name": "Al"}), issuer, NOW).groups == ()
    dotted = replace(ISSUER, groups_claim="https://rivven.example/groups")
    assert read_claims(good(**{"https://rivven.example/groups": ["x"]}), dotted, NOW).groups == ("x",)
