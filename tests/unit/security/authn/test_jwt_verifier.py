"""The verdict about a token: every attack is named to the operator, every good token becomes a principal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivven.security.authn.authenticator import Authenticated, Credential, Deferred, Rejected
from rivven.security.authn.jwt_format import TOKEN_CHARACTERS_MAX
from rivven.testing.canary import leaks
from rivven.types import Principal
from tests.shipped.issuer import SigningKey, assemble, claims, hmac_token
from tests.unit.security.authn.bearing import (
    HOST,
    ISSUER,
    KEY,
    NAME,
    NOW,
    NOW_S,
    KeysAtHand,
    World,
    key_set,
    token,
)

RSA = SigningKey("RS256", "rsa")
FOREIGN = SigningKey("ES256", "one")
"""Another key under the issuer's key id."""
NEW = SigningKey("ES256", "two")


def test_a_good_token_becomes_a_principal_with_groups_in_the_issuers_namespace() -> None:
    world = World()
    found = world.accepted(token(groups=["dev", "ops"], jti="token-1"))
    assert found == Authenticated(
        Principal("User", "kc-alice"),
        expires_at_ms=NOW + 300_000,
        groups=("kc-dev", "kc-ops"),
        credential=Credential("jwt", "token-1", 1, NAME, "alice", NOW),
    )


def _hs256(secret: bytes, **header: Any) -> str:
    return hmac_token(secret, {"alg": "HS256", "kid": "one", **header}, claims(NAME, now=NOW_S))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (assemble({"alg": "none"}, claims(NAME, now=NOW_S), lambda _: b""), "alg: 'none'"),
        (assemble({"alg": "NONE", "kid": "one"}, claims(NAME, now=NOW_S), lambda _: b""), "alg: 'NONE'"),
        (assemble({"alg": "ES256", "kid": "one"}, claims(NAME, now=NOW_S), lambda _: b""), "signature: "),
        (
            assemble({"alg": "ES256", "kid": "one"}, claims(NAME, now=NOW_S), lambda _: bytes(64)),
            "signature: ",
        ),
        (_hs256(KEY.public_pem()), "alg: 'HS256'"),
        (_hs256(RSA.public_pem(), kid="rsa"), "alg: 'HS256'"),
        (token(key=FOREIGN), "signature: not made by the key 'one'"),
        (token(key=FOREIGN, header={"jwk": FOREIGN.jwk(), "jku": "https://evil.example"}), "signature: "),
        (token(key=replace(KEY, kid="rsa")), "alg: ES256 is not what the key is for"),
        (token(header={"kid": None}), "kid: missing, and the issuer has 2 keys"),
        (token(header={"crit": ["b64"], "b64": False}), "crit: "),
        (token(header={"typ": "logout+jwt"}), "typ: "),
        (token(iss=NAME + "/"), "iss: 'https://issuer.example/' is not a trusted issuer"),
        (token(iss=None), "iss: None is not"),
        (token(iss=[NAME]), "iss: "),
        (token(aud="else"), "aud: "),
        (token(exp=NOW_S - 60), "exp: expired 60 s ago"),
        (token(exp=None), "exp: missing"),
        (token(nbf=NOW_S + 60), "nbf: "),
        (token(subject=""), "sub: "),
        (token(groups=["x"] * 3 + [7]), "groups: "),
        (token(groups=[f"g{index}" for index in range(201)]), "more than 200 groups"),
        (token(pad="x" * TOKEN_CHARACTERS_MAX), "more than 16384 characters"),
        ("not a token", "not a signed JWT"),
    ],
)
def test_what_is_refused_and_why(text: str, reason: str) -> None:
    world = World(replace(ISSUER), keys=KeysAtHand(key_set(KEY, RSA)))
    found = world.refused(text)
    assert reason in found
    assert world.keys.waits == []  # nothing of this reaches the network


