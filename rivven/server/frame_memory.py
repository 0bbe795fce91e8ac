"""The memory that one connection's large frames take from the budgets all connections share.

A lease is taken when a frame's size is known and given back when its request was answered. It holds no bytes
itself and does not decide when to read.
"""

from __future__ import annotations

from collections.abc import Callable

from rivven.api.memory import Lease, MemoryBudget

LEASED_FRAME_BYTES = 128 * 1024
"""Frames above this size take a lease from the request memory budget before they are received; smaller ones
are bounded by connections times requests in flight."""

LEASED_STRANGER_FRAME_BYTES = 16 * 1024
"""The same before authentication, from a budget of its own: whoever has not logged in must not be able to
make those who have wait."""


class FrameMemory:
    """`granted` is called when a frame that had to wait may be received."""

    def __init__(self, requests: MemoryBudget, strangers: MemoryBudget, granted: Callable[[], None]) -> None:
        self._requests = requests
        self._strangers = strangers
        self._granted = granted
        self._arriving: Lease | None = None
        self._awaited: Callable[[Lease], None] | None = None
        self._awaited_from = requests
        self._held: dict[int, Lease] = {}
        self._closed = False

    @property
    def waiting(self) -> bool:
        """Whether a frame waits for memory; nothing is read meanwhile."""
        return self._awaited is not None

    def expect(self, size: int, *, known: bool) -> None:
        """A frame of `size` bytes is arriving: reserve them, in arrival order over all connections."""
        if size <= (LEASED_FRAME_BYTES if known else LEASED_STRANGER_FRAME_BYTES):
            return
        if self._arriving is not None or self._awaited is not None:
            return

        def granted(lease: Lease) -> None:
            self._awaited = None
            self._arriving = lease
            if self._closed:
                lease.release()
                return
            self._granted()

        self._awaited = granted
        self._awaited_from = self._requests if known else self._strangers
        self._awaited_from.take_whole(size, granted)

    def arrived(self, sequence: int) -> None:
        """The frame is whole. A leased frame has a buffer of its own and comes alone."""
        if self._arriving is not None:
            self._held[sequence] = self._arriving
            self._arriving = None

    def answered(self, sequence: int) -> None:
        """The frame's request is over."""
        lease = self._held.pop(sequence, None)
        if lease is not None:
            lease.release()

    def release_all(self) -> None:
        """The connection has closed."""
        self._closed = True
        if self._awaited is not None:
            self._awaited_from.forget(self._awaited)
            self._awaited = None
        if self._arriving is not None:
            self._arriving.release()
        for lease in self._held.values():
            lease.release()
        self._held.clear()
