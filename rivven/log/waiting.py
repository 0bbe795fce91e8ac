"""From callbacks of threads and commit rounds to something a coroutine can await."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from rivven.log.host import Host
from rivven.log.threads import Threads, Worker

T = TypeVar("T")


async def on_worker(threads: Threads, worker: Worker, function: Callable[[], T]) -> T:
    """Run a blocking function on a worker; its exception is raised here. It runs even if the waiter is
    cancelled."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def job() -> None:
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - it is raised in the waiter
            threads.post(partial(_fail, future, error))
        else:
            threads.post(partial(_succeed, future, result))

    worker.submit(job)
    return await future


async def round_end(host: Host) -> None:
    """Return when the running commit round, or else the next, has ended. Something must be dirty."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    host.committer.after_round(partial(_succeed, future, None))
    await future


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
