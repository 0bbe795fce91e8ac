"""Drives one machine: journals what it decides, replies after commit, wakes it in time.

Two instances of the machine exist. The *speculative* one has seen every decision and is all that `decide`
looks at; the *committed* one has seen only what the journal made durable and is what everybody else reads.
The runner takes no decision of its own and performs no effect: listeners do, after commit.

    submit -> decide (speculative) -> journal.append -> apply to speculative
           -> [durable] apply to committed -> listeners -> replies

Replies leave in the order of their commands' journal position: an answer without events of its own still
waits for the commits before it, because the state it speaks of may depend on them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from rivven.clock import Clock
from rivven.errors import RivvenError
from rivven.machine.journal import Journal, JournalCorrupt
from rivven.machine.state_machine import JournalRecord, MachineStopped, Outcome, StateMachine, Wake
from rivven.tasks import Tasks

_log = logging.getLogger("rivven.machine")

M = TypeVar("M", bound=StateMachine)

WAITING_MAX = 100_000
"""Tickets open at once in one machine. A ticket is a request in flight, which connections bound far below
this; beyond it something does not answer, and refusing is better than growing."""

RETRY_WAKE_MS = 1_000
"""Pause before a machine is woken after its journal failed, so that a deadline which wants to journal an
event does not spin on a dead disk."""

LOAD_SLICE = 2_000
"""Records replayed per turn of the event loop at start (about 10 ms)."""


class _Entry:
    """One decided command on its way to commit."""

    __slots__ = ("durable", "events", "replies")

    def __init__(self, outcome: Outcome, durable: asyncio.Future[None] | None) -> None:
        self.events = outcome.events
        self.replies = outcome.replies
        self.durable = durable


class Runner(Generic[M]):
    """Owns a machine and its journal; belongs to the event loop."""

    def __init__(
        self, machine_factory: Callable[[], M], journal: Journal, clock: Clock, tasks: Tasks
    ) -> None:
        self._factory = machine_factory
        self._journal = journal
        self._clock = clock
        self._tasks = tasks
        self.committed: M = machine_factory()
        """What is durable. Read it without waiting; never change it."""
        self.on_commit: list[Callable[[tuple[Any, ...]], None]] = []
        """Called with the events of a command once they are in `committed`, before its replies leave. A
        listener starts effects; it must not submit."""
        self._speculative: M = machine_factory()
        self._entries: deque[_Entry] = deque()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._next_ticket = 0
        self._running = False
        self._compacting = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0

    async def start(self) -> None:
        """Replay the journal, then give the machine its first `Wake`.

        Raises JournalCorrupt for a record the machine cannot read, and what the journal raises.
        """
        count = 0
        async for record in self._journal.load():
            try:
                event = self.committed.decode(record)
            except ValueError as error:
                raise JournalCorrupt(f"record {count} of the journal: {error}") from error
            if event is not None:
                self.committed.apply(event)
                self._speculative.apply(event)
            count += 1
            if count % LOAD_SLICE == 0:
                await asyncio.sleep(0)
        self._running = True
        self.wake()

    @property
    def pending(self) -> int:
        """Commands decided but not yet committed."""
        return len(self._entries)

    def submit(self, command: Any) -> asyncio.Future[Any]:
        """Decide a command now; the future gets its reply when that is due.

        Fails with the RivvenError the machine replied, with the journal's error, or with MachineStopped.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if not self._running or len(self._waiting) >= WAITING_MAX:
            future.set_exception(MachineStopped("this broker is not ready for the request"))
            return future
        self._catch_up()
        ticket = self._next_ticket
        self._next_ticket = ticket + 1
        self._waiting[ticket] = future
        self._decide(command, ticket)
        return future

    def wake(self) -> None:
        """Give the machine a `Wake` now."""
        if not self._running:
            return
        self._cancel_timer()
        self._catch_up()
        decided = False
        try:
            self._decide(Wake(), None)
            decided = True
        finally:
            if not decided:  # a bug in the machine must not stop its clock as well
                self._schedule(self._clock.now_ms() + RETRY_WAKE_MS)

    async def close(self) -> None:
        """Refuse new commands, wait for what is in flight, fail who still waits, close the journal."""
        self._running = False
        self._cancel_timer()
        in_flight = [entry.durable for entry in self._entries if entry.durable is not None]
        if in_flight:
            await asyncio.wait(in_flight)
            await asyncio.sleep(0)  # their callbacks run before the journal closes
        self._fail_waiting(MachineStopped("the broker is shutting down"))
        await self._journal.close()

    # -- deciding --------------------------------------------------------------------------------------------

    def _decide(self, command: Any, ticket: int | None) -> None:
        try:
            outcome = self._speculative.decide(command, ticket, self._clock.now_ms())
        except RivvenError as error:
            if ticket is None:
                raise
            outcome = Outcome(replies=((ticket, error),))
        except BaseException:
            if ticket is not None:
                self._waiting.pop(ticket, None)
            raise
        if outcome.events:
            self._journal_events(outcome)
            return
        self._apply_speculative(outcome)
        if self._entries:
            if outcome.replies:
                self._entries.append(_Entry(outcome, None))
        else:
            self._reply(outcome.replies)

    def _journal_events(self, outcome: Outcome) -> None:
        encode = self._speculative.encode
        try:
            durable = self._journal.append([encode(event) for event in outcome.events])
        except RivvenError as error:
            self._journal_failed(error)
            return
        self._entries.append(_Entry(outcome, durable))
        self._apply_speculative(outcome)
        durable.add_done_callback(self._progressed)

    def _apply_speculative(self, outcome: Outcome) -> None:
        apply = self._speculative.apply
        for event in outcome.events:
            apply(event)
        for event in outcome.volatile:
            apply(event)
        if outcome.wake_at is not None:
            self._schedule(outcome.wake_at)

    # -- committing ------------------------------------------------------------------------------------------

    def _progressed(self, durable: asyncio.Future[None]) -> None:
        _failure(durable)  # an entry already thrown away: its error is looked at, or asyncio would report it
        self._settle()

    def _catch_up(self) -> None:
        """Settle an append that is done but whose callback is still to come.

        Had it failed, deciding now would build on what is lost.
        """
        head = self._entries[0].durable if self._entries else None
        if head is not None and head.done():
            self._settle()

    def _settle(self) -> None:
        """Commit what is durable, in order; forget everything if something failed."""
        entries = self._entries
        while entries:
            entry = entries[0]
            if entry.durable is not None:
                if not entry.durable.done():
                    return
                error = _failure(entry.durable)
                if error is not None:
                    self._journal_failed(error)
                    return
            entries.popleft()
            self._commit(entry)
        if self._journal.compaction_due and self._running and not self._compacting:
            self._compacting = True
            self._tasks.spawn(self._compact(), "journal compaction")

    def _commit(self, entry: _Entry) -> None:
        try:
            if entry.events:
                apply = self.committed.apply
                for event in entry.events:
                    apply(event)
                for listener in self.on_commit:
                    listener(entry.events)
        finally:
            self._reply(entry.replies)

    def _reply(self, replies: tuple[tuple[int, Any], ...]) -> None:
        for ticket, value in replies:
            future = self._waiting.pop(ticket, None)
            if future is None or future.done():
                continue  # the asker has gone
            if isinstance(value, BaseException):
                future.set_exception(value)
            else:
                future.set_result(value)

    async def _compact(self) -> None:
        try:
            if self._entries:
                return  # the next commit that leaves nothing in flight tries again
            await self._journal.compact(self._encoded_snapshot())
        finally:
            self._compacting = False

    def _encoded_snapshot(self) -> Iterator[JournalRecord]:
        machine = self.committed
        events = list(machine.snapshot())  # events are immutable: a consistent image, encoded at leisure
        return (machine.encode(event) for event in events)

    # -- failing ---------------------------------------------------------------------------------------------

    def _journal_failed(self, error: RivvenError) -> None:
        """Forget every decision that is not committed and everybody who waits for one."""
        _log.error("journal failed, %d commands in flight are refused: %s", len(self._entries), error)
        self._entries.clear()
        self._speculative = self._factory()
        for event in self.committed.snapshot():
            self._speculative.apply(event)
        self._fail_waiting(error)
        self._cancel_timer()
        if self._running:
            self._schedule(self._clock.now_ms() + RETRY_WAKE_MS)

    def _fail_waiting(self, error: BaseException) -> None:
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(error)

    # -- time ------------------------------------------------------------------------------------------------

    def _schedule(self, wake_at: int) -> None:
        if not self._running or (self._timer is not None and self._timer_at <= wake_at):
            return
        self._cancel_timer()
        delay_ms = max(1, wake_at - self._clock.now_ms())
        self._timer_at = wake_at
        self._timer = asyncio.get_running_loop().call_later(delay_ms / 1000, self.wake)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _failure(durable: asyncio.Future[None]) -> RivvenError | None:
    """Why an append failed, None if it did not."""
    if durable.cancelled():
        return MachineStopped("the broker is shutting down")
    error = durable.exception()
    if error is None or isinstance(error, RivvenError):
        return error
    _log.error("the journal raised what it must not", exc_info=error)
    return MachineStopped("the journal failed")
