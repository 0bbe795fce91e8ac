"""The background task that puts a topic's old segments under its newest key, plain ones too.

What is left to do is what the segments themselves say, so a crash at any moment costs the segment under way
and nothing else. Copying happens in a worker process, part by part at a bounded pace; the log puts each
finished segment in place. It must not make keys, and never writes in plain.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol
from uuid import UUID

from rivven.clock import Clock
from rivven.errors import CorruptMessage, RivvenError, StorageFailed
from rivven.log import compaction_swap, replacing
from rivven.log.checkpoint import PartitionKey
from rivven.log.compaction import ClosedSegment
from rivven.log.compaction_swap import PreparedSegment
from rivven.log.compactor import Workers
from rivven.log.files import Files
from rivven.log.only_sealed import MarkKeys, mark_if_only_sealed
from rivven.log.partition_log import PartitionLog
from rivven.log.rewriting_keys import (
    RewritingKeys,
    SourceFields,
    TargetFields,
    fields_of,
    forged,
    key_ids_on_disk,
    read_segment_header,
)
from rivven.log.sealing import SegmentHeader
from rivven.log.waiting import on_worker, round_end

PART_BYTES = 16 << 20
"""Copied by one job: a fraction of a second, so that compaction in the same worker process does not wait."""
PART_BYTES_MIN = 64 << 10
"""At a slow pace parts are what one second allows, but never less than this: each costs two opened files."""
ROUND_SECONDS = 5.0
"""Between two looks at topics that could not be finished: a partition busy with compaction, or paused."""
FAILURE_PAUSE_MS = 60_000
FAILURE_PAUSE_MS_MAX = 16 * FAILURE_PAUSE_MS
"""How long a partition is left alone after a failure, doubled with each further one: a full disk or a key
provider does not heal at once, and every try may copy a segment for nothing."""

_log = logging.getLogger("rivven.log")


class ReencryptionKeys(RewritingKeys, MarkKeys, Protocol):
    """What re-encryption needs of the keys (`security.keys.topic_keys.TopicKeys`)."""

    def newest(self, topic_id: UUID) -> bytes | None:
        """Id of the topic key of new segments, None when there is none at hand."""
        ...

    def rewriting(self) -> list[UUID]:
        """Topics whose re-encryption was asked for and has not finished; survives a restart."""
        ...

    async def set_rewriting(self, topic_id: UUID, asked: bool) -> None:
        """Durably remember that re-encryption was asked for, or that it has finished. Raises RivvenError."""
        ...

    async def retire(self, topic_id: UUID, key_ids: set[bytes]) -> None:
        """Forget these topic keys: no segment uses them any more. Raises RivvenError."""
        ...

    def older(self, topic_id: UUID) -> set[bytes]:
        """Ids of the topic's keys that are not the newest."""
        ...


@dataclass(slots=True)
class Progress:
    """How far a topic is, in bytes as stored. `problem` says why it stands still, "" while it moves."""

    done_bytes: int = 0
    left_bytes: int = 0
    finished: bool = False
    problem: str = ""


@dataclass(slots=True)
class ReencryptionTotals:
    """Counters since start, for metrics."""

    segments: int = 0
    bytes_read: int = 0
    failures: int = 0


class _Pause(NamedTuple):
    """A partition is left alone until then, after a failure."""

    until_ms: int
    length_ms: int
    reason: str


