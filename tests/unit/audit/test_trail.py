"""The trail: one chain for every sink, durable or refused intents, and what happens beyond the bounds."""

import asyncio
import json

import pytest

from rivven.audit.events import AuditEvent
from rivven.audit.sinks import RETRY_SECONDS, AuditUnavailable, SinkBroken, SinkFailed
from rivven.audit.trail import CHECKPOINT_LINES, PERIOD_SECONDS, TrailSettings
from rivven.testing.files import Fault
from tests.unit.audit.world import (
    ALICE,
    ALLOW,
    DENY,
    WRITE,
    MemorySink,
    assert_chained,
    file_world,
    memory_world,
)

CHANGE = AuditEvent("acl_change", "create", "topic:t", "intent")
LOGIN = AuditEvent("authentication", "login")


async def test_every_sink_gets_the_same_bytes_in_one_chain() -> None:
    one, two = MemorySink(), MemorySink()
    world = await file_world(extra=[(one, False), (two, True)])
    for _ in range(3):
        world.trail.event(LOGIN)
    world.trail.decided(ALICE, WRITE, DENY)
    await world.run()
    assert [line.data for line in one.lines] == [line.data for line in two.lines]
    assert world.content() == b"".join(line.data + b"\n" for line in one.lines)
    assert_chained([line.data for line in one.lines])
    assert len(one.lines) == 4


async def test_events_before_the_start_are_kept_in_order() -> None:
    world = await file_world(start=False)
    world.trail.event(LOGIN)
    await world.done(world.trail.start())
    await world.run()
    assert [event["action"] for event in world.events()] == ["login"]


async def test_an_intent_is_on_stable_storage_when_it_returns() -> None:
    world = await file_world()
    await world.done(world.trail.intent(CHANGE, CHANGE))
    world.files.crash(__import__("random").Random(1))
    assert [event["result"] for event in world.events()] == ["intent", "intent"]


async def test_a_failing_required_sink_refuses_changes_at_once_and_recovers() -> None:
    sink = MemorySink()
    world = await memory_world((sink, True))
    sink.failure = SinkFailed("the disk is full")
    with pytest.raises(AuditUnavailable):
        await world.done(world.trail.intent(CHANGE))
    with pytest.raises(AuditUnavailable):
        await world.done(world.trail.intent(CHANGE))
    world.trail.event(LOGIN)  # what clients do goes on
    await world.run()
    assert sink.lines == [] and world.trail.queues[0].failure == "the disk is full"
    sink.failure = None
    world.threads.advance(RETRY_SECONDS)
    await world.done(world.trail.intent(CHANGE))
    assert_chained([line.data for line in sink.lines])
    assert [event["event_type"] for event in sink.events] == ["acl_change"] * 2 + [
        "authentication",
        "acl_change",
    ]


async def test_a_sink_that_is_not_required_never_refuses_anything() -> None:
    good, bad = MemorySink(), MemorySink()
    world = await memory_world((good, True), (bad, False))
    bad.failure = SinkFailed("unreachable")
    await world.done(world.trail.intent(CHANGE))
    assert len(good.lines) == 1
    bad.failure = None
    world.threads.advance(RETRY_SECONDS)
    await world.run()
    assert bad.lines == good.lines


async def test_a_sink_that_missed_lines_is_named_with_their_numbers() -> None:
    good, slow = MemorySink(), MemorySink()
    world = await memory_world((good, True), (slow, False), lines_max=10)
    slow.failure = SinkFailed("unreachable")
    for _ in range(25):
        world.trail.event(LOGIN)
        await world.run()
    slow.failure = None
    world.threads.advance(RETRY_SECONDS)
    await world.run()
    gap = good.events[-1]
    assert (gap["event_type"], gap["action"]) == ("audit", "sink_gap")
    assert gap["details"] == {"sink": "memory1", "first": 10, "last": 24, "count": 15}
    assert [line.sequence for line in slow.lines] == [*range(10), 25]
    assert world.trail.queues[1].missed == 15


async def test_a_broken_sink_is_not_tried_again() -> None:
    sink = MemorySink()
    world = await memory_world((sink, True))
    sink.failure = SinkBroken("fsync failed")
    with pytest.raises(AuditUnavailable):
        await world.done(world.trail.intent(CHANGE))
    sink.failure = None
    world.threads.advance(60)
    await world.run()
    assert sink.lines == []


@pytest.mark.parametrize("block", [False, True])
async def test_beyond_the_backlog_events_are_counted_and_the_gap_is_recorded(block: bool) -> None:
    sink = MemorySink()
    world = await memory_world((sink, True), settings=TrailSettings(backlog_max=10, block=block))
    sink.failure = SinkFailed("slow")
    for _ in range(25):
        world.trail.event(LOGIN)
        await world.run()
    kept = 20 if block else 10
    assert world.trail.dropped == 25 - kept
    assert world.trail.congested is block
    resumed: list[int] = []
    world.trail.when_room(lambda: resumed.append(1))
    sink.failure = None
    world.threads.advance(RETRY_SECONDS)
    await world.run()
    assert resumed == [1] and not world.trail.congested
    gap = sink.events[-1]
    assert (gap["action"], gap["result"]) == ("gap", "failure")
    assert gap["details"] == {"count": 25 - kept, "of_authentication": 25 - kept}
    assert_chained([line.data for line in sink.lines])


async def test_decisions_become_counts_each_minute() -> None:
    sink = MemorySink()
    world = await memory_world((sink, True))
    for _ in range(5):
        world.trail.decided(ALICE, WRITE, ALLOW)
    await world.run()
    assert len(sink.lines) == 1
    world.threads.advance(PERIOD_SECONDS)
    await world.run()
    assert [event["details"]["count"] for event in sink.events] == [1, 4]


