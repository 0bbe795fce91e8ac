"""The seam to where audit lines go, and the queue in front of each sink.

Every sink gets the same lines in the same order, through a queue of its own, so that a slow or broken one
holds nobody else up. A required sink is never skipped: what it cannot take stays queued (the trail bounds
that) and administrative changes wait for it or are refused. Another sink that falls behind misses lines, and
the chain says which. A sink that fails gets the same lines again; whoever reads it may see a line twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from rivven.audit.chain import Head, Line
from rivven.audit.events import AUDIT, FAILURE, AuditEvent, Fact
from rivven.errors import ErrorCode, RivvenError
from rivven.log.threads import Threads

_log = logging.getLogger("rivven.audit")

BATCH_LINES_MAX: Final = 500
BATCH_BYTES_MAX: Final = 1 << 20
"""One delivery: large enough to share an fsync, small enough to be done in milliseconds."""

RETRY_SECONDS: Final = 1.0
"""Between attempts at a sink that failed; an administrator who repaired it waits no longer than that."""


class AuditUnavailable(RivvenError):
    """A required sink did not take a record, so what it should have recorded must not happen.

    POLICY_VIOLATION: clients do not retry it, and the policy is that nothing is changed unrecorded.
    """

    code = ErrorCode.POLICY_VIOLATION


class SinkFailed(Exception):
    """A sink did not accept lines; it may accept them later. One line for the operator, without secrets."""


class SinkBroken(SinkFailed):
    """A sink that must not be tried again before a restart: a failed fsync."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What a sink found: the head of the chain it holds (None: it holds none) and what is to be recorded."""

    head: Head | None = None
    events: tuple[AuditEvent, ...] = ()


class AuditSink(Protocol):
    """A place for lines. Called on a thread of its own, one call at a time; may block."""

    def open(self) -> Opened:
        """Get ready; raises SinkFailed or OSError and is then called again."""
        ...

    def write(self, lines: Sequence[Line], durable: bool) -> Sequence[AuditEvent]:
        """Returning is acceptance, on stable storage if `durable`; returns what the sink wants recorded.

        Raises SinkFailed or OSError; the same lines come again.
        """
        ...

    def close(self) -> None:
        """Give everything back; never raises."""
        ...


OpenDone = Callable[[Opened | Exception], None]
WriteDone = Callable[[Sequence[AuditEvent] | Exception], None]


class Delivery(Protocol):
    """How a queue reaches its sink; called on the loop, calls back on the loop."""

    def open(self, done: OpenDone) -> None: ...
    def write(self, lines: Sequence[Line], durable: bool, done: WriteDone) -> None: ...
    async def close(self) -> None: ...


class ThreadDelivery:
    """An `AuditSink` on a thread."""

    def __init__(self, name: str, sink: AuditSink, threads: Threads) -> None:
        self._sink = sink
        self._threads = threads
        self._worker = threads.worker(f"audit-{name}")

    def open(self, done: OpenDone) -> None:
        def job() -> None:
            outcome: Opened | Exception
            try:
                outcome = self._sink.open()
            except Exception as error:  # noqa: BLE001 - whatever a sink raises is its failure, not the thread's
                outcome = error
            self._threads.post(partial(done, outcome))

        self._worker.submit(job)

    def write(self, lines: Sequence[Line], durable: bool, done: WriteDone) -> None:
        def job() -> None:
            outcome: Sequence[AuditEvent] | Exception
            try:
                outcome = self._sink.write(lines, durable)
            except Exception as error:  # noqa: BLE001 - as above
                outcome = error
            self._threads.post(partial(done, outcome))

        self._worker.submit(job)

    async def close(self) -> None:
        self._worker.submit(self._sink.close)
        self._worker.close()


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """`lines_max` queued for a sink that is not required; `sync_seconds` until written lines are synced."""

    lines_max: int = 10_000
    sync_seconds: float = 1.0


