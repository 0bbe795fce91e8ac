"""Taking tokens apart: one form is accepted, everything else is named and refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivven.security.authn.jwt_format import (
    SHOWN_MAX,
    TOKEN_CHARACTERS_MAX,
    MalformedJwt,
    parse_jwt,
    shown,
    strict_object,
)
from tests.shipped.issuer import assemble, base64url


def unsigned(_data: bytes) -> bytes:
    return b"\x01\x02"


def test_the_parts_of_a_token() -> None:
    text = assemble({"alg": "ES256"}, {"sub": "alice"}, unsigned)
    jwt = parse_jwt(text)
    assert jwt.header == {"alg": "ES256"}
    assert jwt.claims == {"sub": "alice"}
    assert jwt.signing_input.decode() == text.rpartition(".")[0]
    assert jwt.signature == b"\x01\x02"
    assert "alice" not in repr(jwt)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "1 parts"),
        ("a.b", "2 parts"),
        ("a.b.c.d", "4 parts"),
        ("a.b.c.d.e", "encrypted"),
        (assemble("{}", "{}", unsigned) + "=", "without padding"),
        (assemble("{}", "{}", unsigned) + " ", "without padding"),
        ("\u0661.e30.AA", "without padding"),
        ("AAAAA.e30.AA", "without padding"),
        (assemble("", "{}", unsigned), "header: not JSON"),
        (assemble("[]", "{}", unsigned), "header: not a JSON object"),
        (assemble("{}", "7", unsigned), "claims: not a JSON object"),
        (assemble("{}", '{"a": 1', unsigned), "claims: not JSON"),
        (assemble("{}", '{"exp": 1, "exp": 9}', unsigned), "claims: a name is given twice"),
        (assemble("{}", '{"x": {"a": 1, "a": 9}}', unsigned), "claims: a name is given twice"),
        (assemble("{}", '{"exp": NaN}', unsigned), "claims: NaN is not a number"),
        (assemble("{}", '{"exp": -Infinity}', unsigned), "claims: -Infinity is not a number"),
        (assemble("{}", f'{{"exp": {"9" * 5000}}}', unsigned), "claims: not JSON"),
        (assemble("{}", '{"x":' + "[" * 9000 + "]" * 1 + "}", unsigned), "claims: not JSON"),
        (f"{base64url(b'{}')}.{base64url(bytes([0xFF]))}.AA", "claims: not JSON"),
        ("a" * (TOKEN_CHARACTERS_MAX + 1), "more than 16384 characters"),
    ],
)
def test_what_is_not_exactly_a_signed_jwt_is_refused(text: str, reason: str) -> None:
    with pytest.raises(MalformedJwt, match=reason):
        parse_jwt(text)


def test_the_largest_token_is_accepted() -> None:
    rest = TOKEN_CHARACTERS_MAX - len(assemble({}, {"x": ""}, unsigned))
    text = assemble({}, {"x": "a" * (rest * 3 // 4)}, unsigned)
    assert TOKEN_CHARACTERS_MAX - 4 <= len(text) <= TOKEN_CHARACTERS_MAX
    assert parse_jwt(text).claims["x"]


@given(st.text(max_size=200) | st.lists(st.text(alphabet="ab_-.=", max_size=9), max_size=6).map(".".join))
def test_no_text_is_an_error_of_another_kind(text: str) -> None:
    try:
        parse_jwt(text)
    except MalformedJwt:
        pass


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text()))
def test_objects_come_through(value: dict[str, object]) -> None:
    assert strict_object(json.dumps(value).encode(), "it") == value


def test_a_strangers_value_cannot_shape_a_log_line() -> None:
    assert shown("a\nb\x1b[31m\u202e") == "'a\\nb\\x1b[31m\\u202e'"
    assert len(shown("x" * 5000)) == SHOWN_MAX + 3
