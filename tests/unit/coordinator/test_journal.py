"""The promises of `machine.journal.Journal`, kept over a partition log."""

from __future__ import annotations

import asyncio

import pytest

from rivven.clock import SystemClock
from rivven.coordinator import journal as journal_module
from rivven.coordinator.journal import PartitionJournal
from rivven.errors import StorageFailed
from rivven.machine.journal import JournalCorrupt
from rivven.machine.state_machine import JournalRecord
from rivven.records.batch import build_batch, parse_header
from rivven.records.record import Record
from tests.unit.coordinator.store import MemoryStore

A, B, C = (JournalRecord(name, b"value of " + name) for name in (b"a", b"b", b"c"))
GONE = JournalRecord(b"a", None)


async def loaded(store: MemoryStore) -> list[JournalRecord]:
    return [record async for record in PartitionJournal(store, SystemClock()).load()]


async def settled() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


async def test_what_was_appended_is_loaded_in_order() -> None:
    store = MemoryStore()
    journal = PartitionJournal(store, SystemClock())
    await journal.append([A, B])
    await journal.append([C])
    await journal.append([GONE])
    assert await loaded(store) == [A, B, C, GONE]


async def test_appends_of_one_turn_share_a_batch() -> None:
    store = MemoryStore()
    journal = PartitionJournal(store, SystemClock())
    await asyncio.gather(journal.append([A]), journal.append([B, C]))
    assert [parse_header(batch).record_count for batch in store.batches] == [3]
    assert await loaded(store) == [A, B, C]


async def test_a_batch_ends_at_the_limit_but_never_inside_an_append(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "BATCH_BYTES_MAX", 120)
    store = MemoryStore()
    journal = PartitionJournal(store, SystemClock())
    await asyncio.gather(journal.append([A]), journal.append([A, B, C]), journal.append([B]))
    assert [parse_header(batch).record_count for batch in store.batches] == [1, 3, 1]


async def test_futures_complete_in_order_and_only_when_committed() -> None:
    store = MemoryStore(manual=True)
    journal = PartitionJournal(store, SystemClock())
    done: list[int] = []
    for index, record in enumerate((A, B)):
        journal.append([record]).add_done_callback(lambda _, index=index: done.append(index))
        await settled()
    assert done == [] and len(store.batches) == 2
    store.commit()
    await settled()
    assert done == [0, 1]


async def test_a_full_disk_fails_what_follows_and_not_what_came_before() -> None:
    store = MemoryStore(manual=True)
    journal = PartitionJournal(store, SystemClock())
    before = journal.append([A])
    await settled()
    store.full = True
    refused = journal.append([B])
    await settled()
    assert not refused.done(), "the earlier append must be settled first"
    store.full = False
    after = journal.append([C])
    store.commit()
    await before
    for future in (refused, after):
        with pytest.raises(StorageFailed):
            await future
    await settled()
    again = journal.append([C])
    await settled()
    store.commit()
    await again
    assert await loaded(store) == [A, C]


async def test_an_append_made_while_a_failure_is_being_reported_fails_with_it() -> None:
    store = MemoryStore()
    journal = PartitionJournal(store, SystemClock())
    store.full = True
    refused = journal.append([A])
    late: list[asyncio.Future[None]] = []
    refused.add_done_callback(lambda _: late.append(journal.append([B])))
    with pytest.raises(StorageFailed):
        await refused
    store.full = False
    with pytest.raises(StorageFailed):
        await late[0]
    await settled()
    await journal.append([C])
    assert await loaded(store) == [C]


async def test_after_a_lost_commit_nothing_is_accepted() -> None:
    store = MemoryStore(manual=True)
    journal = PartitionJournal(store, SystemClock())
    first = journal.append([A])
    await settled()
    second = journal.append([B])
    await settled()
    store.break_down()
    for future in (first, second):
        with pytest.raises(StorageFailed):
            await future
    with pytest.raises(StorageFailed):
        journal.append([C])


async def test_loading_waits_until_the_recovered_tail_is_committed() -> None:
    store = MemoryStore()
    await PartitionJournal(store, SystemClock()).append([A])
    store.manual, store.high_watermark = True, 0
    loading = asyncio.create_task(loaded(store))
    await settled()
    assert not loading.done()
    store.commit()
    assert await loading == [A]


async def test_loading_reads_in_portions_and_over_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "LOAD_BYTES", 1)
    store = MemoryStore()
    journal = PartitionJournal(store, SystemClock())
    for record in (A, B, C):
        await journal.append([record])
    del store.batches[1]  # compaction left a hole
    assert await loaded(store) == [A, C]
    del store.batches[1]  # and everything up to the end
    assert await loaded(store) == [A]


async def test_control_batches_are_not_records_of_ours() -> None:
    store = MemoryStore()
    store.append_internal(build_batch([Record(0, 1, b"\0\0\0\1", b"\0\0\0\0\0\0")], control=True), 1)
    await PartitionJournal(store, SystemClock()).append([A])
    assert await loaded(store) == [A]


async def test_a_bad_checksum_is_named_and_stops_the_load() -> None:
    store = MemoryStore()
    await PartitionJournal(store, SystemClock()).append([A])
    store.batches[0][-1] ^= 1
    with pytest.raises(JournalCorrupt, match="offset 0 of __consumer_offsets"):
        await loaded(store)


async def test_closing_writes_what_nobody_waited_for() -> None:
    store = MemoryStore()
    journal = PartitionJournal(store, SystemClock())
    future = journal.append([A])
    await journal.close()
    assert len(store.batches) == 1
    await future
    await journal.compact([])  # the log's own compactor does it
    assert not journal.compaction_due and await loaded(store) == [A]
