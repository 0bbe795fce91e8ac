"""What a partition log holds in memory once it is used: segments, producers, epochs, what is not yet synced.

Loop-owned data with lookups over it; `partition_log.PartitionLog` changes it.
"""

from __future__ import annotations

from bisect import bisect_right

from rivven.log.dirty_files import DirtyFiles
from rivven.log.epochs import LeaderEpochs
from rivven.log.producers import Producers
from rivven.log.segment import Segment
from rivven.log.threads import Cancellable

POSITIONS_MAX = 64
"""Remembered ends of earlier reads per partition: as many consumers follow it without an index lookup."""


class FullSegment:
    """A full segment whose last bytes or index files are not written yet. Producers are those at its end."""

    __slots__ = ("end_offset", "failed", "segment", "snapshot", "submitted")

    def __init__(self, segment: Segment, end_offset: int, snapshot: bytes) -> None:
        self.segment = segment
        self.end_offset = end_offset
        self.snapshot = snapshot
        self.submitted = False
        self.failed = False


class LoadedLog:
    """`segments` ascend and are never empty; the last one is active, its index always in memory."""

    __slots__ = (
        "directory_dirty",
        "dirty",
        "epochs",
        "finishing",
        "flush_timer",
        "never_plain",
        "positions",
        "producers",
        "replacing",
        "saved_recovery_point",
        "saved_start",
        "segments",
        "sync_target",
        "syncing",
        "touched",
        "unsynced_records",
    )

    def __init__(
        self, segments: list[Segment], producers: Producers, epochs: LeaderEpochs, dirty: DirtyFiles
    ) -> None:
        self.segments = segments
        self.producers = producers
        self.epochs = epochs
        self.dirty = dirty
        """Files with bytes that no round has begun to sync."""
        self.directory_dirty = False
        self.syncing = False
        self.sync_target = 0
        self.unsynced_records = 0
        self.flush_timer: Cancellable | None = None
        self.finishing: list[FullSegment] = []
        """In order of offsets."""
        self.positions: dict[int, tuple[Segment, int]] = {}
        self.saved_recovery_point = 0
        """Of the recovery point, what the checkpoint on disk says."""
        self.saved_start = 0
        """Of the log start, the same: files are removed below it only."""
        self.replacing = False
        """Compaction is exchanging segments: none may be deleted meanwhile."""
        self.never_plain = False
        """The directory has the mark of `plain_history`."""
        self.touched = False
        """Index and producers differ from what a clean shutdown left on disk."""

    @property
    def active(self) -> Segment:
        return self.segments[-1]

    def number_of(self, offset: int) -> int:
        """Index of the segment whose range holds the offset (the first for offsets before it)."""
        at = bisect_right(self.segments, offset, key=_base) - 1
        return max(at, 0)

    def end_of(self, number: int, log_end_offset: int) -> int:
        """The offset after the last one a segment may hold."""
        following = number + 1
        return self.segments[following].base_offset if following < len(self.segments) else log_end_offset

    def locate(self, offset: int) -> tuple[int, int, int] | None:
        """(number of the segment, position to scan forward from, last offset an index claims for it or -1).

        None when the segment's index is not in memory.
        """
        known = self.positions.get(offset)
        number = self.number_of(offset)
        if known is not None:
            segment, position = known
            if segment is self.segments[number]:
                return number, position, -1
            if number and segment is self.segments[number - 1]:
                return number, 0, -1
        segment = self.segments[number]
        if offset <= segment.base_offset:
            return number, 0, -1
        if segment.index is None:
            return None
        position, relative = segment.index.entry_before(offset - segment.base_offset)
        return number, position, relative + segment.base_offset if relative >= 0 else -1

    def remember(self, offset: int, segment: Segment, position: int) -> None:
        """The batch at or after `offset` begins at this position."""
        positions = self.positions
        if offset not in positions and len(positions) >= POSITIONS_MAX:
            del positions[next(iter(positions))]
        positions[offset] = (segment, position)

    def approximate_position(self, offset: int) -> tuple[int, int]:
        """Like `locate`, but the beginning of the segment will do where nothing better is in memory."""
        found = self.locate(offset)
        return (self.number_of(offset), 0) if found is None else found[:2]


def _base(segment: Segment) -> int:
    return segment.base_offset
