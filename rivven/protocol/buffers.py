"""Receive buffers used again: a fresh megabyte costs more to map and zero than to fill from a socket.

Pure. A buffer given back may still be looked at (a log that has not written it yet); it is handed out again
only
when no view of it is left. What a buffer held before is always overwritten before anybody reads it: a frame
is
exactly the bytes received. It must not know connections or sockets.
"""

from __future__ import annotations

from collections import deque
from typing import Final

SMALLEST: Final = 128 * 1024
"""Below this an ordinary allocation is cheap: the allocator keeps such pieces itself."""

LARGEST: Final = 16 * 1024 * 1024
"""Above this frames are rare, and keeping them would only hold memory."""

KEPT_BYTES_MAX: Final = 32 * 1024 * 1024
"""Kept between requests, over all connections of a pool: two dozen Produce requests of the usual size."""

LOOKED_AT_MAX: Final = 8
"""Buffers looked at per request; the oldest are the likeliest to be free."""


class BufferPool:
    """Belongs to one event loop."""

    def __init__(self, kept_bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._kept: deque[bytearray] = deque()
        self._kept_bytes = 0
        self._kept_bytes_max = kept_bytes_max

    @property
    def kept_bytes(self) -> int:
        """Bytes of buffers that wait to be used again."""
        return self._kept_bytes

    def take(self, size: int) -> bytearray:
        """A buffer of at least `size` bytes, with any content."""
        if not SMALLEST <= size <= LARGEST:
            return bytearray(size)
        for _ in range(min(LOOKED_AT_MAX, len(self._kept))):
            buffer = self._kept.popleft()
            if size <= len(buffer) <= 4 * size and _is_free(buffer):
                self._kept_bytes -= len(buffer)
                return buffer
            self._kept.append(buffer)
        return bytearray(_rounded(size))

    def give_back(self, buffer: bytearray) -> None:
        """The request is over; views that still exist are respected."""
        if not SMALLEST <= len(buffer) <= LARGEST:
            return
        self._kept.append(buffer)
        self._kept_bytes += len(buffer)
        while self._kept_bytes > self._kept_bytes_max:
            self._kept_bytes -= len(self._kept.popleft())


def _is_free(buffer: bytearray) -> bool:
    """Whether no view of the buffer exists: Python refuses to resize one that is being looked at."""
    try:
        buffer.append(buffer.pop())
    except BufferError:
        return False
    return True


def _rounded(size: int) -> int:
    """The next eighth of a power of two: requests of about one size then share buffers."""
    step = 1 << max(size.bit_length() - 4, 0)
    return -(-size // step) * step
