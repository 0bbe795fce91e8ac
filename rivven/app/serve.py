"""Running a broker as a process: signals, the ready line, exit codes.

SIGTERM and the first SIGINT drain; a second SIGINT stops at once. Either phase of a stop, finishing requests
and closing, has a deadline. The ready line is one JSON object on
standard output (or in ``--ready-file``), written when every listener accepts.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from rivven.app.broker import Broker
from rivven.app.failures import ExitCode, StartFailed
from rivven.app.process import bound_allocator, raise_descriptor_limit, settle, settle_late_imports
from rivven.config.models import Config
from rivven.tasks import Tasks

_log = logging.getLogger("rivven.app")


def run(config: Config, *, config_path: Path | None = None, ready_file: Path | None = None) -> int:
    """Serve until a signal; returns the exit code."""
    try:
        return asyncio.run(_serve(config, config_path, ready_file))
    except StartFailed as failure:
        print_failure(failure)
        return failure.exit_code
    except KeyboardInterrupt:
        return ExitCode.FORCED


def print_failure(failure: StartFailed) -> None:
    """One line and a hint on standard error."""
    sys.stderr.write(f"rivven: {failure.reason}\n  hint: {failure.hint}\n")


async def _serve(config: Config, config_path: Path | None, ready_file: Path | None) -> int:
    raise_descriptor_limit()
    bound_allocator()
    broker = Broker(config, config_path=config_path)
    stop = asyncio.Event()
    _install_signals(stop)
    try:
        started = await _start(broker, stop)
    except BaseException:
        await broker.abort()
        raise
    if not started:
        _log.info("stopped before the start was complete")
        _give_up_after(config.shutdown_timeout_secs)
        await broker.abort()
        return ExitCode.OK
    settle()
    for line in broker.start_lines:
        sys.stdout.write(line + "\n")
    _announce(broker.ready_facts(), ready_file)
    await broker.start_metrics()
    settle_late_imports()
    await stop.wait()
    _log.info("stopping: finishing what is in flight")
    if not await broker.drain(config.shutdown_timeout_secs):
        _log.warning("not everything in flight was finished in %s s", config.shutdown_timeout_secs)
    _give_up_after(config.shutdown_timeout_secs)
    await broker.close()
    return ExitCode.OK


def _give_up_after(seconds: float) -> None:
    """End the process, unless it ends by itself before: a disk or a provider that never answers would keep
    it for ever. A thread of its own, for what hangs may be the loop, or threads that the interpreter
    waits for at its end."""

    def give_up() -> None:
        _log.error("not closed in %s s, given up; the next start recovers", seconds)
        logging.shutdown()
        os._exit(ExitCode.UNFINISHED)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()


async def _start(broker: Broker, stop: asyncio.Event) -> bool:
    """Start, or give up when a signal comes first: a start may wait a minute for a key provider."""
    tasks = Tasks()

    async def give_up() -> None:
        await stop.wait()
        limit.reschedule(asyncio.get_running_loop().time())

    try:
        async with asyncio.timeout(None) as limit:
            tasks.spawn(give_up(), "signals during the start")
            await broker.start()
    except TimeoutError:
        if not limit.expired():
            raise
        return False
    finally:
        await tasks.cancel_all()
    return True


def _announce(facts: dict[str, object], ready_file: Path | None) -> None:
    line = json.dumps(facts)
    if ready_file is None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        return
    # Written whole or not at all: whoever waits for the file may read it at any moment.
    partial = ready_file.with_name(f".{ready_file.name}.{os.getpid()}")
    partial.write_text(line + "\n", encoding="utf-8")
    partial.replace(ready_file)


def _install_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        if stop.is_set():
            os._exit(ExitCode.FORCED)
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, interrupted)
