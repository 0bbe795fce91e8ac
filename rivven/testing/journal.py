"""A journal in memory whose commits and failures a test decides. Keeps the promises of
`machine.journal.Journal`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

from rivven.machine.journal import JournalFailed
from rivven.machine.state_machine import JournalRecord


class MemoryJournal:
    """Commits at once, or with `manual=True` when `commit()` is called.

    `records` holds what is durable and survives a "restart": give the same list to the next journal.
    """

    def __init__(
        self,
        records: list[JournalRecord] | None = None,
        *,
        manual: bool = False,
        compaction_bound: int | None = None,
    ) -> None:
        self.records: list[JournalRecord] = [] if records is None else records
        self.in_flight: list[tuple[list[JournalRecord], asyncio.Future[None]]] = []
        self.compactions = 0
        self.closed = False
        self._manual = manual
        self._compaction_bound = compaction_bound

    async def load(self) -> AsyncIterator[JournalRecord]:
        for record in list(self.records):
            yield record

    def append(self, records: Sequence[JournalRecord]) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.in_flight.append((list(records), future))
        if not self._manual:
            self.commit()
        return future

    def commit(self, count: int | None = None) -> None:
        """Make the `count` oldest appends in flight durable (all without a count)."""
        done, self.in_flight = self.in_flight[:count], self.in_flight[len(self.in_flight[:count]) :]
        for records, future in done:
            self.records.extend(records)
            if not future.done():
                future.set_result(None)

    def fail(self) -> None:
        """Lose every append in flight."""
        lost, self.in_flight = self.in_flight, []
        for _, future in lost:
            if not future.done():
                future.set_exception(JournalFailed("the disk refused a write"))

    @property
    def compaction_due(self) -> bool:
        return self._compaction_bound is not None and len(self.records) > self._compaction_bound

    async def compact(self, records: Iterable[JournalRecord]) -> None:
        self.compactions += 1
        self.records[:] = list(records)

    async def close(self) -> None:
        self.commit()
        self.closed = True
