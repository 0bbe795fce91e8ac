"""The seam to threads: the log decides on the event loop and blocks on workers, and tests run both in one
thread.

A worker runs its jobs in order, one at a time per thread; a job ends by posting its result to the loop.
Nothing here knows what a job does.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from typing import Protocol

Job = Callable[[], None]

_log = logging.getLogger("rivven.log")


class Cancellable(Protocol):
    """A timer that can be stopped."""

    def cancel(self) -> None: ...


class Worker(Protocol):
    """Runs jobs off the loop, in order of submission when it has one thread."""

    def submit(self, job: Job) -> None: ...

    def close(self) -> None:
        """Run what was submitted, then end; returns when ended."""
        ...


class Threads(Protocol):
    """Where loop-owned objects get other threads and timers from."""

    def worker(self, name: str, size: int = 1) -> Worker:
        """A new worker of `size` threads; threads start with the first job."""
        ...

    def post(self, callback: Job) -> None:
        """Run a callback on the loop; callable from any thread."""
        ...

    def soon(self, callback: Job) -> None:
        """Run a callback on the loop after the current one; callable on the loop only."""
        ...

    def later(self, seconds: float, callback: Job) -> Cancellable:
        """Run a callback on the loop after a time; callable on the loop only."""
        ...


class LoopThreads:
    """Real threads beside one running event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def worker(self, name: str, size: int = 1) -> Worker:
        return ThreadWorker(name, size)

    def post(self, callback: Job) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            # The loop is closed: nobody is left to hear. Only a shutdown cut short comes here.
            _log.warning("a result arrived after the event loop had closed")

    def soon(self, callback: Job) -> None:
        self._loop.call_soon(callback)

    def later(self, seconds: float, callback: Job) -> Cancellable:
        return self._loop.call_later(seconds, callback)


class ThreadWorker:
    """Daemon threads over one queue. Its length is bounded by what submits: requests in flight and open
    partitions."""

    def __init__(self, name: str, size: int = 1) -> None:
        self._name = name
        self._size = size
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._starting = threading.Lock()

    def submit(self, job: Job) -> None:
        if self._closed:
            raise RuntimeError(f"worker {self._name} is closed")
        if len(self._threads) < self._size:
            with self._starting:
                if len(self._threads) < self._size:
                    self._start()
        self._jobs.put(job)

    def close(self) -> None:
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _start(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:  # noqa: BLE001 - a job that fails must not end the thread others depend on
                _log.exception("a job of worker %s failed", self._name)
            del job  # do not keep buffers and files alive while waiting
