"""ListOffsets by time and by largest timestamp: the time index narrows to one batch, which is opened off
the loop.

Part of `PartitionLog`. Records that do not decode are the client's own data: such a batch is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from rivven.errors import StorageFailed
from rivven.log.host import Host
from rivven.log.index import SegmentIndex
from rivven.log.loaded import LoadedLog
from rivven.log.reading import IndexWrong
from rivven.log.scanning import BatchDamaged
from rivven.log.sealed_reading import open_at
from rivven.log.sealing import FrameRefused, KeyUnavailable
from rivven.log.segment import UNKNOWN_TIMESTAMP, UNREAD, Segment
from rivven.log.segment_index import load_index
from rivven.log.segment_kind import headers_from
from rivven.log.waiting import on_worker
from rivven.records.batch import BatchHeader
from rivven.records.unreadable import RecordsUnreadable

if TYPE_CHECKING:
    from rivven.log.partition_log import PartitionLog

SKIPPED_BATCHES_MAX = 100
"""Batches opened for one lookup: only unreadable ones and bounds inside a batch make it more than one."""

Place = tuple[int, int, int]
T = TypeVar("T")


class Candidate(NamedTuple):
    """A batch that may hold the answer, opened if it was sealed, and the offset after it."""

    batch: bytes
    next_offset: int


async def first_at_or_after(log: PartitionLog, timestamp: int, upper_bound: int) -> Place | None:
    """(offset, timestamp, leader epoch) of the first record at or after `timestamp` below `upper_bound`."""
    start = log.log_start_offset
    for _ in range(SKIPPED_BATCHES_MAX):
        candidate = await _on_thread(log, partial(_first_batch, timestamp, start, upper_bound))
        if candidate is None:
            return None
        try:
            found = await log.host.opener.first_offset_with_timestamp(
                candidate.batch, timestamp, log.log_start_offset
            )
        except RecordsUnreadable as error:
            log.host.complain(f"{log!r}: records below offset {candidate.next_offset} skipped: {error}")
            found = None
        if found is not None:
            return _place(log, found, upper_bound)
        start = candidate.next_offset
    return None


async def latest(log: PartitionLog, upper_bound: int) -> Place | None:
    """(offset, timestamp, leader epoch) of the record with the largest timestamp below `upper_bound`."""
    candidate = await _on_thread(log, partial(_latest_batch, log.log_start_offset, upper_bound))
    if candidate is None:
        return None
    try:
        found = await log.host.opener.max_timestamp_offset(candidate.batch)
    except RecordsUnreadable as error:
        log.host.complain(f"{log!r}: records below offset {candidate.next_offset} skipped: {error}")
        return None
    return None if found is None else _place(log, found, upper_bound)


def _place(log: PartitionLog, found: tuple[int, int], upper_bound: int) -> Place | None:
    offset, timestamp = found
    return (offset, timestamp, log.epoch_for_offset(offset)) if offset < upper_bound else None


async def _on_thread(log: PartitionLog, search: partial[Candidate | None]) -> Candidate | None:
    loaded = log.usable()
    host = log.host
    segments = list(loaded.segments)
    try:
        return await on_worker(
            host.threads, host.readers, partial(search, host, segments, log.config.index_interval_bytes)
        )
    except (BatchDamaged, FrameRefused) as damage:
        if any(segment.retired for segment in segments):
            raise StorageFailed("the log of this partition is being rewritten") from damage
        log.take_offline(str(damage))
    except (OSError, KeyUnavailable) as error:
        host.complain(f"{log!r}: {error}")
    finally:
        _keep_indexes(host, loaded, segments)
    raise StorageFailed("the log of this partition cannot be read")


def _keep_indexes(host: Host, loaded: LoadedLog, segments: list[Segment]) -> None:
    for segment in segments:
        if segment is not loaded.active:
            host.index_memory.touch(segment)


def _first_batch(
    timestamp: int, start: int, upper_bound: int, host: Host, segments: list[Segment], interval: int
) -> Candidate | None:
    """On a thread: the first batch with offsets in start..upper_bound that reaches the timestamp."""
    for number, segment in enumerate(segments):
        following = segments[number + 1].base_offset if number + 1 < len(segments) else upper_bound
        if following <= start or segment.written_position == 0:
            continue
        if segment.base_offset >= upper_bound:
            break
        index = _ensure_index(host, segment, interval)
        if segment.max_timestamp < timestamp:
            continue
        found = _with_index(segment, index, partial(_first_in, host, segment, timestamp, start, upper_bound))
        if found is not None:
            return found
    return None


def _first_in(
    host: Host, segment: Segment, timestamp: int, start: int, upper_bound: int, index: SegmentIndex
) -> Candidate | None:
    earlier = index.time_before(timestamp)
    if earlier is not None:
        _check_time(host, segment, index, earlier)
        start = max(start, segment.base_offset + earlier[1] + 1)
    for position, header in _headers_from(host, segment, index, start):
        if header.base_offset >= upper_bound:
            return None
        if header.max_timestamp >= timestamp and header.last_offset >= start:
            return Candidate(_batch_at(host, segment, position, header.size_bytes), header.last_offset + 1)
    return None


def _batch_at(host: Host, segment: Segment, position: int, size: int) -> bytes:
    """Raises BatchDamaged when a frame does not open, KeyUnavailable."""
    stored = host.cache.get(segment.data).read(size + segment.overhead, position)
    sealed = segment.sealed
    assert sealed is not UNREAD
    if sealed is None:
        return stored
    return b"".join(open_at(segment.seal or host.seal_of(sealed), position, memoryview(stored)))


def _latest_batch(
    start: int, upper_bound: int, host: Host, segments: list[Segment], interval: int
) -> Candidate | None:
    """On a thread: the first batch with the largest timestamp among those below `upper_bound`."""
    best: tuple[int, Segment, int] | None = None
    for segment in segments:
        if segment.base_offset >= upper_bound or segment.written_position == 0:
            continue
        index = _ensure_index(host, segment, interval)
        search = partial(_latest_in, host, segment, start, upper_bound)
        timestamp, offset = _with_index(segment, index, search)
        if timestamp >= 0 and (best is None or timestamp > best[0]):
            best = timestamp, segment, offset
    if best is None:
        return None
    timestamp, segment, offset = best
    index = _ensure_index(host, segment, interval)
    return _with_index(segment, index, partial(_first_in, host, segment, timestamp, offset, upper_bound))


def _latest_in(
    host: Host, segment: Segment, start: int, upper_bound: int, index: SegmentIndex
) -> tuple[int, int]:
    """(largest timestamp, last offset of its batch) within bounds; walks only where the index cannot tell."""
    if start <= segment.max_timestamp_offset < upper_bound:
        return segment.max_timestamp, segment.max_timestamp_offset
    known = index.latest_time_before(upper_bound - segment.base_offset)
    best = (-1, -1)
    if known is not None and known[1] + segment.base_offset >= start:
        _check_time(host, segment, index, known)
        best = known[0], known[1] + segment.base_offset
    for _, header in _headers_from(host, segment, index, max(start, best[1], segment.base_offset)):
        if header.last_offset >= upper_bound:
            break
        if header.last_offset >= start and header.max_timestamp > best[0]:
            best = header.max_timestamp, header.last_offset
    return best


def _with_index(segment: Segment, index: SegmentIndex, search: Callable[[SegmentIndex], T]) -> T:
    """Search with the index, or from the segment's beginning when the index turns out to be wrong."""
    try:
        return search(index)
    except (IndexWrong, BatchDamaged):
        segment.rebuild_index = True
        return search(SegmentIndex())


