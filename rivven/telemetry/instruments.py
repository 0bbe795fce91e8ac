"""Counters, gauges and histograms as plain objects: an update is an addition, nothing else.

Values are read by http.exposition when somebody asks. Each instrument is updated by one thread only (the
event loop, or the committer for its own); readers may see a value one update old. No third-party package
is touched here: the hot path pays for an integer, start-up for nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

LABEL_VALUES_MAX = 1000  # per instrument; label values come from tables and configuration, never from clients

LATENCY_BUCKETS = (
    0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
)  # fmt: skip
"""Seconds: a produce without fsync takes 75 µs, a Fetch may wait for seconds."""


class Counter:
    """Counts up. ``counter.value += n`` on hot paths is as good as ``inc``."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        """Add `amount`, which must not be negative."""
        self.value += amount


class Gauge:
    """A value that goes up and down, set by its owner or read from `source` when asked."""

    __slots__ = ("_value", "source")

    def __init__(self, source: Callable[[], float] | None = None) -> None:
        self._value: float = 0
        self.source = source

    def set(self, value: float) -> None:
        self._value = value

    def add(self, amount: float) -> None:
        self._value += amount

    @property
    def value(self) -> float:
        return self.source() if self.source is not None else self._value


class Histogram:
    """Counts observations per bucket; `bounds` are upper limits in the unit of the observation."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = LATENCY_BUCKETS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)  # the last one is everything above
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """An upper bound of the quantile: the limit of the bucket it lies in; infinite above the last, 0
        when empty."""
        rank = share * self.count
        seen = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            seen += count
            if seen >= rank:
                return bound if self.count else 0.0
        return float("inf")


Instrument = TypeVar("Instrument", Counter, Gauge, Histogram)


class Family(Generic[Instrument]):
    """A named metric: one instrument per combination of label values, made on first use."""

    __slots__ = ("_children", "_make", "doc", "kind", "labels", "name")

    def __init__(
        self, name: str, doc: str, kind: str, make: Callable[[], Instrument], labels: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.doc = doc
        self.kind = kind
        """counter, gauge or histogram."""
        self.labels = labels
        self._make: Callable[[], Instrument] = make
        self._children: dict[tuple[str, ...], Instrument] = {}
        if not labels:
            self.labelled()  # a metric without labels is there from the start, at zero

    def labelled(self, *values: str) -> Instrument:
        """The instrument for these label values, in the order of `labels`."""
        child = self._children.get(values)
        if child is None:
            if len(values) != len(self.labels):
                raise ValueError(f"{self.name} has the labels {self.labels}")
            if len(self._children) >= LABEL_VALUES_MAX:
                raise ValueError(f"{self.name} has more than {LABEL_VALUES_MAX} label values")
            child = self._children[values] = self._make()
        return child

    def forget(self, *values: str) -> None:
        """Show nothing for these label values any more: what they name is gone."""
        self._children.pop(values, None)

    def children(self) -> Iterator[tuple[tuple[str, ...], Instrument]]:
        """A snapshot of the instruments with their label values."""
        return iter(list(self._children.items()))
