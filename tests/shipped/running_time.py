"""The time in which this machine ran: what a limit of a second is compared with.

A virtual machine stands still for as long as its host wants to, half a second or more on a busy one, and its
clocks go on. No broker closes a connection meanwhile.
"""

from __future__ import annotations

import threading
from time import monotonic, sleep  # now: tests put others in their place

BEAT_S = 0.02
LATE_S = 0.1
"""A beat that comes later was held up; a busy machine, whose threads wait for a core, is not meant."""


class _Heart:
    def __init__(self) -> None:
        self._lost = 0.0
        self._beat = monotonic()
        self._lock = threading.Lock()
        threading.Thread(target=self._run, name="running-time", daemon=True).start()

    def now(self) -> float:
        """Seconds since some moment, those in which the machine stood still left out."""
        with self._lock:
            now = monotonic()
            return now - self._lost - self._missing(now)

    def _run(self) -> None:
        while True:
            sleep(BEAT_S)
            with self._lock:
                now = monotonic()
                self._lost += self._missing(now)
                self._beat = now

    def _missing(self, now: float) -> float:
        """Whoever looks first after a pause need not be the thread that beats."""
        late = now - self._beat - BEAT_S
        return late if late > LATE_S else 0.0


running_time = _Heart().now
