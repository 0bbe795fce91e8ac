"""The journal file: atomic frames, judged damage, full and broken disks, rewriting."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
from pathlib import Path

import pytest

from rivven.log.committer import Committer
from rivven.machine import journal_frames, journal_sealing, local_journal
from rivven.machine.journal import JournalCorrupt, JournalFailed
from rivven.machine.journal_frames import FILE_HEADER
from rivven.machine.journal_sealing import SEALED_HEADER_BYTES, JournalKey
from rivven.machine.local_journal import LocalJournal
from rivven.machine.state_machine import JournalRecord
from rivven.testing.files import CrashFiles, Fault, PowerCut
from rivven.testing.threads import StepThreads

PATH = "/data/metadata.journal"
KEY = JournalKey(bytes(range(32)), "aes-256-gcm")


class Disk:
    """A directory with one journal on it, run by hand."""

    def __init__(self, key: JournalKey | None = None) -> None:
        self.key = key
        self.was_sealed = False
        self.files = CrashFiles()
        self.files.make_directory("/data")
        self.files.sync_directory("/")
        self.failures: list[OSError] = []
        self.threads = StepThreads()
        self.journal: LocalJournal

    async def open(self) -> list[JournalRecord]:
        self.threads = StepThreads()
        committer = Committer(self.files, "/data", self.threads, self.failures.append)
        self.journal = LocalJournal(
            self.files, PATH, committer, self.threads, self.key, was_sealed=self.was_sealed
        )
        return [record async for record in self.journal.load()]

    @property
    def header_bytes(self) -> int:
        return len(FILE_HEADER) if self.key is None else SEALED_HEADER_BYTES

    async def reopen(self, crash: int | None = None) -> list[JournalRecord]:
        """Open again after kill -9, or after losing power with that seed."""
        if crash is None:
            self.files.restart()
        else:
            self.files.crash(random.Random(crash))
        return await self.open()

    async def commit(self, *texts: str) -> None:
        future = self.journal.append(records(*texts))
        self.threads.run_until_idle()
        await future


def records(*texts: str) -> list[JournalRecord]:
    return [JournalRecord(text.encode(), f"value of {text}".encode()) for text in texts]


@pytest.fixture(params=[None, KEY], ids=["plain", "sealed"])
async def disk(request: pytest.FixtureRequest) -> Disk:
    made = Disk(request.param)
    assert await made.open() == []
    return made


async def test_what_was_committed_is_loaded_in_order_with_nulls(disk: Disk) -> None:
    await disk.commit("a", "b")
    future = disk.journal.append([JournalRecord(None, b"no key"), JournalRecord(b"tombstone", None)])
    disk.threads.run_until_idle()
    await future
    assert await disk.reopen(crash=1) == [
        *records("a", "b"),
        JournalRecord(None, b"no key"),
        JournalRecord(b"tombstone", None),
    ]


async def test_nothing_is_acknowledged_before_it_is_synced(disk: Disk) -> None:
    future = disk.journal.append(records("a"))
    disk.threads.step()  # the round begins on the loop
    assert not future.done()
    disk.threads.run_until_idle()
    assert future.done()


async def test_appends_of_one_turn_share_a_sync(disk: Disk) -> None:
    before = disk.files.operations
    futures = [disk.journal.append(records(text)) for text in "abc"]
    disk.threads.run_until_idle()
    await asyncio.gather(*futures)
    assert disk.files.operations - before == 3  # one write, one sync, one mark


@pytest.mark.parametrize("seed", range(40))
async def test_an_append_is_loaded_whole_or_not_at_all_after_a_crash(disk: Disk, seed: int) -> None:
    await disk.commit("kept")
    disk.files.cut_power_at = disk.files.operations + 1 + seed % 2
    disk.journal.append(records(*(f"{n}" * 3000 for n in range(5))))
    with pytest.raises(PowerCut):
        disk.threads.run_until_idle()
    loaded = await disk.reopen(crash=seed)
    assert loaded in (records("kept"), records("kept", *(f"{n}" * 3000 for n in range(5))))


async def test_the_file_cut_at_every_byte_opens_with_whole_frames_only(disk: Disk) -> None:
    await disk.commit("a")
    await disk.commit("b", "c")
    content = disk.files.content(PATH)
    for size in range(disk.header_bytes, len(content) + 1):
        disk.files.put(PATH, content[:size])
        loaded = await disk.reopen()
        assert loaded in ([], records("a"), records("a", "b", "c"))
        await disk.commit("next")
        assert await disk.reopen() == [*loaded, *records("next")]


async def test_a_flipped_bit_in_a_committed_frame_is_refused_with_file_and_position(disk: Disk) -> None:
    await disk.commit("a")
    await disk.commit("b")
    content = disk.files.content(PATH)
    last_mark = len(content) - (20 if disk.key is None else 48)  # the empty frame after the last commit
    first = 0 if disk.key else disk.header_bytes  # the header of a sealed file has a CRC
    for position in range(first, last_mark):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        disk.files.put(PATH, bytes(damaged))
        disk.files.restart()
        with pytest.raises(JournalCorrupt, match=r"/data/metadata.journal: position \d+"):
            await disk.open()
        assert disk.files.content(PATH) == bytes(damaged)  # evidence is not touched


async def test_cut_bytes_are_kept_beside(disk: Disk) -> None:
    await disk.commit("a")
    content = disk.files.content(PATH)
    disk.files.put(PATH, content + b"torn")
    assert await disk.reopen() == records("a")
    assert disk.files.content(PATH + ".cut") == b"torn"
    assert disk.files.content(PATH) == content


async def test_another_file_and_a_newer_format_are_refused(disk: Disk) -> None:
    disk.files.put(PATH, b"something else entirely")
    disk.files.restart()
    with pytest.raises(JournalCorrupt, match="not a metadata journal"):
        await disk.open()
    disk.files.put(PATH, b"RVNJ\x03\0\0\0")
    with pytest.raises(JournalCorrupt, match="format 3"):
        await disk.open()


async def test_a_full_disk_fails_the_append_and_everything_that_rests_on_it_then_recovers(disk: Disk) -> None:
    await disk.commit("a")
    disk.files.faults.append(Fault("write", errno.ENOSPC, written=30))
    first = disk.journal.append(records("lost"))
    disk.threads.step()
    second = disk.journal.append(records("rests on lost"))
    disk.threads.run_until_idle()
    for future in (first, second):
        with pytest.raises(JournalFailed):
            await future
    assert not disk.failures
    await disk.commit("b")
    assert await disk.reopen(crash=3) == records("a", "b")


@pytest.mark.parametrize("seed", range(40))
async def test_what_a_full_disk_refused_does_not_come_back_after_a_power_failure(
    disk: Disk, seed: int
) -> None:
    await disk.commit("a")
    disk.files.faults.append(Fault("write", errno.ENOSPC, written=200))
    refused = [disk.journal.append(records("whole on disk")), disk.journal.append(records("cut" * 99))]
    disk.threads.run_until_idle()
    await asyncio.gather(*refused, return_exceptions=True)
    assert await disk.reopen(crash=seed) == records("a")


async def test_a_short_write_is_completed(disk: Disk) -> None:
    disk.files.faults.append(Fault("write", error=0, written=7))
    await disk.commit("a")
    assert await disk.reopen(crash=1) == records("a")


@pytest.mark.parametrize("operation", ["write", "sync"])
async def test_a_broken_disk_takes_the_directory_offline_and_is_not_retried(
    disk: Disk, operation: str
) -> None:
    await disk.commit("a")
    disk.files.faults.append(Fault(operation, errno.EIO))
    future = disk.journal.append(records("b"))
    disk.threads.run_until_idle()
    with pytest.raises(JournalFailed):
        await future
    assert [error.errno for error in disk.failures] == [errno.EIO]
    before = disk.files.operations
    with pytest.raises(JournalFailed):
        disk.journal.append(records("c"))
    disk.threads.run_until_idle()
    assert disk.files.operations == before


async def test_after_a_failed_sync_the_next_start_believes_the_disk_not_the_cache(disk: Disk) -> None:
    await disk.commit("x" * 9000)
    disk.files.faults.append(Fault("sync", errno.EIO))
    future = disk.journal.append(records("y" * 9000))
    disk.threads.run_until_idle()
    with pytest.raises(JournalFailed):
        await future
    loaded = await disk.reopen()
    assert loaded == records("x" * 9000)
    await disk.commit("z")
    assert await disk.reopen(crash=1) == records("x" * 9000, "z")


async def test_rewriting_replaces_the_file_and_keeps_appends_made_meanwhile(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_journal, "COMPACTION_BYTES_MIN", 1000)
    monkeypatch.setattr(journal_frames, "SNAPSHOT_SLICE", 1)
    for number in range(30):
        await disk.commit(f"old {number}")
    assert disk.journal.compaction_due
    size = len(disk.files.content(PATH))
    compaction = asyncio.ensure_future(disk.journal.compact(iter(records("s1", "s2", "s3"))))
    await asyncio.sleep(0)
    await disk.commit("meanwhile")  # into the old file
    for _ in range(10):
        await asyncio.sleep(0)
    assert disk.journal._switching
    late = disk.journal.append(records("late"))  # waits for the new file
    assert not late.done()
    disk.threads.run_until_idle()
    await compaction
    await late
    assert len(disk.files.content(PATH)) < size
    assert not disk.journal.compaction_due
    assert await disk.reopen(crash=5) == records("s1", "s2", "s3", "meanwhile", "late")


async def test_a_full_disk_leaves_the_old_file_when_rewriting(disk: Disk) -> None:
    await disk.commit("a")
    compaction = asyncio.ensure_future(disk.journal.compact(iter(records("snapshot"))))
    disk.files.faults.append(Fault("write", errno.ENOSPC, path=".new"))
    for _ in range(5):
        await asyncio.sleep(0)
        disk.threads.run_until_idle()
    await compaction
    await disk.commit("b")
    assert await disk.reopen(crash=2) == records("a", "b")
    assert not disk.files.exists(PATH + ".new")


async def test_an_append_that_is_too_large_is_refused(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_frames, "PAYLOAD_BYTES_MAX", 100)
    with pytest.raises(JournalFailed, match="too large"):
        disk.journal.append(records("x" * 100))
    await disk.commit("fits")


async def test_close_waits_for_what_is_pending(disk: Disk) -> None:
    future = disk.journal.append(records("a"))
    closing = asyncio.ensure_future(disk.journal.close())
    await asyncio.sleep(0)
    assert not closing.done()
    disk.threads.run_until_idle()
    await closing
    assert future.done()
    with pytest.raises(JournalFailed):
        disk.journal.append(records("b"))
    assert await disk.reopen() == records("a")


# -- sealed --------------------------------------------------------------------------------------------------


@pytest.fixture
async def sealed() -> Disk:
    made = Disk(KEY)
    assert await made.open() == []
    return made


async def test_a_sealed_file_shows_no_record_and_a_plain_one_does(sealed: Disk) -> None:
    plain = Disk()
    await plain.open()
    for one in (plain, sealed):
        await one.commit("marker")
    assert b"marker" in plain.files.content(PATH)
    assert b"marker" not in sealed.files.content(PATH)


async def test_a_sealed_file_needs_its_key_and_is_not_touched_without(sealed: Disk) -> None:
    await sealed.commit("a")
    content = sealed.files.content(PATH)
    for key, reason in ((None, "is sealed"), (JournalKey(bytes(32), "aes-256-gcm"), "do not open")):
        sealed.key = key
        sealed.files.restart()
        with pytest.raises(JournalCorrupt, match=reason):
            await sealed.open()
        assert sealed.files.content(PATH) == content


@pytest.mark.parametrize("algorithm", ["aes-256-gcm", "chacha20-poly1305"])
async def test_the_algorithm_is_the_files_own(algorithm: str) -> None:
    disk = Disk(JournalKey(bytes(32), algorithm))
    await disk.open()
    await disk.commit("a")
    disk.key = JournalKey(bytes(32), "aes-256-gcm")
    assert await disk.reopen() == records("a")


async def test_a_frame_elsewhere_or_from_another_file_is_refused(sealed: Disk) -> None:
    await sealed.commit("first")
    await sealed.commit("other")
    content = sealed.files.content(PATH)
    frame_bytes = 16 + 12 + len(journal_frames.payload_of(records("first"))) + 16
    first = content[SEALED_HEADER_BYTES : SEALED_HEADER_BYTES + frame_bytes]
    second_at = content.index(content[-48:]) - frame_bytes
    moved = content[:second_at] + first + content[second_at + frame_bytes :]
    other = Disk(KEY)
    await other.open()
    await other.commit("first")
    theirs = other.files.content(PATH)
    for damaged in (moved, content[:SEALED_HEADER_BYTES] + theirs[SEALED_HEADER_BYTES:]):
        sealed.files.put(PATH, damaged)
        sealed.files.restart()
        with pytest.raises(JournalCorrupt, match=r"position \d+: sealed bytes do not open"):
            await sealed.open()


async def test_a_changed_frame_with_a_right_crc_is_refused(sealed: Disk) -> None:
    await sealed.commit("a")
    content = bytearray(sealed.files.content(PATH))
    found = journal_frames.frame_at(bytes(content), SEALED_HEADER_BYTES)
    assert found is not None
    stored = bytearray(found[0])
    stored[-20] ^= 1
    forged = journal_frames.frame(bytes(stored), found[1])
    content[SEALED_HEADER_BYTES : SEALED_HEADER_BYTES + len(forged)] = forged
    sealed.files.put(PATH, bytes(content))
    sealed.files.restart()
    with pytest.raises(JournalCorrupt, match="position 88"):
        await sealed.open()


async def plain_disk_with_a_cut() -> Disk:
    disk = Disk()
    await disk.open()
    await disk.commit("a", "b")
    await disk.commit("c")
    disk.files.put(PATH, disk.files.content(PATH) + b"torn marker")
    assert await disk.reopen() == records("a", "b", "c")
    disk.files.put(PATH, disk.files.content(PATH) + b"torn again")
    disk.key = KEY
    return disk


async def test_a_plain_file_is_sealed_at_the_first_start_with_a_key_and_stays_so() -> None:
    disk = await plain_disk_with_a_cut()
    assert await disk.reopen() == records("a", "b", "c")
    content = disk.files.content(PATH)
    assert content[4] == 2
    assert b"value of" not in content
    assert not disk.files.exists(PATH + ".cut")
    await disk.commit("d")
    assert await disk.reopen(crash=1) == records("a", "b", "c", "d")
    disk.was_sealed = True
    assert await disk.reopen(crash=2) == records("a", "b", "c", "d")


async def test_power_lost_anywhere_while_a_plain_file_is_sealed_loses_nothing() -> None:
    for seed in range(30):
        disk = await plain_disk_with_a_cut()
        disk.files.restart()
        disk.files.cut_power_at = disk.files.operations + 1 + seed % 6
        with contextlib.suppress(PowerCut):
            await disk.open()
        assert await disk.reopen(crash=seed) == records("a", "b", "c"), seed
        assert disk.files.content(PATH)[4] == 2
        for name in disk.files.list("/data"):
            assert b"marker" not in disk.files.content(f"/data/{name}"), (seed, name)


async def test_a_plain_file_in_the_place_of_a_sealed_one_is_refused(sealed: Disk) -> None:
    forged = Disk()
    await forged.open()
    await forged.commit("an administrator of mine")
    sealed.files.put(PATH, forged.files.content(PATH))
    sealed.files.restart()
    sealed.was_sealed = True
    with pytest.raises(JournalCorrupt, match="sealed before"):
        await sealed.open()
    assert sealed.files.content(PATH) == forged.files.content(PATH)


async def test_a_sealed_one_that_is_gone_is_not_begun_anew(sealed: Disk) -> None:
    sealed.files.restart()
    sealed.files.remove(PATH)
    sealed.was_sealed = True
    with pytest.raises(JournalCorrupt, match=r"metadata\.journal: is missing"):
        await sealed.open()
    assert not sealed.files.exists(PATH)


async def test_a_worn_key_asks_for_a_rewrite_and_a_spent_one_refuses_until_then(
    sealed: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_sealing, "SEALS_MAX", 12)
    monkeypatch.setattr(journal_sealing, "SEALS_KEPT", 4)
    for number in range(3):  # a frame and a mark each
        await sealed.commit(str(number))
        assert not sealed.journal.compaction_due
    await sealed.commit("3")
    assert sealed.journal.compaction_due
    await sealed.commit("4")
    with pytest.raises(JournalFailed, match="sealed as often"):
        sealed.journal.append(records("refused"))
    before = sealed.files.content(PATH)[:SEALED_HEADER_BYTES]
    compaction = asyncio.ensure_future(sealed.journal.compact(iter(records("s"))))
    for _ in range(5):
        await asyncio.sleep(0)
        sealed.threads.run_until_idle()
    await compaction
    assert sealed.files.content(PATH)[:SEALED_HEADER_BYTES] != before
    await sealed.commit("t")
    assert await sealed.reopen() == records("s", "t")


def stored_in(content: bytes) -> list[bytes]:
    """The payloads of a sealed file as they are stored: nonce, sealed bytes, tag."""
    found: list[bytes] = []
    position = SEALED_HEADER_BYTES
    while (frame := journal_frames.frame_at(content, position)) is not None:
        found.append(frame[0])
        position += journal_frames.FRAME.size + len(frame[0])
    return found


async def test_no_nonce_comes_back_over_cuts_crashes_and_a_restored_copy(sealed: Disk) -> None:
    """One position is written again and again here: a nonce made from it would repeat at once."""
    random_ = random.Random(7731)
    seen: dict[tuple[bytes, bytes], bytes] = {}
    copy = sealed.files.content(PATH)
    for life in range(60):
        if life % 3 == 0:
            sealed.files.faults.append(Fault("write", errno.ENOSPC, written=random_.randrange(80)))
            future = sealed.journal.append(records("refused"))
            sealed.threads.run_until_idle()
            assert isinstance((await asyncio.gather(future, return_exceptions=True))[0], JournalFailed)
        await sealed.commit("same text")
        content = sealed.files.content(PATH)
        for stored in stored_in(content):
            assert seen.setdefault((content[8:24], stored[:12]), stored) == stored
        if life % 5 == 4:
            sealed.files.put(PATH, copy)  # as a backup would, with the key of that file
        await sealed.reopen(crash=life)
    assert len(seen) > 100


VECTORS = Path(__file__).parents[2] / "golden" / "storage"


@pytest.mark.parametrize("algorithm", ["aes-256-gcm", "chacha20-poly1305"])
async def test_a_journal_sealed_by_the_first_version_is_read(algorithm: str) -> None:
    """Files written once by the version that introduced format 2, under the key 00 01 .. 1f."""
    disk = Disk(KEY)
    disk.files.put(PATH, (VECTORS / f"metadata-journal-2-{algorithm}.bin").read_bytes())
    expected = [*records("one", "two"), JournalRecord(None, b"no key"), JournalRecord(b"tombstone", None)]
    assert await disk.open() == expected
    await disk.commit("goes on")
    assert await disk.reopen() == [*expected, *records("goes on")]
