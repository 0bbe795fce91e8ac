"""`StepThreads`: the log's threads, loop and timers in one thread, advanced step by step in an order a seed
decides."""

from __future__ import annotations

import random
from collections import deque

from rivven.log.threads import Job

STEPS_MAX = 1_000_000
"""Steps of one `run_until_idle`: something that never becomes idle is a bug, not a longer test."""


class _Timer:
    def __init__(self, due: float, callback: Job) -> None:
        self.due = due
        self.callback: Job | None = callback

    def cancel(self) -> None:
        self.callback = None


class StepWorker:
    """One simulated thread (whatever size was asked for): jobs in order."""

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def close(self) -> None:
        while self.jobs:
            self.jobs.popleft()()


class StepThreads:
    """Implements `rivven.log.threads.Threads`. Without `random_` the order is: loop first, then workers in
    turn."""

    def __init__(self, random_: random.Random | None = None) -> None:
        self._random = random_
        self._loop: deque[Job] = deque()
        self._workers: list[StepWorker] = []
        self._timers: list[_Timer] = []
        self._now = 0.0
        self._turn = 0

    def worker(self, name: str, size: int = 1) -> StepWorker:
        worker = StepWorker()
        self._workers.append(worker)
        return worker

    def post(self, callback: Job) -> None:
        self._loop.append(callback)

    def soon(self, callback: Job) -> None:
        self._loop.append(callback)

    def later(self, seconds: float, callback: Job) -> _Timer:
        timer = _Timer(self._now + seconds, callback)
        self._timers.append(timer)
        return timer

    def step(self) -> bool:
        """Run one callback or job; False when there is none."""
        queues = [queue for queue in (self._loop, *(worker.jobs for worker in self._workers)) if queue]
        if not queues:
            return False
        if self._random is not None:
            queue = self._random.choice(queues)
        elif self._loop:
            queue = self._loop
        else:
            self._turn += 1
            queue = queues[self._turn % len(queues)]
        queue.popleft()()
        return True

    def run_until_idle(self) -> None:
        """Run everything there is, and what follows from it. Timers wait for `advance`."""
        for _ in range(STEPS_MAX):
            if not self.step():
                return
        raise AssertionError(f"still busy after {STEPS_MAX} steps")

    def advance(self, seconds: float) -> None:
        """Let time pass: due timers run in order, each followed by everything it causes."""
        self._now += seconds
        while due := sorted(
            (t for t in self._timers if t.callback and t.due <= self._now), key=lambda t: t.due
        ):
            timer = due[0]
            self._timers.remove(timer)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
            self.run_until_idle()
        self._timers = [timer for timer in self._timers if timer.callback]
