"""The sparse indexes of one segment: offset -> position and timestamp -> offset, in Kafka's file formats.

Pure. `.index` holds (relative offset u32, position u32): the LAST offset of a batch and where that batch
begins; `.timeindex` holds (timestamp i64, relative offset u32): the largest timestamp so far and the last
offset of the batch that has it. Both big endian and ascending, at most one entry per index.interval.bytes. An
index is a hint about a log, never evidence: whatever does not fit is rebuilt from the batches.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from struct import Struct

OFFSET_ENTRY_BYTES = 8
TIME_ENTRY_BYTES = 12

_time_entry = Struct(">qI")
_SWAP = sys.byteorder == "little"


class SegmentIndex:
    """Both indexes in memory. Offsets are relative to the segment's base offset."""

    __slots__ = ("_offsets", "_positions", "_time_offsets", "_times")

    def __init__(self) -> None:
        self._offsets = array("I")
        self._positions = array("I")
        self._times = array("q")
        self._time_offsets = array("I")

    def __len__(self) -> int:
        """Entries of the offset index."""
        return len(self._offsets)

    @property
    def bytes_used(self) -> int:
        """Memory of the entries."""
        return OFFSET_ENTRY_BYTES * len(self._offsets) + TIME_ENTRY_BYTES * len(self._times)

    @property
    def entries(self) -> list[tuple[int, int]]:
        """(relative last offset, position)"""
        return list(zip(self._offsets, self._positions, strict=True))

    @property
    def time_entries(self) -> list[tuple[int, int]]:
        """(timestamp, relative last offset)"""
        return list(zip(self._times, self._time_offsets, strict=True))

    def add(self, relative_offset: int, position: int) -> None:
        """Index the batch that begins at `position` and ends with `relative_offset`."""
        self._offsets.append(relative_offset)
        self._positions.append(position)

    def add_time(self, timestamp: int, relative_offset: int) -> None:
        """Nothing up to `relative_offset` is later than `timestamp`; ignored unless both ascend."""
        if self._times and (timestamp <= self._times[-1] or relative_offset <= self._time_offsets[-1]):
            return
        self._times.append(timestamp)
        self._time_offsets.append(relative_offset)

    def entry_before(self, relative_offset: int) -> tuple[int, int]:
        """(position, relative last offset of the batch there) to scan forward from; (0, -1): the start."""
        at = bisect_right(self._offsets, relative_offset) - 1
        return (self._positions[at], self._offsets[at]) if at >= 0 else (0, -1)

    def time_before(self, timestamp: int) -> tuple[int, int] | None:
        """The last entry (timestamp, relative last offset) earlier than `timestamp`: no batch up to it is
        later."""
        at = bisect_left(self._times, timestamp) - 1
        return (self._times[at], self._time_offsets[at]) if at >= 0 else None

    def last_time(self) -> tuple[int, int] | None:
        """(largest timestamp, relative last offset of its batch) as of the last entry."""
        if not self._times:
            return None
        return self._times[-1], self._time_offsets[-1]

    def latest_time_before(self, relative_offset: int) -> tuple[int, int] | None:
        """The last time entry about batches that end before `relative_offset`."""
        at = bisect_left(self._time_offsets, relative_offset) - 1
        if at < 0:
            return None
        return self._times[at], self._time_offsets[at]

    def cut(self, position: int, relative_offset: int) -> None:
        """Forget batches at or after `position`, whose offsets are `relative_offset` and more."""
        at = bisect_left(self._positions, position)
        del self._offsets[at:], self._positions[at:]
        at = bisect_left(self._time_offsets, relative_offset)
        del self._times[at:], self._time_offsets[at:]

    def encode_offsets(self) -> bytes:
        """The content of the `.index` file."""
        pairs = array("I", bytes(OFFSET_ENTRY_BYTES * len(self._offsets)))
        pairs[0::2] = self._offsets
        pairs[1::2] = self._positions
        if _SWAP:
            pairs.byteswap()
        return pairs.tobytes()

    def encode_times(self) -> bytes:
        """The content of the `.timeindex` file."""
        return b"".join(map(_time_entry.pack, self._times, self._time_offsets))


def decode_index(offsets: bytes, times: bytes, segment_bytes: int) -> SegmentIndex | None:
    """From the contents of both files; None when they cannot be the index of a segment of this size."""
    if len(offsets) % OFFSET_ENTRY_BYTES or len(times) % TIME_ENTRY_BYTES:
        return None
    pairs = array("I", offsets)
    if _SWAP:
        pairs.byteswap()
    index = SegmentIndex()
    index._offsets = pairs[0::2]
    index._positions = pairs[1::2]
    for timestamp, relative_offset in _time_entry.iter_unpack(times):
        index._times.append(timestamp)
        index._time_offsets.append(relative_offset)
    if index._positions and index._positions[-1] >= segment_bytes:
        return None
    columns = (index._offsets, index._positions, index._times, index._time_offsets)
    return index if all(map(_ascends, columns)) else None


def _ascends(column: array[int]) -> bool:
    return all(map(int.__lt__, column, column[1:]))
