"""What may be rewritten of a log, and putting a rewritten segment in place of others.

For compaction and re-encryption. Part of `PartitionLog`. The swap itself, and what recovery makes of an
interrupted one, is `compaction_swap`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from rivven.errors import StorageFailed
from rivven.log import compaction_swap
from rivven.log.compaction import CleanableView, ClosedSegment
from rivven.log.compaction_swap import PreparedSegment
from rivven.log.file_cache import PatientFiles
from rivven.log.files import File, Files
from rivven.log.free_space import NO_SPACE
from rivven.log.loaded import LoadedLog
from rivven.log.segment import UNKNOWN_TIMESTAMP, Segment
from rivven.log.waiting import on_worker

if TYPE_CHECKING:
    from rivven.log.partition_log import PartitionLog


def cleanable(log: PartitionLog, now_ms: int) -> CleanableView | None:
    """See `PartitionLog.cleanable`. Rolls the active segment when max.compaction.lag.ms asks for it."""
    if log.deleted or not log.online or not log.config.compacted or log.size_bytes == 0:
        return None
    loaded = log.usable()
    active = loaded.active
    if active.end_position and now_ms - active.first_append_ms >= log.config.max_compaction_lag_ms:
        try:
            log.roll(now_ms)
        except StorageFailed:
            return None
    segments = closed_segments(log, loaded)
    if not segments or loaded.replacing:
        return None
    last_offsets = {
        producer_id: entry.batches[-1].last_offset for producer_id, entry in loaded.producers if entry.batches
    }
    return CleanableView(log.path, tuple(segments), log.config, last_offsets)


def closed_segments(log: PartitionLog, loaded: LoadedLog) -> list[ClosedSegment]:
    """From the first on, the segments that are no longer written, durable and acknowledgeable as a whole."""
    # The saved recovery point, not the current one: recovery accepts holes in the offsets only below it.
    bound = min(log.acknowledgeable_end, loaded.saved_recovery_point)
    segments = []
    for number, segment in enumerate(loaded.segments[:-1]):
        end = loaded.end_of(number, log.log_end_offset)
        if end > bound:
            break
        segments.append(
            ClosedSegment(
                segment.base_offset,
                end,
                segment.data.path,
                segment.written_position,
                segment.first_timestamp,
                max(segment.max_timestamp, -1),
            )
        )
    return segments


async def replace_segments(log: PartitionLog, old: Sequence[int], prepared: PreparedSegment) -> bool:
    """See `PartitionLog.replace_segments`. Once begun it goes on to its end, even if the caller stops."""
    if log.deleted or not log.online:
        return False
    if not prepared.sealed and not log.host.may_begin_plain(log.topic_id):
        return False  # written while the topic was to be plain, which it is no more
    loaded = log.usable()
    replaced = _segments_with(loaded, old, prepared)
    if not replaced or loaded.replacing:
        return False
    loaded.replacing = True
    return await log.host.to_its_end(_replace(log, loaded, replaced, prepared))


async def _replace(
    log: PartitionLog, loaded: LoadedLog, replaced: Sequence[Segment], prepared: PreparedSegment
) -> bool:
    host = log.host
    # Once renamed, the new segment must be finished: a swap left behind would replace what came after it.
    files = PatientFiles(host.files, host.cache)
    finish = partial(compaction_swap.finish, files, log.path, prepared.base_offset, prepared.end_offset)
    try:
        file = await on_worker(host.threads, host.janitor, partial(_commit, files, log.path, prepared))
        new = _switch(log, loaded, replaced, prepared)
        # Until the swap is finished the segment's name still means the old file, and so do its index files.
        new.data.pinned = file
        await on_worker(host.threads, host.janitor, finish)
        new.data.pinned = None
        new.rebuild_index = False
    except OSError as error:
        if error.errno in NO_SPACE and host.files.exists(prepared.path):
            host.complain(f"{log!r}: no room to exchange segments, the old ones stay: {error}")
        elif not log.deleted:  # deletion renames the directory under us
            host.committer.fail(error)
        return False
    finally:
        loaded.replacing = False
    return True


def _segments_with(loaded: LoadedLog, old: Sequence[int], prepared: PreparedSegment) -> list[Segment]:
    """The closed segments with these base offsets, empty unless all are there, one after the other."""
    bases = [segment.base_offset for segment in loaded.segments[:-1]]
    if not old or old[0] not in bases:
        return []
    first = bases.index(old[0])
    last = first + len(old)
    if bases[first:last] != list(old) or loaded.segments[last].base_offset != prepared.end_offset:
        return []
    return loaded.segments[first:last]


def _commit(files: Files, directory: str, prepared: PreparedSegment) -> File:
    """Open the new segment, then make it the one that counts: the open file outlives all renames."""
    file = files.open(prepared.path, "write")
    compaction_swap.commit(files, directory, prepared)
    return file


def _switch(
    log: PartitionLog, loaded: LoadedLog, replaced: Sequence[Segment], prepared: PreparedSegment
) -> Segment:
    new = Segment(log.path, prepared.base_offset, prepared.size_bytes)
    new.only_sealed = log.host.only_sealed(log.topic_id)
    new.max_timestamp = UNKNOWN_TIMESTAMP
    new.rebuild_index = True
    first = loaded.segments.index(replaced[0])
    loaded.segments[first : first + len(replaced)] = [new]
    loaded.positions.clear()
    for segment in replaced:
        segment.retired = True
        log.size_bytes -= segment.end_position
        log.host.cache.drop(segment.data)
        log.host.index_memory.drop(segment)
    log.size_bytes += prepared.size_bytes
    if log.hot_tail is not None and log.config.compacted:
        log.hot_tail.clear()  # records in it may be among those that compaction has removed
    return new
