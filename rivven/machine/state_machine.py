"""What a machine is: commands in, events and replies out, no effects.

Pure. A machine holds state and changes it only in `apply`; time, entropy and tickets are parameters. It must
not await, log, read clocks or touch files (architecture section 3).

Two kinds of events leave `decide`: *durable* ones are journaled and replayed at start; *volatile* ones
change the deciding state only (heartbeats, deadlines, waiting members) and are lost on restart or journal
failure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from rivven.errors import ErrorCode, RivvenError


class JournalRecord(NamedTuple):
    """One durable event as bytes; a null value is a tombstone for its key."""

    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command leads to.

    `events` are applied before `volatile`. `replies` are (ticket, value) pairs: one command may answer any
    number of waiting tickets, each exactly once; a value that is an exception fails its ticket. `wake_at`
    asks for a `Wake` command no later than that moment (wall ms); an early wake is harmless, None asks for
    none.
    """

    events: tuple[Any, ...] = ()
    volatile: tuple[Any, ...] = ()
    replies: tuple[tuple[int, Any], ...] = ()
    wake_at: int | None = None


@dataclass(frozen=True, slots=True)
class Wake:
    """The command the runner gives a machine at its `wake_at`, once after start and once after a rebuild.

    It has no ticket. The machine must answer with the `wake_at` of its next deadline.
    """


class StateMachine(Protocol):
    """Decides commands and applies events; see the module text for what it must not do."""

    def decide(self, command: Any, ticket: int | None, now_ms: int) -> Outcome:
        """Judge a command against the present state without changing it.

        A raised RivvenError is the reply to `ticket`. Unknown commands are programming errors.
        """
        ...

    def apply(self, event: Any) -> None:
        """Change the state; the only mutator. Must succeed for every event `decide` or `snapshot` gave."""
        ...

    def snapshot(self) -> Iterable[Any]:
        """Durable events that recreate the durable part of this state in an empty machine."""
        ...

    def encode(self, event: Any) -> JournalRecord:
        """A durable event as a record."""
        ...

    def decode(self, record: JournalRecord) -> Any | None:
        """The event of a record, None for one without meaning any more. Raises ValueError if unreadable."""
        ...


class MachineStopped(RivvenError):
    """The machine is not running: the broker shuts down, or its journal could not be read."""

    code = ErrorCode.COORDINATOR_NOT_AVAILABLE
