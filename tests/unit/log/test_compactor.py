"""The background task: which log it takes, what a failure does, and one pass in a real worker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.errors import StorageFailed
from rivven.log import compaction_swap
from rivven.log.checkpoint import PartitionKey
from rivven.log.compaction import CleanableView, ClosedSegment
from rivven.log.compaction_swap import PreparedSegment
from rivven.log.compactor import FAILURE_PAUSE_MS, Compactor, Workers
from rivven.log.files import OsFiles
from rivven.log.rewriting import Source, read_batches
from rivven.log.sealing import SEGMENT_MAGIC, parse_segment_header
from rivven.log.sealing import seal_batch as seal_frame
from rivven.log.worker_jobs import WorkerLost, find_job
from rivven.log.workers import WorkerPool
from rivven.records.batch import Record, build_batch, iterate_batches, parse_header, read_records, seal_batch
from rivven.testing.segment_keys import StaticSegmentKeys

ENCRYPTED = TopicConfig(cleanup_policy=frozenset({"compact"}), segment_bytes=1 << 20, encryption_enabled=True)
CONFIG = TopicConfig(cleanup_policy=frozenset({"compact"}), segment_bytes=1 << 20)


class Time:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


class InlineWorkers:
    """Jobs run here; `fail_with` makes the next clean job fail."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.fail_with: Exception | None = None

    async def run(self, name: str, *args: Any) -> Any:
        self.names.append(name)
        if name == "compaction_clean" and self.fail_with is not None:
            error, self.fail_with = self.fail_with, None
            raise error
        return find_job(name)(*args)


class SegmentsOnDisk:
    """Satisfies `compactor.CleanableLog` over files in a directory."""

    def __init__(self, root: Path, number: int, config: TopicConfig = CONFIG) -> None:
        self.topic_id = UUID(int=number)
        self.partition = 0
        self.config = config
        self.directory = root / f"{number}"
        self.directory.mkdir()
        self.end = 0
        self.replaces = True
        self.replaced: list[list[int]] = []

    def write(self, *keys: bytes) -> None:
        """One more closed segment with a record for each key."""
        records = [Record(self.end + i, 5, key, b"%d" % (self.end + i), []) for i, key in enumerate(keys)]
        (self.directory / f"{self.end:020d}.log").write_bytes(build_batch(records))
        self.end += len(keys)

    def write_sealed(self, segment_keys: StaticSegmentKeys, *keys: bytes) -> None:
        """The same under a data key."""
        path = self.directory / f"{self.end:020d}.log"
        self.write(*keys)
        header, sealer = segment_keys.create(self.topic_id, self.partition)
        head = header.encode()
        path.write_bytes(head + seal_frame(sealer, header, len(head), memoryview(path.read_bytes())))

    def are_sealed(self) -> list[bool]:
        """For each segment file."""
        return [path.read_bytes()[:4] == SEGMENT_MAGIC for path in sorted(self.directory.glob("*.log"))]

    def cleanable(self, now_ms: int) -> CleanableView | None:
        paths = sorted(self.directory.glob("*.log"))
        bases = [int(path.stem) for path in paths]
        segments = tuple(
            ClosedSegment(base, end, str(path), path.stat().st_size)
            for base, end, path in zip(bases, [*bases[1:], self.end], paths, strict=True)
        )
        return CleanableView(str(self.directory), segments, self.config, {})

    async def replace_segments(self, old: Sequence[int], prepared: PreparedSegment) -> bool:
        if not self.replaces:
            return False
        self.replaced.append(list(old))
        compaction_swap.commit(OsFiles(), str(self.directory), prepared)
        compaction_swap.finish(OsFiles(), str(self.directory), prepared.base_offset, prepared.end_offset)
        return True

    def values(self) -> dict[bytes | None, bytes | None]:
        found: dict[bytes | None, bytes | None] = {}
        for path in sorted(self.directory.glob("*.log")):
            content = path.read_bytes()
            for position, header in iterate_batches(content):
                found.update((r.key, r.value) for r in read_records(content, position, header))
        return found

    def names(self) -> list[str]:
        return sorted(path.name.lstrip("0") for path in self.directory.iterdir())


def compactor(
    *logs: SegmentsOnDisk,
    workers: Workers,
    clock: Time | None = None,
    keys: StaticSegmentKeys | None = None,
    claims: set[PartitionKey] | None = None,
) -> Compactor:
    return Compactor(
        logs=lambda: logs,
        workers=workers,
        files=OsFiles(),
        keys=keys,
        claims=set() if claims is None else claims,
        clock=clock or Time(),
        dedupe_buffer_bytes=1 << 20,
        backoff_ms=1,
    )


