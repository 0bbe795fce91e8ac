"""The compactor against a real log directory: appends and reads go on, restarts find what was left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from rivven.clock import SystemClock
from rivven.config.topic_settings import TopicConfig
from rivven.log.checkpoint import PartitionKey
from rivven.log.compactor import Compactor
from rivven.log.directory import LogDirectory
from rivven.log.files import OsFiles
from rivven.log.partition_log import PartitionLog
from rivven.log.reencryption import Reencryptor
from rivven.log.threads import LoopThreads
from rivven.log.workers import WorkerPool
from rivven.records.batch import Record, build_batch, iterate_batches, parse_header, read_records
from rivven.testing.segment_keys import StaticSegmentKeys
from tests.unit.log.reencryption_keys import ReencryptionTestKeys

TOPIC = UUID(int=7)
CONFIG = TopicConfig(
    cleanup_policy=frozenset({"compact"}), segment_bytes=20_000, min_cleanable_dirty_ratio=0.2
)
KEYS = 40


@pytest.fixture(autouse=True)
def _frequent_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a saved recovery point covers may be compacted; do not wait ten seconds for it."""
    monkeypatch.setattr("rivven.log.checkpoint_keeper.CHECKPOINT_SECONDS", 0.02)


def opened(path: Path, keys: StaticSegmentKeys) -> LogDirectory:
    threads = LoopThreads(asyncio.get_running_loop())
    return LogDirectory.open(str(path), OsFiles(), threads, SystemClock(), node_id=1, keys=keys)


def compactor_of(
    directory: LogDirectory,
    pool: WorkerPool,
    keys: StaticSegmentKeys,
    claims: set[PartitionKey] | None = None,
) -> Compactor:
    return Compactor(
        logs=lambda: directory,
        workers=pool,
        files=OsFiles(),
        keys=keys,
        claims=set() if claims is None else claims,
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


@pytest.mark.parametrize("encrypted", [False, True])
async def test_appends_reads_and_restarts_beside_compaction(private_path: Path, encrypted: bool) -> None:
    keys, config = StaticSegmentKeys(), replace(CONFIG, encryption_enabled=encrypted)
    directory, pool = opened(private_path / "data", keys), WorkerPool()
    log = await directory.open_partition(TOPIC, 0, config)
    writer = Writer(log)
    compactor = compactor_of(directory, pool, keys)
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
    stored = b"".join(path.read_bytes() for path in (private_path / "data").rglob("*.*"))
    assert (b"value-399" in stored) is not encrypted

    directory = opened(private_path / "data", keys)
    log = await directory.open_partition(TOPIC, 0, config)
    assert log.log_end_offset == end == 4000
    assert state_of(await read_all(log)) == writer.state
    again = bytearray(writer.last_batch)
    appended = log.append(memoryview(again), parse_header(again), 5000)
    assert appended.duplicate
    assert appended.base_offset == 3990
    await directory.close()
    await pool.close()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_re_encryption_and_compaction_take_turns(
    private_path: Path, encrypted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both at work on one partition, plain or sealed at first, with appends beside them."""
    monkeypatch.setattr("rivven.log.reencryption.ROUND_SECONDS", 0.02)
    keys, claims = ReencryptionTestKeys(), set[PartitionKey]()
    directory, pool = opened(private_path / "data", keys), WorkerPool()
    log = await directory.open_partition(TOPIC, 0, replace(CONFIG, encryption_enabled=encrypted))
    writer = Writer(log)
    for step in range(200):
        writer.append(step)
    log.update_config(replace(CONFIG, encryption_enabled=True))
    keys.renew(TOPIC)
    compactor = compactor_of(directory, pool, keys, claims)
    reencryptor = Reencryptor(
        logs=lambda: directory,
        keys=keys,
        claims=claims,
        workers=pool,
        clock=SystemClock(),
        bytes_per_second=2_000_000,
    )
    tasks = [asyncio.create_task(task.run()) for task in (compactor, reencryptor)]
    await reencryptor.request(TOPIC)
    for step in range(200, 400):
        writer.append(step)
        if step % 20 == 0:
            await asyncio.sleep(0.01)
    await until(lambda: not keys.rewriting() and compactor.totals.passes)
    await until(lambda: log.acknowledgeable_end == 4000)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert compactor.totals.failures == reencryptor.totals.failures == 0
    assert reencryptor.totals.segments
    assert state_of(await read_all(log)) == writer.state
    assert {info.topic_key_id for info in log.segments_view() if info.stored_bytes} == {keys.newest(TOPIC)}
    await directory.close()
    await pool.close()


async def test_a_deleted_partition_ends_its_compaction_quietly(private_path: Path) -> None:
    keys = StaticSegmentKeys()
    directory, pool = opened(private_path / "data", keys), WorkerPool()
    log = await directory.open_partition(TOPIC, 0, CONFIG)
    writer = Writer(log)
    for step in range(100):
        writer.append(step)
    compactor = compactor_of(directory, pool, keys)
    await until(lambda: log.cleanable(0) is not None)
    cleaning = asyncio.create_task(compactor.clean_dirtiest())
    await asyncio.sleep(0.02)
    await directory.delete_partition(TOPIC, 0)
    await asyncio.wait_for(cleaning, 30)
    assert not await compactor.clean_dirtiest()
    assert compactor.totals.uncleanable_partitions == 0
    await directory.close()
    await pool.close()
