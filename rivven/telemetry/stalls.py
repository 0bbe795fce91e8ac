"""How long the event loop was held up, and by what.

A timer on the loop measures how late it comes. A thread looks at the loop's stack when the timer is
overdue, so a long stall is known by the function that caused it. It only measures; it never interrupts.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Literal

from rivven.telemetry.instruments import Histogram

BEAT_SECONDS = 0.02  # 50 wake-ups a second cost half a percent of a core and see every stall that matters
NOTICE_SECONDS = 0.02  # the bound the p99.9 is held to; shorter stalls are counted but not looked at
CAUSES_MAX = 20  # the first twenty places are named, what comes later counts as "other"

NOT_RUNNING = "waiting for a core, the interpreter or a system call"
"""The cause of a stall during most of which the loop's thread used no CPU: where it stood says nothing
then."""

STALL_BUCKETS = (0.000_5, 0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)


class LoopStalls:
    """Measures one event loop between `start` and `stop`, both called on it.

    `cpu_clock` gives the seconds of CPU the calling thread has used.
    """

    def __init__(self, histogram: Histogram, cpu_clock: Callable[[], float] = time.thread_time) -> None:
        self.histogram = histogram
        self._cpu_clock = cpu_clock
        self.longest = 0.0
        """Seconds of the longest stall so far."""
        self.cause = ""
        """What ran during the longest stall that was looked at."""
        self.on_cause: Callable[[str, float], None] = lambda _cause, _seconds: None
        self._causes: dict[str, float] = {}
        self._due = float("inf")
        self._cpu_at_beat = 0.0
        self._seen: str | None = None
        self._loop_thread = 0
        self._collection_began = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = threading.Event()
        self._watcher: threading.Thread | None = None

    def start(self) -> None:
        """Begin to measure the running loop."""
        self._loop_thread = threading.get_ident()
        self._stopped.clear()
        gc.callbacks.append(self._collecting)
        self._beat_again(asyncio.get_running_loop())
        self._watcher = threading.Thread(target=self._watch, name="loop-watch", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Stop measuring; what was measured stays."""
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._collecting in gc.callbacks:
            gc.callbacks.remove(self._collecting)
        if self._watcher is not None:
            self._watcher.join(1.0)
            self._watcher = None

    def p999(self) -> float:
        """Upper bound of the 99.9th percentile of stalls, seconds."""
        return self.histogram.quantile(0.999)

    def record(self, seconds: float, cause: str | None) -> None:
        """Count one stall; public for the simulation of stalls in tests."""
        self.histogram.observe(seconds)
        if seconds > self.longest:
            self.longest = seconds
            self.cause = cause or self.cause
        if cause is None:
            return
        if cause not in self._causes and len(self._causes) >= CAUSES_MAX:
            cause = "other"
        if seconds > self._causes.get(cause, 0.0):
            self._causes[cause] = seconds
            self.on_cause(cause, seconds)

    def _beat_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = time.monotonic() + BEAT_SECONDS
        self._cpu_at_beat = self._cpu_clock()
        self._timer = loop.call_later(BEAT_SECONDS, self._beat, loop)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        late = max(0.0, time.monotonic() - self._due)
        cause = None
        if late >= NOTICE_SECONDS:
            cause = self._seen or "unknown"
            if self._cpu_clock() - self._cpu_at_beat < late / 2:
                cause = NOT_RUNNING
        self._seen = None
        self.record(late, cause)
        self._beat_again(loop)

    def _watch(self) -> None:
        while not self._stopped.wait(NOTICE_SECONDS):
            if self._seen is None and time.monotonic() - self._due > NOTICE_SECONDS / 2:
                # Not into a variable: until the next stall it would keep what the loop's functions held then,
                # open files of deleted topics for one.
                self._seen = name_of(sys._current_frames().get(self._loop_thread))

    def _collecting(self, phase: Literal["start", "stop"], info: dict[str, int]) -> None:
        """A garbage collection shows as the innocent function it interrupted; name it instead."""
        if phase == "start":
            self._collection_began = time.monotonic()
        elif time.monotonic() - self._collection_began > NOTICE_SECONDS / 2:
            self._seen = f"garbage collection (generation {info.get('generation', -1)})"


def name_of(frame: FrameType | None) -> str:
    """The innermost function of the product on a stack, as ``module.Class.function``; else the innermost
    of all."""
    innermost = frame
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if (
            isinstance(module, str)
            and module.startswith("rivven.")
            and not module.startswith("rivven.telemetry")
        ):
            return f"{module}.{frame.f_code.co_qualname}"
        frame = frame.f_back
    return innermost.f_code.co_qualname if innermost is not None else "unknown"