async def test_a_pass_cleans_and_remembers_how_far(tmp_path: Path) -> None:
    log, workers = SegmentsOnDisk(tmp_path, 1), InlineWorkers()
    log.write(b"a", b"b")
    log.write(b"a", b"c")
    task = compactor(log, workers=workers)
    assert await task.clean_dirtiest()
    assert log.values() == {b"b": b"1", b"a": b"2", b"c": b"3"}
    assert log.replaced == [[0, 2]]
    assert log.names() == [".log", "compaction.checkpoint"]
    assert workers.names == ["compaction_begin", "compaction_clean", "compaction_end"]
    assert (task.totals.passes, task.totals.records_removed) == (1, 1)
    assert not await task.clean_dirtiest()
    restarted = compactor(log, workers=workers)
    assert not await restarted.clean_dirtiest()


async def test_the_dirtiest_log_is_first_and_a_clean_one_is_left(tmp_path: Path) -> None:
    logs = [SegmentsOnDisk(tmp_path, number) for number in range(3)]
    task = compactor(*logs, workers=InlineWorkers())
    for log in logs:
        log.write(b"a", b"b", b"c")
    for _ in logs:
        assert await task.clean_dirtiest()
    logs[1].write(b"a" * 400)
    logs[2].write(b"a" * 4000)
    for log in logs:
        log.replaced.clear()
    assert await task.clean_dirtiest()
    assert [len(log.replaced) for log in logs] == [0, 0, 1]
    assert await task.clean_dirtiest()
    assert [len(log.replaced) for log in logs] == [0, 1, 1]
    assert not await task.clean_dirtiest()


async def test_damage_makes_a_partition_uncleanable_and_others_go_on(tmp_path: Path) -> None:
    bad, good = SegmentsOnDisk(tmp_path, 1), SegmentsOnDisk(tmp_path, 2)
    bad.write(b"a" * 5000)
    path = bad.directory / f"{0:020d}.log"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    good.write(b"a", b"a")
    task = compactor(bad, good, workers=InlineWorkers())
    for _ in range(2):
        await task.clean_dirtiest()
    assert (task.totals.uncleanable_partitions, task.totals.failures, task.totals.passes) == (1, 1, 1)
    assert path.read_bytes() == content
    assert bad.names() == [".log"]
    assert not await task.clean_dirtiest()
    assert task.totals.failures == 1


@pytest.mark.parametrize(
    "error", [WorkerLost("gone"), OSError(28, "No space left on device"), StorageFailed("x")]
)
async def test_other_failures_are_tried_again_after_a_pause(tmp_path: Path, error: Exception) -> None:
    log, workers, clock = SegmentsOnDisk(tmp_path, 1), InlineWorkers(), Time()
    log.write(b"a", b"a")
    task = compactor(log, workers=workers, clock=clock)
    workers.fail_with = error
    assert not await task.clean_dirtiest()
    assert workers.names[-1] == "compaction_end"
    assert (task.totals.failures, task.totals.uncleanable_partitions) == (1, 0)
    clock.ms += FAILURE_PAUSE_MS - 1
    assert not await task.clean_dirtiest()
    assert workers.names[-1] == "compaction_end"
    clock.ms += 1
    assert await task.clean_dirtiest()
    assert log.values() == {b"a": b"1"}


async def test_a_log_that_cannot_be_looked_at_does_not_stop_the_others(tmp_path: Path) -> None:
    offline, good = SegmentsOnDisk(tmp_path, 1), SegmentsOnDisk(tmp_path, 2)
    good.write(b"a", b"a")
    asked = []

    def refuse(now_ms: int) -> CleanableView | None:
        asked.append(now_ms)
        raise StorageFailed("offline")

    offline.cleanable = refuse  # type: ignore[method-assign]
    task = compactor(offline, good, workers=InlineWorkers())
    assert await task.clean_dirtiest()
    assert not await task.clean_dirtiest()
    assert len(asked) == 1


async def test_a_log_that_changed_meanwhile_keeps_its_files(tmp_path: Path) -> None:
    log = SegmentsOnDisk(tmp_path, 1)
    log.write(b"a", b"a")
    log.replaces = False
    task = compactor(log, workers=InlineWorkers())
    before = log.names()
    assert not await task.clean_dirtiest()
    assert log.names() == before
    assert task.totals.passes == 0
    log.replaces = True
    assert await task.clean_dirtiest()


async def test_unreadable_batches_are_counted_and_kept(tmp_path: Path) -> None:
    log = SegmentsOnDisk(tmp_path, 1)
    log.write(b"a", b"a")
    broken = seal_batch(parse_header(build_batch([Record(2, 5, b"k", b"v")])), b"\xff" * 9)
    (log.directory / f"{2:020d}.log").write_bytes(broken)
    log.end = 3
    task = compactor(log, workers=InlineWorkers())
    assert await task.clean_dirtiest()
    assert task.totals.unreadable_batches == 1
    assert broken in next(iter(log.directory.glob("*.log"))).read_bytes()


async def test_forgotten_partitions_leave_no_trace(tmp_path: Path) -> None:
    logs = [SegmentsOnDisk(tmp_path, 1), SegmentsOnDisk(tmp_path, 2)]
    for log in logs:
        log.write(b"a" * 5000)
        path = log.directory / f"{0:020d}.log"
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    task = compactor(*logs, workers=InlineWorkers())
    for _ in range(2):
        assert not await task.clean_dirtiest()
    assert task.totals.uncleanable_partitions == 2
    task._logs = lambda: logs[:1]  # one topic is deleted
    assert not await task.clean_dirtiest()
    assert task.totals.uncleanable_partitions == 1


