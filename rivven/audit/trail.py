"""The audit trail: takes events, chains them, gives every sink the same lines.

Driver; belongs to the event loop and never blocks it: files and sockets are the sinks' own threads. Two ways
in: `event` and `decided` queue and return (data plane; a bounded backlog, and a stated policy beyond it);
`intent` and `result` return once every required sink has the record on stable storage, and raise when one
has not (administration). It decides nothing about requests.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rivven.audit.aggregation import Decisions
from rivven.audit.chain import Chain, Head, Line, Sign
from rivven.audit.events import AUDIT, EVENT_TYPES, FAILURE, LIFECYCLE, Asked, Asking, AuditEvent, Decided
from rivven.audit.requests import current_request_id
from rivven.audit.sinks import AuditUnavailable, SinkQueue
from rivven.clock import Clock
from rivven.log.threads import Cancellable, Threads

_log = logging.getLogger("rivven.audit")

PERIOD_SECONDS: Final = 60.0
"""Counts are per minute."""

CHECKPOINT_LINES: Final = 1000
"""Lines after which a signature is due even within a minute."""

INTENT_SECONDS_MAX: Final = 10.0
"""A change waits this long for the required sinks; clients give an administrative request 30 s or more."""

BEYOND_LIMIT: Final = 2
"""Where requests are held back while the backlog is full, those already running still add to it; beyond this
many times the limit their events are counted instead."""

TRAIL_SECONDS_TO_CLOSE: Final = 5.0
"""For what is queued at shutdown; a sink that does not answer must not hold the broker."""


@dataclass(frozen=True, slots=True)
class TrailSettings:
    """`types` of events that are recorded, `each` allowed decision or counts, `block` or count when
    `backlog_max` events wait for a required sink."""

    types: frozenset[str] = frozenset(EVENT_TYPES)
    each: bool = False
    block: bool = False
    backlog_max: int = 10_000


class AuditTrail:
    """See the module. Started once, closed once."""

    def __init__(
        self, queues: Sequence[SinkQueue], clock: Clock, threads: Threads, settings: TrailSettings
    ) -> None:
        self.queues = tuple(queues)
        self.lines = 0
        self.dropped = 0
        """Events counted instead of recorded, since start."""
        self._required = [queue for queue in queues if queue.required]
        self._clock = clock
        self._threads = threads
        self._settings = settings
        self._types = settings.types | {AUDIT, LIFECYCLE} if queues else frozenset()
        self._decisions = Decisions(each=settings.each)
        self._wants_decisions = "authorization" in settings.types
        self._chain: Chain | None = None
        self._sign: Sign | None = None
        self._key_id = ""
        self._unsigned = 0
        self._unsigned_since_ms = 0
        self._to_sign: list[AuditEvent] = []
        self._pending: deque[tuple[AuditEvent, int]] = deque()
        self._scheduled = False
        self._gap: Counter[str] = Counter()
        self._room_waiters: dict[Callable[[], None], None] = {}
        self._timer: Cancellable | None = None
        for queue in queues:
            queue.record = self.event
            queue.progressed = self._progressed

    # -- life ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the sinks and continue the chain. Raises what a required sink raised."""
        opening = [queue.open() for queue in self.queues]
        found = [await future for queue, future in zip(self.queues, opening, strict=True) if queue.required]
        heads = [opened.head for opened in found if opened.head is not None]
        self._chain = Chain(max(heads, key=lambda head: head.next_sequence, default=Head()))
        for opened in found:
            for event in reversed(opened.events):
                self._pending.appendleft((event, self._clock.now_ms()))
        self._timer = self._threads.later(PERIOD_SECONDS, self._period)
        self._drain()

    def sign_with(self, sign: Sign, key_id: str) -> None:
        """From now on checkpoints are signed; comes after start, because loading the key takes a while."""
        self._sign, self._key_id = sign, key_id
        waiting, self._to_sign = self._to_sign, []
        for event in waiting:
            self._take(event)
        self._checkpoint()

    async def close(self, last: AuditEvent | None = None) -> None:
        """Record what was counted and `last`, sign, and deliver what is queued."""
        if self._timer is not None:
            self._timer.cancel()
        if self._chain is not None:
            self._end_period()
            if last is not None:
                self._take(last)
            self._drain()
            self._checkpoint()
        # All at once: several that hang must not add up.
        ends = await asyncio.gather(*(queue.close(TRAIL_SECONDS_TO_CLOSE) for queue in self.queues))
        left = [queue.name for queue, delivered in zip(self.queues, ends, strict=True) if not delivered]
        if left:
            _log.error("audit lines were left undelivered: %s", ", ".join(left))

    @property
    def head(self) -> Head:
        """Where the chain stands."""
        return self._chain.head if self._chain is not None else Head()

    # -- data plane ------------------------------------------------------------------------------------------

    def event(self, event: AuditEvent) -> None:
        """Queue an event; never waits. Beyond the backlog it is counted and a gap record will say so."""
        if event.event_type not in self._types:
            return
        backlog = self.backlog
        if backlog >= self._settings.backlog_max and event.event_type != AUDIT:
            beyond = self._settings.backlog_max * BEYOND_LIMIT
            if not self._settings.block or backlog >= beyond:
                self._gap[event.event_type] += 1
                self.dropped += 1
                return
        self._take(event)

    def decided(self, subject: Asking, action: Asked, decision: Decided) -> None:
        """Count an authorisation decision; denials and first uses become events at once."""
        if not self._wants_decisions:
            return
        event = self._decisions.decided(subject, action, decision, current_request_id)
        if event is not None:
            self.event(event)
            if self._decisions.full:
                self._end_period()

    @property
    def backlog(self) -> int:
        """Events that a required sink has not accepted yet."""
        return len(self._pending) + max((len(queue) for queue in self._required), default=0)

    @property
    def congested(self) -> bool:
        """Whether requests must wait (policy `block` only)."""
        return self._settings.block and self.backlog >= self._settings.backlog_max

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call back once when the backlog has room again, however often it was asked."""
        self._room_waiters[callback] = None

    # -- administration --------------------------------------------------------------------------------------

    async def intent(self, *events: AuditEvent) -> None:
        """Return once the events are on stable storage in every required sink; raises AuditUnavailable.

        What they announce must happen after this returns, and not at all when it raises.
        """
        await self._durably(events)

    async def result(self, *events: AuditEvent) -> None:
        """As `intent`, for what happened."""
        await self._durably(events)

    async def _durably(self, events: Sequence[AuditEvent]) -> None:
        wanted = [event for event in events if event.event_type in self._types]
        if not wanted:
            return
        if self._chain is None:
            raise AuditUnavailable("the audit trail is not open")
        if self.backlog >= self._settings.backlog_max * BEYOND_LIMIT:
            raise AuditUnavailable("the audit trail is full")
        for event in wanted:
            self._take(event)
        self._drain(durable=True)
        await self._stored(self._chain.head.next_sequence - 1)

    async def _stored(self, sequence: int) -> None:
        try:
            async with asyncio.timeout(INTENT_SECONDS_MAX):
                for queue in self._required:
                    await queue.durable(sequence)
        except TimeoutError:
            raise AuditUnavailable("the audit trail did not record this change in time") from None

    async def settled(self) -> Head:
        """The head, once every required sink has it on stable storage; raises AuditUnavailable."""
        self._drain(durable=True)
        head = self.head
        await self._stored(head.next_sequence - 1)
        return head

    # -- chaining --------------------------------------------------------------------------------------------

    def _take(self, event: AuditEvent) -> None:
        if event.signed and self._sign is None:
            # What it announces - the removal of files - waits with it. Each sink has one under way at most.
            self._to_sign.append(event)
            return
        at_ms = event.at_ms if event.at_ms is not None else self._clock.now_ms()
        self._pending.append((event, at_ms))
        if not self._scheduled and self._chain is not None:
            self._scheduled = True
            self._threads.soon(self._drain)

    def _drain(self, *, durable: bool = False) -> None:
        """Chain everything pending and hand it to the sinks."""
        self._scheduled = False
        chain = self._chain
        if chain is None:
            return
        if self._unsigned and self._clock.now_ms() - self._unsigned_since_ms > PERIOD_SECONDS * 1000:
            self._checkpoint()  # the machine slept, or its clock was set
        lines: list[Line] = []
        if self._gap:
            lines.append(self._gap_line(chain))
        pending = self._pending
        while pending:
            event, at_ms = pending.popleft()
            lines.append(chain.append(event, at_ms, self._sign))
        self._hand_out(lines, durable=durable)
        if self._unsigned >= CHECKPOINT_LINES:
            self._checkpoint()

    def _gap_line(self, chain: Chain) -> Line:
        gap, self._gap = self._gap, Counter()
        details = {"count": sum(gap.values()), **{f"of_{name}": count for name, count in sorted(gap.items())}}
        return chain.append(AuditEvent(AUDIT, "gap", result=FAILURE, details=details), self._clock.now_ms())

    def _hand_out(self, lines: Sequence[Line], *, durable: bool) -> None:
        if lines:
            self.lines += len(lines)
            self._unsigned_since_ms = self._unsigned_since_ms if self._unsigned else self._clock.now_ms()
            self._unsigned += len(lines)
        for queue in self.queues:
            queue.offer(lines, durable=durable)

    def _checkpoint(self) -> None:
        if self._sign is None or self._chain is None or not self._unsigned:
            return
        line = self._chain.checkpoint(self._clock.now_ms(), self._sign, self._key_id)
        self._hand_out([line], durable=False)
        self._unsigned = 0

    def _period(self) -> None:
        self._end_period()
        self._drain()
        self._checkpoint()
        self._timer = self._threads.later(PERIOD_SECONDS, self._period)

    def _end_period(self) -> None:
        for event in self._decisions.counts():
            self.event(event)

    def _progressed(self) -> None:
        if self._gap and self.backlog < self._settings.backlog_max:
            self._drain()
        if self._room_waiters and not self.congested:
            waiters, self._room_waiters = self._room_waiters, {}
            for waiter in waiters:
                waiter()
