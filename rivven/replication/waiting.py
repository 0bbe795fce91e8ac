"""Those who wait for a partition's high watermark: acknowledgements by offset, fetches by bytes.

Callbacks run on the event loop, in the round in which the log reported progress; they must not block.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from rivven.errors import RivvenError

Committed = Callable[[RivvenError | None], None]


class CommitWaiters:
    """Callbacks ordered by the offset they need committed. Bounded by requests in flight per connection."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: deque[tuple[int, Committed]] = deque()

    def __len__(self) -> int:
        return len(self._waiters)

    def add(self, last_offset: int, callback: Committed) -> None:
        """Call back once the high watermark is beyond `last_offset`."""
        waiters = self._waiters
        if not waiters or waiters[-1][0] <= last_offset:
            waiters.append((last_offset, callback))
            return
        # A duplicate waits for its original, which may lie before offsets already waited for.
        index = len(waiters)
        while index and waiters[index - 1][0] > last_offset:
            index -= 1
        waiters.insert(index, (last_offset, callback))

    def committed(self, high_watermark: int) -> None:
        """Release all below the new high watermark."""
        waiters = self._waiters
        while waiters and waiters[0][0] < high_watermark:
            waiters.popleft()[1](None)

    def fail(self, error: RivvenError, from_offset: int = 0) -> None:
        """Appends from this offset on will never be committed (the log went offline, or could not write)."""
        failed = [waiter for waiter in self._waiters if waiter[0] >= from_offset]
        if len(failed) == len(self._waiters):
            self._waiters.clear()
        else:
            self._waiters = deque(waiter for waiter in self._waiters if waiter[0] < from_offset)
        for _, callback in failed:
            callback(error)


class FetchWaiter:
    """One parked fetch. Registered with its partitions BEFORE they are read, so no progress is missed.

    `moved` collects the partitions that progressed since it was last taken: only those need another look.
    """

    __slots__ = ("_future", "_loop", "_moved")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] | None = None
        self._moved: set[object] = set()

    def wake(self, partition: object | None = None) -> None:
        """A partition moved, went offline or was deleted; None: time is up."""
        if partition is not None:
            self._moved.add(partition)
        future = self._future
        if future is not None and not future.done():
            future.set_result(None)

    def arm(self) -> asyncio.Future[None]:
        """A fresh future for the next wake-up; call before looking at the partitions."""
        self._future = self._loop.create_future()
        return self._future

    def take_moved(self) -> set[object]:
        """The partitions that moved since the last call."""
        moved, self._moved = self._moved, set()
        return moved
