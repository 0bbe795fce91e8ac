"""Writes the directory's checkpoint: a member of commit rounds, at most one file however many partitions
moved.

A recovery point lags behind the durable end by up to CHECKPOINT_SECONDS; it only bounds what a start after a
crash has to verify again. So a full disk leaves the old checkpoint in place and takes nothing offline: who
waits for the new one is refused, and a later round writes it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from rivven.errors import StorageFailed
from rivven.log.checkpoint import CheckpointEntry, CheckpointTable, PartitionKey
from rivven.log.committer import NOTHING, Committer, SyncPlan
from rivven.log.files import Files
from rivven.log.framed_file import replace
from rivven.log.free_space import NO_SPACE
from rivven.log.threads import Cancellable, Threads

if TYPE_CHECKING:
    from rivven.log.partition_log import PartitionLog

CHECKPOINT_SECONDS = 10.0
"""Between two checkpoints of a busy directory: what recovery scans at most is what ten seconds append."""

Waiter = Callable[[StorageFailed | None], None]

_log = logging.getLogger("rivven.log")


class CheckpointKeeper:
    """Loop-owned. `table` holds the entries of all partitions, also of those not yet opened."""

    def __init__(self, files: Files, path: str, threads: Threads, table: CheckpointTable) -> None:
        self._files = files
        self._path = path
        self._threads = threads
        self._committer: Committer | None = None
        self._moved: dict[PartitionLog, None] = {}
        self._saving: list[tuple[PartitionLog, CheckpointEntry]] = []
        self._waiting: list[Waiter] = []
        self._served: list[Waiter] = []
        self._no_space: OSError | None = None
        """Why the round's checkpoint was not written; set on the commit thread before the round ends."""
        self._timer: Cancellable | None = None
        self._changed = False
        self._closed = False
        self.table = table

    def attach(self, committer: Committer) -> None:
        """From now on checkpoints are written in this committer's rounds."""
        self._committer = committer

    def note(self, log: PartitionLog) -> None:
        """The log has moved, so the next checkpoint tells where it stands now; not one that is deleted."""
        if log.deleted:
            return
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
        if not log.deleted:
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
        return SyncPlan(jobs=(partial(self._write, self.table.image(clean=False)),))

    def synced(self) -> None:
        error, self._no_space = self._no_space, None
        if error is not None:
            self._postpone(error)
            return
        for log, entry in self._saving:
            if log.loaded is not None:
                log.loaded.saved_recovery_point = entry.recovery_point
                log.loaded.saved_start = entry.log_start_offset
        self._end()

    def sync_failed(self, error: OSError) -> None:
        self._served += self._waiting
        self._waiting = []
        self._end()

    def _write(self, image: bytes) -> None:
        """On the commit thread. A full disk is reported and leaves the old file; all else raises OSError."""
        try:
            replace(self._files, self._path, image)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            self._no_space = error

    def _postpone(self, error: OSError) -> None:
        """The disk is full: what should have been saved still has to be."""
        _log.error("%s is not written and will be tried again: %s", self._path, error)
        self._changed = True
        again = [log for log, _ in self._saving]
        self._end(StorageFailed("the broker's disk is full"))
        for log in again:
            self.note(log)

    def _end(self, failure: StorageFailed | None = None) -> None:
        self._saving.clear()
        served, self._served = self._served, []
        for wake in served:
            wake(failure)

    def _due(self) -> None:
        self._timer = None
        self._mark()

    def _mark(self) -> None:
        if self._committer is not None:
            self._committer.mark_dirty(self)


def _wake(future: asyncio.Future[None], failure: StorageFailed | None) -> None:
    if future.done():
        return
    if failure is None:
        future.set_result(None)
    else:
        future.set_exception(failure)
