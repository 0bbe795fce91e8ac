"""What to compact and when: the pure plan of one compaction pass over a partition's closed segments.

It reads no file and knows no record; `compaction_batch` decides about records, `compaction_pass` does the
work. Terms are Kafka's: the log below the *first dirty offset* has been cleaned before, what follows is
*dirty*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rivven.config.settings import LONG_MAX
from rivven.config.topic_settings import TopicConfig

OFFSET_RANGE_MAX = 2**31 - 1
"""Offsets that one segment can span: its index holds them relative to the base in 4 bytes."""


@dataclass(frozen=True, slots=True)
class ClosedSegment:
    """A segment that is no longer written. `end_offset` is the base of the next one. Sizes in bytes,
    times in ms.

    `first_timestamp` is the maximum timestamp of its first batch, `max_timestamp` of all; -1 where unknown.
    """

    base_offset: int
    end_offset: int
    path: str
    size_bytes: int
    first_timestamp: int = -1
    max_timestamp: int = -1


@dataclass(frozen=True, slots=True)
class CleanableView:
    """A partition as the compactor sees it.

    `segments` are contiguous from the first segment of the log, all below the high watermark, durable and
    never the active one. `producer_last_offsets` gives the last offset of the last batch of each
    unexpired producer.
    """

    directory: str
    segments: tuple[ClosedSegment, ...]
    config: TopicConfig
    producer_last_offsets: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class CleaningPlan:
    """One pass: map the keys in `first_dirty_offset..end_offset`, then rewrite every segment below the end.

    `urgent` says that max.compaction.lag.ms is exceeded; `dirty_ratio` is between 0 and 1.
    """

    segments: tuple[ClosedSegment, ...]
    first_dirty_offset: int
    end_offset: int
    dirty_ratio: float
    urgent: bool


def plan_cleaning(view: CleanableView, first_dirty_offset: int, now_ms: int) -> CleaningPlan | None:
    """The pass that is due, None when there is none.

    Due means: a part is dirty and older than min.compaction.lag.ms, and either its share of the log reaches
    min.cleanable.dirty.ratio or its oldest record is older than max.compaction.lag.ms.
    """
    config = view.config
    segments = _old_enough(view.segments, now_ms, config.min_compaction_lag_ms)
    dirty = [segment for segment in segments if segment.end_offset > first_dirty_offset]
    dirty_bytes = sum(segment.size_bytes for segment in dirty)
    if dirty_bytes == 0:
        return None
    ratio = dirty_bytes / sum(segment.size_bytes for segment in segments)
    urgent = _is_urgent(dirty, now_ms, config.max_compaction_lag_ms)
    if ratio < config.min_cleanable_dirty_ratio and not urgent:
        return None
    return CleaningPlan(
        segments=segments,
        first_dirty_offset=max(first_dirty_offset, segments[0].base_offset),
        end_offset=segments[-1].end_offset,
        dirty_ratio=ratio,
        urgent=urgent,
    )


def _old_enough(segments: tuple[ClosedSegment, ...], now_ms: int, lag_ms: int) -> tuple[ClosedSegment, ...]:
    """The segments before the first one that holds a record younger than the lag."""
    if lag_ms <= 0:
        return segments
    for index, segment in enumerate(segments):
        if segment.max_timestamp > now_ms - lag_ms:
            return segments[:index]
    return segments


def _is_urgent(dirty: Sequence[ClosedSegment], now_ms: int, lag_ms: int) -> bool:
    if lag_ms >= LONG_MAX:
        return False
    known = [segment.first_timestamp for segment in dirty if segment.first_timestamp >= 0]
    return bool(known) and min(known) <= now_ms - lag_ms


def group_segments(
    segments: Sequence[ClosedSegment], segment_bytes: int, below: int
) -> list[tuple[ClosedSegment, ...]]:
    """Neighbours to be merged into one new segment each, in offset order, of the segments that begin
    before `below`.

    A group holds at most `segment_bytes` (a larger single segment stays alone) and spans at most 2^31-1
    offsets.
    """
    groups: list[tuple[ClosedSegment, ...]] = []
    group: list[ClosedSegment] = []
    size = 0
    for segment in segments:
        if segment.base_offset >= below:
            break
        if group and (
            size + segment.size_bytes > segment_bytes
            or segment.end_offset - group[0].base_offset > OFFSET_RANGE_MAX
        ):
            groups.append(tuple(group))
            group, size = [], 0
        group.append(segment)
        size += segment.size_bytes
    if group:
        groups.append(tuple(group))
    return groups
