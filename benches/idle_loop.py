"""An event loop that does nothing, measured as the broker's is: what the machine alone holds up.

Two saturated cores, a hypervisor that takes them away, and a kernel that hands out time slices stall every
process. A stall of the broker's loop counts against the broker only beyond what this one meets beside it.
Usage: python -m benches.idle_loop; it ends with its standard input and prints p99.9 and maximum, seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys

from rivven.telemetry.instruments import Histogram
from rivven.telemetry.stalls import STALL_BUCKETS, LoopStalls


class IdleLoop:
    """The process, while a broker is under load beside it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benches.idle_loop"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def stop(self) -> tuple[float, float]:
        """(p99.9, maximum) of its stalls so far, seconds."""
        answer, _ = self._process.communicate(timeout=30)
        p999, longest = answer.split()
        return float(p999), float(longest)


async def _measure() -> None:
    stalls = LoopStalls(Histogram(STALL_BUCKETS))
    stalls.start()
    await asyncio.to_thread(sys.stdin.read)
    stalls.stop()
    with contextlib.suppress(BrokenPipeError):  # nobody asked
        print(stalls.p999(), stalls.longest, flush=True)


if __name__ == "__main__":
    asyncio.run(_measure())
