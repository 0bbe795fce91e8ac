"""Running a broker as a process: signals, the ready line, exit codes.

SIGTERM and the first SIGINT drain; a second SIGINT stops at once. The ready line is one JSON object on
standard output (or in ``--ready-file``), written when every listener accepts.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path

from rivven.app.broker import Broker
from rivven.app.failures import ExitCode, StartFailed
from rivven.app.process import raise_descriptor_limit, settle
from rivven.config.models import Config

_log = logging.getLogger("rivven.app")


def run(config: Config, *, ready_file: Path | None = None, show: list[str] | None = None) -> int:
    """Serve until a signal; returns the exit code. `show` are lines printed once, before the ready line."""
    try:
        return asyncio.run(_serve(config, ready_file, show or []))
    except StartFailed as failure:
        print_failure(failure)
        return failure.exit_code
    except KeyboardInterrupt:
        return ExitCode.FORCED


def print_failure(failure: StartFailed) -> None:
    """One line and a hint on standard error."""
    sys.stderr.write(f"rivven: {failure.reason}\n  hint: {failure.hint}\n")


async def _serve(config: Config, ready_file: Path | None, show: list[str]) -> int:
    raise_descriptor_limit()
    broker = Broker(config)
    stop = asyncio.Event()
    _install_signals(stop)
    try:
        await broker.start()
    except BaseException:
        await broker.abort()
        raise
    settle()
    for line in show:
        sys.stdout.write(line + "\n")
    _announce(broker.ready_facts(), ready_file)
    await broker.start_metrics()
    await stop.wait()
    _log.info("stopping: finishing what is in flight")
    clean = await broker.stop(config.shutdown_timeout_secs)
    if not clean:
        _log.warning("not everything in flight was finished in %s s", config.shutdown_timeout_secs)
    return ExitCode.OK


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
