"""Commits about identities recheck the sessions, soon and not more often than needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

from rivven.app.sessions import RECHECK_INTERVAL_S, SessionsFollowMetadata
from rivven.metadata.records import AclsAdded, ScramDeleted, TopicCreated
from rivven.protocol.scram import ScramMechanism

DELETED = ScramDeleted("alice", ScramMechanism.SCRAM_SHA_256)


class World:
    """A metadata service that only commits, and a registry that only counts."""

    def __init__(self) -> None:
        self.now = 100.0
        self.listeners: list[Callable[[tuple[Any, ...]], None]] = []
        self.rechecks = 0
        SessionsFollowMetadata(self, self, self)  # type: ignore[arg-type]

    def on_commit(self, listener: Callable[[tuple[Any, ...]], None]) -> None:
        self.listeners.append(listener)

    def recheck(self) -> int:
        self.rechecks += 1
        return 0

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
    await asyncio.sleep(RECHECK_INTERVAL_S * 1.5)
    assert world.rechecks == 2, "what came after the first is not forgotten"
    world.now += 1
    world.commit(DELETED)
    assert world.rechecks == 3
