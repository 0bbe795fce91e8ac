"""Budgets for bytes held on behalf of clients: requests being received, responses being sent.

Both are process-wide. Nothing here touches sockets; the owner of a lease releases it when the bytes are gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

FAIR_SHARE = 4
"""A single response may take a quarter of what is free: the next one still finds room, so no client that
never reads can starve the others (100 stalled fetches of 50 MiB converge to the budget plus their floors)."""


class Lease:
    """Bytes held by one request or response; releasing twice is harmless."""

    __slots__ = ("_budget", "granted")

    def __init__(self, budget: MemoryBudget, granted: int) -> None:
        self._budget = budget
        self.granted = granted

    def settle(self, used: int) -> None:
        """Hold exactly the `used` bytes: give back the rest, or count what a first batch took beyond it."""
        if used < self.granted:
            self._budget._give_back(self.granted - used)
        else:
            self._budget.used_bytes += used - self.granted
        self.granted = used

    def release(self) -> None:
        """Give everything back."""
        granted, self.granted = self.granted, 0
        if granted:
            self._budget._give_back(granted)


class MemoryBudget:
    """A number of bytes shared by all connections; belongs to the event loop."""

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self.used_bytes = 0
        self._waiting: deque[tuple[int, Callable[[Lease], None]]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def take_share(self, wanted: int, floor: int) -> Lease:
        """A lease of at most `wanted` bytes and at least `floor`, even beyond the total: progress for
        everyone.

        `floor` is one batch, so the overrun is bounded by connections times the largest message.
        """
        free = self.total_bytes - self.used_bytes
        granted = max(min(wanted, free // FAIR_SHARE), min(floor, wanted))
        self.used_bytes += granted
        return Lease(self, granted)

    def take_whole(self, size: int, granted: Callable[[Lease], None]) -> None:
        """Call `granted` with a lease of exactly `size` bytes, now or in arrival order once there is room.

        A size beyond the total is granted when nothing else is held, so that it is slow instead of stuck.
        """
        if not self._waiting and self._fits(size):
            self.used_bytes += size
            granted(Lease(self, size))
        else:
            self._waiting.append((size, granted))

    def forget(self, granted: Callable[[Lease], None]) -> None:
        """The connection behind a waiting callback is gone."""
        self._waiting = deque(entry for entry in self._waiting if entry[1] is not granted)
        self._serve_waiting()

    def _fits(self, size: int) -> bool:
        return self.used_bytes + size <= self.total_bytes or self.used_bytes == 0

    def _give_back(self, size: int) -> None:
        self.used_bytes -= size
        if self._waiting:
            self._serve_waiting()

    def _serve_waiting(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, granted = self._waiting.popleft()
            self.used_bytes += size
            granted(Lease(self, size))