class Reencryptor:
    """Belongs to the event loop. `logs` is asked anew each round and must name every partition of the broker,
    also those that are offline. `claims` is shared with the compactor, see there: compaction of a partition
    waits for its re-encryption."""

    def __init__(
        self,
        *,
        logs: Callable[[], Iterable[PartitionLog]],
        keys: ReencryptionKeys,
        claims: set[PartitionKey],
        workers: Workers,
        clock: Clock,
        bytes_per_second: int,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._logs = logs
        self._keys = keys
        self._claims = claims
        self._workers = workers
        self._clock = clock
        self._rate = bytes_per_second
        self._pause = pause
        self._asked = asyncio.Event()
        self._asking = asyncio.Lock()
        """A wish that comes while the one before is being crossed off must not be crossed off with it."""
        self._progress: dict[UUID, Progress] = {}
        self._damaged: dict[PartitionKey, str] = {}
        self._paused: dict[PartitionKey, _Pause] = {}
        self.totals = ReencryptionTotals()

    def progress(self, topic_id: UUID) -> Progress | None:
        """How far the topic is; None unless its re-encryption was asked for since the start or before it."""
        return self._progress.get(topic_id)

    async def request(self, topic_id: UUID) -> Progress:
        """Durably ask for the re-encryption of a topic, beginning now. Raises RivvenError.

        Segments that are already under the newest key stay: make a new one first to rewrite everything.
        """
        async with self._asking:
            await self._keys.set_rewriting(topic_id, True)
        for log in self._logs_of(topic_id):
            self._paused.pop(log.key, None)
        progress = self._progress[topic_id] = Progress()
        await self._survey(topic_id, progress)
        self._asked.set()
        return progress

    async def run(self) -> None:
        """Work off what was asked for, for ever. Cancel to stop."""
        while True:
            self._asked.clear()
            await self.run_round()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ROUND_SECONDS):
                    await self._asked.wait()

    async def run_round(self) -> None:
        """Take every topic as far as it goes now."""
        topics = self._keys.rewriting()
        for topic_id in topics:
            await self._reencrypt_topic(topic_id)
        present = {log.key for log in self._logs()}
        for state in (self._damaged, self._paused):
            for key in state.keys() - present:
                del state[key]
        for topic_id in self._progress.keys() - {topic_id for topic_id, _ in present}:
            del self._progress[topic_id]

    # -- a topic ---------------------------------------------------------------------------------------------

    def _logs_of(self, topic_id: UUID) -> list[PartitionLog]:
        return [log for log in self._logs() if log.topic_id == topic_id]

    async def _reencrypt_topic(self, topic_id: UUID) -> None:
        progress = self._progress.setdefault(topic_id, Progress())
        await self._survey(topic_id, progress)
        for log in self._logs_of(topic_id):
            if self._problem_of(log) or log.key in self._claims:
                continue
            self._claims.add(log.key)
            try:
                await self._reencrypt_partition(log, progress)
                self._paused.pop(log.key, None)
            except FileNotFoundError as error:  # retention or a deletion was faster
                _log.debug("%s changed under its re-encryption: %s", log.path, error)
            except CorruptMessage as error:
                self.totals.failures += 1
                self._damaged[log.key] = str(error)
                _log.error("partition %s will not be re-encrypted until restart: %s", log.path, error)
            except (OSError, RivvenError) as error:
                self.totals.failures += 1
                self._paused[log.key] = self._pause_after(self._paused.get(log.key), str(error))
                _log.error("re-encryption of %s failed and will be tried again: %s", log.path, error)
            finally:
                self._claims.discard(log.key)
        if await self._survey(topic_id, progress):
            await self._finish(topic_id, progress)

    def _problem_of(self, log: PartitionLog) -> str:
        """Why a partition cannot be worked on now, "" when it can."""
        if not log.online:
            return f"partition {log.partition} is offline: {log.offline_reason}"
        paused = self._paused.get(log.key)
        if paused is not None and paused.until_ms > self._clock.now_ms():
            return f"partition {log.partition}: {paused.reason}"
        damage = self._damaged.get(log.key)
        return f"partition {log.partition}: {damage}" if damage else ""

    def _pause_after(self, before: _Pause | None, reason: str) -> _Pause:
        length = FAILURE_PAUSE_MS if before is None else min(2 * before.length_ms, FAILURE_PAUSE_MS_MAX)
        return _Pause(self._clock.now_ms() + length, length, reason)

    async def _survey(self, topic_id: UUID, progress: Progress) -> bool:
        """Count what is done and left; whether nothing is left and every partition could be looked at."""
        done = left = 0
        problem = ""
        for log in self._logs_of(topic_id):
            problem = problem or self._problem_of(log)
            if not log.online or log.deleted:
                continue
            try:
                for segment, header in await self._headers(log, self._segments(log)):
                    if self._is_current(log, header):
                        done += segment.size_bytes
                    else:
                        left += segment.size_bytes
            except (OSError, RivvenError) as error:
                problem = problem or f"partition {log.partition}: {error}"
        progress.done_bytes, progress.left_bytes, progress.problem = done, left, problem
        return not left and not problem

    async def _finish(self, topic_id: UUID, progress: Progress) -> None:
        """Forget keys that no file of this topic names any more, have plain segments refused from now on,
        then cross off the wish."""
        try:
            async with self._asking:
                forgotten = await self._forget_keys(topic_id, progress)
                if forgotten is None or not await self._mark(topic_id):
                    return
                await self._keys.set_rewriting(topic_id, False)
        except (OSError, RivvenError) as error:
            self.totals.failures += 1
            progress.problem = str(error)
            _log.error("the re-encryption of topic %s could not be finished: %s", topic_id, error)
            return
        progress.finished = True
        done = progress.done_bytes
        _log.info("topic %s is re-encrypted: %d bytes; %d old keys forgotten", topic_id, done, forgotten)

    async def _forget_keys(self, topic_id: UUID, progress: Progress) -> int | None:
        """How many keys were forgotten; None when something under an old one came up after all.

        Order: old keys first, as nothing begins to use them any more; then wait for what is being written
        under them; then look.
        """
        older = self._keys.older(topic_id)
        logs = self._logs_of(topic_id)
        for log in logs:
            await _durable_so_far(log)
        busy = any(log.key in self._claims for log in logs)
        if not logs or busy or not await self._survey(topic_id, progress):
            return None
        host = logs[0].host
        on_disk = partial(key_ids_on_disk, host.files, host.partitions_path, topic_id)
        unused = older - await on_worker(host.threads, host.readers, on_disk)
        if unused:
            await self._keys.retire(topic_id, unused)
        return len(unused)

    async def _mark(self, topic_id: UUID) -> bool:
        """Have a plain segment taken for a forged one, unless the topic may have some again; False: not
        yet."""
        logs = self._logs_of(topic_id)
        if not all(log.config.encryption_enabled for log in logs) or self._keys.only_sealed(topic_id):
            return True
        return await mark_if_only_sealed(self._keys, topic_id, logs)

    # -- a partition -----------------------------------------------------------------------------------------

    async def _reencrypt_partition(self, log: PartitionLog, progress: Progress) -> None:
        """Rewrite every segment that is not current, the active one after rolling it.

        Raises CorruptMessage, RivvenError and OSError.
        """
        if log.deleted or not log.size_bytes:
            return
        found = await self._headers(log, self._segments(log))
        stale = [one for one in found if not self._is_current(log, one[1])]
        if not stale:
            return
        loaded = log.usable()
        if stale[-1][0].base_offset == loaded.active.base_offset:
            log.roll(self._clock.now_ms())
        await self._make_rewritable(log)
        closed = {segment.base_offset: segment for segment in replacing.closed_segments(log, loaded)}
        for segment, header in stale:
            whole = closed.get(segment.base_offset)
            if whole is None:
                continue  # its index is not saved yet, or retention took it: the next round looks again
            if not log.host.accepting:
                raise StorageFailed("the disk is nearly full")
            if not await self._rewrite(log, whole, header, progress):
                return

    async def _make_rewritable(self, log: PartitionLog) -> None:
        """Bring the saved recovery point to the end of the last closed segment."""
        await _durable_so_far(log)
        host = log.host
        await on_worker(host.threads, host.janitor, _nothing)  # behind the writing of its index
        await host.checkpoints.save(log)
        log.check_usable()

    async def _rewrite(
        self, log: PartitionLog, segment: ClosedSegment, header: SegmentHeader | None, progress: Progress
    ) -> bool:
        """Copy one segment and put the copy in its place; False when the log has changed under it."""
        new, _ = self._keys.create(log.topic_id, log.partition)
        path = compaction_swap.cleaned_path(log.path, segment.base_offset, new.incarnation.hex())
        source, target = fields_of(segment, header, self._keys), (path, new.encode(), self._keys.export(new))
        done, left = progress.done_bytes, progress.left_bytes
        try:
            size = await self._copy(source, target, progress)
            prepared = PreparedSegment(
                segment.base_offset, segment.end_offset, size, segment.max_timestamp, path, sealed=True
            )
            placed = await log.replace_segments([segment.base_offset], prepared)
        except (OSError, RivvenError):
            await self._remove(log, path)
            raise
        if not placed:
            await self._remove(log, path)
            return False
        progress.done_bytes, progress.left_bytes = done + size, max(0, left - segment.size_bytes)
        self.totals.segments += 1
        return True

    async def _copy(self, source: SourceFields, target: TargetFields, progress: Progress) -> int:
        """Copy a segment in a worker, at the pace that is allowed; the bytes written."""
        size_bytes = source[3]
        part_bytes = max(PART_BYTES_MIN, min(PART_BYTES, self._rate))
        position = written = 0
        while position < size_bytes:
            started = self._clock.monotonic()
            before = position
            position, written = await self._workers.run(
                "reencrypt_part", source, position, target, written, part_bytes
            )
            self.totals.bytes_read += position - before
            progress.done_bytes += position - before
            progress.left_bytes = max(0, progress.left_bytes - (position - before))
            taken = self._clock.monotonic() - started
            await self._pause(max(0.0, (position - before) / self._rate - taken))
        return int(written)

    async def _remove(self, log: PartitionLog, path: str) -> None:
        host = log.host
        await on_worker(host.threads, host.janitor, partial(_remove_if_there, host.files, path))

    # -- segments --------------------------------------------------------------------------------------------

    def _segments(self, log: PartitionLog) -> list[ClosedSegment]:
        """All segments of a log with batches in their files, the active one too."""
        if log.deleted or not log.size_bytes:
            return []
        loaded = log.usable()
        return [
            ClosedSegment(
                segment.base_offset,
                loaded.end_of(number, log.log_end_offset),
                segment.data.path,
                segment.written_position,
            )
            for number, segment in enumerate(loaded.segments)
            if segment.written_position
        ]

    async def _headers(
        self, log: PartitionLog, segments: list[ClosedSegment]
    ) -> list[tuple[ClosedSegment, SegmentHeader | None]]:
        host, topic_id, partition = log.host, log.topic_id, log.partition

        def job() -> list[tuple[ClosedSegment, SegmentHeader | None]]:
            found = [(one, read_segment_header(host.files, one, topic_id, partition)) for one in segments]
            for one, header in found:
                if header is None and self._keys.only_sealed(topic_id):
                    raise forged(one)
            return found

        return await on_worker(host.threads, host.readers, job) if segments else []

    def _is_current(self, log: PartitionLog, header: SegmentHeader | None) -> bool:
        """Whether a segment with this header is as a new one would be, or plain in a topic that is."""
        if header is None:
            return not log.config.encryption_enabled
        return header.topic_key_id == self._keys.newest(log.topic_id)


async def _durable_so_far(log: PartitionLog) -> None:
    """Return once everything appended until now is durable; unlike `flush`, also under a load without gaps.

    Raises KAFKA_STORAGE_ERROR.
    """
    target = log.log_end_offset
    while log.durable_end < min(target, log.log_end_offset):
        log.check_usable()
        log.host.committer.mark_dirty(log)
        await round_end(log.host)
    log.check_usable()


def _nothing() -> None:
    """Waiting for a worker to come to this is waiting for what was before it."""


def _remove_if_there(files: Files, path: str) -> None:
    if files.exists(path):  # its whole directory goes when the partition is deleted
        files.remove(path)