def _headers_from(
    host: Host, segment: Segment, index: SegmentIndex, offset: int
) -> Iterator[tuple[int, BatchHeader]]:
    """Headers from a batch at or before `offset` on. Raises IndexWrong unless it is what was indexed."""
    position, relative = index.entry_before(max(0, offset - segment.base_offset))
    for at, header in headers_from(host.cache, segment, position):
        if at == position and relative >= 0 and header.last_offset != segment.base_offset + relative:
            raise IndexWrong
        yield at, header


def _check_time(host: Host, segment: Segment, index: SegmentIndex, entry: tuple[int, int]) -> None:
    """Raises IndexWrong unless there is a batch with the timestamp and last offset of a time entry."""
    timestamp, relative = entry
    offset = segment.base_offset + relative
    for _, header in _headers_from(host, segment, index, offset):
        if header.last_offset >= offset:
            if header.last_offset == offset and header.max_timestamp == timestamp:
                return
            break
    raise IndexWrong


def _ensure_index(host: Host, segment: Segment, interval: int) -> SegmentIndex:
    """The index; kept by the caller, as the memory it is in may be taken back at any time."""
    index = segment.index
    if index is None or segment.max_timestamp == UNKNOWN_TIMESTAMP:
        index = load_index(host.files, host.cache, segment, interval)
    return index
