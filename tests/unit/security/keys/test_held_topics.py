"""Topic keys over a provider that is slow, gone or says no, over damaged files and a disk without power."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Mapping
from contextlib import suppress
from uuid import uuid4

import pytest

from rivven.log.sealing import KeyUnavailable
from rivven.security.keys.held_topics import CALLS_MAX, RETRY_SECONDS_MAX, RETRY_SECONDS_MIN
from rivven.security.keys.provider import KeyProviderError, KeyRefused, ProviderUnavailable, WrappedKey
from rivven.security.keys.topic_keys import TopicKeys
from rivven.testing.files import PowerCut
from tests.unit.security.keys.key_world import PATH, TOPIC, InlineThreads, World, opens, sealed, until


@pytest.fixture
async def world() -> World:
    return World()


# -- a provider that fails -----------------------------------------------------------------------------------


async def test_an_outage_does_not_reach_open_topics_and_new_ones_wait_for_its_end(world: World) -> None:
    other = uuid4()
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        world.provider.failure = world.down
        await keys.prepare({TOPIC: "", other: ""})
        assert opens(keys, sealed(keys))
        with pytest.raises(KeyUnavailable):
            keys.create(other, 0)
        assert "out of reach" in keys.failure(other)
        world.provider.failure = lambda _call, _use: None
        world.resume.release()
        await until(lambda: keys.waiting_topics == 0)
        assert opens(keys, sealed(keys, other)) and keys.failure(other) == ""


async def test_retries_come_less_and_less_often_and_not_in_step(world: World) -> None:
    async with world.broker() as keys:
        world.provider.failure = world.down
        await keys.prepare({TOPIC: ""})
        for round_ in range(12):
            await until(lambda round_=round_: len(world.pauses) > round_)
            world.resume.release()
        await until(lambda: len(world.pauses) == 13)
        for number, pause in enumerate(world.pauses):
            most = min(RETRY_SECONDS_MIN * 2**number, RETRY_SECONDS_MAX)
            assert most / 2 <= pause <= most
        assert len(set(world.pauses)) > 10


async def test_a_provider_that_is_down_is_not_asked_for_ten_thousand_keys(world: World) -> None:
    topics = {uuid4(): "" for _ in range(1_000)}
    async with world.broker() as keys:
        world.provider.failure = world.down
        world.provider.calls.clear()
        await keys.prepare(topics)
        assert world.provider.calls.total() <= CALLS_MAX
        assert keys.waiting_topics == 1_000


async def test_a_topic_that_is_refused_does_not_hold_up_the_others(world: World) -> None:
    topics = {uuid4(): "" for _ in range(20)}
    unlucky = list(topics)[3]

    def denied(call: str, context: Mapping[str, str]) -> KeyProviderError | None:
        return KeyRefused("access denied") if context.get("topic") == str(unlucky) else None

    world.provider.failure = denied
    async with world.broker() as keys:
        await keys.prepare(topics)
        assert keys.open_topics == 19 and keys.waiting_topics == 1
        assert keys.failure(unlucky) == "access denied"


async def test_calls_are_bounded(world: World) -> None:
    def slow(_call: str, _context: Mapping[str, str]) -> None:
        import time

        time.sleep(0.002)

    world.provider.failure = slow
    async with world.broker() as keys:
        await keys.prepare({uuid4(): "" for _ in range(50)})
        assert keys.open_topics == 50
    assert 2 <= world.provider.at_once <= CALLS_MAX


@pytest.mark.parametrize("content", [b"", b"old", b"RVKT\x00\x00" + bytes(20)])
async def test_a_damaged_file_keeps_one_topic_offline_and_is_never_replaced(
    world: World, content: bytes
) -> None:
    other = uuid4()
    async with world.broker() as keys:
        await keys.prepare({TOPIC: "", other: ""})
        segment = sealed(keys)
    whole = world.files.content(PATH)
    world.files.put(PATH, content)
    async with world.broker() as keys:
        await keys.prepare({TOPIC: "", other: ""})
        assert keys.failure(TOPIC).startswith(PATH)
        with pytest.raises(KeyUnavailable):
            keys.create(TOPIC, 0)
        keys.create(other, 0)
        assert world.files.content(PATH) == content
        world.files.put(PATH, whole)
        world.resume.release()
        await until(lambda: keys.waiting_topics == 0)
        assert opens(keys, segment), "restored while the broker ran"


# -- keys that are lost --------------------------------------------------------------------------------------


async def test_a_topic_with_sealed_segments_and_without_keys_gets_no_new_ones(world: World) -> None:
    other = uuid4()
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        segment = sealed(keys)
    whole = world.files.content(PATH)
    world.files.remove(PATH)
    world.sealed_on_disk = {TOPIC}
    async with world.broker() as keys:
        await keys.prepare({TOPIC: "", other: ""})
        assert "restore the key store" in keys.failure(TOPIC) and keys.failure(other) == ""
        for refused in (lambda: keys.create(TOPIC, 3), lambda: keys.sealer(segment[0])):
            with pytest.raises(KeyUnavailable):
                refused()
        keys.create(other, 0)
        await keys.rewrap()
        assert not world.files.exists(PATH)
        world.files.put(PATH, whole)
        world.resume.release()
        await until(lambda: keys.waiting_topics == 0)
        assert opens(keys, segment) and keys.failure(TOPIC) == "", "restored while the broker ran"


async def test_a_topic_whose_keys_are_lost_starts_over_only_when_asked_to(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        old = sealed(keys)
        assert not await keys.start_over(TOPIC), "nothing is lost"
        assert opens(keys, old)
    world.files.remove(PATH)
    world.sealed_on_disk = {TOPIC}
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        assert await keys.start_over(TOPIC)
        assert keys.failure(TOPIC) == "" and keys.waiting_topics == 0
        new = sealed(keys)
        with pytest.raises(KeyUnavailable):
            keys.sealer(old[0])
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        assert opens(keys, new)


async def test_start_over_replaces_no_key_that_cannot_be_had_now(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
    before = world.files.content(PATH)
    async with world.broker() as keys:
        world.provider.failure = world.down
        await keys.prepare({TOPIC: ""})
        with pytest.raises(ProviderUnavailable):
            await keys.start_over(TOPIC)
    world.files.put(PATH, b"damaged")
    world.provider.failure = lambda _call, _use: None
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        with pytest.raises(KeyRefused):
            await keys.start_over(TOPIC)
    assert before and world.files.content(PATH) == b"damaged"


async def test_segments_that_cannot_be_looked_at_are_looked_at_again(world: World) -> None:
    class Broken(set):  # type: ignore[type-arg]
        def __and__(self, other: object) -> set[object]:
            raise OSError(5, "Input/output error", "/data/partitions")

    world.sealed_on_disk = Broken()
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        assert "/data/partitions: Input/output error" in keys.failure(TOPIC)
        world.sealed_on_disk = set()
        world.resume.release()
        await until(lambda: keys.waiting_topics == 0)
        assert keys.failure(TOPIC) == ""


# -- rewrapping ----------------------------------------------------------------------------------------------


async def test_rewrap_moves_everything_under_the_newest_kek_and_says_what_can_go(world: World) -> None:
    other, progress = uuid4(), []
    async with world.broker() as keys:
        await keys.prepare({TOPIC: "", other: ""})
        await keys.renew(TOPIC)
        segment = sealed(keys)
        old, new = world.provider.keyring.current_id(""), world.provider.keyring.rotate("")
        report = await keys.rewrap(lambda done, total: progress.append((done, total)))
        assert (report.moved, report.unchanged, report.failed) == (3, 0, ())
        assert report.retirable == (old,) and keys.kek_ids() == {new}
        assert progress[-1] == (3, 3)
        again = await keys.rewrap()
        assert (again.moved, again.unchanged, again.retirable) == (0, 3, ())
    world.provider.keyring.destroy(old)
    async with world.broker() as keys:
        await keys.prepare({TOPIC: "", other: ""})
        assert opens(keys, segment)


async def test_rewrap_reaches_topics_that_are_not_open(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
    new = world.provider.keyring.rotate("")
    async with world.broker() as keys:
        await keys.rewrap()
        assert keys.kek_ids() == {new}


async def test_a_rewrap_that_an_outage_ends_goes_on_where_it_was(world: World) -> None:
    topics = {uuid4(): "" for _ in range(30)}
    async with world.broker() as keys:
        await keys.prepare(topics)
        world.provider.keyring.rotate("")
        wraps = 0

        def tired(call: str, _context: Mapping[str, str]) -> KeyProviderError | None:
            nonlocal wraps
            wraps += call == "wrap"
            return ProviderUnavailable("tired") if wraps > 10 else None

        world.provider.failure = tired
        first = await keys.rewrap()
        assert first.failed[0] == "tired" and 1 <= first.moved <= 10 and first.retirable == ()
        world.provider.failure = lambda _call, _use: None
        second = await keys.rewrap()
        assert (second.moved + first.moved, second.unchanged, second.failed) == (31, first.moved, ())
        assert len(second.retirable) == 1


async def test_rewrap_reports_topics_it_could_not_move(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
    world.files.put(PATH, b"")
    world.provider.keyring.rotate("")
    async with world.broker() as keys:
        report = await keys.rewrap()
        assert report.moved == 1 and len(report.failed) == 1 and PATH in report.failed[0]


# -- crashes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["first", "renew", "retire", "rewrap", "rewriting"])
async def test_a_power_cut_at_any_step_loses_no_key_that_was_used(change: str) -> None:
    reached = 0
    for step in range(1, 14):
        world = World()
        world.threads = InlineThreads()
        segments = []
        with suppress(PowerCut):
            async with world.broker() as keys:
                if change != "first":
                    await keys.prepare({TOPIC: ""})
                if change == "retire":
                    await keys.renew(TOPIC)
                if change != "first":
                    segments.append(sealed(keys))
                if change == "rewrap":
                    world.provider.keyring.rotate("")
                world.files.sync_all("/")
                world.files.cut_power_at = world.files.operations + step
                await change_keys(keys, change)
                segments.append(sealed(keys))
        reached += not world.files.powered
        world.files.crash(random.Random(step))
        async with world.broker() as keys:
            await keys.prepare({TOPIC: ""})
            assert keys.failure(TOPIC) == ""
            assert all(opens(keys, segment) for segment in segments)
            assert opens(keys, sealed(keys))
            await keys.rewrap()
            assert keys.kek_ids() == {world.provider.keyring.current_id("")}
    assert reached >= 4, "the power was cut nowhere"


async def change_keys(keys: TopicKeys, change: str) -> None:
    match change:
        case "first":
            await keys.prepare({TOPIC: ""})
        case "renew":
            await keys.renew(TOPIC)
        case "retire":
            await keys.retire(TOPIC, keys.older(TOPIC))
        case "rewrap":
            await keys.rewrap()
        case _:
            await keys.set_rewriting(TOPIC, True)


# -- old KEKs that are about to be destroyed -----------------------------------------------------------------


async def test_a_rewrap_waits_for_topics_that_are_just_being_made(world: World) -> None:
    """Wrapped under the old KEK and not stored yet: nobody may believe that KEK to be unused."""
    other, wrapped, go_on = uuid4(), threading.Event(), threading.Event()
    real = world.provider.wrap

    def slow(key: str, plain: bytes, context: Mapping[str, str]) -> WrappedKey:
        result = real(key, plain, context)
        if context.get("topic") == str(other):
            wrapped.set()
            go_on.wait(10)
        return result

    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        world.provider.wrap = slow  # type: ignore[method-assign]
        making = asyncio.gather(keys.prepare({other: ""}))
        await until(wrapped.is_set)
        world.provider.wrap = real  # type: ignore[method-assign]
        made = world.provider.keyring.rotate("")
        rewrapping = asyncio.gather(keys.rewrap())
        await asyncio.sleep(0.05)
        assert not rewrapping.done()
        go_on.set()
        [report], _ = await asyncio.gather(rewrapping, making)
        assert keys.kek_ids() == {made} and len(report.retirable) == 1
        segment = sealed(keys, other)
        world.provider.keyring.destroy(report.retirable[0])
    async with world.broker() as keys:
        await keys.prepare({other: ""})
        assert opens(keys, segment)


async def test_a_kek_that_was_left_wraps_nothing_again(world: World) -> None:
    """A provider whose parts hear of a rotation late may wrap with the old KEK for a while."""
    other = uuid4()
    real = world.provider.wrap
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        old = world.provider.keyring.current_id("")
        new = world.provider.keyring.rotate("")
        assert (await keys.rewrap()).retirable == (old,)
        world.provider.wrap = lambda *call: real(*call)._replace(key_id=old)  # type: ignore[method-assign]
        await keys.prepare({other: ""})
        assert "still wraps with" in keys.failure(other) and keys.kek_ids() == {new}
        world.provider.wrap = real  # type: ignore[method-assign]
        world.resume.release()
        await until(lambda: keys.waiting_topics == 0)
        assert opens(keys, sealed(keys, other))
