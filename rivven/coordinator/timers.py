"""When each group must be looked at next: a heap that forgets lazily.

Pure data structure. `set` is the only mutator, so a machine can ask in `decide` and change in `apply`.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

STALE_MIN = 64
"""Outdated heap entries tolerated beside as many as there are timers, before the heap is rebuilt."""


class Timers:
    """One moment (ms) per key."""

    __slots__ = ("_at", "_heap")

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._at)

    def get(self, key: str) -> int | None:
        """When this key is due, None if never."""
        return self._at.get(key)

    def set(self, key: str, at: int | None) -> None:
        """Replace the moment of a key; None forgets it."""
        if self._at.get(key) == at:
            return
        if at is None:
            del self._at[key]
        else:
            self._at[key] = at
            heappush(self._heap, (at, key))
        heap = self._heap
        while heap and self._at.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        if len(heap) > 2 * len(self._at) + STALE_MIN:
            self._heap = [(moment, key) for key, moment in self._at.items()]
            heapify(self._heap)

    def due(self, now_ms: int, limit: int) -> tuple[list[str], int | None]:
        """At most `limit` keys that are due, and when to ask again for the others (None: nothing else waits).

        Walks the heap as a tree, children only below due entries, so the cost is that of what is due.
        """
        heap, found = self._heap, dict[str, None]()
        again: int | None = None
        open_nodes = [0] if heap else []
        while open_nodes:
            index = open_nodes.pop()
            at, key = heap[index]
            if at > now_ms:
                again = at if again is None else min(again, at)
                continue
            if self._at.get(key) == at and key not in found:
                if len(found) == limit:
                    return list(found), now_ms
                found[key] = None
            open_nodes += [child for child in (2 * index + 1, 2 * index + 2) if child < len(heap)]
        return list(found), again
