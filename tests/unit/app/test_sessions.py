"""Commits about identities recheck the sessions, soon and not more often than needed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from rivven.app.sessions import RECHECK_INTERVAL_S, SESSIONS_PER_TURN, SessionsFollowMetadata
from rivven.metadata.records import AclsAdded, ScramDeleted, TopicCreated
from rivven.protocol.scram import ScramMechanism

DELETED = ScramDeleted("alice", ScramMechanism.SCRAM_SHA_256)


class World:
    """A metadata service that only commits, and a registry that only counts."""

    def __init__(self) -> None:
        self.now = 100.0
        self.listeners: list[Callable[[tuple[Any, ...]], None]] = []
        self.rechecks = 0
        self.sessions = 3
        self.asked: list[int] = []
        self.recheck_soon: Callable[[str], object] = str
        SessionsFollowMetadata(self, self, self)  # type: ignore[arg-type]

    def on_commit(self, listener: Callable[[tuple[Any, ...]], None]) -> None:
        self.listeners.append(listener)

    def all(self) -> Iterator[int]:
        return iter(range(self.sessions))

    def recheck(self, some: list[int]) -> int:
        if not some or some[0] == 0:
            self.rechecks += 1
        self.asked += some
        return len([one for one in some if one % 2])

    def monotonic(self) -> float:
        return self.now

    def now_ms(self) -> int:
        return int(self.now * 1000)

    def commit(self, *events: Any) -> None:
        self.listeners[0](events)


async def test_a_commit_that_takes_something_away_is_felt_at_once() -> None:
    world = World()
    world.commit(DELETED)
    assert world.rechecks == 1


async def test_topics_and_rules_end_nobody() -> None:
    world = World()
    world.commit(AclsAdded(()), TopicCreated("t", UUID(int=1), 1, {}, False))
    assert world.rechecks == 0


async def test_commits_in_quick_succession_share_one() -> None:
    world = World()
    for _ in range(5):
        world.commit(DELETED)
    assert world.rechecks == 1
    world.now += RECHECK_INTERVAL_S
    await asyncio.sleep(RECHECK_INTERVAL_S * 1.5)
    assert world.rechecks == 2, "what came after the first is not forgotten"
    world.now += 1
    world.commit(DELETED)
    assert world.rechecks == 3


async def test_many_sessions_take_several_turns_and_none_is_left_out() -> None:
    world = World()
    world.sessions = 3 * SESSIONS_PER_TURN + 7
    world.commit(DELETED)
    assert len(world.asked) == SESSIONS_PER_TURN
    world.commit(DELETED)  # in the middle: what was asked already must be asked again
    for _ in range(5):
        await asyncio.sleep(0)
    assert world.asked == list(range(world.sessions))
    await asyncio.sleep(RECHECK_INTERVAL_S * 1.5)
    world.now += 1
    await asyncio.sleep(RECHECK_INTERVAL_S * 1.5)
    assert world.rechecks == 2
    assert len(world.asked) == 2 * world.sessions


async def test_a_multiple_of_a_turn_ends_too() -> None:
    world = World()
    world.sessions = 2 * SESSIONS_PER_TURN
    world.commit(DELETED)
    for _ in range(5):
        await asyncio.sleep(0)
    assert world.asked == list(range(world.sessions))
    world.now += 1
    world.commit(DELETED)
    assert len(world.asked) == 3 * SESSIONS_PER_TURN


async def test_files_ask_in_turns_too_and_the_log_says_what_became_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    world = World()
    world.sessions = 2 * SESSIONS_PER_TURN + 2
    world.commit(DELETED)
    for _ in range(5):
        await asyncio.sleep(0)
    assert caplog.messages == []
    world.now += 1
    for why in ("a", "b", "b"):
        world.recheck_soon(why)
    assert len(world.asked) == world.sessions + SESSIONS_PER_TURN
    assert caplog.messages == []
    for _ in range(5):
        await asyncio.sleep(0)
    assert caplog.messages == [f"a: {SESSIONS_PER_TURN + 1} sessions ended"]
    world.now += 1
    await asyncio.sleep(RECHECK_INTERVAL_S * 1.5)
    for _ in range(5):
        await asyncio.sleep(0)
    assert [text[:2] for text in caplog.messages] == ["a:", "b:"], "b came when the pass had begun"
