"""Time as a parameter: the `Clock` seam and its system implementation.

Pure code takes `now_ms`; only drivers hold a Clock. Wall time is for records and expiry that must
survive a restart, monotonic time for deadlines.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where drivers read time."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary origin, never going back."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()
