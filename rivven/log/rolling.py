"""Beginning a new segment and finishing the old one, and taking both back when a write fails.

Part of `PartitionLog`. A roll is acknowledged like anything else: the old segment, the new file and the
directory are in the next commit round, and nothing in the new segment counts as durable before.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from rivven.config.topic_settings import TopicConfig
from rivven.log.index import SegmentIndex
from rivven.log.loaded import FullSegment, LoadedLog
from rivven.log.producer_snapshots import encode_snapshot, save_snapshot
from rivven.log.segment import RELATIVE_OFFSET_MAX, Segment
from rivven.log.segment_index import index_paths, save_index
from rivven.log.write_queue import Queued

if TYPE_CHECKING:
    from rivven.log.partition_log import PartitionLog

_log = logging.getLogger("rivven.log")


def is_due(segment: Segment, size: int, last_offset: int, now_ms: int, config: TopicConfig) -> bool:
    """Whether a batch belongs into a new segment: by size, offsets, index, or the age of the first record.

    A compacted topic rolls by max.compaction.lag.ms too, as what is active is never compacted.
    """
    if not segment.takes(size, last_offset, config.segment_bytes):
        return True
    age_max = config.segment_ms
    if config.max_compaction_lag_ms < age_max and "compact" in config.cleanup_policy:
        age_max = config.max_compaction_lag_ms
    return now_ms - segment.first_append_ms >= age_max and segment.end_position > 0


def spans(segment: Segment, last_offset: int) -> bool:
    """Whether an offset can be expressed relative to the segment's base."""
    return last_offset - segment.base_offset <= RELATIVE_OFFSET_MAX


def create_file(log: PartitionLog, loaded: LoadedLog, segment: Segment, now_ms: int) -> None:
    """Make the file of an empty segment unless it has one. Raises OSError."""
    segment.first_append_ms = now_ms
    if segment in loaded.dirty:
        return
    # "create", as an empty file may be left from before a restart; it holds nothing, recovery saw to that.
    loaded.dirty.add(segment, log.host.cache.get(segment.data, "create"))
    loaded.directory_dirty = True


def roll(log: PartitionLog, loaded: LoadedLog, now_ms: int) -> Segment:
    """End the active segment at the log's end and begin a new one. Raises OSError, with nothing changed."""
    old = loaded.active
    old.seal = None
    new = Segment(log.path, log.log_end_offset)
    new.index = SegmentIndex()
    create_file(log, loaded, new, now_ms)
    loaded.segments.append(new)
    if old.end_position:
        # The snapshot is taken here: later batches of the same producers must not be in it.
        loaded.finishing.append(FullSegment(old, new.base_offset, encode_snapshot(loaded.producers)))
        for full in loaded.finishing:
            full.failed = False
        finish_written(log, loaded)
    return new


def finish_written(log: PartitionLog, loaded: LoadedLog) -> None:
    """Save index and producers of full segments whose bytes are all in the file."""
    for full in loaded.finishing:
        segment = full.segment
        if segment.written_position < segment.end_position:
            break
        if not full.submitted and not full.failed:
            _submit(log, loaded, full)


def _submit(log: PartitionLog, loaded: LoadedLog, full: FullSegment) -> None:
    index = full.segment.index
    assert index is not None
    full.submitted = True
    full.segment.finish_index()
    contents = (index.encode_offsets(), index.encode_times())
    directory = log.path

    def job() -> None:
        error = None
        try:
            save_index(log.host.files, index_paths(full.segment), contents)
            save_snapshot(log.host.files, directory, full.end_offset, full.snapshot)
        except OSError as raised:
            error = raised
        log.host.threads.post(partial(_finished, log, loaded, full, error))

    log.host.janitor.submit(job)


def _finished(log: PartitionLog, loaded: LoadedLog, full: FullSegment, error: OSError | None) -> None:
    if error is not None:
        if not log.deleted:
            # The recovery point stays below, so that the index would be rebuilt; the next roll tries again.
            _log.warning("%s: index not saved: %s", full.segment.data.path, error)
        full.submitted = False
        full.failed = True
        return
    if full in loaded.finishing:
        loaded.finishing.remove(full)
    log.host.checkpoints.note(log)
    log.host.index_memory.touch(full.segment)


def take_back(log: PartitionLog, loaded: LoadedLog, batches: Sequence[Queued]) -> None:
    """Undo placing these batches: they are the last ones, and none of them is in a file."""
    for batch in reversed(batches):
        segment = batch.segment
        segment.end_position = batch.position
        segment.max_timestamp, segment.max_timestamp_offset, segment.unindexed_bytes = batch.segment_before
    while len(loaded.segments) > 1 and loaded.active.base_offset > log.log_end_offset:
        _remove_new(log, loaded, loaded.segments.pop())
        loaded.finishing = [full for full in loaded.finishing if full.segment is not loaded.active]
    active = loaded.active
    if active.index is not None:
        active.index.cut(active.end_position, log.log_end_offset - active.base_offset)


def _remove_new(log: PartitionLog, loaded: LoadedLog, segment: Segment) -> None:
    loaded.dirty.discard(segment)
    segment.retired = True
    log.host.cache.drop(segment.data)
    loaded.directory_dirty = True
    try:
        log.host.files.remove(segment.data.path)
    except OSError as error:
        # Recovery drops a segment that begins before the end of the one in front of it.
        _log.warning("%s: not removed: %s", segment.data.path, error)
