"""Shredding over a world that crashes: at every effect, before it and after it, once and twice in a row."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rivven.errors import StorageFailed
from rivven.security.keys import shredding
from rivven.security.keys.erasure import Erasure, Step, decode, encode
from rivven.security.keys.erasure_certificate import certificate_of, key_id_of, verify
from rivven.security.keys.provider import (
    Destruction,
    KekInfo,
    KekState,
    KeyGone,
    KeyRefused,
    ProviderUnavailable,
    WrappedKey,
)
from rivven.security.keys.shredding import Shredder, StillInUse
from tests.unit.security.keys.erasure_samples import TOPIC_ID, an_erasure

KEY = Ed25519PrivateKey.from_private_bytes(b"\x03" * 32)
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
KEEPER = UUID(int=8)
METADATA = "metadata"
BEGINS_WITHIN = 3
"""Effects of a whole run before its record is stored: the fresh KEK is made, the record is about to be."""


class Crash(BaseException):
    """The process ends here."""


class World:
    """What outlives a process: the record, topics, wrapped keys, the provider, certificates."""

    def __init__(self) -> None:
        self.record: dict[str, Any] | None = None
        self.topics = {TOPIC_ID, KEEPER}
        self.wrapped: dict[object, list[str]] = {
            TOPIC_ID: ["k1", "k2"],
            KEEPER: ["k1", "k2"],
            METADATA: ["k2"],
        }
        self.keks = {"k1": "alive", "k2": "alive"}
        self.current = "k2"
        self.certificates: list[bytes] = []
        self.waits_ms: int | None = None
        self.now = 1_700_000_000_000
        self.crash_at: int | None = None
        self.effects: list[str] = []
        self.failures = 0
        self.stops: list[tuple[Step, str]] = []

    # -- seams -----------------------------------------------------------------------------------------------

    def effect(self, name: str) -> None:
        """Each effect calls it before and after: two places to crash."""
        self.effects.append(name)
        if self.crash_at is not None and len(self.effects) > self.crash_at:
            self.crash_at = None
            raise Crash

    def save_erasure(self, erasure: Erasure) -> None:
        self.effect(f"before save {erasure.step}")
        self.record = encode(erasure)
        self.effect(f"after save {erasure.step}")

    def clear_erasure(self) -> None:
        self.effect("before clear")
        self.record = None
        self.effect("after clear")

    async def delete(self, topic_id: UUID) -> None:
        self.effect("before delete")
        self.topics.discard(topic_id)
        self.effect("after delete")

    async def forget(self, topic_id: UUID) -> None:
        assert topic_id not in self.topics, "its partitions still need the keys"
        self.effect("before forget")
        self.wrapped.pop(topic_id, None)
        self.effect("after forget")

    async def rewrap(self) -> None:
        for owner, keks in self.wrapped.items():
            for number, kek in enumerate(keks):
                if kek != self.current:
                    self.effect("before rewrap one")
                    assert self.keks[kek] == "alive", f"{owner} is lost"
                    keks[number] = self.current
                    self.effect("after rewrap one")

    def kek_ids(self, besides: UUID | None = None) -> set[str]:
        return {kek for owner, keks in self.wrapped.items() if owner != besides for kek in keks}

    async def issue(self, erasure: Erasure) -> bytes:
        self.effect("before issue")
        certificate = certificate_of(erasure, key_id_of(KEY.public_key().public_bytes_raw()), KEY.sign)
        self.certificates.append(certificate)
        self.effect("after issue")
        return certificate

    def now_ms(self) -> int:
        self.now += 1
        return self.now

    def monotonic(self) -> float:
        return 0.0

    # -- the provider ----------------------------------------------------------------------------------------

    name = "file"

    def current_id(self, key: str) -> str:
        if self.failures:
            self.failures -= 1
            raise ProviderUnavailable("the provider is down")
        return self.current

    def rotate(self, key: str) -> str:
        self.effect("before rotate")
        self.current = f"k{len(self.keks) + 1}"
        self.keks[self.current] = "alive"
        self.effect("after rotate")
        return self.current

    def destroy(self, key_id: str) -> Destruction:
        if key_id == self.current:
            raise KeyRefused("current")
        if self.keks.get(key_id) == "gone":
            raise KeyGone("gone")
        self.effect("before destroy")
        assert key_id not in self.kek_ids(), f"{key_id} is still needed"
        self.keks[key_id] = "gone" if self.waits_ms is None else "pending"
        self.effect("after destroy")
        return Destruction(self.waits_ms is None, self.waits_ms)

    def wrap(self, key: str, plain: bytes, context: object) -> WrappedKey:
        raise AssertionError("shredding wraps nothing itself")

    def unwrap(self, wrapped: WrappedKey, context: object) -> bytes:
        raise AssertionError("shredding opens nothing itself")

    def state(self, key_id: str) -> KekState:
        raise AssertionError("what is pending is somebody else's to follow")

    def describe(self, key: str) -> list[KekInfo]:
        raise AssertionError("shredding knows the old keys from its record")

    def close(self) -> None:
        raise AssertionError("the provider is not the shredder's")

    # -- processes -------------------------------------------------------------------------------------------

    def process(self) -> Shredder:
        shredder = Shredder(
            records=self,
            topics=self,
            wrappings=self,
            provider=self,
            issue=self.issue,
            clock=self,
            on_stop=lambda erasure, reason: self.stops.append((erasure.step, reason)),
        )
        if self.record is not None:
            shredder.resume(decode(self.record))
        return shredder

    async def whole(self) -> bytes:
        shredder = self.process()
        await shredder.begin(an_erasure("k1", "k2"))
        return await shredder.finish()

    async def until_done(self) -> None:
        """Processes, one after the other, until one ends by itself."""
        for _ in range(10):
            if self.record is None:
                return
            shredder = self.process()
            try:
                await shredder.finish()
            except Crash:
                continue
        raise AssertionError("it never ends")

    def check(self) -> None:
        assert self.topics == {KEEPER}
        assert self.record is None
        assert {self.keks["k1"], self.keks["k2"]} <= {"gone", "pending"}
        assert self.kek_ids() == {self.current}
        assert self.keks[self.current] == "alive"
        assert TOPIC_ID not in self.wrapped
        assert len(set(self.certificates)) == 1
        verify(self.certificates[0], PUBLIC)


async def test_without_a_crash() -> None:
    world = World()
    certificate = await world.whole()
    world.check()
    assert world.certificates == [certificate]
    assert verify(certificate, PUBLIC).fields["state"] == "complete"


async def effects_of_a_whole_run() -> int:
    world = World()
    await world.whole()
    return len(world.effects)


async def crashed_at(place: int) -> World:
    world = World()
    world.crash_at = place
    with pytest.raises(Crash):
        await world.whole()
    return world


async def test_a_crash_at_every_place_changes_nothing_about_the_end() -> None:
    places = await effects_of_a_whole_run()
    assert places > 30
    for place in range(places):
        world = await crashed_at(place)
        if world.record is None and not world.certificates:
            assert place < BEGINS_WITHIN, "it never began"
            assert (world.topics, set(world.keks.values())) == ({TOPIC_ID, KEEPER}, {"alive"})
            continue
        await world.until_done()
        world.check()


async def test_two_crashes_in_a_row() -> None:
    for place in range(BEGINS_WITHIN, await effects_of_a_whole_run()):
        for second in range(0, 12, 3):
            world = await crashed_at(place)
            world.crash_at = len(world.effects) + second
            await world.until_done()
            world.check()


async def test_a_new_key_is_made_once() -> None:
    for place in range(BEGINS_WITHIN, await effects_of_a_whole_run()):
        world = await crashed_at(place)
        await world.until_done()
        assert sorted(world.keks) == ["k1", "k2", "k3"]


async def test_a_provider_that_waits_makes_it_pending() -> None:
    world = World()
    world.waits_ms = 1_900_000_000_000
    fields = verify(await world.whole(), PUBLIC).fields
    assert (fields["state"], fields["pending_until"]) == ("pending", "2030-03-17T17:46:40.000Z")


async def test_a_key_that_is_still_used_is_never_destroyed() -> None:
    world = World()

    async def forgetful() -> None:
        world.wrapped[METADATA] = [world.current]

    world.rewrap = forgetful  # type: ignore[method-assign]
    with pytest.raises(StillInUse, match="still wraps"):
        await world.whole()
    assert world.keks["k1"] == world.keks["k2"] == "alive"
    assert decode(world.record or {}).step is Step.RENEWED


async def test_a_key_that_came_into_use_again_is_not_destroyed() -> None:
    world = World()
    shredder = world.process()
    await shredder.begin(an_erasure("k1", "k2").at(Step.REWRAPPED))
    world.current = "k3"
    world.keks["k3"] = "alive"
    with pytest.raises(StillInUse):
        await shredder.finish()
    assert world.keks["k1"] == world.keks["k2"] == "alive"


async def test_a_provider_that_makes_no_new_key_destroys_none() -> None:
    world = World()
    world.rotate = lambda key: "k2"  # type: ignore[method-assign]
    with pytest.raises(StillInUse, match="no new key"):
        await world.whole()
    assert world.keks == {"k1": "alive", "k2": "alive"}
    assert (world.record, world.topics) == (None, {TOPIC_ID, KEEPER})


async def test_a_provider_that_may_make_no_new_key_is_noticed_before_anything_happens() -> None:
    world = World()
    world.rotate = refusing  # type: ignore[method-assign]
    with pytest.raises(KeyRefused, match="no successor"):
        await world.whole()
    assert (world.record, world.topics) == (None, {TOPIC_ID, KEEPER})
    assert world.keks == {"k1": "alive", "k2": "alive"}


async def test_a_key_without_a_successor_is_destroyed_if_it_is_the_topics_alone() -> None:
    """As a KMS key that `encryption.key` names by its ARN."""
    world = World()
    world.wrapped = {TOPIC_ID: ["k1", "k2"], METADATA: ["other"]}
    world.rotate = refusing  # type: ignore[method-assign]
    current, world.current = world.current, "other"
    world.current_id = lambda key: current  # type: ignore[method-assign]
    await world.whole()
    assert world.keks == {"k1": "gone", "k2": "gone"}
    assert world.certificates


async def test_a_former_name_that_is_gone_at_the_provider_needs_no_new_key() -> None:
    world = World()
    world.wrapped[METADATA] = world.wrapped[KEEPER] = ["other"]
    world.keks, world.current = {"k1": "gone", "k2": "gone"}, "other"

    def gone(key: str) -> str:
        raise KeyGone("no such name")

    world.current_id = gone  # type: ignore[method-assign]
    await world.whole()
    assert world.certificates
    assert world.keks == {"k1": "gone", "k2": "gone"}


async def test_a_name_that_is_away_while_it_wraps_what_is_needed_stops_it_before_anything_happens() -> None:
    """As a keyring that is not mounted: without a fresh KEK the old one could never be left."""
    world = World()

    def away(key: str) -> str:
        raise KeyGone("there is no keyring")

    world.current_id = away  # type: ignore[method-assign]
    with pytest.raises(KeyGone, match="no keyring"):
        await world.whole()
    assert (world.record, world.topics) == (None, {TOPIC_ID, KEEPER})
    assert world.keks == {"k1": "alive", "k2": "alive"}


def refusing(key: str) -> str:
    raise KeyRefused("a key without a name has no successor")


async def test_a_provider_that_wants_another_order_gets_it() -> None:
    """As transit engines do, which trim versions from the oldest on."""
    world = World()
    destroy = world.destroy

    def oldest_first(key_id: str) -> Destruction:
        if key_id == "k2" and world.keks["k1"] == "alive":
            raise KeyRefused("k1 goes first")
        return destroy(key_id)

    world.destroy = oldest_first  # type: ignore[method-assign]
    shredder = world.process()
    await shredder.begin(an_erasure("k2", "k1"))
    await shredder.finish()
    world.check()


async def test_what_a_provider_refuses_for_good_is_not_tried_for_ever() -> None:
    world = World()
    tries = []

    def never(key_id: str) -> Destruction:
        tries.append(key_id)
        raise KeyRefused("not allowed")

    world.destroy = never  # type: ignore[method-assign]
    with pytest.raises(KeyRefused, match="not allowed"):
        await world.whole()
    assert tries == ["k1", "k2"] and not world.certificates


async def test_a_pending_destruction_without_a_date_is_no_proof() -> None:
    world = World()
    world.destroy = lambda key_id: Destruction(False, None)  # type: ignore[method-assign]
    with pytest.raises(StorageFailed, match="does not say when"):
        await world.whole()
    assert not world.certificates


async def test_it_insists_until_the_provider_answers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shredding, "RETRY_SECONDS_MIN", 0.001)
    world = World()
    shredder = world.process()
    await shredder.begin(an_erasure("k1", "k2"))
    world.failures = 3
    await shredder.insist()
    world.check()
    assert [record.getMessage() for record in caplog.records] == [
        "shredding orders waits after forgotten: the provider is down"
    ] * 3
    assert world.stops == [(Step.FORGOTTEN, "the provider is down")] * 3
    assert (shredder.running, shredder.problem) == (None, "")
