"""Making a log shorter from its beginning: by age, by size, by request.

Part of `PartitionLog`. The new log start is durable before a file goes, so that a crash can bring files back
but never records; and only whole segments below the acknowledgeable end go.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from rivven.errors import OffsetOutOfRange, StorageFailed
from rivven.log.files import Files
from rivven.log.host import Host
from rivven.log.loaded import LoadedLog
from rivven.log.scanning import BatchDamaged
from rivven.log.segment import UNKNOWN_TIMESTAMP, Segment
from rivven.log.segment_index import index_paths, load_index
from rivven.log.waiting import on_worker

if TYPE_CHECKING:
    from rivven.log.partition_log import PartitionLog

_log = logging.getLogger("rivven.log")


async def delete_records_before(log: PartitionLog, offset: int) -> int:
    """See `PartitionLog.delete_records_before`."""
    loaded = log.usable()
    if offset > log.acknowledgeable_end or offset < 0:
        raise OffsetOutOfRange(f"offset {offset} is not in {log.log_start_offset}..{log.acknowledgeable_end}")
    if offset > log.log_start_offset:
        log.log_start_offset = offset
        loaded.epochs.cut_start(offset)
        log.tell_progress()
    await _save_start(log)
    _remove_below_start(log)
    return log.log_start_offset


async def delete_expired(log: PartitionLog, now_ms: int) -> int:
    """See `PartitionLog.delete_expired`."""
    if log.deleted or not log.online or _surely_nothing(log, now_ms):
        return 0
    loaded = log.usable()
    expired = loaded.producers.expire(now_ms - log.host.limits.producer_expiration_ms)
    loaded.touched = loaded.touched or expired > 0
    start = log.log_start_offset
    if log.config.deletes and not loaded.replacing:
        await _learn_timestamps(log, loaded)
        if not log.deleted and log.online:
            start = max(start, _new_start(log, loaded, now_ms))
    if start > log.log_start_offset:
        log.log_start_offset = start
        loaded.epochs.cut_start(start)
        log.tell_progress()
    if log.log_start_offset > loaded.saved_start:
        await _save_start(log)
    return _remove_below_start(log)


def _surely_nothing(log: PartitionLog, now_ms: int) -> bool:
    """Without opening the log: nothing is old enough and there is not too much. Producers wait for its
    next use."""
    if log.loaded is not None:
        return False
    config = log.config
    if log.size_bytes == 0 or not config.deletes:
        return True
    small = config.retention_bytes < 0 or log.size_bytes <= config.retention_bytes
    young = config.retention_ms < 0 or (
        log.oldest_timestamp >= 0 and log.oldest_timestamp + config.retention_ms >= now_ms
    )
    return small and young


async def _learn_timestamps(log: PartitionLog, loaded: LoadedLog) -> None:
    """The largest timestamps of the oldest segments, up to the first that is young or all of a few."""
    if log.config.retention_ms < 0:
        return
    unknown = [segment for segment in loaded.segments if segment.max_timestamp == UNKNOWN_TIMESTAMP]
    if not unknown:
        return
    host, interval = log.host, log.config.index_interval_bytes
    job = partial(_load_timestamps, host, unknown[:SEGMENTS_PER_PASS], interval)
    try:
        await on_worker(host.threads, host.readers, job)
    except OSError as error:
        host.complain(f"{log!r}: {error}")
    except BatchDamaged as damage:
        log.take_offline(f"{log.path}, {damage}")
    for segment in unknown:
        host.index_memory.touch(segment)


SEGMENTS_PER_PASS = 64
"""Segments whose timestamps one pass loads: they are in order, later ones wait for the next pass."""


def _load_timestamps(host: Host, segments: Sequence[Segment], interval: int) -> None:
    for segment in segments:
        load_index(host.files, host.cache, segment, interval)
        segment.max_timestamp = max(segment.max_timestamp, -1)


def _new_start(log: PartitionLog, loaded: LoadedLog, now_ms: int) -> int:
    """Where the log begins once expired segments are gone; rolls when even the active one is expired."""
    config = log.config
    excess = log.size_bytes - config.retention_bytes if config.retention_bytes >= 0 else 0
    start = log.log_start_offset
    for number, segment in enumerate(loaded.segments):
        end = loaded.end_of(number, log.log_end_offset)
        too_old = config.retention_ms >= 0 and _expired(segment, now_ms - config.retention_ms)
        too_much = config.retention_bytes >= 0 and excess >= segment.end_position > 0
        if end > log.acknowledgeable_end or not (too_old or too_much):
            break
        if segment is loaded.active:
            # By size alone the active segment stays, as Kafka's does.
            if not too_old or segment.end_position == 0:
                break
            try:
                log.roll(now_ms)
            except StorageFailed:
                break
        excess -= segment.end_position
        start = end
    return start


def _expired(segment: Segment, before_ms: int) -> bool:
    return 0 <= segment.max_timestamp < before_ms


async def _save_start(log: PartitionLog) -> None:
    """Return once the checkpoint on disk has the current log start. Raises KAFKA_STORAGE_ERROR."""
    await log.host.checkpoints.save(log)
    log.check_usable()


def _remove_below_start(log: PartitionLog) -> int:
    """Take segments wholly below the log start out of the log; files go in the background. Bytes freed."""
    loaded = log.usable()
    if loaded.replacing:
        return 0
    freed = 0
    gone: list[Segment] = []
    # Not below a start that could not be saved: after a crash it would look like a loss.
    start = min(log.log_start_offset, loaded.saved_start)
    while len(loaded.segments) > 1 and loaded.segments[1].base_offset <= start:
        segment = loaded.segments.pop(0)
        freed += segment.end_position
        gone.append(segment)
    if gone:
        log.size_bytes -= freed
        discard(log, loaded, gone)
    return freed


def forget(host: Host, loaded: LoadedLog, segments: Sequence[Segment]) -> None:
    """Keep nothing in memory for these segments, nor their files open."""
    for segment in segments:
        segment.retired = True
        loaded.dirty.discard(segment)
        host.cache.drop(segment.data)
        host.index_memory.drop(segment)
    loaded.finishing = [full for full in loaded.finishing if not full.segment.retired]


def discard(log: PartitionLog, loaded: LoadedLog, segments: Sequence[Segment]) -> None:
    """Forget segments and remove their files after file.delete.delay.ms."""
    host = log.host
    forget(host, loaded, segments)
    paths = [path for segment in segments for path in (segment.data.path, *index_paths(segment))]
    host.janitor.submit(partial(_rename_away, host.files, paths))
    remove = partial(_remove_all, host.files, [f"{path}.deleted" for path in paths])
    host.threads.later(log.config.file_delete_delay_ms / 1000, partial(host.tidy, remove))


def _rename_away(files: Files, paths: Sequence[str]) -> None:
    """Names first: a later segment may need the same one. The next start removes what a crash leaves."""
    for path in paths:
        try:
            if files.exists(path):
                files.rename(path, f"{path}.deleted")
        except OSError as error:
            _log.warning("%s: not renamed: %s", path, error)


def _remove_all(files: Files, paths: Sequence[str]) -> None:
    for path in paths:
        try:
            if files.exists(path):
                files.remove(path)
        except OSError as error:
            _log.warning("%s: not removed: %s", path, error)
