"""Worker processes: results, failures, death, idleness. Real processes, one at a time.

They are found through /proc, which is why most of this runs on Linux only.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from rivven.errors import CorruptMessage, ErrorCode, InvalidRecord, RivvenError
from rivven.log import worker_jobs
from rivven.log.worker_jobs import WorkerFailed, WorkerLost, WorkersBusy, failure, frame, raised, unframe
from rivven.log.workers import IDLE_SECONDS, WorkerPool
from rivven.records.batch import Record, build_batch, parse_header
from rivven.records.compression import GZIP, NONE, ZSTD
from rivven.records.unreadable import InflateLimitExceeded, RecordsUnreadable

on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
KEYED = build_batch([Record(i, 1000 + i, b"k%d" % i, b"v" * 100) for i in range(200)])


def worker_ids() -> list[int]:
    """Process ids of this process's workers, from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"rivven.log.worker" in line and parent == os.getpid():
            found.append(int(entry.name))
    return found


def environment_of(process_id: int) -> bytes:
    return Path(f"/proc/{process_id}/environ").read_bytes()


@on_linux
async def test_results_come_back_as_plain_values() -> None:
    pool = WorkerPool()
    try:
        rewritten = await pool.run("open_and_validate", memoryview(KEYED), True, ZSTD, 1 << 20)
        assert parse_header(rewritten).codec == ZSTD
        assert await pool.run("open_and_validate", memoryview(KEYED), True, None, 1 << 20) is None
        assert await pool.run("first_offset_with_timestamp", bytes(KEYED), 1150) == (150, 1150)
        assert await pool.run("max_timestamp_offset", bytes(KEYED)) == (199, 1199)
        assert len(worker_ids()) == 1
    finally:
        await pool.close()
    assert worker_ids() == []


@on_linux
async def test_failures_keep_their_type() -> None:
    pool = WorkerPool()
    unkeyed = build_batch([Record(0, 0, None, b"v"), Record(1, 0, b"k", b"v")], codec=GZIP)
    try:
        with pytest.raises(InvalidRecord) as caught:
            await pool.run("open_and_validate", unkeyed, True, None, 1 << 20)
        assert [index for index, _ in caught.value.record_errors] == [0]
        with pytest.raises(CorruptMessage):
            await pool.run("open_and_validate", b"short", True, None, 1 << 20)
        broken = bytes(unkeyed[:61]) + bytes(len(unkeyed) - 61)
        with pytest.raises(RecordsUnreadable):
            await pool.run("first_offset_with_timestamp", broken, 0)
        with pytest.raises(WorkerFailed, match="TypeError"):
            await pool.run("open_and_validate", 5, True, None, 1 << 20)
        with pytest.raises(FileNotFoundError):
            await pool.run("compaction_begin", "aa", ((0, 1, "/nowhere/0.log", 100),), 0, 1, settings())
        assert len(worker_ids()) == 1
    finally:
        await pool.close()


def settings() -> tuple[int, int, int, dict[int, int], bytes]:
    return 0, 0, 1 << 20, {}, b"secret"


async def test_jobs_asked_at_once_are_answered_each() -> None:
    pool = WorkerPool(max_workers=2)
    try:
        answers = await asyncio.gather(
            *(pool.run("first_offset_with_timestamp", bytes(KEYED), 1000 + i) for i in range(0, 200, 7))
        )
        assert answers == [(i, 1000 + i) for i in range(0, 200, 7)]
        assert 1 <= pool.processes <= 2
    finally:
        await pool.close()


async def test_large_values_cross_the_pipe() -> None:
    pool = WorkerPool()
    large = build_batch([Record(0, 0, b"k", os.urandom(3 << 20))], codec=GZIP)
    try:
        rewritten = await pool.run("open_and_validate", large, True, NONE, 1 << 26)
        assert len(rewritten) > 3 << 20
    finally:
        await pool.close()


@on_linux
async def test_a_dead_worker_fails_its_job_and_is_replaced() -> None:
    pool = WorkerPool()
    try:
        await pool.run("max_timestamp_offset", bytes(KEYED))
        (dead,) = worker_ids()
        os.kill(dead, signal.SIGKILL)
        with pytest.raises(WorkerLost) as caught:
            await pool.run("max_timestamp_offset", bytes(KEYED))
        assert caught.value.code is ErrorCode.KAFKA_STORAGE_ERROR
        assert await pool.run("max_timestamp_offset", bytes(KEYED)) == (199, 1199)
        assert worker_ids() not in ([], [dead])
    finally:
        await pool.close()


@on_linux
async def test_a_job_that_takes_too_long_loses_its_worker() -> None:
    pool = WorkerPool(job_seconds_max=30)
    try:
        await pool.run("max_timestamp_offset", bytes(KEYED))
        os.kill(worker_ids()[0], signal.SIGSTOP)
        pool._job_seconds_max = 0.05  # a stopped process never answers
        with pytest.raises(WorkerLost):
            await pool.run("max_timestamp_offset", bytes(KEYED))
        for _ in range(1000):  # it has been killed; the kernel may take a moment to take it off the list
            if not worker_ids():
                break
            await asyncio.sleep(0.01)
        assert worker_ids() == []
    finally:
        await pool.close()


