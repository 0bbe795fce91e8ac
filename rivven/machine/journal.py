"""The seam between a machine's runner and where its events are kept.

Implementations: `local_journal.LocalJournal` (a file, for metadata) and the coordinator's journal over an
internal partition. A journal knows records, not events.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol

from rivven.errors import ErrorCode, RivvenError
from rivven.machine.state_machine import JournalRecord


class Journal(Protocol):
    """An ordered, durable sequence of records with one writer.

    * One `append` is atomic: `load` gives all of its records or none.
    * Futures of `append` complete in call order, on the event loop.
    * After a failed append none of its records, and none of any append made before the failure was reported,
      will ever be loaded; or else the journal refuses every further append until it is opened anew. So a
      caller that falls back to what is committed agrees with what a restart will find.
    """

    def load(self) -> AsyncIterator[JournalRecord]:
        """All records in order (an async generator); called once, before the first append."""
        ...

    def append(self, records: Sequence[JournalRecord]) -> asyncio.Future[None]:
        """Add records; the future completes once they are durable. May raise RivvenError at once."""
        ...

    @property
    def compaction_due(self) -> bool:
        """Whether rewriting the journal would now save enough; always False where it compacts itself."""
        ...

    async def compact(self, records: Iterable[JournalRecord]) -> None:
        """Replace everything appended before this call by `records`; appends meanwhile are kept after them.

        The caller has no append in flight when it calls. `records` is consumed piecemeal, with pauses for the
        loop.
        """
        ...

    async def close(self) -> None:
        """Make everything durable and let go of the store."""
        ...


class JournalFailed(RivvenError):
    """The journal could not make a change durable; it is unknown to the client whether it ever will be."""

    code = ErrorCode.KAFKA_STORAGE_ERROR


class JournalCorrupt(RivvenError):
    """Bytes that were durable do not read back. The text names file, position and reason."""

    code = ErrorCode.KAFKA_STORAGE_ERROR
