"""Writes the directory's checkpoint: a member of commit rounds, at most one file however many partitions
moved.

A recovery point lags behind the durable end by up to CHECKPOINT_SECONDS; it only bounds what a start after a
crash has to verify again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from rivven.log.checkpoint import CheckpointEntry, CheckpointTable, PartitionKey
from rivven.log.committer import NOTHING, Committer, SyncPlan
from rivven.log.files import Files
from rivven.log.framed_file import replace
from rivven.log.threads import Cancellable, Threads

if TYPE_CHECKING:
    from rivven.log.partition_log import PartitionLog

CHECKPOINT_SECONDS = 10.0
"""Between two checkpoints of a busy directory: what recovery scans at most is what ten seconds append."""


class CheckpointKeeper:
    """Loop-owned. `table` holds the entries of all partitions, also of those not yet opened."""

    def __init__(self, files: Files, path: str, threads: Threads, table: CheckpointTable) -> None:
        self._files = files
        self._path = path
        self._threads = threads
        self._committer: Committer | None = None
        self._moved: dict[PartitionLog, None] = {}
        self._saving: list[tuple[PartitionLog, CheckpointEntry]] = []
        self._waiting: list[Callable[[], None]] = []
        self._served: list[Callable[[], None]] = []
        self._timer: Cancellable | None = None
        self._changed = False
        self._closed = False
        self.table = table

    def attach(self, committer: Committer) -> None:
        """From now on checkpoints are written in this committer's rounds."""
        self._committer = committer

    def note(self, log: PartitionLog) -> None:
        self._moved[log] = None
        if self._timer is None and not self._closed:
            self._timer = self._threads.later(CHECKPOINT_SECONDS, self._due)

    def forget(self, log: PartitionLog) -> None:
        """The partition is deleted."""
        self._moved.pop(log, None)
        self._saving = [pair for pair in self._saving if pair[0] is not log]
        self.remove(log.key)

    def remove(self, key: PartitionKey) -> None:
        """Leave a partition out of the next checkpoint."""
        self.table.remove(key)
        self._changed = True

    async def save(self, log: PartitionLog) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._moved[log] = None
        self._waiting.append(partial(_wake, future))
        self._mark()
        await future

    def close(self) -> None:
        """No more checkpoints by time."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def take_entries(self) -> None:
        """Bring the table up to date with the logs that moved."""
        for log in self._moved:
            entry = log.checkpoint_entry
            self.table.put(log.key, entry)
            self._saving.append((log, entry))
            self._changed = True
        self._moved.clear()

    # -- the commit round's member ---------------------------------------------------------------------------

    def begin_sync(self) -> SyncPlan:
        self._served += self._waiting
        self._waiting = []
        self.take_entries()
        if not self._changed:
            return NOTHING
        self._changed = False
        return SyncPlan(jobs=(partial(replace, self._files, self._path, self.table.image(clean=False)),))

    def synced(self) -> None:
        for log, entry in self._saving:
            if log.loaded is not None:
                log.loaded.saved_recovery_point = entry.recovery_point
        self._end()

    def sync_failed(self, error: OSError) -> None:
        self._served += self._waiting
        self._waiting = []
        self._end()

    def _end(self) -> None:
        self._saving.clear()
        served, self._served = self._served, []
        for wake in served:
            wake()

    def _due(self) -> None:
        self._timer = None
        self._mark()

    def _mark(self) -> None:
        if self._committer is not None:
            self._committer.mark_dirty(self)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
