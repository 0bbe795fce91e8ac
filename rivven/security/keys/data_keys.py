"""Data keys of segments in memory: how many, and for how long. Thread-safe; opens nothing itself."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from rivven.log.sealing import Sealer, SegmentHeader


class _Kept(NamedTuple):
    sealer: Sealer
    used: float


class DataKeys:
    """At most `keys_max` sealers, each until nobody has used it for `lifetime_s`.

    Dropping one gives its memory back to OpenSSL, which overwrites it once no reader holds it any more.
    """

    def __init__(self, keys_max: int, lifetime_s: float, monotonic: Callable[[], float]) -> None:
        self._keys_max = keys_max
        self._lifetime_s = lifetime_s
        self._monotonic = monotonic
        self._kept: OrderedDict[SegmentHeader, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, header: SegmentHeader, unwrap: Callable[[SegmentHeader], Sealer]) -> Sealer:
        """The sealer of a segment, from `unwrap` when it is not here; what that raises."""
        with self._lock:
            kept = self._kept.get(header)
            sealer = unwrap(header) if kept is None else kept.sealer
            self._keep(header, sealer)
            return sealer

    def put(self, header: SegmentHeader, sealer: Sealer) -> None:
        """Keep the sealer of a new segment."""
        with self._lock:
            self._keep(header, sealer)

    def sweep(self) -> None:
        """Drop what nobody used for too long."""
        with self._lock:
            self._drop_old(self._monotonic())

    def forget(self, topic_id: UUID) -> None:
        """Drop the keys of a topic."""
        with self._lock:
            for header in [one for one in self._kept if one.topic_id == topic_id]:
                del self._kept[header]

    def clear(self) -> None:
        """Drop all."""
        with self._lock:
            self._kept.clear()

    def _keep(self, header: SegmentHeader, sealer: Sealer) -> None:
        now = self._monotonic()
        self._kept[header] = _Kept(sealer, now)
        self._kept.move_to_end(header)
        self._drop_old(now)
        while len(self._kept) > self._keys_max:
            self._kept.popitem(last=False)

    def _drop_old(self, now: float) -> None:
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if now - oldest.used < self._lifetime_s:
                return
            self._kept.popitem(last=False)
