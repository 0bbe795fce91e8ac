"""A machine's journal in a partition of `__consumer_offsets`, through the ordinary partition log.

Driver. One append is one record batch at most, and a batch is whole or absent, so an append is atomic.
Appends of one turn of the event loop share a batch. It does not know what the records mean, and never
compacts: the log's own compactor keeps the latest value per key, which is all that groups and offsets need.

When the log refuses a batch (disk full) everything appended before it first completes, everything appended
after it fails with it, and then the journal is usable again. When a written batch cannot be committed it is
unknown what a restart will find, and the journal refuses everything from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Protocol

from rivven.clock import Clock
from rivven.errors import RivvenError
from rivven.log.reading import ReadResult
from rivven.machine.journal import JournalCorrupt
from rivven.machine.state_machine import JournalRecord
from rivven.records.batch import build_batch, crc_matches, iterate_batches, read_records
from rivven.records.record import Record

LOAD_BYTES = 1 << 20
"""Read at a time while loading: a few milliseconds of parsing before other tasks get a turn."""

BATCH_BYTES_MAX = 512 << 10
"""Appends share a batch up to here. Kafka tools read the topic with max.message.bytes of about 1 MiB; only
a single append that is larger by itself (a group of thousands) goes beyond."""

RECORD_OVERHEAD_BYTES = 32
"""The most that lengths, deltas and the like add to key and value of a record."""


class PartitionStore(Protocol):
    """What of a partition the journal needs; `replication.partition.Partition` is one."""

    @property
    def log_start_offset(self) -> int: ...

    @property
    def log_end_offset(self) -> int: ...

    def append_internal(self, batch: bytearray, now_ms: int) -> int:
        """Append one batch; returns its last offset. A RivvenError means that nothing was written."""
        ...

    def when_committed(self, last_offset: int, callback: Callable[[RivvenError | None], None]) -> None:
        """Call back, in offset order, once the offset is below the high watermark or never will be."""
        ...

    async def read_from(self, offset: int, max_bytes: int) -> ReadResult:
        """Whole committed batches from the one that contains or follows `offset`, at least one."""
        ...


class _Append:
    """One call of `append` until its future is settled."""

    __slots__ = ("future", "records", "size")

    def __init__(self, records: Sequence[JournalRecord], future: asyncio.Future[None]) -> None:
        self.records = records
        self.future = future
        self.size = sum(len(key or b"") + len(value or b"") + RECORD_OVERHEAD_BYTES for key, value in records)

    def succeed(self) -> None:
        if not self.future.done():
            self.future.set_result(None)

    def fail(self, error: RivvenError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class PartitionJournal:
    """`machine.journal.Journal` over a `PartitionStore`; belongs to the event loop."""

    def __init__(self, store: PartitionStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._unwritten: list[_Append] = []
        self._written = 0
        """Batches in the log that are not committed yet."""
        self._refused: list[_Append] = []
        """Appends that fail as soon as everything before them is committed."""
        self._refusal: RivvenError | None = None
        self._broken: RivvenError | None = None

    @property
    def compaction_due(self) -> bool:
        return False

    async def compact(self, records: Iterable[JournalRecord]) -> None:
        """Nothing: the log compacts the topic by key."""

    async def load(self) -> AsyncIterator[JournalRecord]:
        """All committed records in order. Raises JournalCorrupt, or what reading the log raises."""
        store = self._store
        end = store.log_end_offset
        if end > store.log_start_offset:
            await self._committed_up_to(end - 1)
        offset = store.log_start_offset
        while offset < end:
            result = await store.read_from(offset, LOAD_BYTES)
            if not result.size:
                break  # compaction took everything up to the end
            for buffer in result.buffers:
                for record in _records(buffer):
                    yield record
            offset = result.next_offset
            await asyncio.sleep(0)

    def append(self, records: Sequence[JournalRecord]) -> asyncio.Future[None]:
        """See `Journal.append`; raises at once when an earlier batch was lost."""
        if self._broken is not None:
            raise self._broken
        loop = asyncio.get_running_loop()
        append = _Append(records, loop.create_future())
        if self._refusal is not None:
            self._refused.append(append)
            return append.future
        self._unwritten.append(append)
        if len(self._unwritten) == 1:
            loop.call_soon(self._write)
        return append.future

    async def close(self) -> None:
        """Write what the caller did not wait for; the log itself is not ours to close."""
        self._write()

    async def _committed_up_to(self, last_offset: int) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = _Append((), future)
        self._store.when_committed(
            last_offset, lambda error: waiter.succeed() if error is None else waiter.fail(error)
        )
        await future

    # -- writing ---------------------------------------------------------------------------------------------

    def _write(self) -> None:
        """Everything appended in this turn of the loop, in as few batches as the limit allows."""
        appends, self._unwritten = self._unwritten, []
        batch: list[_Append] = []
        size = 0
        for append in appends:
            if batch and size + append.size > BATCH_BYTES_MAX:
                self._write_batch(batch)
                batch, size = [], 0
            batch.append(append)
            size += append.size
        if batch:
            self._write_batch(batch)

    def _write_batch(self, appends: list[_Append]) -> None:
        if self._refusal is not None:
            self._refused += appends
            return
        now_ms = self._clock.now_ms()
        journal_records = [record for append in appends for record in append.records]
        records = [Record(index, now_ms, key, value) for index, (key, value) in enumerate(journal_records)]
        try:
            last_offset = self._store.append_internal(build_batch(records), now_ms)
        except RivvenError as error:
            self._refusal = error
            self._refused += appends
            if not self._written:
                self._report_refused()
            return
        self._written += 1
        self._store.when_committed(last_offset, lambda error: self._settle(appends, error))

    def _settle(self, appends: list[_Append], error: RivvenError | None) -> None:
        self._written -= 1
        if error is not None:
            self._broken = error
        for append in appends:
            if self._broken is None:
                append.succeed()
            else:
                append.fail(self._broken)
        if self._refusal is not None and not self._written:
            self._report_refused()

    def _report_refused(self) -> None:
        """Fail what was refused, and what is appended before those who wait have heard of it."""
        error = self._refusal
        assert error is not None
        refused, self._refused = self._refused, []
        for append in refused:
            append.fail(error)
        # Callbacks run in the order in which futures are settled: this one after all of theirs.
        asyncio.get_running_loop().call_soon(self._accept_again)

    def _accept_again(self) -> None:
        if self._refused:
            self._report_refused()
        else:
            self._refusal = None


def _records(buffer: bytes | bytearray | memoryview) -> list[JournalRecord]:
    found: list[JournalRecord] = []
    for position, header in iterate_batches(buffer):
        if not crc_matches(buffer, position, header):
            raise JournalCorrupt(f"bad checksum at offset {header.base_offset} of __consumer_offsets")
        if header.is_control:
            continue
        found += [
            JournalRecord(record.key, record.value) for record in read_records(buffer, position, header)
        ]
    return found
