"""The end of a trail whose outputs hang: it waits for all of them together, and says which were left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from rivven.audit import trail as trail_module
from rivven.audit.chain import Line
from rivven.audit.events import AuditEvent
from rivven.audit.sinks import OpenDone, Opened, QueueLimits, SinkQueue, WriteDone
from rivven.audit.trail import AuditTrail, TrailSettings
from rivven.log.threads import LoopThreads
from tests.unit.audit.world import HandClock

STOP = AuditEvent("lifecycle", "stop", "broker")


class Together:
    """Outputs that end only once all of them are being closed."""

    def __init__(self, count: int) -> None:
        self.barrier = asyncio.Barrier(count)


class Hanging:
    """Takes lines and never says that it has them."""

    def __init__(self, together: Together) -> None:
        self._together = together
        self.lines: list[Line] = []

    def open(self, done: OpenDone) -> None:
        done(Opened())

    def write(self, lines: Sequence[Line], durable: bool, done: WriteDone) -> None:
        self.lines += lines

    async def close(self) -> None:
        await self._together.barrier.wait()


async def test_outputs_that_hang_are_waited_for_together(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trail_module, "TRAIL_SECONDS_TO_CLOSE", 0.01)
    threads, together = LoopThreads(asyncio.get_running_loop()), Together(3)
    outputs = [Hanging(together) for _ in range(3)]
    queues = [
        SinkQueue(f"o{number}", output, threads, required=False, limits=QueueLimits())
        for number, output in enumerate(outputs)
    ]
    trail = AuditTrail(queues, HandClock(), threads, TrailSettings())
    await trail.start()
    with caplog.at_level(logging.ERROR, "rivven.audit"):
        await asyncio.wait_for(trail.close(STOP), 20)  # one after the other would wait for ever
    assert "audit lines were left undelivered: o0, o1, o2" in caplog.text
    assert [len(output.lines) for output in outputs] == [1, 1, 1]
