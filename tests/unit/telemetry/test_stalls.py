"""The loop-stall monitor: it sees a stall and knows what ran."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import weakref

from rivven.telemetry.instruments import Histogram
from rivven.telemetry.metrics import Metrics
from rivven.telemetry.stalls import CAUSES_MAX, NOT_RUNNING, STALL_BUCKETS, LoopStalls, name_of


def hold_the_loop(seconds: float) -> None:
    """A busy handler: runs Python until it has used this much of a core."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(100))


async def test_a_stall_is_measured_and_its_cause_named() -> None:
    # On a machine that gives this thread less than half a core the cause would rightly be the machine.
    stalls = LoopStalls(Histogram(STALL_BUCKETS), cpu_clock=time.monotonic)
    stalls.start()
    try:
        await asyncio.sleep(0.03)
        hold_the_loop(0.25)
        await asyncio.sleep(0.03)
    finally:
        stalls.stop()
    assert stalls.longest > 0.1
    assert stalls.cause == "hold_the_loop"
    assert sum(stalls.histogram.counts[-4:]) >= 1
    for thread in threading.enumerate():
        if thread.name == "loop-watch":
            thread.join(5)
            assert not thread.is_alive()


async def test_what_a_stalled_function_held_is_let_go() -> None:
    """Its file would stay open, and its request's memory in use, until the next stall."""

    class Held:
        pass

    def hold_something() -> weakref.ref[Held]:
        held = Held()
        hold_the_loop(0.25)
        return weakref.ref(held)

    stalls = LoopStalls(Histogram(STALL_BUCKETS), cpu_clock=time.monotonic)
    stalls.start()
    try:
        await asyncio.sleep(0.03)
        held = hold_something()
        assert held() is None
        await asyncio.sleep(0.03)
    finally:
        stalls.stop()
    assert stalls.cause == "hold_the_loop", "the control: it was looked at"


async def test_a_stall_without_work_blames_no_function() -> None:
    """A thread that is not scheduled stands somewhere too; naming the place would accuse the innocent."""
    stalls = LoopStalls(Histogram(STALL_BUCKETS))
    stalls.start()
    try:
        await asyncio.sleep(0.03)
        time.sleep(0.2)  # noqa: ASYNC251 - the point: the loop's thread does not run
        await asyncio.sleep(0.03)
    finally:
        stalls.stop()
    assert stalls.longest > 0.1
    assert stalls.cause == NOT_RUNNING


def test_the_product_function_on_a_stack_is_the_cause() -> None:
    source = "def handler():\n    return deeper()\n"
    scope: dict[str, object] = {"__name__": "rivven.api.produce", "deeper": lambda: name_of(sys._getframe())}
    exec(source, scope)
    assert scope["handler"]() == "rivven.api.produce.handler"  # type: ignore[operator]
    assert name_of(None) == "unknown"


def test_the_longest_stall_keeps_its_cause_and_causes_are_bounded() -> None:
    stalls = LoopStalls(Histogram(STALL_BUCKETS))
    told: list[tuple[str, float]] = []
    stalls.on_cause = lambda cause, seconds: told.append((cause, seconds))
    stalls.record(0.001, None)
    stalls.record(0.5, "slow")
    stalls.record(0.1, "slow")
    stalls.record(0.3, "other place")
    assert (stalls.longest, stalls.cause) == (0.5, "slow")
    assert told == [("slow", 0.5), ("other place", 0.3)]
    for number in range(CAUSES_MAX + 5):
        stalls.record(0.2, f"cause {number}")
    assert len({cause for cause, _ in told}) == CAUSES_MAX + 1
    assert told[-1] == ("other", 0.2)


def test_the_metrics_show_the_stalls() -> None:
    metrics = Metrics()
    for _ in range(999):
        metrics.stalls.record(0.0004, None)
    metrics.stalls.record(0.6, "rivven.log.slow")
    assert metrics.stalls.p999() == 0.0005
    shown = {
        (family.name, labels): child.value
        for family in metrics.families()
        for labels, child in family.children()
        if not isinstance(child, Histogram)
    }
    assert shown["rivven_loop_stall_max_seconds", ()] == 0.6
    assert shown["rivven_loop_stall_cause_seconds", ("rivven.log.slow",)] == 0.6