@on_linux
async def test_an_idle_worker_ends_and_the_next_job_starts_another() -> None:
    pool = WorkerPool(idle_seconds=0.01)
    try:
        for _ in range(2):
            assert await pool.run("max_timestamp_offset", bytes(KEYED)) == (199, 1199)
            for _ in range(1000):
                if not pool.processes and not worker_ids():
                    break
                await asyncio.sleep(0.01)
            else:
                pytest.fail("the idle worker is still there")
    finally:
        await pool.close()


async def test_closing_waits_for_a_process_that_is_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pipes belong to the loop, which may be closed right after."""
    ended: list[int] = []

    async def late(process: asyncio.subprocess.Process) -> int:
        await asyncio.sleep(0.1)
        ended.append(await wait(process))
        return ended[-1]

    wait = asyncio.subprocess.Process.wait
    monkeypatch.setattr(asyncio.subprocess.Process, "wait", late)
    pool = WorkerPool(idle_seconds=0.01)
    await pool.run("max_timestamp_offset", bytes(KEYED))
    for _ in range(1000):
        if not pool.processes:
            break
        await asyncio.sleep(0.001)
    assert not ended, "it is ending"
    await pool.close()
    assert set(ended) == {-signal.SIGKILL}


@pytest.mark.parametrize("steps", range(6))
async def test_closing_does_not_wait_for_a_job_that_comes_with_it(steps: int) -> None:
    """`steps` of the loop are between the two."""
    pool = WorkerPool()
    await pool.run("max_timestamp_offset", bytes(KEYED))
    job = asyncio.create_task(pool.run("max_timestamp_offset", bytes(KEYED)))
    for _ in range(steps):
        await asyncio.sleep(0)
    await asyncio.wait_for(pool.close(), IDLE_SECONDS / 2)
    (outcome,) = await asyncio.gather(job, return_exceptions=True)
    assert isinstance(outcome, (WorkerFailed, WorkerLost)) or outcome == (199, 1199)


async def test_a_closed_pool_refuses_and_fails_what_was_waiting() -> None:
    pool = WorkerPool()
    waiting = [asyncio.create_task(pool.run("max_timestamp_offset", bytes(KEYED))) for _ in range(3)]
    await asyncio.sleep(0)
    await pool.close()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [WorkerLost] * 3
    with pytest.raises(WorkerFailed, match="stopped"):
        await pool.run("max_timestamp_offset", bytes(KEYED))


async def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rivven.log.workers.JOBS_WAITING_MAX", 2)
    pool = WorkerPool()
    waiting = [asyncio.create_task(pool.run("max_timestamp_offset", bytes(KEYED))) for _ in range(2)]
    await asyncio.sleep(0)  # both are queued, the worker's task has not begun
    with pytest.raises(WorkersBusy):
        await pool.run("max_timestamp_offset", bytes(KEYED))
    assert await asyncio.gather(*waiting) == [(199, 1199)] * 2
    await pool.close()


async def test_the_worker_ends_with_its_broker() -> None:
    """Closing its standard input is what the end of the broker looks like."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "rivven.log.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 10) == 0


@on_linux
async def test_the_worker_gets_no_secrets_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIVVEN_PASSWORD", "canary")
    pool = WorkerPool()
    try:
        await pool.run("max_timestamp_offset", bytes(KEYED))
        (worker,) = worker_ids()
        assert b"canary" not in environment_of(worker)
    finally:
        await pool.close()


def test_only_listed_functions_can_be_asked_for() -> None:
    for name in worker_jobs.JOBS:
        assert callable(worker_jobs.find_job(name))
    with pytest.raises(KeyError):
        worker_jobs.find_job("system")


@pytest.mark.parametrize(
    "error",
    [
        InvalidRecord("bad", ((3, "why"),)),
        CorruptMessage("crc"),
        InflateLimitExceeded("big"),
        RecordsUnreadable("odd"),
        RivvenError("other", ErrorCode.INVALID_CONFIG),
        OSError(28, "No space left on device", "/x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_the_pipe(error: Exception) -> None:
    back = raised(*unframe(frame(failure(error))[4:]))
    assert isinstance(error, type(back))
    assert str(back) == str(error)
    assert getattr(back, "code", None) == getattr(error, "code", None)
    assert getattr(back, "record_errors", ()) == getattr(error, "record_errors", ())


def test_what_cannot_cross_is_refused() -> None:
    with pytest.raises(WorkerFailed):
        frame(object())


async def test_a_job_is_copied_when_a_worker_takes_it_and_not_at_all_once_its_asker_has_gone() -> None:
    pool = WorkerPool()
    try:
        first = asyncio.create_task(pool.run("max_timestamp_offset", bytes(KEYED)))
        buffer = bytearray(KEYED)
        second = asyncio.create_task(pool.run("max_timestamp_offset", memoryview(buffer)))
        await asyncio.sleep(0)
        second.cancel()
        buffer[:] = bytes(len(buffer))  # somebody else's by now: as a job it would fail
        last = parse_header(KEYED).max_timestamp
        assert tuple(await first) == (199, last)
        assert tuple(await pool.run("max_timestamp_offset", memoryview(KEYED))) == (199, last)
        assert pool.processes == 1
    finally:
        await pool.close()
