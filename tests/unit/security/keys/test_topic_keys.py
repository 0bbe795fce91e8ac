"""Topic keys over a provider that is slow, gone, or says no; over a disk that loses power; over restarts."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from uuid import UUID, uuid4

import pytest

from rivven.log.sealing import (
    KeyUnavailable,
    SegmentHeader,
    frame_intact,
    open_frame,
    parse_segment_header,
    seal_batch,
)
from rivven.log.threads import Job, LoopThreads, Threads
from rivven.security.keys.bootstrap import MetadataKey
from rivven.security.keys.held_topics import CALLS_MAX, RETRY_SECONDS_MAX, RETRY_SECONDS_MIN
from rivven.security.keys.key_store import KEYS_MAX, open_key_store
from rivven.security.keys.provider import (
    KeyContext,
    KeyProviderError,
    KeyRefused,
    ProviderUnavailable,
)
from rivven.security.keys.topic_keys import KeySettings, TopicKeys
from rivven.tasks import Tasks
from rivven.testing.canary import leaks
from rivven.testing.files import CrashFiles, PowerCut
from tests.unit.log.harness import ManualClock, batch_of
from tests.unit.security.keys.scripted_provider import ScriptedProvider

TOPIC = UUID("11111111-2222-4333-8444-555555555555")
PATH = f"/data-keys/topics/{TOPIC}.keys"


class InlineThreads:
    """Jobs run where they are submitted, so that a power cut ends who waits for them."""

    def worker(self, name: str, size: int = 1) -> InlineThreads:
        return self

    def submit(self, job: Job) -> None:
        job()

    def post(self, callback: Job) -> None:
        callback()

    soon = post

    def later(self, seconds: float, callback: Job) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, callback)

    def close(self) -> None:
        """There is nothing to end."""


class World:
    """A disk, a provider, a clock, and pauses that end when the test says so."""

    def __init__(self) -> None:
        self.files = CrashFiles()
        self.files.make_directory("/data")
        self.provider = ScriptedProvider()
        self.clock = ManualClock()
        self.pauses: list[float] = []
        self.resume = asyncio.Semaphore(0)
        self.made: list[bytes] = []
        self.threads: Threads = LoopThreads(asyncio.get_running_loop())

    def entropy(self, size: int) -> bytes:
        drawn = os.urandom(size)
        self.made.append(drawn)
        return drawn

    async def pause(self, seconds: float) -> None:
        if seconds > RETRY_SECONDS_MAX:  # the sweep of data keys
            await asyncio.Event().wait()
        self.pauses.append(seconds)
        await self.resume.acquire()

    @asynccontextmanager
    async def broker(self, **settings: float) -> AsyncIterator[TopicKeys]:
        """The keys of one life of a broker."""
        tasks = Tasks()
        keys = self.keys(tasks, **settings)
        try:
            await keys.open()
            yield keys
        finally:
            await tasks.cancel_all()
            keys.close()
            self.store.close()

    def keys(self, tasks: Tasks, **settings: float) -> TopicKeys:
        self.store = open_key_store(self.files, "/data-keys", "c", may_create=True)
        self.metadata_key = MetadataKey.load_or_create(
            self.files, "/data/encryption.key", self.provider, "c", os.urandom
        )
        return TopicKeys(
            store=self.store,
            provider=self.provider,
            metadata_key=self.metadata_key,
            context=KeyContext("c"),
            settings=KeySettings(**settings),  # type: ignore[arg-type]
            threads=self.threads,
            tasks=tasks,
            clock=self.clock,
            entropy=self.entropy,
            pause=self.pause,
        )

    def down(self, call: str, context: Mapping[str, str]) -> KeyProviderError | None:
        return ProviderUnavailable("the provider is out of reach")


@pytest.fixture
async def world() -> World:
    return World()


def sealed(keys: TopicKeys, topic: UUID = TOPIC) -> tuple[SegmentHeader, memoryview]:
    """A segment with one frame."""
    header, sealer = keys.create(topic, 3)
    return header, memoryview(seal_batch(sealer, header, 128, batch_of(b"value")))


def opens(keys: TopicKeys, segment: tuple[SegmentHeader, memoryview]) -> bool:
    header, frame = segment
    read = parse_segment_header(header.encode())
    assert read is not None and frame_intact(frame)
    return b"".join(open_frame(keys.sealer(read), read, 128, frame)) == bytes(batch_of(b"value"))


async def until(condition: object) -> None:
    assert callable(condition)
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("never")


# -- one topic -----------------------------------------------------------------------------------------------


async def test_what_was_sealed_opens_in_the_next_life_with_one_call(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        segments = [sealed(keys) for _ in range(5)]
        assert world.provider.calls["wrap"] == 2, "the metadata key and the topic key"
    world.provider.calls.clear()
    async with world.broker() as keys:
        with pytest.raises(KeyUnavailable):
            opens(keys, segments[0])
        await keys.prepare({TOPIC: ""})
        await keys.prepare({TOPIC: ""})
        assert all(opens(keys, segment) for segment in segments)
    assert world.provider.calls == {"unwrap": 2}, "the metadata key and the topic key"


async def test_every_segment_has_its_own_key_and_incarnation(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        headers = [keys.create(TOPIC, 3)[0] for _ in range(50)]
        assert len({header.incarnation for header in headers}) == 50
        assert len({keys.export(header) for header in headers}) == 50
        assert {header.topic_key_id for header in headers} == {keys.newest(TOPIC)}


async def test_a_header_that_was_moved_or_changed_does_not_open(world: World) -> None:
    from rivven.log.sealing import FrameRefused

    async with world.broker() as keys:
        await keys.prepare({TOPIC: "", uuid4(): ""})
        header, _ = keys.create(TOPIC, 3)
        for other in (
            header._replace(partition=4),
            header._replace(incarnation=bytes(16)),
            header._replace(wrapped_key=bytes(60)),
        ):
            with pytest.raises(FrameRefused):
                keys.sealer(other)
            with pytest.raises(FrameRefused):
                keys.export(other)
        with pytest.raises(KeyUnavailable):
            keys.sealer(header._replace(topic_key_id=bytes(16)))
        with pytest.raises(KeyUnavailable):
            keys.sealer(header._replace(topic_id=uuid4()))


async def test_without_prepare_nothing_is_sealed_and_a_topic_that_seals_nothing_gets_no_key(
    world: World,
) -> None:
    async with world.broker() as keys:
        with pytest.raises(KeyUnavailable):
            keys.create(TOPIC, 0)
        await keys.prepare({TOPIC: None})
        with pytest.raises(KeyUnavailable):
            keys.create(TOPIC, 0)
        assert not world.files.exists(PATH)
        assert keys.newest(TOPIC) is None and keys.waiting_topics == 0


async def test_a_topic_that_is_not_encrypted_any_more_still_opens(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        segment = sealed(keys)
    async with world.broker() as keys:
        await keys.prepare({TOPIC: None})
        assert opens(keys, segment)


async def test_nothing_of_a_key_stands_in_any_file(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        await keys.renew(TOPIC)
        header, _ = keys.create(TOPIC, 0)
        data_key = keys.export(header)
        secrets = [drawn for drawn in world.made if len(drawn) == 32]
        assert data_key in secrets and len(secrets) == 3
        content = {PATH: world.files.content(PATH), "header": header.encode()}
        assert not leaks(secrets, content)
        assert not leaks(secrets, {"repr": repr(vars(keys)) + repr(list(keys.wrapped()))})


# -- the life of a topic -------------------------------------------------------------------------------------


async def test_a_new_key_is_used_at_once_and_the_old_one_until_it_is_retired(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        first, old = keys.newest(TOPIC), sealed(keys)
        second = await keys.renew(TOPIC)
        new = sealed(keys)
        assert (old[0].topic_key_id, new[0].topic_key_id) == (first, second)
        assert keys.older(TOPIC) == {first}
    world.provider.calls.clear()
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        assert world.provider.calls["unwrap"] == 2, "one for the metadata key, one for both topic keys"
        assert opens(keys, old) and opens(keys, new)
        await keys.retire(TOPIC, {first, second})
        assert keys.older(TOPIC) == set() and keys.newest(TOPIC) == second
        keys._data_keys.clear()
        with pytest.raises(KeyUnavailable):
            opens(keys, old)
        assert opens(keys, new)


async def test_a_topic_has_no_more_keys_than_a_provider_can_wrap(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        for _ in range(KEYS_MAX - 1):
            await keys.renew(TOPIC)
        with pytest.raises(KeyRefused, match="re-encrypt"):
            await keys.renew(TOPIC)
        await keys.retire(TOPIC, keys.older(TOPIC))
        await keys.renew(TOPIC)


async def test_a_forgotten_topic_opens_nothing_even_from_its_file(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        segment = sealed(keys)
        ring = keys._held.topics[TOPIC].ring
        assert ring is not None
        await keys.forget(TOPIC)
        assert not world.files.exists(PATH)
        assert ring.newest.encoded()[16:] == bytes(32), "overwritten in memory"
        with pytest.raises(KeyUnavailable):
            opens(keys, segment)
        await keys.forget(TOPIC)
        assert keys.kek_ids() == {world.metadata_key.kek_id} and keys.open_topics == 0


async def test_topics_that_do_not_exist_any_more_are_forgotten(world: World) -> None:
    other = uuid4()
    async with world.broker() as keys:
        await keys.prepare({TOPIC: "", other: ""})
    async with world.broker() as keys:
        assert await keys.forget_others([other]) == [TOPIC]
        assert not world.files.exists(PATH)
        await keys.prepare({other: ""})
        keys.create(other, 0)


async def test_what_was_asked_to_be_rewritten_is_known_after_a_restart(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        await keys.set_rewriting(TOPIC, True)
        await keys.renew(TOPIC)
        assert keys.rewriting() == [TOPIC]
    async with world.broker() as keys:
        assert keys.rewriting() == [TOPIC]
        await keys.set_rewriting(TOPIC, False)
    async with world.broker() as keys:
        assert keys.rewriting() == []
        with pytest.raises(KeyUnavailable):
            await keys.set_rewriting(uuid4(), True)


async def test_a_topic_moves_to_the_key_its_setting_names(world: World) -> None:
    made = world.provider.keyring.rotate("payroll")
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        segment = sealed(keys)
        await keys.prepare({TOPIC: "payroll"})
        assert {one.wrapped.key_id for one in keys.wrapped()} == {made}
        assert opens(keys, segment)
        await keys.prepare({TOPIC: "no-such-key"})
        assert "no key 'no-such-key'" in keys.failure(TOPIC) and keys.waiting_topics == 1
        assert opens(keys, segment), "the old wrapping still holds"


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


# -- data keys in memory -------------------------------------------------------------------------------------


async def test_data_keys_are_bounded_and_live_for_a_while(world: World) -> None:
    async with world.broker(data_keys_max=16, data_key_lifetime_s=1_000.0) as keys:
        await keys.prepare({TOPIC: ""})
        segments = [sealed(keys) for _ in range(40)]
        assert keys.data_keys == 16
        world.provider.calls.clear()
        assert all(opens(keys, segment) for segment in segments)
        assert not world.provider.calls, "a data key that was dropped costs no call"
        world.clock.ms += 999_000
        assert opens(keys, segments[-1])
        world.clock.ms += 2_000
        keys._data_keys.sweep()
        assert keys.data_keys == 1
        world.clock.ms += 1_000_000
        keys._data_keys.sweep()
        assert keys.data_keys == 0 and opens(keys, segments[0])


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
