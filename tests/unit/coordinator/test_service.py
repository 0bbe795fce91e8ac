"""The coordinator over its shards: restart, errors clients understand, expiry, topics that go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from rivven.clock import SystemClock
from rivven.coordinator import service as service_module
from rivven.coordinator.commands import (
    CommitOffsets,
    DescribeGroup,
    Heartbeat,
    JoinGroup,
    JoinReply,
    LeaveGroup,
    OffsetToCommit,
    SyncGroup,
)
from rivven.coordinator.group import GroupState
from rivven.coordinator.service import CoordinatorLoading, CoordinatorUnavailable, GroupCoordinator
from rivven.coordinator.settings import GroupSettings
from rivven.coordinator.sharding import shard_of
from rivven.errors import ErrorCode, StorageFailed
from rivven.log.reading import ReadResult
from rivven.tasks import Tasks
from tests.unit.coordinator.store import MemoryStore

SHARDS = 4
SETTINGS = GroupSettings(initial_delay_ms=0, session_min_ms=1, retention_ms=0)


class SlowClock:
    """Wall time as a test sets it."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


class Node:
    """Coordinators over the same stores, one after the other."""

    def __init__(self) -> None:
        self.tasks = Tasks()
        self.stores = [MemoryStore() for _ in range(SHARDS)]
        self.topics = {"t", "u"}
        self.clock = SlowClock()

    async def start(self, settings: GroupSettings = SETTINGS) -> GroupCoordinator:
        coordinator = GroupCoordinator(
            SHARDS, self.stores.__getitem__, settings, self.clock, self.tasks, self.topics.__contains__
        )
        coordinator.start()
        await coordinator.wait_loaded()
        return coordinator


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    node = Node()
    yield node
    await node.tasks.cancel_all()


def join(group: str = "g", member_id: str = "", session_ms: int = 60_000) -> JoinGroup:
    return JoinGroup(
        group_id=group,
        member_id=member_id,
        fresh_id=f"{group}-1",
        client_id="c",
        client_host="/h",
        session_timeout_ms=session_ms,
        rebalance_timeout_ms=60_000,
        protocol_type="consumer",
        protocols=(("range", b"m"),),
        require_member_id=False,
    )


def commit(group: str, topic: str = "t", offset: int = 1, **fields: Any) -> CommitOffsets:
    return CommitOffsets(group, (OffsetToCommit(topic, 0, offset, 0, ""),), **fields)


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """For what timers of the event loop do; five seconds at most."""
    for _ in range(500):
        if await holds():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it never happened")


async def stable(coordinator: GroupCoordinator, group: str = "g", session_ms: int = 60_000) -> JoinReply:
    reply: JoinReply = await coordinator.submit(join(group, session_ms=session_ms))
    sync = SyncGroup(group, 1, reply.member_id, assignments=((reply.member_id, b"all"),))
    assert (await coordinator.submit(sync)).assignment == b"all"
    return reply


async def test_groups_and_offsets_survive_a_restart(node: Node) -> None:
    first = await node.start()
    member = await stable(first)
    assert await first.submit(commit("g", offset=42, generation=1, member_id=member.member_id)) == (
        ErrorCode.NONE,
    )
    await first.submit(commit("simple", topic="u", offset=7))
    await first.close()
    second = await node.start()
    assert second.committed_offsets("g")["t"][0].offset == 42
    assert second.committed_offsets("simple")["u"][0].offset == 7
    assert await second.submit(Heartbeat("g", 1, member.member_id)) is ErrorCode.NONE
    listed = {entry.group_id: entry.state for entry in await second.list_groups()}
    assert listed == {"g": GroupState.STABLE, "simple": GroupState.EMPTY}


async def test_each_group_lives_in_its_own_shard(node: Node) -> None:
    coordinator = await node.start()
    for index in range(20):
        await coordinator.submit(commit(f"group-{index}"))
    expected = [0] * SHARDS
    for index in range(20):
        expected[shard_of(f"group-{index}", SHARDS)] += 1
    assert [store.log_end_offset for store in node.stores] == expected


async def test_a_restored_member_that_stays_silent_is_removed(node: Node) -> None:
    await stable(await node.start(), session_ms=50)
    second = await node.start()
    node.clock.ms += 60

    async def removed() -> bool:
        return not (await second.submit(DescribeGroup("g"))).members

    await eventually(removed)


async def test_nothing_is_answered_while_loading(node: Node) -> None:
    node.stores[0].manual = True
    coordinator = GroupCoordinator(
        SHARDS, node.stores.__getitem__, SETTINGS, SystemClock(), node.tasks, node.topics.__contains__
    )
    for ask in _asks(coordinator):
        with pytest.raises(CoordinatorLoading) as caught:
            await ask()
        assert caught.value.code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS


