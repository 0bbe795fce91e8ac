"""Decoys for unknown users: stable, shaped like what tools store, and independent of who is stored."""

from __future__ import annotations

import pytest

from rivven.config.authentication import ScramConfig
from rivven.protocol import scram
from rivven.protocol.scram import ScramMechanism, ScramVerifier
from rivven.security.authn.credentials import DEFAULT_SHAPES, SHAPES_MAX, Decoys, Shape
from rivven.security.authn.passwords import TYPED_ITERATIONS
from rivven_cli import user

SHA_256, SHA_512 = ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512
KEY = b"k" * 32


def shape(one: ScramVerifier) -> Shape:
    return Shape(one.iterations, len(one.salt))


def test_decoys_spread_over_the_table() -> None:
    table = (Shape(4096, 26), Shape(8192, 32), Shape(600_000, 32))
    decoys = Decoys(KEY, table)
    shapes = [shape(decoys.verifier(f"user{i}", SHA_256)) for i in range(600)]
    counts = {one: shapes.count(one) for one in table}
    assert sum(counts.values()) == 600
    assert all(120 < count < 280 for count in counts.values())


def test_a_new_shape_changes_only_the_decoys_that_take_it() -> None:
    table = (Shape(8192, 32), Shape(16384, 32))
    before = [Decoys(KEY, table).verifier(f"user{i}", SHA_256) for i in range(300)]
    larger = Decoys(KEY, (*table, Shape(4096, 32)))
    after = [larger.verifier(f"user{i}", SHA_256) for i in range(300)]
    changed = [new for old, new in zip(before, after, strict=True) if new != old]
    assert 50 < len(changed) < 150
    assert {shape(new) for new in changed} == {Shape(4096, 32)}


def test_the_decoy_of_a_name_is_the_same_in_every_process_and_another_under_another_key() -> None:
    first, again = Decoys(KEY).verifier("mallory", SHA_256), Decoys(KEY).verifier("mallory", SHA_256)
    assert first == again
    assert Decoys(b"o" * 32).verifier("mallory", SHA_256).salt[:8] != first.salt[:8]


def test_an_unknown_user_has_one_shape_in_both_mechanisms_but_other_salts() -> None:
    decoys = Decoys(KEY)
    for name in ("m", "n", "o"):
        short, long = decoys.verifier(name, SHA_256), decoys.verifier(name, SHA_512)
        assert shape(short) == shape(long)  # as of a user whose password was set for both
        assert short.salt != long.salt


def test_the_default_table_holds_what_our_tools_and_kafkas_make() -> None:
    assert {(8_192, 32), (600_000, 32), (4_096, 26)} <= set(DEFAULT_SHAPES)
    assert {(user.GENERATED_ITERATIONS, 32), (user.TYPED_ITERATIONS, 32)} <= set(DEFAULT_SHAPES)
    configured = ScramConfig().decoy_shapes
    assert [(one.iterations, one.salt_bytes) for one in configured] == list(DEFAULT_SHAPES)
    assert ScramConfig().iterations == TYPED_ITERATIONS


@pytest.mark.parametrize("shapes", [(), tuple(Shape(4096 + i, 32) for i in range(SHAPES_MAX + 1))])
def test_the_table_is_bounded(shapes: tuple[Shape, ...]) -> None:
    with pytest.raises(ValueError, match="shapes"):
        Decoys(KEY, shapes)


def test_no_password_satisfies_a_decoy() -> None:
    decoy = Decoys(KEY, (Shape(4096, 32),)).verifier("mallory", SHA_256)
    for password in ("", "mallory", "k" * 32):
        guess = scram.derive_verifier(SHA_256, password, decoy.salt, decoy.iterations)
        assert guess.stored_key != decoy.stored_key
    assert len(decoy.stored_key) == len(decoy.server_key) == 32
    assert decoy.stored_key != decoy.server_key


def test_any_name_has_a_decoy() -> None:
    for name in ("", "\ud800", "\0", "x" * 10_000):
        assert Decoys(KEY).verifier(name, SHA_256).salt
