"""Passwords against what is stored of them, and hashes that ask for too much."""

from __future__ import annotations

import pytest

from rivven.protocol.scram import ScramMechanism, derive_verifier
from rivven.security.authn.credentials import Decoys
from rivven.security.authn.password_verifiers import Argon2Password, Argon2Shape, ScramPassword
from rivven.testing.canary import leaks


def argon2(password: str) -> str:
    from argon2.low_level import Type, hash_secret

    return hash_secret(password.encode(), b"salt" * 4, 1, 64, 1, 16, Type.ID).decode()


@pytest.mark.parametrize("mechanism", list(ScramMechanism))
def test_a_scram_verifier_knows_its_password(mechanism: ScramMechanism) -> None:
    check = ScramPassword(derive_verifier(mechanism, "correct", b"salt" * 8, 4096)).check
    assert check("correct")
    assert not any(map(check, ("", "Correct", "correct ")))


def test_an_argon2id_hash_knows_its_password() -> None:
    check = Argon2Password(argon2("correct")).check
    assert check("correct")
    assert not any(map(check, ("", "Correct", "correct ", "correct\0")))


@pytest.mark.parametrize(
    "phc",
    [
        "",
        "$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$8iKb1CBTCdLkWeFAYwtnkA",
        "$argon2id$v=16$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$8iKb1CBTCdLkWeFAYwtnkA",
        "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$",
        "$argon2id$v=19$m=2097152,t=1,p=1$c2FsdHNhbHRzYWx0$8iKb1CBTCdLkWeFAYwtnkA",
        "$argon2id$v=19$m=64,t=1000,p=1$c2FsdHNhbHRzYWx0$8iKb1CBTCdLkWeFAYwtnkA",
        "$argon2id$v=19$m=64,t=0,p=1$c2FsdHNhbHRzYWx0$8iKb1CBTCdLkWeFAYwtnkA",
        "$argon2id$v=19$m=4096,t=1,p=64$c2FsdHNhbHRzYWx0$8iKb1CBTCdLkWeFAYwtnkA",
        "$argon2id$v=19$m=4,t=1,p=1$c2FsdHNhbHRzYWx0$8iKb1CBTCdLkWeFAYwtnkA",
        "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$8iKb1CBTCdLkWeFAYwtnkA\n",
    ],
)
def test_hashes_that_cannot_be_checked_or_would_cost_too_much(phc: str) -> None:
    with pytest.raises(ValueError, match="Argon2id") as refused:
        Argon2Password(phc)
    assert "c2FsdHNhbHRzYWx0" not in str(refused.value)


def test_reprs_hold_no_hash() -> None:
    scram = derive_verifier(ScramMechanism.SCRAM_SHA_256, "correct", b"canary-salt-here", 4096)
    phc = argon2("correct")
    shown = {"scram": repr(ScramPassword(scram)), "argon2": repr(Argon2Password(phc))}
    assert not leaks([scram.stored_key, scram.salt, phc[30:]], shown)


class TestDecoys:
    """What an unknown user's password is checked against."""

    def test_they_cost_what_a_scram_decoy_says_or_what_the_hashes_here_cost(self) -> None:
        decoys, shape = Decoys(b"k" * 32), Argon2Shape(64, 1, 1)
        without = [decoys.password(f"user{i}", ()) for i in range(50)]
        assert all(isinstance(one, ScramPassword) for one in without)
        some = [decoys.password(f"user{i}", (shape,)) for i in range(200)]
        argon2 = [one for one in some if isinstance(one, Argon2Password)]
        assert 60 < len(argon2) < 140
        assert {one.shape for one in argon2} == {shape}

    def test_the_same_name_always_costs_the_same(self) -> None:
        shapes = (Argon2Shape(64, 1, 1),)
        assert Decoys(b"k" * 32).password("m", shapes) == Decoys(b"k" * 32).password("m", shapes)

    def test_a_scram_decoy_shows_the_same_iterations_to_scram_and_to_plain(self) -> None:
        decoys = Decoys(b"k" * 32)
        plain = decoys.password("mallory", ())
        assert isinstance(plain, ScramPassword)
        assert plain.verifier == decoys.verifier("mallory", ScramMechanism.SCRAM_SHA_256)

    def test_no_password_passes(self) -> None:
        decoys = Decoys(b"k" * 32)
        names = [f"user{i}" for i in range(20)]
        kinds = {type(decoys.password(name, (Argon2Shape(64, 1, 1),))) for name in names}
        assert kinds == {ScramPassword, Argon2Password}
        cheap = [
            one
            for one in (decoys.password(name, (Argon2Shape(64, 1, 1),)) for name in names)
            if isinstance(one, Argon2Password)
        ]
        assert not any(one.check(password) for one in cheap for password in ("", "x", "k" * 32))
