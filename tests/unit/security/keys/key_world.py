"""A disk, a provider, a clock and the topic keys over them, for tests of what becomes of keys."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from uuid import UUID

from rivven.log.sealed_traces import Traces
from rivven.log.sealing import SegmentHeader, frame_intact, open_frame, parse_segment_header, seal_batch
from rivven.log.threads import Job, LoopThreads, Threads
from rivven.security.keys.bootstrap import MetadataKey
from rivven.security.keys.held_topics import RETRY_SECONDS_MAX
from rivven.security.keys.key_store import open_key_store
from rivven.security.keys.provider import KeyContext, KeyProviderError, ProviderUnavailable
from rivven.security.keys.topic_keys import KeySettings, TopicKeys
from rivven.tasks import Tasks
from rivven.testing.files import CrashFiles
from tests.unit.log.harness import ManualClock, batch_of
from tests.unit.security.keys.scripted_provider import ScriptedProvider

TOPIC = UUID("11111111-2222-4333-8444-555555555555")
PATH = f"/data-keys/topics/{TOPIC}.keys"


class InlineThreads:
    """Jobs run where they are submitted, so that a power cut ends who waits for them."""

    def worker(self, name: str, size: int = 1) -> InlineThreads:
        return self

    def submit(self, job: Job) -> None:
        job()

    def post(self, callback: Job) -> None:
        callback()

    soon = post

    def later(self, seconds: float, callback: Job) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, callback)

    def close(self) -> None:
        """There is nothing to end."""


class World:
    """A disk, a provider, a clock, and pauses that end when the test says so."""

    def __init__(self) -> None:
        self.files = CrashFiles()
        self.files.make_directory("/data")
        self.provider = ScriptedProvider()
        self.clock = ManualClock()
        self.pauses: list[float] = []
        self.resume = asyncio.Semaphore(0)
        self.made: list[bytes] = []
        self.sealed_on_disk: set[UUID] = set()
        """Topics that have sealed segments."""
        self.on_disk: set[UUID] = set()
        """Topics that have a directory."""
        self.threads: Threads = LoopThreads(asyncio.get_running_loop())

    def entropy(self, size: int) -> bytes:
        drawn = os.urandom(size)
        self.made.append(drawn)
        return drawn

    async def pause(self, seconds: float) -> None:
        if seconds > RETRY_SECONDS_MAX:  # the sweep of data keys
            await asyncio.Event().wait()
        self.pauses.append(seconds)
        await self.resume.acquire()

    @asynccontextmanager
    async def broker(self, **settings: float) -> AsyncIterator[TopicKeys]:
        """The keys of one life of a broker."""
        tasks = Tasks()
        keys = self.keys(tasks, **settings)
        try:
            await keys.open()
            yield keys
        finally:
            await tasks.cancel_all()
            keys.close()
            self.store.close()

    def keys(self, tasks: Tasks, **settings: float) -> TopicKeys:
        self.store = open_key_store(self.files, "/data-keys", "c", may_create=True)
        self.metadata_key = MetadataKey.load_or_create(
            self.files, "/data/encryption.key", self.provider, "c", os.urandom
        )
        return TopicKeys(
            store=self.store,
            provider=self.provider,
            metadata_key=self.metadata_key,
            context=KeyContext("c"),
            settings=KeySettings(**settings),  # type: ignore[arg-type]
            threads=self.threads,
            tasks=tasks,
            clock=self.clock,
            entropy=self.entropy,
            traces_of=self._traces,
            pause=self.pause,
        )

    def _traces(self, asked: Collection[UUID]) -> Traces:
        return Traces((self.on_disk | self.sealed_on_disk) & set(asked), self.sealed_on_disk & set(asked))

    def down(self, call: str, context: Mapping[str, str]) -> KeyProviderError | None:
        return ProviderUnavailable("the provider is out of reach")


def sealed(keys: TopicKeys, topic: UUID = TOPIC) -> tuple[SegmentHeader, memoryview]:
    """A segment with one frame."""
    header, sealer = keys.create(topic, 3)
    return header, memoryview(seal_batch(sealer, header, 128, batch_of(b"value")))


def opens(keys: TopicKeys, segment: tuple[SegmentHeader, memoryview]) -> bool:
    header, frame = segment
    read = parse_segment_header(header.encode())
    assert read is not None and frame_intact(frame)
    return b"".join(open_frame(keys.sealer(read), read, 128, frame)) == bytes(batch_of(b"value"))


async def until(condition: object) -> None:
    assert callable(condition)
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("never")
