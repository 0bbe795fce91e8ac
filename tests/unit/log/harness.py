"""One log directory in memory, its threads advanced by the test."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

from rivven.config.topic_settings import TopicConfig
from rivven.log.directory import LogDirectory
from rivven.log.host import LogLimits
from rivven.log.partition_log import Appended, PartitionLog
from rivven.log.sealing import SegmentKeys
from rivven.records.batch import Record, build_batch, iterate_batches, parse_header
from rivven.testing.files import CrashFiles
from rivven.testing.threads import StepThreads

T = TypeVar("T")
TOPIC = UUID("11111111-2222-4333-8444-555555555555")
ROOT = "/data"
DIRECTORY = f"{ROOT}/partitions/{TOPIC}-0"
NOW = 1_700_000_000_000
LIMITS = LogLimits(producers_per_partition=100)


class ManualClock:
    def __init__(self) -> None:
        self.ms = NOW

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


def batch_of(
    *values: bytes,
    timestamp: int = NOW,
    producer_id: int = -1,
    epoch: int = 0,
    sequence: int = 0,
    codec: int = 0,
) -> memoryview:
    """A batch with one record per value, a millisecond apart."""
    records = [Record(i, timestamp + i, b"k", value, ()) for i, value in enumerate(values)]
    idempotent = producer_id >= 0
    return memoryview(
        build_batch(
            records,
            producer_id=producer_id,
            producer_epoch=epoch if idempotent else -1,
            base_sequence=sequence if idempotent else -1,
            codec=codec,
        )
    )


class Broker:
    """What a process has: a directory on `files`, which outlives it."""

    def __init__(
        self,
        files: CrashFiles | None = None,
        config: TopicConfig | None = None,
        limits: LogLimits = LIMITS,
        clock: ManualClock | None = None,
        keys: SegmentKeys | None = None,
    ) -> None:
        self.files = CrashFiles() if files is None else files
        self.config = TopicConfig() if config is None else config
        self.clock = ManualClock() if clock is None else clock
        self.threads = StepThreads()
        self.directory = LogDirectory.open(
            ROOT,
            self.files,
            self.threads,
            self.clock,
            node_id=1,
            limits=limits,
            keys=keys,
            entropy=lambda size: bytes(range(size)),
        )
        self.loop = asyncio.new_event_loop()
        self._log: PartitionLog | None = None

    @property
    def log(self) -> PartitionLog:
        """Partition 0, opened when first asked for."""
        if self._log is None:
            self._log = self.open(0)
        return self._log

    def open(self, partition: int, topic_id: UUID = TOPIC) -> PartitionLog:
        return self.run(self.directory.open_partition(topic_id, partition, self.config))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Drive loop and threads until the coroutine ends."""
        task = self.loop.create_task(coroutine)
        for _ in range(10_000):
            self.loop.run_until_complete(asyncio.sleep(0))
            if task.done():
                return task.result()
            self.threads.step()
        raise AssertionError("the coroutine never ended")

    def append(self, batch: memoryview, log: PartitionLog | None = None, **kwargs: Any) -> Appended:
        log = self.log if log is None else log
        return log.append(batch, parse_header(batch), self.clock.ms, **kwargs)

    def commit(self, *batches: memoryview) -> list[Appended]:
        """Append and make durable."""
        appended = [self.append(batch) for batch in batches]
        self.settle()
        return appended

    def settle(self) -> None:
        self.threads.run_until_idle()

    def read_all(self, log: PartitionLog | None = None) -> list[bytes]:
        """The batches from the log's start to the acknowledgeable end."""
        log = self.log if log is None else log
        found = []
        offset = log.log_start_offset
        while offset < log.acknowledgeable_end:
            end = log.acknowledgeable_end
            result = self.run(log.read_cold(offset, 1 << 20, end, at_least_one=True))
            assert result.next_offset > offset
            data = b"".join(bytes(buffer) for buffer in result.buffers)
            found += [data[at : at + header.size_bytes] for at, header in iterate_batches(data)]
            offset = result.next_offset
        return found

    def stop(self, *, clean: bool = True) -> CrashFiles:
        """End the process; returns the disk for the next one."""
        if clean:
            self.run(self.directory.close())
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()
        self.files.restart()
        return self.files


@contextmanager
def broker(*args: Any, **kwargs: Any) -> Iterator[Broker]:
    """A broker that is stopped at the end, without care."""
    running = Broker(*args, **kwargs)
    try:
        yield running
    finally:
        if not running.loop.is_closed():
            running.stop(clean=False)