async def test_a_shard_that_cannot_be_read_is_unavailable_and_the_others_serve(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    first = await node.start()
    await first.submit(commit("g"))
    await first.close()
    shard = shard_of("g", SHARDS)
    node.stores[shard].batches[0][-1] ^= 1
    with caplog.at_level(logging.ERROR):
        second = await node.start()
    assert f"__consumer_offsets-{shard}" in caplog.text
    for ask in _asks(second):
        with pytest.raises(CoordinatorUnavailable) as caught:
            await ask()
        assert caught.value.code is ErrorCode.COORDINATOR_NOT_AVAILABLE
    other = next(name for name in map(str, range(99)) if shard_of(name, SHARDS) != shard)
    assert await second.submit(commit(other)) == (ErrorCode.NONE,)


async def test_a_shard_whose_keys_come_later_is_loaded_then(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service_module, "RELOAD_SECONDS", 0.001)
    first = await node.start()
    await first.submit(commit("g"))
    before = first.committed_offsets("g")
    await first.close()
    store = node.stores[shard_of("g", SHARDS)]
    read, tries = store.read_from, 0

    async def without_keys(offset: int, max_bytes: int) -> ReadResult:
        nonlocal tries
        tries += 1
        raise StorageFailed("the log of this partition cannot be read")

    monkeypatch.setattr(store, "read_from", without_keys)
    second = await node.start()
    while tries < 4:  # noqa: ASYNC110 - counted by the store
        await asyncio.sleep(0.001)
    with pytest.raises(CoordinatorUnavailable):
        second.committed_offsets("g")
    assert caplog.text.count("cannot load groups") == 1, "the same reason is told once"
    monkeypatch.setattr(store, "read_from", read)
    async with asyncio.timeout(10):
        while "are here again" not in caplog.text:  # noqa: ASYNC110 - what the operator sees
            await asyncio.sleep(0.001)
    assert before and second.committed_offsets("g") == before
    assert await second.submit(commit("g")) == (ErrorCode.NONE,)


def _asks(coordinator: GroupCoordinator) -> Iterator[Callable[[], Any]]:
    async def offsets() -> Any:
        return coordinator.committed_offsets("g")

    yield lambda: coordinator.submit(Heartbeat("g", 1, "m"))
    yield coordinator.list_groups
    yield offsets


async def test_a_full_disk_is_an_unavailable_coordinator_until_there_is_room(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    coordinator = await node.start()
    await coordinator.submit(commit("g", offset=1))
    store = node.stores[shard_of("g", SHARDS)]
    store.full = True
    with pytest.raises(CoordinatorUnavailable):
        await coordinator.submit(commit("g", offset=2))
    assert "journal failed" in caplog.text
    caplog.clear()
    assert coordinator.committed_offsets("g")["t"][0].offset == 1
    with pytest.raises(CoordinatorUnavailable):
        await coordinator.submit(commit("g", offset=2))
    assert caplog.text == "", "the second refusal does not reach the journal"
    assert (await coordinator.submit(DescribeGroup("g"))).state is GroupState.EMPTY
    store.full = False
    node.clock.ms += 1_000
    assert await coordinator.submit(commit("g", offset=3)) == (ErrorCode.NONE,)
    assert coordinator.committed_offsets("g")["t"][0].offset == 3


async def test_an_offset_is_shown_only_once_it_is_durable(node: Node) -> None:
    coordinator = await node.start()
    store = node.stores[shard_of("g", SHARDS)]
    store.manual = True
    answer = asyncio.create_task(coordinator.submit(commit("g")))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not answer.done() and coordinator.committed_offsets("g") == {}
    store.commit()
    assert await answer == (ErrorCode.NONE,)
    assert coordinator.committed_offsets("g")["t"][0].offset == 1


async def test_offsets_expire_and_empty_groups_go(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "EXPIRE_OFFSETS_PER_TURN", 2)
    coordinator = await node.start()
    member = await stable(coordinator)
    await coordinator.submit(commit("g", generation=1, member_id=member.member_id))
    for index in range(10):
        await coordinator.submit(commit(f"simple-{index}"))
    assert await coordinator.expire() == 10
    assert [entry.group_id for entry in await coordinator.list_groups()] == ["g"]
    await coordinator.submit(LeaveGroup("g", ((member.member_id, None),)))
    assert await coordinator.expire() == 1
    assert await coordinator.list_groups() == []
    assert await (await node.start()).list_groups() == [], "expiry is durable"


async def test_expiry_runs_by_itself(node: Node) -> None:
    coordinator = await node.start(GroupSettings(retention_ms=0, check_interval_ms=10))
    await coordinator.submit(commit("g"))

    async def gone() -> bool:
        return not await coordinator.list_groups()

    await eventually(gone)


async def test_offsets_of_deleted_topics_go(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "FORGET_OFFSETS_PER_TURN", 2)
    coordinator = await node.start()
    for index in range(12):
        await coordinator.submit(commit(f"group-{index}", topic="t"))
        await coordinator.submit(commit(f"group-{index}", topic="u"))
    await coordinator.topics_deleted(frozenset({"t"}))
    for index in range(12):
        assert list(coordinator.committed_offsets(f"group-{index}")) == ["u"]


async def test_offsets_of_topics_deleted_just_before_a_crash_go_at_the_next_start(node: Node) -> None:
    first = await node.start()
    await first.submit(commit("g", topic="t"))
    await first.submit(commit("g", topic="u"))
    node.topics.discard("t")
    assert list((await node.start()).committed_offsets("g")) == ["u"]


async def test_closing_answers_who_waits(node: Node) -> None:
    coordinator = await node.start(GroupSettings(initial_delay_ms=60_000))
    waiting = asyncio.create_task(coordinator.submit(join()))
    await asyncio.sleep(0)
    await coordinator.close()
    with pytest.raises(CoordinatorUnavailable):
        await waiting
    with pytest.raises(CoordinatorUnavailable):
        await coordinator.submit(Heartbeat("g", 1, "m"))
    assert await coordinator.expire() == 0
    await coordinator.topics_deleted(frozenset({"t"}))
