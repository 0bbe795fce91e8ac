"""What a log directory lends to each of its partition logs: files, threads, commit rounds, limits.

One object per directory, so that a partition log stays small. It decides nothing; `directory.LogDirectory`
owns it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID

from rivven.clock import Clock
from rivven.log.committer import Committer
from rivven.log.dirty_files import PinBudget
from rivven.log.file_cache import FileCache
from rivven.log.files import Files
from rivven.log.frame_buffers import FrameBuffers
from rivven.log.hot_tail import HotMemory
from rivven.log.sealing import KeyUnavailable, Seal, SegmentHeader, SegmentKeys
from rivven.log.segment_index import IndexMemory
from rivven.log.threads import Job, Threads, Worker
from rivven.tasks import Tasks

if TYPE_CHECKING:
    from rivven.log.partition_log import PartitionLog


SLOW_WRITE_SECONDS = 0.002
"""A small write that took longer was made to wait: the kernel slows down who dirties too much."""
SLOW_DISK_SECONDS = 1.0
"""How long the writer thread then does all writing."""
COMPLAINT_SECONDS = 5.0
"""Between two messages about refused writes: a full disk refuses thousands a second."""

T = TypeVar("T")
_log = logging.getLogger("rivven.log")


class LogEvents(Protocol):
    """What the log reports for metrics; called on the loop unless said otherwise."""

    def commit_round(self, files: int, seconds: float) -> None:
        """A commit round ended; `seconds` were spent on the commit thread."""
        ...

    def recovery_cut(self, cut_bytes: int) -> None:
        """Recovery cut this many bytes off a log."""
        ...

    def directory_failed(self, reason: str) -> None:
        """The directory went offline."""
        ...


class NoEvents:
    """Reports nothing."""

    def commit_round(self, files: int, seconds: float) -> None:
        pass

    def recovery_cut(self, cut_bytes: int) -> None:
        pass

    def directory_failed(self, reason: str) -> None:
        pass


class Checkpoints(Protocol):
    """Where logs say that their checkpoint entry is out of date (`checkpoint_keeper.CheckpointKeeper`)."""

    def note(self, log: PartitionLog) -> None:
        """Include the log's entry in the next checkpoint."""
        ...

    async def save(self, log: PartitionLog) -> None:
        """Return once the log's present entry is durable, or the directory failed. Raises KAFKA_STORAGE_ERROR
        when the disk is full."""
        ...


class BatchOpener(Protocol):
    """Opens one batch off the loop: implemented over the worker processes, or inline for small batches.

    Both raise RecordsUnreadable when the client's own data does not decode.
    """

    async def first_offset_with_timestamp(
        self, batch: bytes, timestamp: int, from_offset: int
    ) -> tuple[int, int] | None:
        """(offset, timestamp) of the first record from an offset on at or after a time, None without one."""
        ...

    async def max_timestamp_offset(self, batch: bytes) -> tuple[int, int] | None:
        """(offset, timestamp) of the first record with the largest timestamp, None without timestamps."""
        ...


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Bounds of one directory."""

    producers_per_partition: int = 10_000
    """max.producer.ids.per.partition: about 4 MB of entries; the least recently active gives way."""
    producer_expiration_ms: int = 86_400_000
    """producer.id.expiration.ms"""
    reserve_bytes: int = 0
    """log.dir.reserve.bytes: free space below which clients' appends are refused."""
    open_files: int = 1024
    """Segment files kept open; as many again may be open because they are not yet synced, and as many while
    they are. The rest of RLIMIT_NOFILE is for connections."""
    thread_write_bytes: int = 64 << 10
    """Amount from which the writer thread writes, not the loop. Measured while a disk was kept busy: the
    longest write on the loop was 8 ms with this limit, 29 ms with 256 KiB, 109 ms without; throughput was
    the same."""
    reader_threads: int = 4
    """Threads for reads that would block: enough to keep a disk's queue busy."""
    hot_tail_bytes: int = 64 << 20
    """The newest batches of sealed segments kept as they came: what consumers at the end read again."""


