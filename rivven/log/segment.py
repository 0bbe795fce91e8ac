"""One segment of a partition: a file of whole batches, where it ends, its index and its largest timestamp.

Loop-owned. It writes nothing itself. The names in a partition's directory are Kafka's: the base offset in 20
digits, then `.log`, `.index`, `.timeindex`, `.snapshot`.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from rivven.log.file_cache import FileRef
from rivven.log.index import SegmentIndex
from rivven.log.sealing import FRAME_OVERHEAD_BYTES, SEGMENT_HEADER_BYTES, Seal, SegmentHeader

RELATIVE_OFFSET_MAX = 2**31 - 1
"""Offsets in one segment span at most this (Kafka's indexes are signed there)."""
INDEX_ENTRIES_MAX = 10 * 1024 * 1024 // 8
"""Offset index entries per segment, as Kafka's segment.index.bytes of 10 MiB allows."""
UNKNOWN_TIMESTAMP = -2
"""The largest timestamp of a closed segment that nobody asked for yet; -1 is "no timestamp"."""


class Unread(Enum):
    """Whether a segment is sealed has not been read from its file yet."""

    UNREAD = 0


UNREAD: Final = Unread.UNREAD


def segment_path(directory: str, base_offset: int, suffix: str = "log") -> str:
    """Path of one of a segment's files."""
    return f"{directory}/{base_offset:020d}.{suffix}"


def base_offset_of(name: str, suffix: str = "log") -> int | None:
    """The base offset in a file name, None when it is not a segment's file of that kind."""
    digits, dot, found = name.partition(".")
    if not dot or found != suffix or len(digits) != 20 or not digits.isdecimal():
        return None
    return int(digits)


class Segment:
    """`end_position` counts queued bytes too; `written_position` only what is in the file.

    The header of a sealed segment is written with its first frame: at position 0 nothing is there at all.
    """

    __slots__ = (
        "base_offset",
        "data",
        "end_position",
        "first_append_ms",
        "first_timestamp",
        "index",
        "max_timestamp",
        "max_timestamp_offset",
        "only_sealed",
        "rebuild_index",
        "retired",
        "seal",
        "sealed",
        "seals",
        "unindexed_bytes",
        "written_position",
    )

    def __init__(self, directory: str, base_offset: int, size: int = 0) -> None:
        self.base_offset = base_offset
        self.data = FileRef(segment_path(directory, base_offset))
        self.end_position = size
        self.written_position = size
        self.first_append_ms = -1
        self.first_timestamp = -1
        self.max_timestamp = -1
        self.max_timestamp_offset = -1
        self.index: SegmentIndex | None = None
        self.unindexed_bytes = 0
        self.rebuild_index = False
        """The index files that are there belong to another segment of the same name."""
        self.retired = False
        """Replaced or deleted: positions found in it are worth nothing any more."""
        self.sealed: SegmentHeader | Unread | None = UNREAD if size else None
        """None: plain, or nothing in it yet. `segment_kind.learn` reads it."""
        self.only_sealed = False
        """Its topic has no plain segment: if this one is, it was put there by somebody."""
        self.seal: Seal | None = None
        """What new frames are sealed with; only while it is the active segment."""
        self.seals = 0
        """Uses of the data key that are known of, for the limit of random nonces."""

    def __repr__(self) -> str:
        return f"Segment({self.data.path}, {self.end_position} bytes)"

    @property
    def start(self) -> int:
        """Where its first batch is, once it has one. Its kind must be known."""
        assert self.sealed is not UNREAD
        return 0 if self.sealed is None else SEGMENT_HEADER_BYTES

    @property
    def overhead(self) -> int:
        """Bytes a stored batch is longer than the batch. Its kind must be known."""
        assert self.sealed is not UNREAD
        return 0 if self.sealed is None else FRAME_OVERHEAD_BYTES

    def takes(self, size: int, last_offset: int, segment_bytes: int) -> bool:
        """Whether a batch still fits by size, offset span and index entries; an empty one takes any size."""
        if last_offset - self.base_offset > RELATIVE_OFFSET_MAX:
            return False
        if self.end_position + size > segment_bytes and self.end_position > 0:
            return False
        index = self.index
        return index is None or index.bytes_used < INDEX_ENTRIES_MAX * 8

    def note(self, last_offset: int, size: int, max_timestamp: int, interval: int) -> None:
        """A batch was placed at the end: `size` bytes with its frame, and with the segment's header for the
        first. Only for a segment whose index is in memory."""
        if max_timestamp > self.max_timestamp:
            self.max_timestamp = max_timestamp
            self.max_timestamp_offset = last_offset
        if self.unindexed_bytes > interval:
            index = self.index
            assert index is not None
            index.add(last_offset - self.base_offset, self.end_position)
            self._note_time(index)
            self.unindexed_bytes = 0
        elif self.end_position == 0:
            self.first_timestamp = max_timestamp
        self.unindexed_bytes += size
        self.end_position += size

    def finish_index(self) -> None:
        """The last time entry: afterwards the index tells the segment's largest timestamp."""
        if self.index is not None:
            self._note_time(self.index)

    def _note_time(self, index: SegmentIndex) -> None:
        if self.max_timestamp >= 0:
            index.add_time(self.max_timestamp, self.max_timestamp_offset - self.base_offset)