def test_a_changed_token_is_not_the_signed_one() -> None:
    world = World()
    header, _, signature = token().split(".")
    other = token(subject="mallory").split(".")[1]
    assert "signature: " in world.refused(f"{header}.{other}.{signature}")


def test_the_key_of_one_issuer_signs_for_no_other() -> None:
    second = replace(ISSUER, issuer="https://two.example", prefix="two-")
    keys = KeysAtHand(key_set(KEY))
    keys.sets["https://two.example"] = key_set(NEW)
    world = World(ISSUER, second, keys=keys)
    assert world.accepted(token()).principal.name == "kc-alice"
    forged = KEY.token(claims("https://two.example", now=NOW_S), kid="two")
    assert "signature: " in world.refused(forged)


@pytest.mark.parametrize("name", ["alice", "root", "staff", "*", "ANONYMOUS", "a\nb"])
def test_a_name_of_ours_is_refused_from_outside(name: str) -> None:
    world = World(replace(ISSUER, prefix="", group_prefix=""))
    assert "(issuer https://issuer.example)" in world.refused(token(subject=name))
    assert "the group name" in world.refused(token(subject="bob", groups=["fine", name]))
    assert world.accepted(token(subject="bob")).principal == Principal("User", "bob")


def test_a_revoked_token_is_refused() -> None:
    world = World()
    text = token(jti="token-1")
    assert world.accepted(text)
    world.revoked["token-1"] = "revoked: jwt-id token-1"
    assert "revoked: jwt-id token-1" in world.refused(text)
    assert world.accepted(token(jti="token-2"))


async def test_a_login_with_an_unknown_key_goes_on_when_the_key_is_there() -> None:
    world = World(keys=KeysAtHand(key_set(KEY), later=key_set(KEY, NEW)))
    found = world.verify(token(key=NEW))
    assert isinstance(found, Deferred)
    step = await found.outcome()
    assert isinstance(step, Authenticated)
    assert world.keys.waits == [(NAME, "two", HOST)]
    assert isinstance(world.verify(token(key=NEW)), Authenticated)


async def test_a_key_that_is_still_unknown_ends_the_login() -> None:
    world = World()
    found = world.verify(token(key=NEW))
    assert isinstance(found, Deferred)
    assert await found.outcome() == Rejected(f"kid: 'two' is not a key of {NAME}")
    assert len(world.keys.waits) == 1


async def test_the_issuer_may_go_and_the_token_end_while_a_login_waits() -> None:
    world = World(keys=KeysAtHand(key_set(KEY), later=key_set(NEW)))
    found = world.verify(token(key=NEW))
    ending = world.verify(token(key=NEW, exp=NOW_S - 29))
    assert isinstance(found, Deferred) and isinstance(ending, Deferred)
    late = await ending.outcome()
    assert isinstance(late, Rejected) and late.reason.startswith("exp: ")
    world.issuers.replace([])
    gone = await found.outcome()
    assert isinstance(gone, Rejected) and gone.reason.startswith("iss: ")


def test_a_login_that_may_not_wait_is_refused_with_the_reason() -> None:
    world = World()
    world.keys.refusal = "too many"
    assert world.refused(token(key=NEW)) == "too many"


def test_no_token_in_any_reason_or_repr() -> None:
    world = World()
    texts = [token(), token(key=FOREIGN), token(aud="else"), token()[:-2]]
    outputs = {str(index): repr(world.verify(text)) for index, text in enumerate(texts)}
    assert leaks([text.rpartition(".")[2] for text in texts], outputs) == []


@given(
    st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "crit", "jku"]), st.text(max_size=9) | st.integers()
    )
)
def test_no_header_is_an_error_of_another_kind(header: dict[str, Any]) -> None:
    found = World().verify(assemble({"alg": "ES256", **header}, claims(NAME, now=NOW_S), lambda _: b"x"))
    assert isinstance(found, Rejected | Deferred)
