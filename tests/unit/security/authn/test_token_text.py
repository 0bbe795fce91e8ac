"""The text of a token: one form, typos are told apart, secrets stay out of reprs and errors."""

from __future__ import annotations

import base64
import os
import random
import re

import pytest

from rivven.protocol.scram import ScramMechanism
from rivven.security.authn.token_text import (
    HASH_KEYS_MAX,
    SCRAM_ITERATIONS,
    TEXT_LENGTH,
    MalformedToken,
    NewToken,
    TokenHashKey,
    TokenHashKeys,
    format_token,
    is_token_id,
    looks_like_token,
    new_token,
    parse_token,
    token_verifiers,
)

ID = "abcdefghijkl2345"


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, bytes(range(32)), b"\0" * 31 + b"\1"])
def test_a_token_reads_back(secret: bytes) -> None:
    text = format_token(ID, secret)
    assert len(text) == TEXT_LENGTH == 69
    assert re.fullmatch(r"rvn_[0-9A-Za-z]{65}", text)
    assert parse_token(text) == (ID, secret)


def test_a_known_text_stays_readable() -> None:
    """Tokens live for years: the form must not drift."""
    assert format_token(ID, bytes(range(32))) == (
        "rvn_abcdefghijkl2345003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1xy0bY"
    )


def test_every_single_typo_is_seen() -> None:
    text = new_token(os.urandom).text
    rng = random.Random(7)
    for place in range(len(text)):
        wrong = rng.choice([c for c in "aZ7_-é " if c != text[place]])
        with pytest.raises(MalformedToken):
            parse_token(text[:place] + wrong + text[place + 1 :])
    for place in range(5, len(text) - 1):
        if text[place] != text[place + 1]:
            swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
            with pytest.raises(MalformedToken):
                parse_token(swapped)


@pytest.mark.parametrize(
    "text", ["", "rvn_", "rvn", "password", "rvn_" + "a" * 64, "rvn_" + "a" * 66, "x" * 10_000]
)
def test_other_texts_are_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(MalformedToken) as caught:
        parse_token(text)
    assert len(text) < 5 or text not in str(caught.value)


def test_a_secret_above_256_bits_is_refused() -> None:
    body = "rvn_" + ID + "z" * 43
    from rivven.security.authn.token_text import _checksum

    with pytest.raises(MalformedToken, match="range"):
        parse_token(body + _checksum(body))


def test_format_refuses_other_sizes() -> None:
    with pytest.raises(ValueError, match="16 characters"):
        format_token("short", bytes(32))
    with pytest.raises(ValueError, match="32 bytes"):
        format_token(ID, bytes(31))


def test_two_tokens_differ_and_do_not_show_their_secret() -> None:
    one, other = new_token(os.urandom), new_token(os.urandom)
    assert one.token_id != other.token_id
    assert one.secret != other.secret
    assert is_token_id(one.token_id)
    assert looks_like_token(one.text)
    assert one.kafka_password == base64.b64encode(one.secret).decode()
    assert one.text not in repr(one)
    assert repr(one) == f"NewToken(token_id={one.token_id!r})"


def test_the_hash_depends_on_the_key_and_the_secret() -> None:
    first, second = TokenHashKey(b"k" * 32), TokenHashKey(b"l" * 32)
    assert first.digest(b"s" * 32) == TokenHashKey(b"k" * 32).digest(b"s" * 32)
    assert first.digest(b"s" * 32) != second.digest(b"s" * 32)
    assert first.digest(b"s" * 32) != first.digest(b"t" * 32)
    assert first.key_id != second.key_id
    assert first.decoy_key() not in (first.digest(b""), b"k" * 32)
    assert "kkkk" not in repr(first)
    with pytest.raises(ValueError, match="32 bytes"):
        TokenHashKey(b"short")


def test_of_several_keys_the_newest_hashes_and_all_count() -> None:
    old, new = TokenHashKey(b"k" * 32), TokenHashKey(b"l" * 32)
    keys = TokenHashKeys(b"k" * 32)
    assert (keys.key_id, keys.digest(b"s" * 32)) == (old.key_id, old.digest(b"s" * 32))
    keys.replace(b"l" * 32 + b"k" * 32)
    assert keys.key_ids == (new.key_id, old.key_id)
    assert keys.digest(b"s" * 32) == new.digest(b"s" * 32)
    assert keys.digests(b"s" * 32) == {one.key_id: one.digest(b"s" * 32) for one in (new, old)}
    assert keys.decoy_key() == old.decoy_key()
    for wrong in (b"", b"k" * 31, b"k" * 33, bytes(32 * (HASH_KEYS_MAX + 1))):
        with pytest.raises(ValueError, match="keys of 32"):
            keys.replace(wrong)


def test_verifiers_of_both_mechanisms_share_the_salt() -> None:
    verifiers = token_verifiers(NewToken(ID, bytes(32)).secret, b"salt" * 8)
    assert [one.mechanism for one in verifiers] == list(ScramMechanism)
    assert {(one.salt, one.iterations) for one in verifiers} == {(b"salt" * 8, SCRAM_ITERATIONS)}
