"""The group coordinator of this node: one machine, runner and journal per partition of `__consumer_offsets`.

Driver. It finds the machine of a group, loads machines at start, and asks them from time to time to expire
offsets. It decides nothing about groups. Errors that leave here are the ones clients of a coordinator know:
COORDINATOR_LOAD_IN_PROGRESS (14) while a shard loads, COORDINATOR_NOT_AVAILABLE (15) when it cannot be
served.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

from rivven.clock import Clock
from rivven.coordinator.commands import (
    CommitOffsets,
    DeleteGroup,
    DeleteOffsets,
    ExpireOffsets,
    ForgetTopics,
    GroupListing,
    ListGroups,
    OffsetTable,
)
from rivven.coordinator.groups import GroupMachine
from rivven.coordinator.journal import PartitionJournal, PartitionStore
from rivven.coordinator.settings import GroupSettings
from rivven.coordinator.sharding import shard_of
from rivven.errors import ErrorCode, RivvenError, StorageFailed
from rivven.machine.runner import Runner
from rivven.tasks import Tasks

_log = logging.getLogger("rivven.coordinator")

EXPIRE_OFFSETS_PER_TURN = 1_000
"""Offsets looked at before the event loop gets a turn (about a millisecond). A group counts as one more."""

FORGET_OFFSETS_PER_TURN = 500
"""Offsets removed by one command when topics are deleted: each is a record to write (about 5 µs)."""


RELOAD_SECONDS = 5.0
"""Between attempts at shards that could not be read, each of which is one read where nothing has changed."""

WRITE_PAUSE_SECONDS = 1.0
"""After the log refused a write (disk full), for how long commands that must write are refused at once.
Each refusal makes the runner rebuild the deciding machine, which must not happen for every commit of every
client."""

_WRITERS = (CommitOffsets, DeleteOffsets, DeleteGroup)


class CoordinatorLoading(RivvenError):
    """This shard is still being read; clients retry."""

    code = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS


class CoordinatorUnavailable(RivvenError):
    """This shard cannot be read or written; clients look for the coordinator again and retry."""

    code = ErrorCode.COORDINATOR_NOT_AVAILABLE


class _Shard:
    __slots__ = ("failed", "failure", "loaded", "runner", "writes_from")

    def __init__(self, runner: Runner[GroupMachine]) -> None:
        self.runner = runner
        self.loaded = False
        self.failed = False
        self.failure: Exception | None = None
        """Why it could not be loaded."""
        self.writes_from = 0.0
        """No command that must write before this moment (monotonic seconds)."""

    def check(self) -> Runner[GroupMachine]:
        if self.failed:
            raise CoordinatorUnavailable("the group coordinator is not available")
        if not self.loaded:
            raise CoordinatorLoading("the group coordinator is loading")
        return self.runner


class GroupCoordinator:
    """Belongs to the event loop.

    `open_store(index)` gives the partition of a shard; `topic_exists` is asked once per topic after
    loading, so that offsets of topics deleted in the last moment before a crash go.
    """

    def __init__(
        self,
        count: int,
        open_store: Callable[[int], PartitionStore],
        settings: GroupSettings,
        clock: Clock,
        tasks: Tasks,
        topic_exists: Callable[[str], bool],
    ) -> None:
        self._settings = settings
        self._open_store = open_store
        self._clock = clock
        self._tasks = tasks
        self._topic_exists = topic_exists
        self._loaded: asyncio.Task[None] | None = None
        self._shards: list[_Shard] = []
        for index in range(count):
            self._shards.append(_Shard(self._runner(index)))

    def _runner(self, index: int) -> Runner[GroupMachine]:
        """A shard with nothing in it yet."""
        journal = PartitionJournal(self._open_store(index), self._clock)
        return Runner(lambda: GroupMachine(self._settings), journal, self._clock, self._tasks)

    # -- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to load all shards in the background, and to expire offsets."""
        self._loaded = self._tasks.spawn(self._load_all(), "load group coordinator")
        self._tasks.spawn(self._expire_forever(), "expire committed offsets")

    async def wait_loaded(self) -> None:
        """Until every shard has been loaded or has failed to."""
        if self._loaded is not None:
            await asyncio.shield(self._loaded)

    async def close(self) -> None:
        """Answer who waits, make the rest durable. The background tasks are the owner's to cancel."""
        for shard in self._shards:
            if shard.loaded:
                shard.failed = True
                await shard.runner.close()

    async def _load_all(self) -> None:
        for index, shard in enumerate(self._shards):
            await self._load(index, shard)
        self._tasks.spawn(self._load_again(), "load group coordinator again")

    async def _load(self, index: int, shard: _Shard) -> None:
        try:
            await shard.runner.start()
            shard.loaded, shard.failed = True, False
            await self._forget_missing_topics(shard.runner)
        except (RivvenError, OSError, ValueError) as error:
            shard.failed = not shard.loaded
            if str(error) != str(shard.failure):
                _log.error("cannot load groups from __consumer_offsets-%d: %s", index, error)
            shard.failure = error

    async def _load_again(self) -> None:
        """Shards whose log could not be read then: the keys they are encrypted with may come later."""
        while True:
            left = {
                index: shard
                for index, shard in enumerate(self._shards)
                if not shard.loaded and isinstance(shard.failure, StorageFailed)
            }
            if not left:
                return
            await asyncio.sleep(RELOAD_SECONDS)
            for index, shard in left.items():
                shard.runner = self._runner(index)
                await self._load(index, shard)
                if shard.loaded:
                    _log.warning("groups of __consumer_offsets-%d are here again", index)

    async def _forget_missing_topics(self, runner: Runner[GroupMachine]) -> None:
        topics = {topic for table in runner.committed.offsets.values() for topic in table}
        missing = frozenset(topic for topic in topics if not self._topic_exists(topic))
        if missing:
            await _forget(runner, missing)

    # -- groups ----------------------------------------------------------------------------------------------

    async def submit(self, command: Any) -> Any:
        """The reply of the machine of `command.group_id`. Raises RivvenError with 14 or 15."""
        return await self._ask(self._shard(command.group_id), command)

    def committed_offsets(self, group_id: str) -> OffsetTable:
        """Durable offsets by topic and partition, empty for an unknown group; not to be changed.

        Raises RivvenError with 14 or 15.
        """
        return self._shard(group_id).check().committed.offsets_of(group_id)

    async def list_groups(self) -> list[GroupListing]:
        """Every group of this node. Raises RivvenError with 14 or 15 when any shard cannot answer."""
        listed: list[GroupListing] = []
        for shard in self._shards:
            shard.check()
        for shard in self._shards:
            listed += await self._ask(shard, ListGroups())
        return listed

    async def topics_deleted(self, topics: frozenset[str]) -> None:
        """Remove all offsets of topics that are gone. Shards that still load do so themselves afterwards."""
        for shard in self._shards:
            if shard.loaded and not shard.failed:
                try:
                    await _forget(shard.runner, topics)
                except RivvenError as error:
                    _log.error("offsets of deleted topics stay until the next start: %s", error)

    def _shard(self, group_id: str) -> _Shard:
        return self._shards[shard_of(group_id, len(self._shards))]

    async def _ask(self, shard: _Shard, command: Any) -> Any:
        runner = shard.check()
        if isinstance(command, _WRITERS) and self._clock.monotonic() < shard.writes_from:
            raise CoordinatorUnavailable("the group coordinator is not available")
        try:
            return await runner.submit(command)
        except RivvenError as error:
            if error.code is ErrorCode.KAFKA_STORAGE_ERROR:
                shard.writes_from = self._clock.monotonic() + WRITE_PAUSE_SECONDS
            # Storage codes mean nothing to a client of a coordinator; 15 makes it retry.
            raise CoordinatorUnavailable("the group coordinator is not available") from error

    # -- expiry ----------------------------------------------------------------------------------------------

    async def _expire_forever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.check_interval_ms / 1000)
            await self.expire()

    async def expire(self) -> int:
        """Expire offsets and empty groups once, in all shards; returns how many offsets went."""
        count = 0
        for shard in self._shards:
            if not shard.loaded or shard.failed:
                continue
            for group_ids in _slices(shard.runner.committed):
                try:
                    count += await shard.runner.submit(ExpireOffsets(group_ids))
                except RivvenError as error:
                    _log.error("offsets could not be expired: %s", error)
                    break
                await asyncio.sleep(0)
        return count


async def _forget(runner: Runner[GroupMachine], topics: frozenset[str]) -> None:
    command = ForgetTopics(topics, FORGET_OFFSETS_PER_TURN)
    while await runner.submit(command) == command.limit:
        pass  # each answer waits for a commit, so others get their turns in between


def _slices(machine: GroupMachine) -> Iterator[tuple[str, ...]]:
    """All groups in portions of bounded work."""
    portion: list[str] = []
    work = 0
    for group_id in list(machine.group_ids()):
        portion.append(group_id)
        work += 1 + sum(map(len, machine.offsets_of(group_id).values()))
        if work >= EXPIRE_OFFSETS_PER_TURN:
            yield tuple(portion)
            portion, work = [], 0
    if portion:
        yield tuple(portion)