async def test_a_pass_in_a_real_worker_while_the_task_runs(tmp_path: Path) -> None:
    log, pool = SegmentsOnDisk(tmp_path, 1), WorkerPool()
    for start in range(0, 1000, 100):
        log.write(*(b"key-%d" % (n % 150) for n in range(start, start + 100)))
    task = compactor(log, workers=pool)
    running = asyncio.create_task(task.run())
    try:
        for _ in range(2000):
            if task.totals.passes:
                break
            await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await pool.close()
    assert task.totals.passes == 1
    assert log.values() == {b"key-%d" % (n % 150): b"%d" % n for n in range(850, 1000)}
    assert task.totals.records_removed == 850


@pytest.mark.parametrize("before", ["plain", "sealed", "both"])
@pytest.mark.parametrize("config", [CONFIG, ENCRYPTED], ids=["switched off", "encrypted"])
async def test_what_was_sealed_or_is_to_be_is_written_sealed(
    tmp_path: Path, before: str, config: TopicConfig
) -> None:
    keys, log = StaticSegmentKeys(), SegmentsOnDisk(tmp_path, 1, config)
    for number in range(2):
        if before == "sealed" or (before == "both" and number):
            log.write_sealed(keys, b"a", b"b")
        else:
            log.write(b"a", b"b")
    task = compactor(log, workers=InlineWorkers(), keys=keys)
    assert await task.clean_dirtiest()
    assert log.are_sealed() == [before != "plain" or config is ENCRYPTED]
    (path,) = log.directory.glob("*.log")
    source = Source(0, log.end, str(path), path.stat().st_size)
    header = parse_segment_header(path.read_bytes())
    if header is not None:
        assert header.topic_key_id == keys.newest(log.topic_id)
        source = replace(source, key=keys.export(header))
    found = list(read_batches(OsFiles().open(str(path), "read"), source))
    offsets = [r.offset for read in found for r in read_records(read.batch, 0, read.header)]
    assert offsets == [2, 3]


@pytest.mark.parametrize(("config", "merged"), [(CONFIG, 1), (ENCRYPTED, 2)], ids=["plain", "encrypted"])
async def test_encrypted_segments_stay_below_what_positions_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: TopicConfig, merged: int
) -> None:
    monkeypatch.setattr("rivven.log.compactor.SEALED_GROUP_BYTES_MAX", 500)
    log = SegmentsOnDisk(tmp_path, 1, config)
    for key in (b"a", b"b", b"c", b"d"):
        log.write(key * 100, b"x")
    task = compactor(log, workers=InlineWorkers(), keys=StaticSegmentKeys())
    assert await task.clean_dirtiest()
    assert len(log.are_sealed()) == merged


async def test_without_keys_an_encrypted_partition_waits_and_is_not_written_in_plain(tmp_path: Path) -> None:
    keys, clock = StaticSegmentKeys(), Time()
    sealed, plain = SegmentsOnDisk(tmp_path, 1), SegmentsOnDisk(tmp_path, 2, ENCRYPTED)
    sealed.write_sealed(keys, b"a")
    sealed.write_sealed(keys, b"a")
    plain.write(b"a", b"a")
    before = sealed.names(), plain.names()
    keys.available = False
    task = compactor(sealed, plain, workers=InlineWorkers(), keys=keys, clock=clock)
    for _ in range(3):
        assert not await task.clean_dirtiest()
    assert (sealed.names(), plain.names()) == before
    assert (task.totals.failures, task.totals.uncleanable_partitions) == (2, 0)
    keys.available = True
    clock.ms += FAILURE_PAUSE_MS
    assert await task.clean_dirtiest()
    assert await task.clean_dirtiest()
    assert sealed.are_sealed() == plain.are_sealed() == [True]


async def test_a_segment_of_another_partition_is_damage(tmp_path: Path) -> None:
    keys = StaticSegmentKeys()
    log, other = SegmentsOnDisk(tmp_path, 1), SegmentsOnDisk(tmp_path, 2)
    other.write_sealed(keys, b"a")
    log.write_sealed(keys, b"a")
    (stolen,) = other.directory.glob("*.log")
    (place,) = log.directory.glob("*.log")
    place.write_bytes(stolen.read_bytes())
    task = compactor(log, workers=InlineWorkers(), keys=keys)
    assert not await task.clean_dirtiest()
    assert task.totals.uncleanable_partitions == 1


async def test_a_partition_that_is_being_rewritten_is_left_alone(tmp_path: Path) -> None:
    log, claims = SegmentsOnDisk(tmp_path, 1), {(UUID(int=1), 0)}
    log.write(b"a", b"a")
    task = compactor(log, workers=InlineWorkers(), claims=claims)
    assert not await task.clean_dirtiest()
    claims.clear()
    assert await task.clean_dirtiest()
    assert claims == set()
