"""Rotation of secrets: durable before it counts, and no token that lives loses the key it needs."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from rivven.app.secret_rotation import SecretRotation
from rivven.errors import RivvenError
from rivven.protocol.scram import ScramMechanism
from rivven.security.authn.credentials import Decoys
from rivven.security.authn.token_text import HASH_KEYS_MAX, TokenHashKeys
from rivven.security.keys.secrets import SCRAM_DECOY, TOKEN_HASH, Secrets
from rivven.testing.files import CrashFiles, PowerCut
from tests.unit.log.harness import ManualClock


class World:
    """A disk and the tokens of one broker; `life` is a process over them."""

    def __init__(self) -> None:
        self.files = CrashFiles()
        self.files.make_directory("/data")
        self.entropy = random.Random(3).randbytes
        self.tokens: list[Any] = []
        self.life()

    def life(self) -> None:
        self.secrets = Secrets(self.files, "/data", self.entropy)
        load: Callable[[str], bytes] = lambda name: self.secrets.load_or_create(  # noqa: E731
            name, lambda: self.entropy(32)
        )
        self.keys = TokenHashKeys(load(TOKEN_HASH))
        self.decoys = Decoys(load(SCRAM_DECOY))
        self.rotation = SecretRotation(
            self.secrets, self.decoys, self.keys, lambda: self.tokens, ManualClock(), self.entropy
        )

    def token(self, state: str = "active") -> str:
        """One under the newest key; the key's id."""
        secret = SimpleNamespace(key_id=self.keys.key_id)
        self.tokens.append(SimpleNamespace(state=lambda _now: state, secrets=lambda _now: [(1, secret)]))
        return self.keys.key_id


@pytest.fixture
def world() -> World:
    return World()


async def test_new_tokens_get_the_new_key_and_old_ones_keep_theirs(world: World) -> None:
    old = world.token()
    made = await world.rotation.rotate(TOKEN_HASH)
    assert made.key_id == world.keys.key_id != old
    assert (made.kept, old in world.keys.key_ids) == (1, True)
    for _ in range(4):
        await world.rotation.rotate(TOKEN_HASH)
    assert old in world.keys.key_ids
    kept = world.keys.key_ids
    world.life()
    assert world.keys.key_ids == kept, "as after a restart"


async def test_keys_that_no_living_token_needs_go(world: World) -> None:
    first = world.token("expired")
    second = (await world.rotation.rotate(TOKEN_HASH)).key_id
    await world.rotation.rotate(TOKEN_HASH)
    assert first in world.keys.key_ids, "a token that is being stored may be under it"
    last = (await world.rotation.rotate(TOKEN_HASH)).key_id
    assert first not in world.keys.key_ids
    assert world.keys.key_ids[0] == last and second in world.keys.key_ids
    assert len(world.keys.key_ids) == 3


async def test_more_keys_than_there_may_be_are_refused(world: World) -> None:
    for _ in range(HASH_KEYS_MAX - 1):
        world.token()
        await world.rotation.rotate(TOKEN_HASH)
    world.token()
    before = world.keys.key_ids
    with pytest.raises(RivvenError, match="rotate or revoke the oldest tokens"):
        await world.rotation.rotate(TOKEN_HASH)
    assert world.keys.key_ids == before and len(before) == HASH_KEYS_MAX
    world.tokens.pop(0)
    await world.rotation.rotate(TOKEN_HASH)
    assert world.keys.key_ids[1:] == before[:-1], "the key of the token that went"


async def test_a_decoy_key_counts_at_once_and_stays(world: World) -> None:
    before = world.decoys.verifier("nobody", ScramMechanism.SCRAM_SHA_256)
    made = await world.rotation.rotate(SCRAM_DECOY)
    after = world.decoys.verifier("nobody", ScramMechanism.SCRAM_SHA_256)
    assert (made.key_id, made.kept) == ("", 0)
    assert after != before
    world.life()
    assert world.decoys.verifier("nobody", ScramMechanism.SCRAM_SHA_256) == after


async def test_other_secrets_are_not_rotated_here(world: World) -> None:
    for name in ("audit-signing", ""):
        with pytest.raises(RivvenError, match="no such secret"):
            await world.rotation.rotate(name)


async def test_a_key_that_was_changed_beside_the_broker_is_not_overwritten(world: World) -> None:
    world.secrets.rotate(TOKEN_HASH, lambda: b"x" * 32)
    with pytest.raises(RivvenError, match="restart"):
        await world.rotation.rotate(TOKEN_HASH)
    assert world.secrets.load(TOKEN_HASH) == b"x" * 32


async def test_a_power_cut_at_any_step_leaves_the_keys_of_before_or_of_after() -> None:
    reached = set()
    for seed in range(3):
        for step in range(1, 12):
            world = World()
            used = world.token()
            await world.rotation.rotate(TOKEN_HASH)
            before = world.keys.key_ids
            world.files.sync_all("/")
            world.files.cut_power_at = world.files.operations + step
            try:
                await world.rotation.rotate(TOKEN_HASH)
                continue
            except PowerCut:
                assert world.keys.key_ids == before, "it does not count before it is durable"
            world.files.crash(random.Random(seed))
            world.life()
            assert used in world.keys.key_ids and world.keys.key_ids[-2:] == before
            reached.add(len(world.keys.key_ids))
    assert reached == {2, 3}
