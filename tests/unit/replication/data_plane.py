"""Partitions over a simulated disk whose threads run only when a test says so.

Between `settle` calls nothing becomes durable: what must wait for durability can be seen waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID, uuid4

from rivven.config.broker_settings import topic_defaults
from rivven.log.directory import LogDirectory
from rivven.records.batch import Record, build_batch, parse_header
from rivven.replication.partition import Partition
from rivven.replication.replicas import Replicas, TopicKeys
from rivven.testing.files import CrashFiles
from rivven.testing.threads import StepThreads

T = TypeVar("T")
NOW_MS = 1_800_000_000_000


class StillClock:
    """Time stands unless a test moves it."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


@dataclass(frozen=True)
class View:
    """A topic as the metadata image shows it."""

    name: str
    partitions: int = 1
    configs: Mapping[str, str] = field(default_factory=dict)
    internal: bool = False
    version: int = 1
    topic_id: UUID = field(default_factory=uuid4)


@dataclass
class Image:
    topics: dict[str, View]

    @property
    def topics_by_id(self) -> dict[UUID, View]:
        return {topic.topic_id: topic for topic in self.topics.values()}


class DataPlane:
    """A log directory, its partitions, and the hand that turns their threads."""

    def __init__(self, keys: TopicKeys | None = None) -> None:
        self.files = CrashFiles()
        self.threads = StepThreads()
        self.clock = StillClock()
        self.directory = LogDirectory.open("/data", self.files, self.threads, self.clock, node_id=1)
        self.replicas = Replicas(self.directory, topic_defaults({}), keys)
        self.image = Image({})

    async def settle(self) -> None:
        """Let everything that was begun end, syncs included."""
        for _ in range(10):
            self.threads.run_until_idle()
            await asyncio.sleep(0)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await something that needs the threads."""
        task = asyncio.ensure_future(work)
        for _ in range(1000):
            if task.done():
                return task.result()
            self.threads.run_until_idle()
            await asyncio.sleep(0)
        task.cancel()
        raise AssertionError("it never ended")

    async def topic(self, name: str, partitions: int = 1, *, internal: bool = False, **configs: str) -> View:
        """A hosted topic; settings with underscores for dots."""
        settings = {key.replace("_", "."): value for key, value in configs.items()}
        view = View(name, partitions, settings, internal)
        self.image.topics[name] = view
        await self.run(self.replicas.ensure(view))
        return view

    async def partition(self, name: str = "t", **configs: str) -> Partition:
        """The only partition of a new topic."""
        await self.topic(name, **configs)
        partition = self.replicas.partition(name, 0)
        assert partition is not None
        return partition


def batch_of(*values: bytes, **arguments: Any) -> memoryview:
    """A writable batch, as it comes out of a request."""
    records = [Record(index, NOW_MS, b"k", value, []) for index, value in enumerate(values)]
    return memoryview(build_batch(records, **arguments))


def append(partition: Partition, *values: bytes) -> int:
    """Append a batch of values; its last offset."""
    view = batch_of(*values)
    return partition.append(view, parse_header(view), NOW_MS).last_offset
