"""A journal that lost its end after a clean shutdown is refused; a crash may leave a torn one."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from rivven.machine import journal_end
from rivven.machine.journal import JournalCorrupt
from rivven.testing.files import PowerCut
from tests.unit.machine.test_local_journal import KEY, PATH, Disk, records

END = PATH + journal_end.SUFFIX


@pytest.fixture(params=[None, KEY], ids=["plain", "sealed"])
async def closed(request: pytest.FixtureRequest) -> Disk:
    """A journal with three records that was closed."""
    disk = Disk(request.param)
    await disk.open()
    await disk.commit("a", "b")
    await disk.commit("c")
    await disk.journal.close()
    return disk


async def test_a_whole_one_is_taken_and_its_end_forgotten(closed: Disk) -> None:
    assert await closed.reopen(crash=1) == records("a", "b", "c")
    assert not closed.files.exists(END)
    closed.files.put(PATH, closed.files.content(PATH)[:-3])
    assert (await closed.reopen())[:2] == records("a", "b"), "as a crash may leave it"


async def test_one_that_is_shorter_is_refused_and_left_alone(closed: Disk) -> None:
    content = closed.files.content(PATH)
    end = int.from_bytes(closed.files.content(END)[12:20])
    assert end <= len(content)
    for length in range(end):
        closed.files.put(PATH, content[:length])
        with pytest.raises(JournalCorrupt, match=PATH) as caught:
            await closed.reopen()
        if length >= closed.header_bytes:
            assert f"has {length} bytes, {end} at the last shutdown" in str(caught.value)
        assert closed.files.content(PATH) == content[:length]
    closed.files.restart()
    closed.files.remove(PATH)
    with pytest.raises(JournalCorrupt, match="has 0 bytes"):
        await closed.open()
    closed.files.put(PATH, content)
    assert await closed.reopen() == records("a", "b", "c")


async def test_a_damaged_note_is_refused_by_name(closed: Disk) -> None:
    content = closed.files.content(END)
    for damaged in (b"", content[:-1], content[:13] + b"\xff" + content[14:]):
        closed.files.put(END, damaged)
        with pytest.raises(JournalCorrupt, match=END):
            await closed.reopen()


@pytest.mark.parametrize("step", range(1, 14))
async def test_power_lost_anywhere_refuses_no_journal_that_is_whole(closed: Disk, step: int) -> None:
    """While it is noted, forgotten, and rewritten to fewer bytes."""
    closed.files.restart()
    closed.files.cut_power_at = closed.files.operations + step
    with contextlib.suppress(PowerCut):
        await closed.open()
        rewriting = asyncio.ensure_future(closed.journal.compact(iter(records("a"))))
        try:
            while not rewriting.done():
                await asyncio.sleep(0)
                closed.threads.run_until_idle()
        finally:
            rewriting.cancel()
        await closed.journal.close()
    closed.files.crash(random.Random(step))
    assert (await closed.open())[:1] == records("a")