async def test_only_the_wanted_types_are_recorded() -> None:
    sink = MemorySink()
    world = await memory_world((sink, True), settings=TrailSettings(types=frozenset({"acl_change"})))
    world.trail.event(LOGIN)
    world.trail.decided(ALICE, WRITE, DENY)
    await world.done(world.trail.intent(AuditEvent("topic_create", "create")))
    await world.done(world.trail.intent(CHANGE))
    assert [event["event_type"] for event in sink.events] == ["acl_change"]


async def test_checkpoints_are_signed_at_once_each_minute_after_many_lines_and_at_the_end() -> None:
    sink = MemorySink()
    world = await memory_world((sink, True), settings=TrailSettings(backlog_max=10_000))
    signed: list[bytes] = []

    def sign(data: bytes) -> bytes:
        signed.append(data)
        return b"s" * 64

    world.trail.event(LOGIN)
    await world.run()
    world.trail.sign_with(sign, "key")
    await world.run()
    assert len(signed) == 1
    for _ in range(CHECKPOINT_LINES):
        world.trail.event(LOGIN)
    await world.run()
    assert len(signed) == 2
    world.threads.advance(PERIOD_SECONDS)
    await world.run()
    assert len(signed) == 2, "nothing new to sign"
    await world.done(world.trail.close(AuditEvent("lifecycle", "stop")))
    await world.run()
    assert [event["action"] for event in sink.events[-2:]] == ["stop", "checkpoint"]
    assert_chained([line.data for line in sink.lines])


async def test_an_intent_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rivven.audit.trail.INTENT_SECONDS_MAX", 0.01)
    world = await memory_world((MemorySink(), True))
    with pytest.raises(AuditUnavailable, match="in time"):
        await world.trail.intent(CHANGE)  # the threads are never moved


async def test_a_full_trail_refuses_changes() -> None:
    sink = MemorySink()
    world = await memory_world((sink, True), settings=TrailSettings(backlog_max=5, block=True))
    for _ in range(30):
        world.trail.event(LOGIN)
    with pytest.raises(AuditUnavailable, match="full"):
        await world.trail.intent(CHANGE)


async def test_a_required_sink_that_cannot_be_opened_fails_the_start() -> None:
    world = await file_world(start=False)
    world.files.faults.append(Fault("open"))
    with pytest.raises(OSError):
        await world.done(world.trail.start())


async def test_another_sink_is_opened_until_it_works() -> None:
    late = MemorySink()
    late.failure = SinkFailed("unreachable")
    world = await file_world(extra=[(late, False)])
    world.trail.event(LOGIN)
    await world.run()
    late.failure = None
    world.threads.advance(RETRY_SECONDS)
    await world.run()
    assert len(late.lines) == 1


async def test_a_restart_continues_the_chain() -> None:
    world = await file_world()
    world.trail.event(LOGIN)
    await world.run()
    await world.done(world.trail.close())
    again = await file_world(world.files)
    again.trail.event(LOGIN)
    await again.run()
    assert_chained(again.content().splitlines())
    assert [event["sequence"] for event in again.events()] == [0, 1]


async def test_what_was_written_is_synced_within_the_interval() -> None:
    sink = MemorySink()
    world = await memory_world((sink, True))
    world.trail.event(LOGIN)
    await world.run()
    assert (len(sink.lines), sink.synced) == (1, 0)
    world.threads.advance(1.0)
    await world.run()
    assert sink.synced == 1


def test_a_decision_on_the_hot_path_is_cheap() -> None:
    """The budget is 1 µs; a shared machine gets some more, an accident costs far more."""
    import time

    async def measure() -> float:
        world = await memory_world((MemorySink(), True))
        decided = world.trail.decided
        decided(ALICE, WRITE, ALLOW)
        best = 1.0
        for _ in range(20):
            started = time.perf_counter()
            for _ in range(1000):
                decided(ALICE, WRITE, ALLOW)
            best = min(best, (time.perf_counter() - started) / 1000)
        return best

    assert asyncio.run(measure()) < 3e-6


async def test_lines_are_json_of_one_shape() -> None:
    sink = MemorySink()
    world = await memory_world((sink, True))
    world.trail.event(LOGIN)
    world.trail.decided(ALICE, WRITE, DENY)
    await world.run()
    shapes = {tuple(name for name in json.loads(line.data) if name != "details") for line in sink.lines}
    assert len(shapes) == 1


async def test_what_waited_longer_than_a_minute_is_signed_before_anything_follows() -> None:
    """The machine slept: its timers stood still, the clock did not."""
    sink = MemorySink()
    world = await memory_world((sink, True))
    world.trail.sign_with(lambda _data: b"s" * 64, "key")
    world.trail.event(LOGIN)
    await world.run()
    world.clock.ms += 3_600_000
    world.trail.event(LOGIN)
    await world.run()
    assert [event["action"] for event in sink.events] == ["login", "checkpoint", "login"]


async def test_an_output_that_is_tried_again_is_not_well_until_it_has_taken_something() -> None:
    sink = MemorySink()
    world = await memory_world((sink, True))
    sink.failure = SinkFailed("unreachable")
    world.trail.event(LOGIN)
    await world.run()
    (queue,) = world.trail.queues
    world.threads.advance(RETRY_SECONDS)
    assert queue.failure == "unreachable", "while it is tried"
    with pytest.raises(AuditUnavailable):
        await world.trail.intent(CHANGE)
    sink.failure = None
    await world.run()
    world.threads.advance(RETRY_SECONDS)
    await world.run()
    assert not queue.failure
    assert [event["action"] for event in sink.events] == ["login", "create"]
