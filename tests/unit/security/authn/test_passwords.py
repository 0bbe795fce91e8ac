"""Generated passwords, typed passwords, and the verifiers made of them."""

from __future__ import annotations

import os
import re

import pytest

from rivven.protocol.scram import ScramMechanism, derive_verifier, parse_verifier
from rivven.security.authn import passwords
from rivven.security.authn.password_verifiers import Argon2Password


def test_generated_passwords_are_strong_and_safe_to_paste() -> None:
    made = {passwords.generate_password(os.urandom) for _ in range(200)}
    assert len(made) == 200
    for password in made:
        assert re.fullmatch(r"([A-HJ-NP-Za-km-z2-9]{11}-){3}[A-HJ-NP-Za-km-z2-9]{11}", password)
        assert passwords.complexity_problems(password) == []


def test_generated_passwords_hold_at_least_128_bits() -> None:
    characters = passwords._GROUPS * passwords._GROUP_LENGTH
    assert len(passwords._ALPHABET) == len(set(passwords._ALPHABET)) == 57
    assert len(passwords._ALPHABET) ** characters > 2**138


def test_every_character_is_drawn_equally_often() -> None:
    """57 does not divide 256: taking the remainder of every byte would favour the first characters."""
    every_byte = bytes(range(256))
    drawn = passwords._draw(lambda size: (every_byte * (size // 256 + 1))[:size], 228)
    assert {drawn.count(character) for character in passwords._ALPHABET} == {4}


def test_entropy_that_is_none_is_noticed() -> None:
    with pytest.raises(ValueError, match="not random"):
        passwords.generate_password(lambda size: b"\xff" * size)
    with pytest.raises(ValueError, match="not random"):
        passwords.generate_password(lambda size: b"\x00" * size)


@pytest.mark.parametrize(
    ("password", "missing"),
    [
        ("Ab1!", ["at least 8 characters"]),
        ("abcdefg1!", ["an upper case letter"]),
        ("ABCDEFG1!", ["a lower case letter"]),
        ("Abcdefgh!", ["a digit"]),
        ("Abcdefgh1", ["a special character"]),
        ("Abcdefg 1", ["a special character"]),
        (
            "",
            [
                "at least 8 characters",
                "an upper case letter",
                "a lower case letter",
                "a digit",
                "a special character",
            ],
        ),
        ("Ab1!" * 300, ["at most 1024 characters"]),
        ("Correct1!", []),
        ("Größe-12", []),
    ],
)
def test_complexity(password: str, missing: list[str]) -> None:
    assert passwords.complexity_problems(password) == missing


def test_a_refused_password_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="the password needs an upper case letter, a digit") as refusal:
        passwords.require_complexity("secretword!")
    assert "secretword" not in str(refusal.value)


@pytest.mark.parametrize("mechanism", list(ScramMechanism))
def test_hash_password(mechanism: ScramMechanism) -> None:
    text = passwords.hash_password("Correct1!", mechanism, os.urandom, 4096)
    assert text.startswith(f"${mechanism.value.lower()}$4096$")
    verifier = parse_verifier(text)
    assert verifier == derive_verifier(mechanism, "Correct1!", verifier.salt, 4096)
    assert len(verifier.salt) == 32
    assert passwords.hash_password("Correct1!", mechanism, os.urandom, 4096) != text


def test_hash_password_defaults_to_600_000_rounds() -> None:
    text = passwords.hash_password("Correct1!", ScramMechanism.SCRAM_SHA_256, os.urandom)
    assert parse_verifier(text).iterations == 600_000


def test_hash_password_refuses_simple_ones() -> None:
    with pytest.raises(ValueError, match="at least 8"):
        passwords.hash_password("a", ScramMechanism.SCRAM_SHA_256, os.urandom)


def test_verifiers_of_makes_one_per_mechanism_with_its_own_salt() -> None:
    made = passwords.verifiers_of("pw", os.urandom)
    assert [one.mechanism for one in made] == list(ScramMechanism)
    assert {one.iterations for one in made} == {8192}
    assert len({one.salt for one in made}) == len(made)


def test_an_argon2id_hash_of_a_typed_password() -> None:
    text = passwords.hash_argon2id("Aa1!aaaa", os.urandom)
    assert text.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert Argon2Password(text).check("Aa1!aaaa")
    assert not Argon2Password(text).check("Aa1!aaab")
    with pytest.raises(ValueError, match="upper case"):
        passwords.hash_argon2id("aa1!aaaa", os.urandom)
