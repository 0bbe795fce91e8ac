"""The real file system and real threads."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from pathlib import Path
from uuid import uuid4

import pytest

from rivven.clock import SystemClock
from rivven.config.topic_settings import TopicConfig
from rivven.log.directory import LogDirectory
from rivven.log.files import OsFiles
from rivven.log.identity import DirectoryLocked
from rivven.log.threads import LoopThreads, ThreadWorker
from rivven.records.batch import parse_header
from tests.unit.descriptors import DIRECTORY, open_files
from tests.unit.log.harness import batch_of


def test_files_are_private(tmp_path: Path) -> None:
    files = OsFiles()
    files.make_directory(f"{tmp_path}/d")
    files.open(f"{tmp_path}/d/f", "new")
    assert stat.S_IMODE(os.stat(tmp_path / "d").st_mode) == 0o700
    assert stat.S_IMODE(os.stat(tmp_path / "d/f").st_mode) == 0o600


def test_positioned_reads_and_writes(tmp_path: Path) -> None:
    file = OsFiles().open(f"{tmp_path}/f", "create")
    assert file.write((b"abc", memoryview(b"def")), 2) == 6
    assert file.write((b"XY",), 0) == 2
    assert file.read(100, 0) == b"XYabcdef"
    assert file.read(2, 3) == b"bc"
    assert file.read(5, 100) == b""
    file.sync()
    file.truncate(4)
    assert file.size() == 4
    cached = file.read_cached(10, 1)
    assert cached is None or bytes(cached) == b"Yab"
    file.forget_cached(0)
    assert file.read(10, 0) == b"XYab"


@pytest.mark.skipif(not DIRECTORY.exists(), reason="looks for descriptors in /proc (Linux)")
def test_a_file_is_closed_with_its_last_reference(tmp_path: Path) -> None:
    file = OsFiles().open(f"{tmp_path}/f", "create")
    assert f"{tmp_path}/f" in open_files()
    del file
    assert f"{tmp_path}/f" not in open_files()


def test_large_writes_arrive_whole_however_many_calls_they_take(tmp_path: Path) -> None:
    file = OsFiles().open(f"{tmp_path}/f", "create")
    sizes = [10, 3_000_000, 1, 0, 1 << 20, 700_000, 700_000]
    parts = [bytes([number]) * size for number, size in enumerate(sizes)]
    assert file.write([memoryview(part) for part in parts], 7) == sum(sizes)
    assert file.read(10_000_000, 7) == b"".join(parts)
    assert file.write((parts[1],), 0) == 3_000_000
    assert file.read(3_000_000, 0) == parts[1]


def test_a_large_write_that_fails_on_the_way_is_a_short_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = OsFiles().open(f"{tmp_path}/f", "create")
    calls: list[int] = []
    real = os.pwritev

    def full_disk(fd: int, buffers: list[memoryview], position: int) -> int:
        calls.append(position)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "full")
        return real(fd, buffers, position)

    monkeypatch.setattr(os, "pwritev", full_disk)
    assert file.write((bytes(5 << 20),), 0) == 2 << 20
    with pytest.raises(OSError, match="full"):
        file.write((bytes(5 << 20),), 0)


@pytest.mark.parametrize("mode", ["read", "write"])
def test_missing_files_are_not_created(tmp_path: Path, mode: str) -> None:
    with pytest.raises(FileNotFoundError):
        OsFiles().open(f"{tmp_path}/f", mode)  # type: ignore[arg-type]
    OsFiles().open(f"{tmp_path}/f", "new")
    with pytest.raises(FileExistsError):
        OsFiles().open(f"{tmp_path}/f", "new")


def test_names(tmp_path: Path) -> None:
    files = OsFiles()
    files.open(f"{tmp_path}/a", "new").write((b"12",), 0)
    files.rename(f"{tmp_path}/a", f"{tmp_path}/b")
    assert files.list(str(tmp_path)) == ["b"] and files.exists(f"{tmp_path}/b")
    assert files.size(f"{tmp_path}/b") == 2
    files.sync_directory(str(tmp_path))
    assert files.sync_all(str(tmp_path)) in (True, False)
    assert files.free_bytes(str(tmp_path)) > 0
    files.remove(f"{tmp_path}/b")
    files.make_directory(f"{tmp_path}/d")
    files.remove_directory(f"{tmp_path}/d")
    assert files.list(str(tmp_path)) == []


def test_a_lock_keeps_others_out_until_it_is_released(tmp_path: Path) -> None:
    files = OsFiles()
    lock = files.lock(f"{tmp_path}/lock")
    assert lock is not None
    assert files.lock(f"{tmp_path}/lock") is None
    lock.release()
    lock.release()
    again = files.lock(f"{tmp_path}/lock")
    assert again is not None
    again.release()


def test_a_worker_runs_jobs_in_order_off_this_thread_and_survives_one_that_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = ThreadWorker("test")
    seen: list[tuple[int, bool]] = []
    main = threading.get_ident()

    def fail() -> None:
        raise ValueError("a job's bug")

    for number in range(5):
        worker.submit(lambda number=number: seen.append((number, threading.get_ident() == main)))  # type: ignore[misc]
        worker.submit(fail)
    worker.close()
    assert seen == [(number, False) for number in range(5)]
    assert "a job's bug" in caplog.text
    with pytest.raises(RuntimeError):
        worker.submit(fail)


async def _open(path: Path) -> LogDirectory:
    threads = LoopThreads(asyncio.get_running_loop())
    return LogDirectory.open(str(path), OsFiles(), threads, SystemClock(), node_id=1)


async def test_a_log_on_a_real_disk(tmp_path: Path) -> None:
    path = tmp_path / "parent" / "data"
    topic = uuid4()
    config = TopicConfig(segment_bytes=5000)
    directory = await _open(path)
    with pytest.raises(DirectoryLocked):
        await _open(path)
    logs = await directory.open_partitions(topic, range(8), config)
    for _ in range(20):
        for log in logs:
            batch = batch_of(b"x" * 500)
            log.append(batch, parse_header(batch), SystemClock().now_ms())
        await logs[0].flush()
    for log in logs:
        await log.flush()
        assert log.durable_end == 20 and len(log.usable().segments) > 1
    await directory.close(clean=False)

    directory = await _open(path)
    logs = await directory.open_partitions(topic, range(8), config)
    assert all(log.online and log.log_end_offset == 20 and log.leader_epoch == 0 for log in logs)
    await directory.close()

    directory = await _open(path)
    assert directory.was_clean
    (log,) = await directory.open_partitions(topic, [3], config)
    offset = 0
    while offset < 20:
        result = log.read(offset, 1000, 20, at_least_one=True)
        if result is None:
            result = await log.read_cold(offset, 1000, 20, at_least_one=True)
        assert result.next_offset > offset
        offset = result.next_offset
    await directory.delete_partition(topic, 3)
    await directory.close()
    assert f"{topic}-3" not in os.listdir(path / "partitions")
