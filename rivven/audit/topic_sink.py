"""The topic sink: every line a record of an internal topic of this broker, by default ``__rivven_audit``.

Driver on the event loop: it appends through the partition itself, so no audit event follows from an audit
event. Clients read the topic with an ordinary grant and can never write to it. It takes lines once the broker
has its topic (`connect`); until then they wait in the queue. It holds no chain of its own: what a crash kept
from it is said when it is opened, from the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from rivven.audit.chain import Line
from rivven.audit.events import AUDIT, FAILURE, AuditEvent, Fact
from rivven.audit.sinks import OpenDone, Opened, SinkFailed, WriteDone
from rivven.clock import Clock
from rivven.errors import RivvenError
from rivven.records.batch import build_batch
from rivven.records.record import Record

BATCH_BYTES_MAX: Final = 512 << 10
"""Kafka's consumers read with limits of about 1 MiB; a line alone is far smaller."""


class Store(Protocol):
    """What of a partition the sink needs; `replication.partition.Partition` is one."""

    def append_internal(self, batch: bytearray, now_ms: int) -> int: ...
    def when_committed(self, last_offset: int, callback: Callable[[RivvenError | None], None]) -> None: ...


class TopicDelivery:
    """Implements `Delivery`; belongs to the event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._store: Store | None = None
        self._held: tuple[Sequence[Line], bool, WriteDone] | None = None
        self._last_there: int | None = None

    def connect(self, store: Store, last_there: int | None) -> None:
        """The partition is there; `last_there` is the number of the last line in it, None without one."""
        self._store = store
        self._last_there = last_there
        held, self._held = self._held, None
        if held is not None:
            self.write(*held)

    def open(self, done: OpenDone) -> None:
        done(Opened())  # lines wait in `write` for the topic

    def write(self, lines: Sequence[Line], durable: bool, done: WriteDone) -> None:
        store = self._store
        if store is None:
            self._held = (lines, durable, done)  # the queue has one delivery under way at most
            return
        if not lines:
            done(())  # what was accepted is as durable as the topic's flush settings make it
            return
        events = self._missed(lines[0].sequence)
        last_offset = -1
        try:
            for batch in _batches(lines, self._clock.now_ms()):
                last_offset = store.append_internal(batch, self._clock.now_ms())
        except RivvenError as error:
            done(SinkFailed(f"topic: {error}"))
            return

        def committed(error: RivvenError | None) -> None:
            done(events if error is None else SinkFailed(f"topic: {error}"))

        store.when_committed(last_offset, committed)

    async def close(self) -> None:
        self._store = None

    def _missed(self, first: int) -> tuple[AuditEvent, ...]:
        """Said once, with the first lines: the topic ends before them because a crash came in between."""
        last, self._last_there = self._last_there, None
        if last is None or first <= last + 1:
            return ()
        details: dict[str, Fact] = {
            "sink": "topic",
            "first": last + 1,
            "last": first - 1,
            "count": first - last - 1,
        }
        return (AuditEvent(AUDIT, "sink_gap", "sink:topic", FAILURE, details=details),)


def _batches(lines: Sequence[Line], now_ms: int) -> list[bytearray]:
    batches: list[bytearray] = []
    records: list[Record] = []
    size = 0
    for line in lines:
        if records and size + len(line.data) > BATCH_BYTES_MAX:
            batches.append(build_batch(records))
            records, size = [], 0
        records.append(Record(len(records), now_ms, None, line.data))
        size += len(line.data)
    batches.append(build_batch(records))
    return batches
