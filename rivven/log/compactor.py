"""The background task that keeps compacted partitions compact: dirtiest first, one pass at a time.

It plans on the loop, works in a worker process of its own, and asks the log to put each finished segment
in place; appends and reads never wait for it. A partition whose data is damaged is not touched again
until restart; any other failure is logged, counted and left for a later round. It must not decide about
records or file names.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from rivven.clock import Clock
from rivven.errors import CorruptMessage, RivvenError
from rivven.log import compaction_swap
from rivven.log.checkpoint import PartitionKey
from rivven.log.compaction import (
    CleanableView,
    CleaningPlan,
    ClosedSegment,
    group_segments,
    plan_cleaning,
)
from rivven.log.compaction_swap import PreparedSegment
from rivven.log.files import Files
from rivven.log.rewriting_keys import (
    RewritingKeys,
    SourceFields,
    plain_target,
    sealed_target,
    source_fields,
)

FAILURE_PAUSE_MS = 300_000
"""How long a partition is left alone after a failed pass: most causes (a full disk) do not go in seconds."""

JOB_SECONDS_MAX = 3600.0
"""For one job of a pass: mapping or rewriting reads a few GiB at most, at tens of MB/s in the worst case."""

SEALED_GROUP_BYTES_MAX = 1 << 30
"""Merged into one encrypted segment: small batches nearly double when they are sealed, and positions end at
2 GiB."""

NICENESS = 10
"""The worker yields to the broker and to the workers that clients wait for."""

_log = logging.getLogger("rivven.log")


class CleanableLog(Protocol):
    """What the compactor needs of a partition log (`partition_log.PartitionLog`)."""

    @property
    def topic_id(self) -> UUID: ...

    @property
    def partition(self) -> int: ...

    def cleanable(self, now_ms: int) -> CleanableView | None:
        """The closed part of a compacted, online log; None when there is nothing to look at."""
        ...

    async def replace_segments(self, old: Sequence[int], prepared: PreparedSegment) -> bool:
        """Put a prepared segment in place of the segments with these base offsets; False when they are
        gone."""
        ...


class Workers(Protocol):
    """Runs a named function on plain values elsewhere (`workers.WorkerPool` of one process)."""

    async def run(self, name: str, *args: Any) -> Any: ...


@dataclass(slots=True)
class CompactionTotals:
    """Counters since start, for metrics. Bytes are those of segment files."""

    passes: int = 0
    failures: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    records_removed: int = 0
    tombstones_removed: int = 0
    unreadable_batches: int = 0
    uncleanable_partitions: int = 0


class Compactor:
    """Belongs to the event loop. `logs` is asked anew each round; `dedupe_buffer_bytes` bounds the key map.

    `keys` opens and seals segments where there is encryption. `claims` are the partitions whose segments
    someone is rewriting now: shared with re-encryption, so that neither puts back what the other removed.
    """

    def __init__(
        self,
        *,
        logs: Callable[[], Iterable[CleanableLog]],
        workers: Workers,
        files: Files,
        keys: RewritingKeys | None,
        claims: set[PartitionKey],
        clock: Clock,
        dedupe_buffer_bytes: int,
        backoff_ms: int,
    ) -> None:
        self._logs = logs
        self._workers = workers
        self._files = files
        self._keys = keys
        self._claims = claims
        self._clock = clock
        self._dedupe_buffer_bytes = dedupe_buffer_bytes
        self._backoff_seconds = backoff_ms / 1000
        self._first_dirty: dict[PartitionKey, int] = {}
        self._uncleanable: set[PartitionKey] = set()
        self._paused_until_ms: dict[PartitionKey, int] = {}
        self.totals = CompactionTotals()

    async def run(self) -> None:
        """Clean for ever; pause when nothing is due. Cancel to stop."""
        while True:
            if not await self.clean_dirtiest():
                await asyncio.sleep(self._backoff_seconds)

    async def clean_dirtiest(self) -> bool:
        """Run the one pass that is most due, if any; returns whether one ran to its end."""
        chosen = await self._choose()
        if chosen is None:
            return False
        log, view, plan = chosen
        key = (log.topic_id, log.partition)
        try:
            finished = await self._clean(log, view, plan)
        except CorruptMessage as error:
            self._uncleanable.add(key)
            self.totals.uncleanable_partitions = len(self._uncleanable)
            self.totals.failures += 1
            _log.error("partition %s will not be compacted until restart: %s", view.directory, error)
            return False
        except (OSError, RivvenError) as error:
            self._paused_until_ms[key] = self._clock.now_ms() + FAILURE_PAUSE_MS
            self.totals.failures += 1
            _log.error("compaction of %s failed and will be tried again: %s", view.directory, error)
            return False
        finally:
            self._claims.discard(key)
        self.totals.passes += finished
        return finished

    async def _choose(self) -> tuple[CleanableLog, CleanableView, CleaningPlan] | None:
        now_ms = self._clock.now_ms()
        best: tuple[CleanableLog, CleanableView, CleaningPlan] | None = None
        present: set[PartitionKey] = set()
        for log in list(self._logs()):
            key = (log.topic_id, log.partition)
            present.add(key)
            if key in self._uncleanable or key in self._claims or self._paused_until_ms.get(key, 0) > now_ms:
                continue
            view = self._view(log, now_ms)
            if view is None or not view.segments:
                continue
            plan = plan_cleaning(view, await self._first_dirty_offset(key, view.directory), now_ms)
            if plan is not None and (best is None or _rank(plan) > _rank(best[2])):
                best = log, view, plan
        self._forget_all_but(present)
        return None if best is None else self._claimed(best[0], now_ms)

    def _claimed(
        self, log: CleanableLog, now_ms: int
    ) -> tuple[CleanableLog, CleanableView, CleaningPlan] | None:
        """The pass planned anew, the partition claimed: its segments may have been exchanged meanwhile."""
        key = (log.topic_id, log.partition)
        view = None if key in self._claims else self._view(log, now_ms)
        plan = None if view is None else plan_cleaning(view, self._first_dirty[key], now_ms)
        if view is None or plan is None:
            return None
        self._claims.add(key)
        return log, view, plan

    def _view(self, log: CleanableLog, now_ms: int) -> CleanableView | None:
        try:
            return log.cleanable(now_ms)
        except (OSError, RivvenError) as error:  # it could not be opened or rolled, and has said so itself
            _log.debug("%s-%d cannot be compacted now: %s", log.topic_id, log.partition, error)
            self._paused_until_ms[log.topic_id, log.partition] = now_ms + FAILURE_PAUSE_MS
            return None

    def _forget_all_but(self, present: set[PartitionKey]) -> None:
        for state in (self._first_dirty, self._paused_until_ms):
            for key in state.keys() - present:
                del state[key]
        self._uncleanable &= present
        self.totals.uncleanable_partitions = len(self._uncleanable)

    async def _first_dirty_offset(self, key: PartitionKey, directory: str) -> int:
        offset = self._first_dirty.get(key)
        if offset is None:
            try:
                offset = await asyncio.to_thread(
                    compaction_swap.load_first_dirty_offset, self._files, directory
                )
            except (OSError, RivvenError) as error:
                _log.error("cannot read the cleaner's checkpoint of %s: %s", directory, error)
                offset = 0
            self._first_dirty[key] = offset
        return offset

    async def _clean(self, log: CleanableLog, view: CleanableView, plan: CleaningPlan) -> bool:
        """One pass; False when the log has changed under it and the pass was given up."""
        tag = secrets.token_hex(8)
        try:
            end_offset = await self._sweep(tag, log, view, plan)
        except (OSError, RivvenError):
            await self._end(tag)
            raise
        await self._end(tag)
        if end_offset is None:
            return False
        await asyncio.to_thread(
            compaction_swap.store_first_dirty_offset, self._files, view.directory, end_offset
        )
        self._first_dirty[log.topic_id, log.partition] = end_offset
        return True

    async def _sweep(
        self, tag: str, log: CleanableLog, view: CleanableView, plan: CleaningPlan
    ) -> int | None:
        """Map, then rewrite every group in offset order: a tombstone must not go before what it deletes."""
        sources = await asyncio.to_thread(
            source_fields, self._files, self._keys, log.topic_id, log.partition, plan.segments
        )
        end_offset = await self._map_keys(tag, view, plan, sources)
        done = 0
        segment_bytes = view.config.segment_bytes
        if _is_sealed(view, sources):
            segment_bytes = min(segment_bytes, SEALED_GROUP_BYTES_MAX)
        for group in group_segments(plan.segments, segment_bytes, end_offset):
            if not await self._clean_group(tag, log, view, group, sources[done : done + len(group)]):
                return None
            done += len(group)
        return end_offset

    async def _map_keys(
        self, tag: str, view: CleanableView, plan: CleaningPlan, sources: tuple[SourceFields, ...]
    ) -> int:
        """The offset up to which the worker's key map reaches."""
        settings = (
            self._clock.now_ms(),
            view.config.delete_retention_ms,
            self._dedupe_buffer_bytes,
            dict(view.producer_last_offsets),
            secrets.token_bytes(32),
        )
        end_offset, keys, unreadable = await self._workers.run(
            "compaction_begin", tag, sources, plan.first_dirty_offset, plan.end_offset, settings
        )
        _log.debug("compacting %s: %d keys up to offset %d", view.directory, keys, end_offset)
        if unreadable:
            self.totals.unreadable_batches += unreadable
            _log.warning(
                "%d batches of %s hold records that do not parse; they are kept as they are",
                unreadable,
                view.directory,
            )
        return int(end_offset)

    async def _clean_group(
        self,
        tag: str,
        log: CleanableLog,
        view: CleanableView,
        group: tuple[ClosedSegment, ...],
        sources: tuple[SourceFields, ...],
    ) -> bool:
        """Rewrite one group and put it in place; False when the log has changed under it."""
        first, last = group[0], group[-1]
        path = compaction_swap.cleaned_path(view.directory, first.base_offset, tag)
        sealed = _is_sealed(view, sources)
        if sealed:
            target = sealed_target(self._keys, log.topic_id, log.partition, path)
        else:
            target = plain_target(path)
        changed, size, max_timestamp, removed, tombstones = await self._workers.run(
            "compaction_clean", tag, sources, target
        )
        self.totals.bytes_read += sum(segment.size_bytes for segment in group)
        if not changed:
            return True
        prepared = PreparedSegment(first.base_offset, last.end_offset, size, max_timestamp, path, sealed)
        if not await log.replace_segments([segment.base_offset for segment in group], prepared):
            await asyncio.to_thread(self._remove, path)
            return False
        self.totals.bytes_written += size
        self.totals.records_removed += removed
        self.totals.tombstones_removed += tombstones
        return True

    def _remove(self, path: str) -> None:
        if self._files.exists(path):  # its whole directory goes when the partition is deleted
            self._files.remove(path)

    async def _end(self, tag: str) -> None:
        """Free the worker's memory; a worker that is gone has freed it already."""
        try:
            await self._workers.run("compaction_end", tag)
        except RivvenError as error:
            _log.debug("the compaction worker ended by itself: %s", error)


def _rank(plan: CleaningPlan) -> tuple[bool, float]:
    return plan.urgent, plan.dirty_ratio


def _is_sealed(view: CleanableView, sources: Sequence[SourceFields]) -> bool:
    """Whether what is made of these is: what was sealed never becomes plain, even when the topic no longer
    asks for it."""
    return view.config.encryption_enabled or any(fields[4] is not None for fields in sources)
