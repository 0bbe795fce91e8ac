"""A trail over a file system in memory, with threads and time that the test moves."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rivven.audit.chain import Line
from rivven.audit.events import AuditEvent
from rivven.audit.file_sink import FileRules, FileSink
from rivven.audit.sinks import Opened, QueueLimits, SinkQueue, ThreadDelivery
from rivven.audit.trail import AuditTrail, TrailSettings
from rivven.security.authz.authorizer import Action, Decision, Subject
from rivven.testing.files import CrashFiles
from rivven.testing.threads import StepThreads
from rivven.types import Operation, Principal, ResourceType

LOG = "/data/audit/audit.log"
ALICE = Subject(Principal("User", "alice"), "10.0.0.1", "main", mechanism="PLAIN", tls=True)
ALLOW = Decision.allow("rule 7", engine="acl", rule="7")
DENY = Decision.deny("no rule", engine="acl", rule="")
WRITE = Action(Operation.WRITE, ResourceType.TOPIC, "orders")


class HandClock:
    def __init__(self, now_ms: int = 1_770_000_000_000) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


class MemorySink:
    """Keeps lines; fails while `failure` is set."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.synced = 0
        self.failure: Exception | None = None
        self.wants: list[AuditEvent] = []
        self.closed = False

    def open(self) -> Opened:
        if self.failure is not None:
            raise self.failure
        return Opened()

    def write(self, lines: Sequence[Line], durable: bool) -> Sequence[AuditEvent]:
        if self.failure is not None:
            raise self.failure
        self.lines += lines
        self.synced += durable
        wants, self.wants = self.wants, []
        return wants

    def close(self) -> None:
        self.closed = True

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line.data) for line in self.lines]


@dataclass
class World:
    clock: HandClock
    threads: StepThreads
    files: CrashFiles
    trail: AuditTrail
    sinks: list[MemorySink]

    async def run(self) -> None:
        """Let everything happen that can without time passing."""
        for _ in range(5):
            self.threads.run_until_idle()
            await asyncio.sleep(0)

    async def done(self, awaitable: Any) -> Any:
        """Await something that needs the threads to move."""
        task = asyncio.ensure_future(awaitable)
        for _ in range(50):
            await self.run()
            if task.done():
                break
        return await task

    def content(self, path: str = LOG) -> bytes:
        file = self.files.open(path, "read")
        return file.read(file.size(), 0)

    def events(self, path: str = LOG) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.content(path).splitlines()]


async def file_world(
    files: CrashFiles | None = None,
    *,
    rules: FileRules | None = None,
    settings: TrailSettings | None = None,
    extra: Sequence[tuple[MemorySink, bool]] = (),
    clock: HandClock | None = None,
    start: bool = True,
) -> World:
    """A started trail with the file sink (required) and others."""
    if files is None:
        files = CrashFiles()
        files.make_directory("/data")
        files.sync_directory("/")
    clock, threads = clock or HandClock(), StepThreads()
    sink = FileSink(files, LOG, clock, rules or FileRules())
    limits = QueueLimits(lines_max=100)
    queues = [
        SinkQueue("file", ThreadDelivery("file", sink, threads), threads, required=True, limits=limits),
        *(
            SinkQueue(
                f"memory{i}", ThreadDelivery(f"m{i}", one, threads), threads, required=required, limits=limits
            )
            for i, (one, required) in enumerate(extra)
        ),
    ]
    trail = AuditTrail(queues, clock, threads, settings or TrailSettings())
    world = World(clock, threads, files, trail, [one for one, _ in extra])
    if start:
        await world.done(trail.start())
    return world


async def memory_world(
    *sinks: tuple[MemorySink, bool], settings: TrailSettings | None = None, lines_max: int = 100
) -> World:
    """A started trail over sinks in memory only: (sink, required)."""
    clock, threads = HandClock(), StepThreads()
    queues = [
        SinkQueue(
            f"memory{i}",
            ThreadDelivery(f"m{i}", one, threads),
            threads,
            required=required,
            limits=QueueLimits(lines_max=lines_max),
        )
        for i, (one, required) in enumerate(sinks)
    ]
    trail = AuditTrail(queues, clock, threads, settings or TrailSettings())
    world = World(clock, threads, CrashFiles(), trail, [one for one, _ in sinks])
    await world.done(trail.start())
    return world


def assert_chained(lines: Sequence[bytes], previous: str = "0" * 64, sequence: int = 0) -> None:
    """Every line names the hash of the one before: computed here, without the code under test."""
    for data in lines:
        fields = json.loads(data)
        assert (fields["sequence"], fields["previous"]) == (sequence, previous), data
        previous, sequence = hashlib.sha256(data).hexdigest(), sequence + 1
