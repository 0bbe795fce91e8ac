"""OAUTHBEARER: the message, the two endings, and that nothing of a token or a reason reaches the peer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivven.security.authn.authenticator import (
    AuthContext,
    Authenticated,
    Challenge,
    Deferred,
    Rejected,
)
from rivven.security.authn.bearer import BearerAuthentication
from rivven.security.authn.oauthbearer import (
    EXTENSIONS_MAX,
    INVALID_TOKEN,
    ClientMessage,
    MalformedMessage,
    OAuthBearerAuthenticator,
    parse_message,
)
from tests.unit.security.authn.bearing import HOST, KEY, NOW, KeysAtHand, World, key_set, token
from tests.unit.security.authn.test_bearer import Tokens
from tests.unit.security.authn.test_jwt_verifier import FOREIGN, NEW

TLS = AuthContext("main", HOST, True)


def message(text: str, authzid: str = "", *pairs: str) -> bytes:
    return "\x01".join([f"n,{authzid},", f"auth=Bearer {text}", *pairs, "", ""]).encode()


def begin(world: World | None = None, context: AuthContext = TLS) -> OAuthBearerAuthenticator:
    return OAuthBearerAuthenticator(BearerAuthentication(Tokens(), (world or World()).verifier), context)


@pytest.mark.parametrize(
    ("data", "parsed"),
    [
        (message("abc"), ClientMessage("abc")),
        (message("abc", "a=alice"), ClientMessage("abc", "alice")),
        (message("abc", "a=a=2Cb=3Dc"), ClientMessage("abc", "a,b=c")),
        (message("abc", "", "host=x", "port=9092", "traceId=7 8"), ClientMessage("abc")),
        (b"y,,\x01auth=bearer  a.b-c_d~e+f/g==\x01\x01", ClientMessage("a.b-c_d~e+f/g==")),
        (b"n,,\x01host=x\x01auth=BEARER abc\x01\x01", ClientMessage("abc")),
    ],
)
def test_messages(data: bytes, parsed: ClientMessage) -> None:
    assert parse_message(data) == parsed


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"n,,\x01\x01",
        b"n,,\x01auth=Bearer abc\x01",
        b"n,,auth=Bearer abc\x01\x01",
        b"n\x01auth=Bearer abc\x01\x01",
        b"p=tls-unique,,\x01auth=Bearer abc\x01\x01",
        b"n,,\x01auth=Basic abc\x01\x01",
        b"n,,\x01auth=Bearer\x01\x01",
        b"n,,\x01auth=Bearer a b\x01\x01",
        b"n,,\x01auth=Bearer abc\x01auth=Bearer def\x01\x01",
        b"n,,\x01auth=Bearer abc\x01k1=v\x01\x01",
        b"n,,\x01auth=Bearer abc\x01k\x01\x01",
        b"n,,\x01auth=Bearer abc\x01k=\xc3\xa9\x01\x01",
        b"n,,\x01auth=Bearer abc\xff\x01\x01",
        b"n,a=,\x01auth=Bearer abc\x01\x01",
        b"n,a=a=2cb,\x01auth=Bearer abc\x01\x01",
        b"n,a=a=b,\x01auth=Bearer abc\x01\x01",
        message("abc", "", *(f"k{chr(97 + index % 26) * (index + 1)}=v" for index in range(EXTENSIONS_MAX))),
    ],
)
def test_malformed_messages(data: bytes) -> None:
    with pytest.raises(MalformedMessage) as caught:
        parse_message(data)
    assert "abc" not in str(caught.value)
    found = begin().step(data, NOW)
    assert isinstance(found, Rejected) and found.text == "" and found.token == b""


def test_a_good_token_is_welcomed_with_nothing() -> None:
    found = begin().step(message(token()), NOW)
    assert isinstance(found, Authenticated)
    assert (found.principal.name, found.token) == ("kc-alice", b"")


def test_a_token_of_our_own_never_reaches_the_jwt_parser() -> None:
    world = World()
    world.verifier.verify = None  # type: ignore[method-assign, assignment]
    found = begin(world).step(message("rvn_good"), NOW)
    assert isinstance(found, Authenticated)
    assert found.principal.name == "owner"
    refused = begin(world).step(message("rvn_bad"), NOW)
    assert isinstance(refused, Challenge) and refused.failure == "no such token"


@pytest.mark.parametrize("authzid", ["a=kc-alice", ""])
def test_the_authorisation_identity_is_the_principal_or_nothing(authzid: str) -> None:
    assert isinstance(begin().step(message(token(), authzid), NOW), Authenticated)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (message(token(key=FOREIGN)), "signature: "),
        (message(token(aud="else")), "aud: "),
        (message("garbage"), "not a signed JWT"),
        (message(token(), "a=alice"), "authorisation identity 'alice' is not the principal kc-alice"),
        (message(token(), "a=root"), "authorisation identity 'root'"),
    ],
)
def test_a_bad_token_is_answered_alike_whatever_is_wrong(data: bytes, reason: str) -> None:
    authenticator = begin()
    first = authenticator.step(data, NOW)
    assert isinstance(first, Challenge)
    assert first.token == INVALID_TOKEN.encode()
    assert reason in first.failure
    last = authenticator.step(b"\x01", NOW)
    assert last == Rejected(first.failure, text=INVALID_TOKEN, reported=True)


@pytest.mark.parametrize("answer", [b"", b"\x01\x01", message(token())])
def test_after_a_bad_token_only_the_acknowledgement_is_expected(answer: bytes) -> None:
    authenticator = begin()
    assert isinstance(authenticator.step(message("garbage"), NOW), Challenge)
    last = authenticator.step(answer, NOW)
    assert isinstance(last, Rejected) and not last.reported
    assert isinstance(authenticator.step(b"\x01", NOW), Rejected)


@pytest.mark.parametrize("again", [b"\x01", message(token())])
def test_after_a_good_token_nothing_is_expected(again: bytes) -> None:
    authenticator = begin()
    assert isinstance(authenticator.step(message(token()), NOW), Authenticated)
    assert isinstance(authenticator.step(again, NOW), Rejected)


def test_without_tls_a_token_is_not_even_looked_at() -> None:
    found = begin(context=AuthContext("main", HOST, False)).step(message(token()), NOW)
    assert found == Rejected("a bearer token on a connection without TLS (RFC 7628 4)")


@pytest.mark.parametrize(("known", "ends"), [(True, Authenticated), (False, Challenge)])
async def test_a_login_that_waits_for_a_key_ends_as_others_do(known: bool, ends: type) -> None:
    later = key_set(KEY, NEW) if known else None
    found = begin(World(keys=KeysAtHand(key_set(KEY), later))).step(message(token(key=NEW)), NOW)
    assert isinstance(found, Deferred)
    assert isinstance(await found.outcome(), ends)


@given(st.binary(max_size=120) | st.text(max_size=60).map(lambda text: message(text, text)))
def test_no_bytes_are_an_error_or_a_login(data: bytes) -> None:
    assert isinstance(begin().step(data, NOW), Challenge | Rejected)