class SinkQueue:
    """One sink's queue; belongs to the event loop.

    `progressed` is called whenever lines were accepted, `record` with what the sink wants recorded.
    """

    def __init__(
        self, name: str, delivery: Delivery, threads: Threads, *, required: bool, limits: QueueLimits
    ) -> None:
        self.name = name
        self.required = required
        self.failure = ""
        """Why the last attempt that ended failed; empty while all is well."""
        self.failures = 0
        self.missed = 0
        """Lines this sink never got, since start."""
        self.progressed: Callable[[], None] = lambda: None
        self.record: Callable[[AuditEvent], None] = lambda _event: None
        self._delivery = delivery
        self._threads = threads
        self._limits = limits
        self._waiting: deque[Line] = deque()
        self._flying: list[Line] = []
        self._busy = False
        self._opened: asyncio.Future[Opened] | None = None
        self._broken = False
        self._resting = False
        """Between a failed attempt and the next."""
        self._closing = False
        self._accepted_below = 0
        self._durable_below = 0
        self._durable_wanted = 0
        self._sync_due = False
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._missing: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self._waiting) + len(self._flying)

    # -- opening and closing ---------------------------------------------------------------------------------

    def open(self) -> asyncio.Future[Opened]:
        """Start to open the sink, again and again if it is not required; the future is for who waits."""
        self._opened = asyncio.get_running_loop().create_future()
        self._try_open()
        return self._opened

    def _try_open(self) -> None:
        if not self._closing:
            self._busy = True
            self._delivery.open(self._open_ended)

    def _open_ended(self, outcome: Opened | Exception) -> None:
        self._busy = False
        opened = self._opened
        assert opened is not None
        if isinstance(outcome, Exception):
            self._failed(outcome)
            if self.required and not opened.done():
                opened.set_exception(outcome)
                return
            self._threads.later(RETRY_SECONDS, self._try_open)
            return
        self.failure = ""
        self._resting = False
        if not opened.done():
            opened.set_result(outcome)
        self._start()

    async def close(self, deadline_s: float) -> bool:
        """Deliver what is queued within the deadline, then end; False when something was left."""
        self._durable_wanted = max(self._durable_wanted, self._next_below())
        self._start()
        try:
            async with asyncio.timeout(deadline_s):
                await self.durable(self._durable_wanted - 1)
        except (TimeoutError, AuditUnavailable):
            pass
        self._closing = True
        left = len(self)
        await self._delivery.close()
        return not left

    def _next_below(self) -> int:
        last = self._waiting[-1] if self._waiting else self._flying[-1] if self._flying else None
        return self._accepted_below if last is None else last.sequence + 1

    # -- lines -----------------------------------------------------------------------------------------------

    def offer(self, lines: Sequence[Line], *, durable: bool) -> None:
        """Queue lines; `durable` asks for stable storage at once."""
        if self.required:
            self._waiting.extend(lines)
        else:
            room = max(0, self._limits.lines_max - len(self))
            self._waiting.extend(lines[:room])
            if len(lines) > room:
                self._miss(lines[room:])
        if durable:
            self._durable_wanted = max(self._durable_wanted, self._next_below())
        self._start()

    def _miss(self, lines: Sequence[Line]) -> None:
        self.missed += len(lines)
        first = self._missing[0] if self._missing else lines[0].sequence
        self._missing = (first, lines[-1].sequence)

    async def durable(self, sequence: int) -> None:
        """Wait until the line is on stable storage; raises AuditUnavailable when an attempt fails."""
        if sequence < self._durable_below:
            return
        if self.failure:
            raise self._unavailable()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((sequence, future))
        await future

    def _unavailable(self) -> AuditUnavailable:
        return AuditUnavailable("the audit trail cannot record this change")

    # -- delivering ------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._busy or self._resting or self._opened is None or not self._opened.done() or self._closing:
            return
        batch, size = self._flying, 0
        while self._waiting and len(batch) < BATCH_LINES_MAX and size < BATCH_BYTES_MAX:
            line = self._waiting.popleft()
            size += len(line.data)
            batch.append(line)
        wanted = self._durable_wanted > self._durable_below
        last = batch[-1].sequence + 1 if batch else self._accepted_below
        durable = wanted and last >= min(self._durable_wanted, self._next_below())
        if not batch and not durable:
            return
        self._busy = True
        self._delivery.write(tuple(batch), durable, partial(self._write_ended, last, durable))

    def _write_ended(self, below: int, durable: bool, outcome: Sequence[AuditEvent] | Exception) -> None:
        self._busy = False
        if isinstance(outcome, Exception):
            self._failed(outcome)
            if not self._broken and not self._closing:
                self._threads.later(RETRY_SECONDS, self._retry)
            return
        self.failure = ""
        self._flying = []
        self._accepted_below = below
        if durable:
            self._durable_below = below
            self._wake()
        elif not self._sync_due:
            self._sync_due = True
            self._threads.later(self._limits.sync_seconds, self._sync)
        for event in outcome:
            self.record(event)
        self._report_missing()
        self.progressed()
        self._start()

    def _retry(self) -> None:
        self._resting = False
        self._start()

    def _sync(self) -> None:
        self._sync_due = False
        if self._durable_below < self._accepted_below:
            self._durable_wanted = max(self._durable_wanted, self._accepted_below)
            self._start()

    def _wake(self) -> None:
        still = []
        for sequence, future in self._waiters:
            if sequence >= self._durable_below:
                still.append((sequence, future))
            elif not future.done():
                future.set_result(None)
        self._waiters = still

    def _report_missing(self) -> None:
        if self._missing is not None and len(self._waiting) < self._limits.lines_max // 2:
            first, last = self._missing
            self._missing = None
            details: dict[str, Fact] = {
                "sink": self.name,
                "first": first,
                "last": last,
                "count": last - first + 1,
            }
            self.record(AuditEvent(AUDIT, "sink_gap", f"sink:{self.name}", FAILURE, details=details))

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        self._resting = True
        self._broken = isinstance(error, SinkBroken)
        if not self.failure:
            _log.error("audit sink %s failed: %s", self.name, _reason(error))
        self.failure = _reason(error)
        waiters, self._waiters = self._waiters, []
        for _, future in waiters:
            if not future.done():
                future.set_exception(self._unavailable())


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) if isinstance(error, SinkFailed) else f"{type(error).__name__}: {error}"
