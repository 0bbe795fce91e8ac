"""Worker processes for whatever loops over records, seen from the event loop.

A pool starts a process with the first job and ends it after an idle time, which gives its memory back. A job
that fails, a process that dies and a queue that is full are typed errors; nothing is tried twice. Work that
clients wait for and work that runs for minutes belong in different pools, or the first waits for the second.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any, NamedTuple

from rivven.log.worker_jobs import (
    FRAME_BYTES_MAX,
    JOBS,
    WorkerFailed,
    WorkerLost,
    WorkersBusy,
    frame,
    length_prefix,
    raised,
    unframe,
)
from rivven.tasks import Tasks

_log = logging.getLogger("rivven.log")

JOBS_WAITING_MAX = 4096
"""Jobs are requests in flight, which the broker bounds by memory; this bounds the list itself."""

IDLE_SECONDS = 30.0
"""Long enough to serve a steady trickle by one process, short enough that an idle broker has none."""

JOB_SECONDS_MAX = 60.0
"""A batch opens in milliseconds; a process that needs this long is stuck. Compaction has its own limit."""

_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "LANG", "LC_ALL")
"""Everything else stays out of the worker: the broker's environment may hold secrets."""


class _Job(NamedTuple):
    name: str
    args: tuple[Any, ...]
    future: asyncio.Future[Any]


class WorkerPool:
    """At most `max_workers` processes; belongs to the event loop it is used on.

    `niceness` 0-19 lowers the priority of the processes. `job_seconds_max` is the time one job may take.
    """

    def __init__(
        self,
        max_workers: int = 1,
        *,
        idle_seconds: float = IDLE_SECONDS,
        job_seconds_max: float = JOB_SECONDS_MAX,
        niceness: int = 0,
    ) -> None:
        self._max_workers = max_workers
        self._idle_seconds = idle_seconds
        self._job_seconds_max = job_seconds_max
        self._niceness = niceness
        self._tasks = Tasks()
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue(JOBS_WAITING_MAX)
        self._serving = 0
        self._idle = 0
        self._closed = False

    @property
    def processes(self) -> int:
        """Workers serving now (a starting one counts)."""
        return self._serving

    async def run(self, name: str, *args: Any) -> Any:
        """Run a function of `worker_jobs.JOBS` on plain values in a worker and return what it returns.

        Raises what the function raised (RivvenError and OSError as such), WorkerLost, WorkersBusy or
        WorkerFailed. Bytes among the arguments may be any buffer; they must stay as they are until it is
        done.
        """
        if self._closed:
            raise WorkerFailed("the workers are stopped")
        if name not in JOBS:
            raise KeyError(name)
        if self._jobs.full():
            raise WorkersBusy(f"{JOBS_WAITING_MAX} jobs are waiting for a worker")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait(_Job(name, args, future))
        if self._idle < self._jobs.qsize() and self._serving < self._max_workers:
            self._serving += 1
            self._tasks.spawn(self._serve(), f"worker {self._serving}")
        return await future

    async def close(self) -> None:
        """End every process; jobs under way or waiting fail with WorkerLost."""
        self._closed = True
        await self._tasks.cancel_all()
        while not self._jobs.empty():
            _fail(self._jobs.get_nowait(), WorkerLost("the workers are stopped"))

    async def _serve(self) -> None:
        """One worker's life: jobs in order, a new process after a dead one, the end after an idle time."""
        process: _Process | None = None
        try:
            while (job := await self._next_job()) is not None:
                if job.future.done():  # whoever asked was cancelled, and its buffers may be in use again
                    continue
                try:
                    # Copied only now: copying for all jobs as they come held the loop up for 50 ms.
                    request = frame((job.name, job.args))
                except WorkerFailed as error:
                    _fail(job, error)
                    continue
                try:
                    if process is None:
                        process = await _Process.start(self._niceness)
                    async with asyncio.timeout(self._job_seconds_max):
                        answer = await process.ask(request)
                except (OSError, EOFError, TimeoutError) as error:
                    _log.error(
                        "the worker process was lost in %s: %s", job.name, error or type(error).__name__
                    )
                    _fail(job, WorkerLost(f"the worker process was lost in {job.name}"))
                    if process is not None:
                        await process.end()
                        process = None
                except asyncio.CancelledError:
                    _fail(job, WorkerLost("the workers are stopped"))
                    raise
                else:
                    _finish(job, *answer)
        finally:
            self._serving -= 1  # before the wait below, so that a job arriving meanwhile starts a new worker
            if process is not None:
                await process.end()

    async def _next_job(self) -> _Job | None:
        if not self._jobs.empty():
            return self._jobs.get_nowait()
        self._idle += 1
        try:
            async with asyncio.timeout(self._idle_seconds):
                return await self._jobs.get()
        except TimeoutError:
            return None if self._jobs.empty() else self._jobs.get_nowait()
        finally:
            self._idle -= 1


def _finish(job: _Job, succeeded: bool, value: Any) -> None:
    if job.future.done():  # whoever asked was cancelled
        return
    if succeeded:
        job.future.set_result(value)
    else:
        job.future.set_exception(raised(*value))


def _fail(job: _Job, error: Exception) -> None:
    if not job.future.done():
        job.future.set_exception(error)


class _Process:
    """One worker process and its pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, niceness: int) -> _Process:
        """A fresh interpreter that finds the modules this one finds and inherits no file but stderr."""
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # the modules of this process only, never those of the current directory
                "-m",
                "rivven.log.worker",
                str(niceness),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        )

    async def ask(self, request: bytes) -> tuple[bool, Any]:
        """Send one framed request, return the answer. Raises OSError or EOFError when the process is gone."""
        writer, reader = self._process.stdin, self._process.stdout
        if writer is None or reader is None:
            raise EOFError("no pipes")
        writer.write(request)
        await writer.drain()
        (length,) = length_prefix.unpack(await reader.readexactly(length_prefix.size))
        if length > FRAME_BYTES_MAX:
            raise OSError(f"an answer of {length} bytes")
        succeeded, value = unframe(await reader.readexactly(length))
        return succeeded, value

    async def end(self) -> None:
        """Kill the process and wait for its end; safe when it has ended, or when this is cancelled."""
        try:
            self._process.kill()
        except ProcessLookupError:
            pass
        try:
            await asyncio.shield(self._process.wait())
        except asyncio.CancelledError:
            await self._process.wait()  # or the loop might be closed with its pipes
            raise
