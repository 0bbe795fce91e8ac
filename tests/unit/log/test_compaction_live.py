"""The compactor against a real log directory: appends and reads go on, restarts find what was left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from rivven.clock import SystemClock
from rivven.config.topic_settings import TopicConfig
from rivven.log.compactor import Compactor
from rivven.log.directory import LogDirectory
from rivven.log.files import OsFiles
from rivven.log.partition_log import PartitionLog
from rivven.log.threads import LoopThreads
from rivven.log.workers import WorkerPool
from rivven.records.batch import Record, build_batch, iterate_batches, parse_header, read_records

TOPIC = UUID(int=7)
CONFIG = TopicConfig(
    cleanup_policy=frozenset({"compact"}), segment_bytes=20_000, min_cleanable_dirty_ratio=0.2
)
KEYS = 40


@pytest.fixture(autouse=True)
def _frequent_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a saved recovery point covers may be compacted; do not wait ten seconds for it."""
    monkeypatch.setattr("rivven.log.checkpoint_keeper.CHECKPOINT_SECONDS", 0.02)


def opened(path: Path) -> LogDirectory:
    threads = LoopThreads(asyncio.get_running_loop())
    return LogDirectory.open(str(path), OsFiles(), threads, SystemClock(), node_id=1)


def compactor_of(directory: LogDirectory, pool: WorkerPool) -> Compactor:
    return Compactor(
        logs=lambda: directory,
        workers=pool,
        files=OsFiles(),
        keys=None,
        claims=set(),
        clock=SystemClock(),
        dedupe_buffer_bytes=1 << 20,
        backoff_ms=5,
    )


class Writer:
    """Appends idempotent batches and remembers what each key must be."""

    def __init__(self, log: PartitionLog) -> None:
        self.log = log
        self.state: dict[bytes, bytes] = {}
        self.sequence = 0
        self.last_batch = b""

    def append(self, step: int) -> None:
        records = []
        for n in range(10):
            key, value = b"key-%d" % ((step * 7 + n * 3) % KEYS), b"value-%d-%d" % (step, n) + bytes(50)
            records.append(Record(n, 1000 + step, key, value, []))
            self.state[key] = value
        batch = build_batch(records, producer_id=9, producer_epoch=0, base_sequence=self.sequence)
        self.last_batch = bytes(batch)
        self.log.append(memoryview(batch), parse_header(batch), 1000 + step)
        self.sequence += 10


async def read_all(log: PartitionLog) -> list[Record]:
    """Every record from the start, as a consumer would fetch them."""
    records: list[Record] = []
    offset, end = log.log_start_offset, log.acknowledgeable_end
    for _ in range(10_000):
        if offset >= end:
            break
        result = await log.read_cold(offset, 8000, end, at_least_one=True)
        content = b"".join(bytes(buffer) for buffer in result.buffers)
        for position, header in iterate_batches(content):
            records += [r for r in read_records(content, position, header) if r.offset >= offset]
            offset = header.last_offset + 1
    return records


def state_of(records: list[Record]) -> dict[bytes | None, bytes | None]:
    offsets = [record.offset for record in records]
    assert offsets == sorted(set(offsets))
    return {record.key: record.value for record in records}


async def until(condition: Callable[[], object]) -> None:
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("still not so after 30 s")


async def test_appends_reads_and_restarts_beside_compaction(private_path: Path) -> None:
    directory, pool = opened(private_path / "data"), WorkerPool()
    log = await directory.open_partition(TOPIC, 0, CONFIG)
    writer = Writer(log)
    compactor = compactor_of(directory, pool)
    task = asyncio.create_task(compactor.run())
    for step in range(400):
        writer.append(step)
        if step % 20 == 0:
            await asyncio.sleep(0.01)
            assert state_of(await read_all(log)).keys() <= writer.state.keys()
    await until(lambda: compactor.totals.passes >= 2)
    await until(lambda: log.acknowledgeable_end == 4000)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert compactor.totals.failures == 0
    records = await read_all(log)
    assert state_of(records) == writer.state
    assert len(records) < 3000
    end = log.log_end_offset
    await directory.close()

    directory = opened(private_path / "data")
    log = await directory.open_partition(TOPIC, 0, CONFIG)
    assert log.log_end_offset == end == 4000
    assert state_of(await read_all(log)) == writer.state
    again = bytearray(writer.last_batch)
    appended = log.append(memoryview(again), parse_header(again), 5000)
    assert appended.duplicate
    assert appended.base_offset == 3990
    await directory.close()
    await pool.close()


async def test_a_deleted_partition_ends_its_compaction_quietly(private_path: Path) -> None:
    directory, pool = opened(private_path / "data"), WorkerPool()
    log = await directory.open_partition(TOPIC, 0, CONFIG)
    writer = Writer(log)
    for step in range(100):
        writer.append(step)
    compactor = compactor_of(directory, pool)
    await until(lambda: log.cleanable(0) is not None)
    cleaning = asyncio.create_task(compactor.clean_dirtiest())
    await asyncio.sleep(0.02)
    await directory.delete_partition(TOPIC, 0)
    await asyncio.wait_for(cleaning, 30)
    assert not await compactor.clean_dirtiest()
    assert compactor.totals.uncleanable_partitions == 0
    await directory.close()
    await pool.close()
