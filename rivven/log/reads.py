"""Reading a partition: page-cached bytes on the loop, the rest on the directory's reader threads.

Part of `PartitionLog`. A read by a thread is thrown away and repeated when compaction replaced its segment
meanwhile. Frames of sealed segments are opened where they are read; what was appended last is had plain.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from rivven.errors import StorageFailed
from rivven.log.host import Host
from rivven.log.index import SegmentIndex
from rivven.log.loaded import LoadedLog
from rivven.log.reading import Found, IndexWrong, Reader, ReadResult, Wanted, read_batches
from rivven.log.scanning import BatchDamaged
from rivven.log.sealed_reading import read_frames
from rivven.log.sealing import (
    SEGMENT_HEADER_BYTES,
    FrameRefused,
)
from rivven.log.segment import UNREAD, Segment
from rivven.log.segment_index import load_index
from rivven.log.segment_kind import learn, learn_cached
from rivven.log.waiting import on_worker

if TYPE_CHECKING:
    from rivven.log.partition_log import PartitionLog

LOOP_BYTES_MAX = 1 << 20
"""Read at most this much in one turn of the loop: copying it takes some 0.3 ms."""
LOOP_FRAMES_MAX = 128
"""Frames opened in one turn of the loop, some 3 us each beside their bytes."""
THREAD_FRAMES_MAX = 512
"""Frames opened by one job of a reader thread, which holds the interpreter about 3 us for each."""
LOOP_SEGMENTS_MAX = 4
"""Segments looked into in one turn: compaction leaves empty ones, a thread walks over many of them."""
_Read = Callable[[int, int, Wanted, int], Found | None]
RETRIES_MAX = 5
"""Reads repeated because a segment was replaced: one compaction replaces a segment once."""


def read_cached(log: PartitionLog, loaded: LoadedLog, wanted: Wanted) -> ReadResult | None:
    """From memory, None when that is not possible. Raises KAFKA_STORAGE_ERROR."""
    if log.hot_tail is not None:
        recent = log.hot_tail.read(wanted)
        if recent is not None:
            return recent
    located = loaded.locate(wanted.offset)
    if located is None:
        return None
    number, position, indexed = located
    for segment in loaded.segments[number : number + LOOP_SEGMENTS_MAX]:
        try:
            file = log.host.cache.get(segment.data)
            end = segment.written_position
            if segment.sealed is UNREAD and not learn_cached(
                segment, file.read_cached(SEGMENT_HEADER_BYTES, 0)
            ):
                return None
            reader = _reader(
                log.host, segment, file.read_cached, LOOP_BYTES_MAX, LOOP_FRAMES_MAX, LOOP_FRAMES_MAX
            )
            found = reader(position, end, wanted, indexed)
        except IndexWrong:
            _distrust(log.host, loaded, segment)
            return None
        except (BatchDamaged, OSError, StorageFailed) as error:
            raise _unreadable(log, segment, error) from error
        if found is None:
            return None
        if found.result is not None:
            return _remember(loaded, segment, found, found.result)
        position, indexed = 0, -1
    return wanted.nothing if number + LOOP_SEGMENTS_MAX >= len(loaded.segments) else None


async def read_cold(log: PartitionLog, wanted: Wanted) -> ReadResult:
    """From the disk. Raises KAFKA_STORAGE_ERROR, OFFSET_OUT_OF_RANGE."""
    host = log.host
    for _ in range(RETRIES_MAX):
        loaded = log._readable(wanted.offset)
        number = loaded.number_of(wanted.offset)
        located = loaded.locate(wanted.offset)
        if located is not None:
            number = located[0]
        segments = loaded.segments[number:]
        interval = log.config.index_interval_bytes
        start = None if located is None else located[1:]
        job = partial(_read_from_disk, host, segments, start, wanted, interval)
        segment, found, error = await on_worker(host.threads, host.readers, job)
        if log.deleted:  # nothing is given away that was read while its topic went
            raise StorageFailed("the log of this partition is being deleted")
        if segment.retired:
            continue
        if isinstance(error, IndexWrong):
            _distrust(host, loaded, segment)
            continue
        if error is not None:
            raise _unreadable(log, segment, error) from error
        if segment is not loaded.active:
            host.index_memory.touch(segment)
        if found.result is None:
            return wanted.nothing
        return _remember(loaded, segment, found, found.result)
    raise StorageFailed("the log of this partition is being rewritten")


def bytes_between(log: PartitionLog, loaded: LoadedLog, from_offset: int, upper_bound: int, cap: int) -> int:
    """By position, of sealed segments with what sealing adds; at least 1, as there is something between the
    two."""
    if log.hot_tail is not None:
        known = log.hot_tail.bytes_between(from_offset, upper_bound)
        if known is not None:
            return max(1, min(cap, known))
    number, position = loaded.approximate_position(from_offset)
    segments = loaded.segments
    if upper_bound >= log.written_end:
        last, end = len(segments) - 1, segments[-1].written_position
    else:
        last, end = loaded.approximate_position(upper_bound)
    total = -position
    for segment in segments[number:last]:
        total += segment.written_position
        if total >= cap:
            return cap
    return max(1, min(cap, total + end))


def _remember(loaded: LoadedLog, segment: Segment, found: Found, result: ReadResult) -> ReadResult:
    if not segment.retired:
        loaded.remember(result.next_offset, segment, found.position)
    return result


def _read_from_disk(
    host: Host, segments: list[Segment], start: tuple[int, int] | None, wanted: Wanted, interval: int
) -> tuple[Segment, Found, Exception | None]:
    """On a reader thread: the segment that was read last, what was found, or why it could not be read."""
    for segment in segments:
        try:
            if start is None:
                index = segment.index
                if index is None:
                    index = load_index(host.files, host.cache, segment, interval)
                position, relative = index.entry_before(wanted.offset - segment.base_offset)
                start = position, relative + segment.base_offset if relative >= 0 else -1
            end = segment.written_position
            read = host.cache.get(segment.data).read
            if end:
                learn(host.cache, segment)
            # Reads what was asked for or one batch, whose memory the caller has budgeted.
            reader = _reader(host, segment, read, max(1, end), THREAD_FRAMES_MAX, end)
            found = reader(start[0], end, wanted, start[1])
            if found is None:
                raise BatchDamaged(start[0], f"the file ends before position {end}")
        except (BatchDamaged, IndexWrong, OSError, StorageFailed) as error:
            return segment, Found(None, 0), error
        if found.result is not None:
            return segment, found, None
        start = 0, -1
    return segments[-1], Found(None, 0), None


def _reader(
    host: Host, segment: Segment, read: Reader, limit: int, frames_max: int, passed_max: int
) -> _Read:
    """How the batches of this segment are read: (position, end, wanted, indexed) to what was found.

    Raises KeyUnavailable, FrameRefused.
    """
    sealed = segment.sealed
    assert sealed is not UNREAD
    if sealed is None:
        return lambda position, end, wanted, indexed: read_batches(
            read, position, end, wanted, limit, indexed
        )
    seal = segment.seal or host.seal_of(sealed)
    start = segment.start
    return lambda position, end, wanted, indexed: read_frames(
        read, max(position, start), end, wanted, limit, frames_max, seal, indexed, passed_max=passed_max
    )


def _distrust(host: Host, loaded: LoadedLog, segment: Segment) -> None:
    """Forget an index that lied; the next use rebuilds it. The active segment goes on with an empty one."""
    host.complain(f"{segment.data.path}: its index is wrong")
    host.index_memory.drop(segment)
    segment.index = SegmentIndex() if segment is loaded.active else None
    segment.rebuild_index = True


def _unreadable(log: PartitionLog, segment: Segment, error: Exception) -> StorageFailed:
    if isinstance(error, BatchDamaged | FrameRefused) and not log.deleted:
        log.take_offline(f"{segment.data.path}, {error}")
    else:
        log.host.complain(f"{segment.data.path}: {error}")
    return StorageFailed("the log of this partition cannot be read")
