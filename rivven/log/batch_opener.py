"""Opening one batch for a lookup by time: small plain ones at once, all others in a worker process.

Implements `host.BatchOpener`.
"""

from __future__ import annotations

from typing import cast

from rivven.log.threads import Threads
from rivven.log.waiting import on_worker
from rivven.log.workers import WorkerPool
from rivven.records.batch import parse_header
from rivven.records.timestamps import first_offset_with_timestamp, max_timestamp_offset, may_search_inline

JOB = "first_offset_with_timestamp"
Found = tuple[int, int] | None


class WorkerBatchOpener:
    """Over the broker's worker processes."""

    def __init__(self, workers: WorkerPool) -> None:
        self._workers = workers

    async def first_offset_with_timestamp(self, batch: bytes, timestamp: int, from_offset: int) -> Found:
        if may_search_inline(parse_header(batch)):
            return first_offset_with_timestamp(batch, timestamp, from_offset)
        return cast(Found, await self._workers.run(JOB, batch, timestamp, from_offset))

    async def max_timestamp_offset(self, batch: bytes) -> Found:
        if may_search_inline(parse_header(batch)):
            return max_timestamp_offset(batch)
        return cast(Found, await self._workers.run("max_timestamp_offset", batch))


class ThreadBatchOpener:
    """On one thread, for programs without worker processes: offline tools and tests."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._worker = threads.worker("log-open")

    async def first_offset_with_timestamp(self, batch: bytes, timestamp: int, from_offset: int) -> Found:
        return await on_worker(
            self._threads, self._worker, lambda: first_offset_with_timestamp(batch, timestamp, from_offset)
        )

    async def max_timestamp_offset(self, batch: bytes) -> Found:
        return await on_worker(self._threads, self._worker, lambda: max_timestamp_offset(batch))
