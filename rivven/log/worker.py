"""A worker process: runs jobs one after another until its standard input ends. Started by `workers`.

It loops over records so that no thread of the broker has to (one busy thread beside the event loop takes an
echo from 28 µs to 10 ms). A thread watches standard input, so the process ends at once with its broker even
in the middle of a job: an orphan must not go on writing into a data directory that a new broker has opened.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import traceback
from typing import BinaryIO

from rivven.log.worker_jobs import FRAME_BYTES_MAX, failure, find_job, frame, length_prefix, unframe


def main() -> None:
    """Serve jobs from standard input; results leave by what was standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the broker, which ends us when it is done
    os.nice(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    results = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever prints goes to the log, not into the pipe
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, jobs), name="receive", daemon=True).start()
    while True:
        _write(results, run_job(jobs.get()))


def run_job(request: bytes) -> bytes:
    """The framed answer to one request: (True, result) or (False, failure)."""
    name, arguments = unframe(request)
    try:
        return frame((True, find_job(name)(*arguments)))
    except Exception as error:  # noqa: BLE001 - whatever a job raises is its answer
        answer = failure(error)
        if answer[0] == "unexpected":
            traceback.print_exc()
        return frame((False, answer))


def _receive(stream: BinaryIO, jobs: queue.SimpleQueue[bytes]) -> None:
    """Runs on its own thread; at most one job is under way, so the queue never holds more than the next."""
    while True:
        prefix = stream.read(length_prefix.size)
        if len(prefix) < length_prefix.size:
            os._exit(0)
        (length,) = length_prefix.unpack(prefix)
        if length > FRAME_BYTES_MAX:
            os._exit(1)
        body = stream.read(length)
        if len(body) < length:
            os._exit(0)
        jobs.put(body)


def _write(results: BinaryIO, answer: bytes) -> None:
    view = memoryview(answer)
    try:
        while view:
            view = view[results.write(view) :]
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()