class Host:
    """Loop-owned, except `files`, `cache` and `frames`, which any thread may use."""

    __slots__ = (
        "_closed",
        "_complained_at",
        "_unstoppable",
        "accepting",
        "cache",
        "checkpoints",
        "clock",
        "committer",
        "events",
        "files",
        "frames",
        "hot_memory",
        "index_memory",
        "janitor",
        "keys",
        "limits",
        "opener",
        "partitions_path",
        "pins",
        "readers",
        "sealed_ahead_bytes",
        "slow",
        "threads",
        "writer",
    )

    def __init__(
        self,
        files: Files,
        threads: Threads,
        clock: Clock,
        committer: Committer,
        partitions_path: str,
        limits: LogLimits,
        events: LogEvents,
        opener: BatchOpener,
        checkpoints: Checkpoints,
        cache: FileCache,
        keys: SegmentKeys | None = None,
    ) -> None:
        self.keys = keys
        """None: nothing can be sealed or opened."""
        self.hot_memory = HotMemory(limits.hot_tail_bytes)
        self.frames = FrameBuffers()
        self.sealed_ahead_bytes = 0
        """Sealed and not yet written: what waits for the writer thread."""
        self.files = files
        self.cache = cache
        self.pins = PinBudget(limits.open_files)
        self.threads = threads
        self.clock = clock
        self.committer = committer
        self.partitions_path = partitions_path
        self.limits = limits
        self.events = events
        self.opener = opener
        self.index_memory = IndexMemory()
        self.writer: Worker = threads.worker("log-write")
        """Writes what may not be written on the loop, in order."""
        self.readers: Worker = threads.worker("log-read", limits.reader_threads)
        self.janitor: Worker = threads.worker("log-files")
        """Index files, snapshots, deletions: what nobody waits for."""
        self.accepting = True
        """False below the free-space reserve."""
        self.checkpoints = checkpoints
        self._closed = False
        self._unstoppable = Tasks()
        self.slow = False
        """The last write on the loop took too long: none is made there for a while."""
        self._complained_at = -COMPLAINT_SECONDS

    def wrote(self, seconds: float) -> None:
        """A write on the loop took this long."""
        if seconds > SLOW_WRITE_SECONDS and not self.slow:
            self.slow = True
            self.threads.later(SLOW_DISK_SECONDS, self._try_again)

    def _try_again(self) -> None:
        self.slow = False

    def complain(self, message: str) -> None:
        """Log a failure that may come with every request, at most one every COMPLAINT_SECONDS."""
        now = self.clock.monotonic()
        if now - self._complained_at >= COMPLAINT_SECONDS:
            self._complained_at = now
            _log.error("%s", message)

    def seal_of(self, header: SegmentHeader) -> Seal:
        """What opens an existing segment's frames; any thread. Raises KeyUnavailable, FrameRefused."""
        if self.keys is None:
            raise KeyUnavailable("the records are sealed and this broker has no keys")
        return Seal(header, self.keys.sealer(header))

    def only_sealed(self, topic_id: UUID) -> bool:
        """Whether a plain segment of this topic is a forged one."""
        return self.keys is not None and self.keys.only_sealed(topic_id)

    def may_begin_plain(self, topic_id: UUID) -> bool:
        """Whether a plain segment of this topic may be begun."""
        return self.keys is None or self.keys.may_begin_plain(topic_id)

    def tidy(self, job: Job) -> None:
        """Run a job that nobody waits for, unless the directory is closed: the next start does it then."""
        if not self._closed:
            self.janitor.submit(job)

    async def to_its_end(self, change: Coroutine[Any, Any, T]) -> T:
        """Run a change that must not stop half-way: cancelling the caller does not stop it, closing waits."""
        return await asyncio.shield(self._unstoppable.spawn(change, "log change"))

    async def settled(self) -> None:
        """Return once no change is half-way."""
        await self._unstoppable.wait_all()

    def close(self) -> None:
        """End the threads after what was submitted; close the files."""
        self._closed = True
        for worker in (self.writer, self.readers, self.janitor):
            worker.close()
        self.cache.clear()
