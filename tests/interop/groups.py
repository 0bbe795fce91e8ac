"""What a consumer group must look like at rest, whichever client its members are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

SETTLE_SECONDS_MAX = 40.0
SIZES = (1, 2, 5, 2)  # joining one by one, then three leave


def is_settled(owned: Sequence[Iterable[int]], partitions: int) -> bool:
    """Whether each partition has exactly one owner and every member owns at least one."""
    rows = [list(row) for row in owned]
    everything = [partition for row in rows for partition in row]
    return all(rows) and sorted(everything) == list(range(partitions))


def settle(owned: Callable[[], Sequence[Iterable[int]]], partitions: int) -> list[list[int]]:
    """Call `owned` (which polls the members) until the group is settled; returns who owns what."""
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while True:
        rows = [sorted(row) for row in owned()]
        if is_settled(rows, partitions):
            return rows
        assert time.monotonic() < deadline, f"the group did not settle: {rows}"


def assert_history(history: Sequence[Sequence[Sequence[int]]], partitions: int) -> None:
    """A program's report: one settled assignment for each size in SIZES."""
    assert [len(rows) for rows in history] == list(SIZES)
    assert all(is_settled(rows, partitions) for rows in history), history
