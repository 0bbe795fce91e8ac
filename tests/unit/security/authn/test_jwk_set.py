"""Published keys: which are taken, for which algorithms, and which key a token gets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivven.security.authn.jwk_set import KEYS_MAX, KeyRefused, UnusableKeySet, parse_jwk_set
from tests.shipped.issuer import SigningKey

ES, OTHER_ES = SigningKey("ES256", "es"), SigningKey("ES256", "es2")
RS = SigningKey("RS256", "rs")


def document(*jwks: Any) -> bytes:
    return json.dumps({"keys": list(jwks)}).encode()


@pytest.mark.parametrize(
    "algorithm",
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"],
)
def test_every_algorithm_verifies_its_signatures_and_no_others(algorithm: str) -> None:
    private = RS.private if algorithm[:2] in ("RS", "PS") else None
    signer = SigningKey(algorithm, "k", private=private)
    key = parse_jwk_set(document(signer.jwk())).choose("k", algorithm)
    assert key is not None
    signature = signer.sign(b"text")
    assert key.verifies(algorithm, b"text", signature)
    assert not key.verifies(algorithm, b"texT", signature)
    for wrong in (b"", signature[:-1], signature + b"\0", bytes(len(signature)), b"\xff" * len(signature)):
        assert not key.verifies(algorithm, b"text", wrong)
    assert not key.verifies("none", b"text", b"")
    assert not key.verifies("HS256", b"text", signature)


@pytest.mark.parametrize(
    ("jwk", "algorithms"),
    [
        (RS.jwk(), {"RS256"}),
        (RS.jwk(alg=None), {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        (RS.jwk(alg=None, use=None), {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        (RS.jwk(alg="PS512", key_ops=["verify"]), {"PS512"}),
        (ES.jwk(alg=None), {"ES256"}),
        (RS.jwk(x5u="https://evil.example", x5c=["AAAA"], jku="https://evil.example"), {"RS256"}),
    ],
)
def test_a_key_decides_what_it_verifies(jwk: dict[str, Any], algorithms: set[str]) -> None:
    [key] = parse_jwk_set(document(jwk)).keys
    assert set(key.verifiers) == algorithms


@pytest.mark.parametrize(
    ("jwk", "reason"),
    [
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "s", "alg": "HS256"}, "'oct'"),
        (RS.jwk(use="enc"), "not for signatures"),
        (RS.jwk(key_ops=["sign"]), "not for signatures"),
        (RS.jwk(key_ops=7), "not for signatures"),
        (RS.jwk(alg="HS256"), "'HS256' does not go with type RSA"),
        (RS.jwk(alg="ES256"), "'ES256' does not go with type RSA"),
        (RS.jwk(alg="none"), "'none' does not go"),
        (RS.jwk(alg=["RS256"]), "does not go"),
        (RS.jwk(kid=7), "kid"),
        (RS.jwk(kid="k" * 257), "kid"),
        (RS.jwk(n="AQAB"), "damaged|bits"),
        (RS.jwk(n=None), "damaged"),
        (RS.jwk(e=7), "damaged"),
        (ES.jwk(crv="secp256k1"), "'secp256k1' is not used"),
        (ES.jwk(crv="P-384", alg=None), "damaged"),
        (ES.jwk(x=ES.jwk()["y"]), "damaged"),
        (ES.jwk(kty=None), "'None'"),
        (SigningKey("RS256", bits=1024).jwk(), "1024 bits"),
        ("a text", "not a JSON object"),
    ],
)
def test_other_keys_are_left_out_and_named(jwk: Any, reason: str) -> None:
    found = parse_jwk_set(document(jwk, ES.jwk()))
    assert [key.kid for key in found.keys] == ["es"]
    [why] = found.left_out
    assert why.startswith("key 0: ")
    with pytest.raises(UnusableKeySet, match=reason):
        parse_jwk_set(document(jwk))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": 7}',
        b"{}",
        document(*[ES.jwk()] * (KEYS_MAX + 1)),
        b'{"keys": [], "keys": []}',
    ],
)
def test_a_document_without_usable_keys_is_no_key_set(data: bytes) -> None:
    with pytest.raises(UnusableKeySet, match="key set"):
        parse_jwk_set(data)


@given(
    st.dictionaries(
        st.sampled_from(["kty", "crv", "n", "e", "x", "y", "alg", "use", "kid", "key_ops"]),
        st.none()
        | st.integers()
        | st.text(max_size=8)
        | st.sampled_from(["RSA", "EC", "OKP", "P-256", "AQAB"]),
    )
)
def test_no_key_is_an_error_of_another_kind(jwk: dict[str, Any]) -> None:
    try:
        parse_jwk_set(document(jwk))
    except UnusableKeySet:
        pass


def test_the_key_a_token_names() -> None:
    keys = parse_jwk_set(document(ES.jwk(), RS.jwk()))
    chosen = keys.choose("rs", "RS256")
    assert chosen is not None and chosen.kid == "rs"
    assert keys.choose("unknown", "RS256") is None


@pytest.mark.parametrize(
    ("jwks", "kid", "algorithm", "reason"),
    [
        ([ES.jwk(), RS.jwk()], None, "ES256", "kid: missing, and the issuer has 2 keys"),
        ([ES.jwk(), RS.jwk()], "rs", "ES256", r"alg: ES256 is not what the key is for \(RS256\)"),
        ([RS.jwk()], None, "HS256", "alg: HS256 is not"),
        ([ES.jwk(), OTHER_ES.jwk(kid="es")], "es", "ES256", "names 2 keys"),
    ],
)
def test_no_single_right_key(jwks: list[Any], kid: str | None, algorithm: str, reason: str) -> None:
    with pytest.raises(KeyRefused, match=reason):
        parse_jwk_set(document(*jwks)).choose(kid, algorithm)


def test_one_key_needs_no_kid_and_the_same_kid_may_name_keys_of_two_types() -> None:
    assert parse_jwk_set(document(ES.jwk(kid=None))).choose(None, "ES256") is not None
    assert parse_jwk_set(document(ES.jwk())).choose(None, "ES256") is not None
    both = parse_jwk_set(document(ES.jwk(kid="k"), RS.jwk(kid="k")))
    chosen = both.choose("k", "RS256")
    assert chosen is not None and set(chosen.verifiers) == {"RS256"}


def test_a_private_key_published_by_mistake_is_not_kept() -> None:
    numbers = RS.private.private_numbers()
    found = parse_jwk_set(document(RS.jwk(d="c2VjcmV0LWV4cG9uZW50", p="AQAB", q="AQAB")))
    assert "c2VjcmV0" not in repr(found)
    [key] = found.keys
    assert not hasattr(key.verifiers["RS256"].args[0].key, "private_numbers")  # type: ignore[attr-defined]
    assert numbers.public_numbers.n
