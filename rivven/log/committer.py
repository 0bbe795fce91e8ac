"""Group commit: one thread per log directory makes everything durable that waits, round after round.

Loop-owned objects (`Syncable`: partition logs, the metadata journal, the directory's checkpoint) say that
they are dirty; a round asks each what to sync, syncs it on the thread, and tells all of them in one callback
on the loop. A failed sync fails the whole directory, once and for all: the kernel may have dropped the pages,
so a retry would report a durability that does not exist. The committer never retries and never truncates;
it waits for a descriptor where opening finds none (`descriptors`), as nothing was synced then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from rivven.log.descriptors import patiently
from rivven.log.files import Files
from rivven.log.threads import Job, Threads

_log = logging.getLogger("rivven.log")

SYNCFS_FROM = 5
"""Files and directories in a round from which one syncfs beats syncing each (measured: 4 cost 1-5 ms one by
one, 100 cost 15 ms; syncfs 0.7 and 1.9 ms, but it also writes what others left dirty on that file system)."""


class Syncing(Protocol):
    """What a round syncs: a `files.File`, usually."""

    def sync(self) -> None: ...


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """What one member needs before a round may call it durable.

    `jobs` run first, in order, on the commit thread, and make their own effects durable (they may raise
    OSError). One that finds no descriptor is run again.
    """

    files: Sequence[Syncing] = ()
    directories: Sequence[str] = ()
    jobs: Sequence[Job] = ()


NOTHING = SyncPlan()


class Syncable(Protocol):
    """Something that becomes durable in rounds. All three are called on the loop."""

    def begin_sync(self) -> SyncPlan:
        """A round starts: remember what it will cover."""
        ...

    def synced(self) -> None:
        """What `begin_sync` remembered is durable."""
        ...

    def sync_failed(self, error: OSError) -> None:
        """It is not, and never will be."""
        ...


class Committer:
    """Belongs to the event loop; see the module."""

    def __init__(
        self,
        files: Files,
        root: str,
        threads: Threads,
        on_failed: Callable[[OSError], None],
        on_round: Callable[[int, float], None] | None = None,
    ) -> None:
        self._files = files
        self._root = root
        self._threads = threads
        self._on_failed = on_failed
        self._on_round = on_round
        self._worker = threads.worker("commit")
        files.watch(root)
        self._dirty: dict[Syncable, None] = {}
        self._held: list[Job] = []
        self._idle_waiters: list[Job] = []
        self._scheduled = False
        self.running = False
        self.covers_all = False
        """A running round uses syncfs, which disturbs every file of the directory."""
        self.failure: OSError | None = None

    def mark_dirty(self, member: Syncable) -> None:
        """Include the member in the next round. All that is marked in one turn of the loop shares a round."""
        if self.failure is not None:
            self._threads.soon(partial(member.sync_failed, self.failure))
            return
        self._dirty[member] = None
        if not self.running and not self._scheduled:
            self._scheduled = True
            self._threads.soon(self._start_round)

    def after_round(self, callback: Job) -> None:
        """Call back on the loop when the running round, or else the next, has ended."""
        self._held.append(callback)

    def when_idle(self, callback: Job) -> None:
        """Call back on the loop once nothing is dirty and no round runs, or the directory failed."""
        if self._dirty or self.running or self._scheduled:
            self._idle_waiters.append(callback)
        else:
            self._threads.soon(callback)

    def run(self, job: Job) -> None:
        """Run a job on the commit thread, between rounds; it must catch its own failures."""
        self._worker.submit(job)

    def close(self) -> None:
        """End the thread. Callers wait for `when_idle` first; a round in flight is finished unheard."""
        self._worker.close()

    def fail(self, error: OSError) -> None:
        """A failure found elsewhere (a write) makes the directory unusable just as a failed sync does."""
        if self.failure is not None:
            return
        self.failure = error
        dirty, self._dirty = self._dirty, {}
        self._on_failed(error)
        self._tell_all(list(dirty), error)
        self._wake_idle()

    def _start_round(self) -> None:
        self._scheduled = False
        if self.running:
            return
        dirty, self._dirty = self._dirty, {}
        members: list[Syncable] = []
        files: list[Syncing] = []
        directories: list[str] = []
        jobs: list[Job] = []
        for member in dirty:
            plan = member.begin_sync()
            members.append(member)
            files.extend(plan.files)
            directories.extend(plan.directories)
            jobs.extend(plan.jobs)
        if not members:
            self._release_held()
            self._wake_idle()
            return
        self.running = True
        self.covers_all = len(files) + len(directories) >= SYNCFS_FROM
        self._worker.submit(partial(self._sync, members, files, directories, jobs))

    def _sync(
        self, members: list[Syncable], files: list[Syncing], directories: list[str], jobs: list[Job]
    ) -> None:
        """On the commit thread."""
        started = time.perf_counter()
        error: OSError | None = None
        try:
            for job in jobs:
                patiently(job)
            count = len(files) + len(directories)
            if count < SYNCFS_FROM or not self._files.sync_all(self._root):
                for file in files:
                    file.sync()
                for directory in directories:
                    patiently(partial(self._files.sync_directory, directory))
        except OSError as raised:
            error = raised
        elapsed = time.perf_counter() - started
        self._threads.post(partial(self._round_ended, members, len(files), elapsed, error))

    def _round_ended(
        self, members: list[Syncable], files: int, seconds: float, error: OSError | None
    ) -> None:
        self.running = False
        self.covers_all = False
        if self._on_round is not None:
            self._on_round(files, seconds)
        if error is None and self.failure is not None:
            error = self.failure  # the directory went offline meanwhile: what it said before no longer counts
        if error is not None:
            self.fail(error)
        self._tell_all(members, error)
        self._release_held()
        if self._dirty:
            self._start_round()
        else:
            self._wake_idle()

    @staticmethod
    def _tell_all(members: Sequence[Syncable], error: OSError | None) -> None:
        for member in members:
            try:
                if error is None:
                    member.synced()
                else:
                    member.sync_failed(error)
            except Exception:  # noqa: BLE001 - one listener's bug must not leave the others waiting for ever
                _log.exception("%r failed to take the end of a commit round", member)

    def _release_held(self) -> None:
        held, self._held = self._held, []
        for callback in held:
            callback()

    def _wake_idle(self) -> None:
        if self._dirty or self.running or self._scheduled:
            return
        waiters, self._idle_waiters = self._idle_waiters, []
        for waiter in waiters:
            waiter()
