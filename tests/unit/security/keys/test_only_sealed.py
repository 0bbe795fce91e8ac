"""The mark of topics that have sealed segments only: when it is set, kept and taken away."""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from rivven.errors import StorageFailed
from rivven.log.sealed_traces import Traces
from rivven.log.sealing import KeyUnavailable
from rivven.security.keys.held_topics import CALLS_MAX
from rivven.security.keys.key_store import StoredTopic, open_key_store
from rivven.security.keys.provider import KeyProviderError
from rivven.security.keys.topic_keys import TopicKeys
from rivven.testing.files import Fault, PowerCut
from tests.unit.security.keys.key_world import PATH, TOPIC, InlineThreads, World, until


@pytest.fixture
async def world() -> World:
    return World()


def stored_mark(world: World) -> bool:
    found = world.store.read_topic(TOPIC)
    assert found is not None
    return found.only_sealed


async def marked(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        assert keys.only_sealed(TOPIC) and stored_mark(world)


# -- setting it ----------------------------------------------------------------------------------------------


async def test_a_new_topic_has_it_from_its_first_keys_on(world: World) -> None:
    async with world.broker() as keys:
        assert keys.may_begin_plain(TOPIC) and not keys.only_sealed(TOPIC)
        await keys.prepare({TOPIC: ""})
        assert keys.only_sealed(TOPIC) and not keys.may_begin_plain(TOPIC) and stored_mark(world)
        assert not keys.unmarked()
    async with world.broker() as keys:
        assert keys.only_sealed(TOPIC), "no provider has to say so"


@pytest.mark.parametrize("seed", range(20))
async def test_keys_are_never_there_without_it(world: World, seed: int) -> None:
    """Wherever power goes while the first ones are made."""
    world.threads = InlineThreads()
    world.files.cut_power_at = world.files.operations + 20 + seed
    with suppress(PowerCut):
        async with world.broker() as keys:
            await keys.prepare({TOPIC: ""})
    world.files.crash(random.Random(seed))
    world.store = open_key_store(world.files, "/data-keys", "c", may_create=True)
    found = world.store.read_topic(TOPIC)
    assert found is None or found.only_sealed


async def test_a_topic_with_a_directory_does_not_get_it(world: World) -> None:
    world.on_disk.add(TOPIC)
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        assert not keys.only_sealed(TOPIC) and not stored_mark(world)
        assert keys.unmarked() == {TOPIC} and keys.may_begin_plain(TOPIC)
        assert await keys.mark_only_sealed(TOPIC)
        assert keys.only_sealed(TOPIC) and stored_mark(world) and not keys.unmarked()


async def test_a_topic_that_was_there_while_its_keys_were_waited_for_does_not_get_it(world: World) -> None:
    """It may have been plain for a while."""
    async with world.broker() as keys:
        world.provider.failure = world.down
        await keys.prepare({TOPIC: ""})
        await keys.prepare({TOPIC: None})
        assert keys.may_begin_plain(TOPIC)
        world.on_disk.add(TOPIC)
        world.provider.failure = lambda _call, _use: None
        await keys.prepare({TOPIC: ""})
        assert not keys.only_sealed(TOPIC)


async def test_nothing_plain_is_begun_behind_a_look(world: World) -> None:
    """Nor between the look and the mark."""
    allowed: list[bool] = []
    async with world.broker() as keys:

        def looking(asked: Collection[UUID]) -> Traces:
            allowed.append(keys.may_begin_plain(TOPIC))
            return Traces()

        def wrapping(_call: str, _context: Mapping[str, str]) -> KeyProviderError | None:
            allowed.append(keys.may_begin_plain(TOPIC))
            return None

        keys._held._traces_of = looking
        world.provider.failure = wrapping
        await keys.prepare({TOPIC: ""})
        assert allowed == [False] * len(allowed) and len(allowed) >= 2
        with keys.plain_held_back(other := uuid4()):
            assert not keys.may_begin_plain(other)
        assert keys.may_begin_plain(other)


async def test_a_look_that_fails_holds_nothing_back_for_long(world: World) -> None:
    async with world.broker() as keys:

        def broken(_asked: Collection[UUID]) -> Traces:
            raise OSError(5, "Input/output error", "/data/partitions")

        keys._held._traces_of = broken
        await keys.prepare({TOPIC: ""})
        assert keys.may_begin_plain(TOPIC) and not keys.only_sealed(TOPIC)
        with pytest.raises(KeyUnavailable):
            keys.create(TOPIC, 0)


async def test_it_is_not_set_for_what_is_not_sealed_any_more(world: World) -> None:
    world.on_disk.add(TOPIC)
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        await keys.freeze(TOPIC)
        assert not await keys.mark_only_sealed(TOPIC), "its keys are about to be destroyed"
        keys.thaw(TOPIC)
        await keys.prepare({TOPIC: None})
        assert not await keys.mark_only_sealed(TOPIC) and not keys.unmarked()
        await keys.forget(TOPIC)
        with pytest.raises(KeyUnavailable):
            await keys.mark_only_sealed(TOPIC)
        with pytest.raises(KeyUnavailable):
            await keys.mark_only_sealed(uuid4())


async def test_a_mark_that_is_not_stored_does_not_count(world: World) -> None:
    world.on_disk.add(TOPIC)
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        world.files.faults.append(Fault("rename", errno.ENOSPC, PATH))
        with pytest.raises(StorageFailed):
            await keys.mark_only_sealed(TOPIC)
        assert not keys.only_sealed(TOPIC) and not stored_mark(world)


# -- keeping it ----------------------------------------------------------------------------------------------


async def test_whatever_else_becomes_of_the_keys_it_stays(world: World) -> None:
    await marked(world)
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        await keys.renew(TOPIC)
        await keys.retire(TOPIC, keys.older(TOPIC))
        await keys.set_rewriting(TOPIC, True)
        await keys.set_rewriting(TOPIC, False)
        world.provider.rotate("")
        await keys.rewrap()
        await keys.prepare({TOPIC: "payroll"})
        assert keys.only_sealed(TOPIC) and stored_mark(world)


async def test_a_topic_that_nobody_hosts_keeps_it(world: World) -> None:
    """An older copy of the data is here, and the newer one may come back."""
    await marked(world)
    async with world.broker() as keys:
        await keys.open_all([TOPIC])
        assert keys.open_topics == 1 and stored_mark(world)


# -- taking it away ------------------------------------------------------------------------------------------


async def test_switched_off_it_goes_and_comes_back_with_a_look_only(world: World) -> None:
    await marked(world)
    async with world.broker() as keys:
        await keys.prepare({TOPIC: None})
        assert not keys.only_sealed(TOPIC) and keys.may_begin_plain(TOPIC) and not stored_mark(world)
        await keys.prepare({TOPIC: ""})
        assert not keys.only_sealed(TOPIC) and keys.unmarked() == {TOPIC}


async def test_it_goes_without_a_provider(world: World) -> None:
    await marked(world)
    async with world.broker() as keys:
        world.provider.failure = world.down
        await keys.prepare({TOPIC: None})
        assert keys.may_begin_plain(TOPIC) and not stored_mark(world)
        assert keys.open_topics == 0, "the control: it gave nothing"


async def test_it_goes_of_many_topics_without_a_provider(world: World) -> None:
    """The first that is not opened does not keep the others waiting for the provider's return."""
    topics = [uuid4() for _ in range(5 * CALLS_MAX)]
    async with world.broker() as keys:
        await keys.prepare(dict.fromkeys(topics, ""))
        assert all(map(keys.only_sealed, topics))
    async with world.broker() as keys:
        world.provider.failure = world.down
        await keys.prepare(dict.fromkeys(topics))
        assert all(map(keys.may_begin_plain, topics)) and keys.open_topics == 0
        assert keys.waiting_topics == len(topics), "their sealed segments wait"


async def test_while_the_key_store_cannot_be_written_nothing_plain_is_begun(world: World) -> None:
    await marked(world)
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        full = Fault("rename", errno.ENOSPC, PATH, times=1_000)
        world.files.faults.append(full)
        await keys.prepare({TOPIC: None})
        assert keys.only_sealed(TOPIC) and not keys.may_begin_plain(TOPIC) and stored_mark(world)
        assert keys.waiting_topics == 1 and keys.failure(TOPIC)
        world.files.faults.remove(full)
        world.resume.release()
        await until(lambda: keys.may_begin_plain(TOPIC))
        assert not stored_mark(world)
        await until(lambda: keys.waiting_topics == 0)


@pytest.mark.parametrize("seed", range(12))
async def test_nothing_plain_may_be_begun_before_it_is_gone_for_good(world: World, seed: int) -> None:
    await marked(world)
    world.threads = InlineThreads()
    allowed = False
    with suppress(PowerCut):
        async with world.broker() as keys:
            world.files.cut_power_at = world.files.operations + 1 + seed
            await keys.prepare({TOPIC: None})
            allowed = keys.may_begin_plain(TOPIC)
    world.files.crash(random.Random(seed))
    world.store = open_key_store(world.files, "/data-keys", "c", may_create=False)
    assert not (allowed and stored_mark(world))


async def test_switched_off_while_its_first_keys_are_made(world: World) -> None:
    async with world.broker() as keys:
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wrapping(call: str, _context: Mapping[str, str]) -> KeyProviderError | None:
            if call == "wrap":
                asyncio.run_coroutine_threadsafe(_switch_off(keys, asked), loop).result(5)
            return None

        world.provider.failure = wrapping
        await keys.prepare({TOPIC: ""})
        assert asked.is_set()
        assert not keys.only_sealed(TOPIC) and not stored_mark(world) and keys.may_begin_plain(TOPIC)


async def _switch_off(keys: TopicKeys, asked: asyncio.Event) -> None:
    await keys.prepare({TOPIC: None})
    asked.set()


async def test_a_file_that_cannot_be_read_may_have_it(world: World) -> None:
    await marked(world)
    content = world.files.content(PATH)
    world.files.put(PATH, content[:-1] + bytes([content[-1] ^ 1]))
    async with world.broker() as keys:
        await keys.prepare({TOPIC: None})
        assert not keys.may_begin_plain(TOPIC)
        world.files.put(PATH, content)
        world.resume.release()
        await until(lambda: keys.may_begin_plain(TOPIC))
        assert not stored_mark(world)


async def test_a_file_of_an_earlier_version_says_nothing(world: World) -> None:
    await marked(world)
    async with world.broker() as keys:
        stored = keys.stored()[TOPIC]
        assert stored == replace(stored, only_sealed=True)
        world.store.write_topic(replace(stored, only_sealed=False))
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        assert not keys.only_sealed(TOPIC) and keys.unmarked() == {TOPIC}


@pytest.mark.parametrize("failures", [0, 2])
async def test_switched_off_while_the_mark_is_written(world: World, failures: int) -> None:
    """Who switches it off sees no mark yet; nothing plain would ever be begun if it stayed."""
    world.on_disk.add(TOPIC)
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        loop, write = asyncio.get_running_loop(), world.store.write_topic
        asked = asyncio.Event()

        def writing(stored: StoredTopic) -> None:
            if not asked.is_set():
                assert stored.only_sealed
                asyncio.run_coroutine_threadsafe(_switch_off(keys, asked), loop).result(5)
                write(stored)
                if failures:
                    world.files.faults.append(Fault("rename", errno.ENOSPC, PATH, times=failures))
            else:
                write(stored)

        world.store.write_topic = writing  # type: ignore[method-assign]
        assert not await keys.mark_only_sealed(TOPIC)
        assert keys.may_begin_plain(TOPIC) is (failures == 0)
        world.resume.release()
        await until(lambda: keys.may_begin_plain(TOPIC))
        assert not stored_mark(world) and not keys.only_sealed(TOPIC)
