"""The plan of a pass: what is due, and which segments are merged."""

from __future__ import annotations

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.log.compaction import (
    OFFSET_RANGE_MAX,
    CleanableView,
    ClosedSegment,
    group_segments,
    plan_cleaning,
)

NOW = 1_000_000


def segment(base: int, end: int, size: int = 100, first: int = -1, newest: int = -1) -> ClosedSegment:
    return ClosedSegment(base, end, f"/{base}.log", size, first, newest)


def view(*segments: ClosedSegment, config: TopicConfig | None = None) -> CleanableView:
    return CleanableView("/d", segments, config or TopicConfig(), {})


FOUR = [segment(i * 10, i * 10 + 10) for i in range(4)]


def test_nothing_to_plan_without_segments_or_dirt() -> None:
    assert plan_cleaning(view(), 0, NOW) is None
    assert plan_cleaning(view(*FOUR), 40, NOW) is None
    assert plan_cleaning(view(segment(0, 10, size=0)), 0, NOW) is None


def test_a_log_never_cleaned_is_wholly_dirty() -> None:
    plan = plan_cleaning(view(*FOUR), 0, NOW)
    assert plan is not None
    assert (plan.first_dirty_offset, plan.end_offset, plan.dirty_ratio) == (0, 40, 1.0)
    assert plan.segments == tuple(FOUR)


@pytest.mark.parametrize(("first_dirty", "due"), [(10, True), (20, True), (25, True), (30, False)])
def test_the_dirty_ratio_counts_bytes_of_segments_not_wholly_clean(first_dirty: int, due: bool) -> None:
    plan = plan_cleaning(view(*FOUR), first_dirty, NOW)
    assert (plan is not None) is due
    if plan is not None:
        assert plan.first_dirty_offset == first_dirty


def test_the_ratio_is_a_setting() -> None:
    eager = TopicConfig(min_cleanable_dirty_ratio=0.25)
    assert plan_cleaning(view(*FOUR, config=eager), 30, NOW) is not None
    lazy = TopicConfig(min_cleanable_dirty_ratio=1.0)
    assert plan_cleaning(view(*FOUR, config=lazy), 10, NOW) is None
    assert plan_cleaning(view(*FOUR, config=lazy), 0, NOW) is not None


def test_the_log_start_may_be_above_the_checkpoint() -> None:
    plan = plan_cleaning(view(*FOUR[2:]), 0, NOW)
    assert plan is not None
    assert plan.first_dirty_offset == 20


def test_min_lag_leaves_young_segments_and_what_follows() -> None:
    config = TopicConfig(min_compaction_lag_ms=1000, min_cleanable_dirty_ratio=0.0)
    segments = [
        segment(0, 10, newest=NOW - 2000),
        segment(10, 20, newest=NOW - 1000),
        segment(20, 30, newest=NOW - 999),
        segment(30, 40, newest=NOW - 5000),
    ]
    plan = plan_cleaning(view(*segments, config=config), 0, NOW)
    assert plan is not None
    assert plan.end_offset == 20
    assert plan_cleaning(view(*segments, config=config), 20, NOW) is None
    assert plan_cleaning(view(*segments, config=TopicConfig()), 0, NOW).end_offset == 40  # type: ignore[union-attr]


def test_max_lag_makes_a_little_dirt_urgent() -> None:
    config = TopicConfig(max_compaction_lag_ms=1000)
    old = [*FOUR[:3], segment(30, 40, first=NOW - 1000)]
    young = [*FOUR[:3], segment(30, 40, first=NOW - 999)]
    plan = plan_cleaning(view(*old, config=config), 30, NOW)
    assert plan is not None
    assert plan.urgent
    assert plan_cleaning(view(*young, config=config), 30, NOW) is None
    assert plan_cleaning(view(*FOUR, config=config), 30, NOW) is None  # times unknown
    dirty_anyway = plan_cleaning(view(*young, config=config), 0, NOW)
    assert dirty_anyway is not None
    assert not dirty_anyway.urgent


def bases(groups: list[tuple[ClosedSegment, ...]]) -> list[list[int]]:
    return [[s.base_offset for s in group] for group in groups]


def test_neighbours_merge_up_to_segment_bytes() -> None:
    segments = [segment(i * 10, i * 10 + 10, size) for i, size in enumerate([40, 40, 20, 300, 50, 51, 0, 1])]
    assert bases(group_segments(segments, 100, 80)) == [[0, 10, 20], [30], [40], [50, 60, 70]]
    assert bases(group_segments(segments, 1, 80)) == [[0], [10], [20], [30], [40], [50], [60, 70]]
    assert group_segments([], 100, 80) == []


def test_only_segments_that_begin_below_the_mapped_end_are_rewritten() -> None:
    assert bases(group_segments(FOUR, 1000, 11)) == [[0, 10]]
    assert bases(group_segments(FOUR, 1000, 10)) == [[0]]


def test_a_group_never_spans_more_offsets_than_an_index_holds() -> None:
    wide = [segment(0, 10), segment(10, OFFSET_RANGE_MAX), segment(OFFSET_RANGE_MAX, OFFSET_RANGE_MAX + 5)]
    assert bases(group_segments(wide, 1000, 2**62)) == [[0, 10], [OFFSET_RANGE_MAX]]
