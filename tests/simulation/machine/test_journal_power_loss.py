"""The journal under power loss: random appends, rewrites, full disks and crashes against a ledger.

The journal becomes sealed at one of its starts, or never. What must hold after every crash:
everything acknowledged is there, in order; an append is there whole or not at all; nothing that was reported
as failed is there while the journal lived on.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random

import pytest

from rivven.log.committer import Committer
from rivven.machine.journal import JournalFailed
from rivven.machine.journal_sealing import JournalKey
from rivven.machine.local_journal import LocalJournal
from rivven.machine.state_machine import JournalRecord
from rivven.testing.files import CrashFiles, Fault, PowerCut
from rivven.testing.threads import StepThreads

PATH = "/data/metadata.journal"
KEY = JournalKey(bytes(32), "chacha20-poly1305")
SEEDS = int(os.environ.get("RIVVEN_SIM_SEEDS", "150"))
LIVES = 4
STEPS = 60


class Ledger:
    """Appends by number, with what became of each."""

    def __init__(self) -> None:
        self.base: list[bytes] = []
        """What the last start loaded: durable since."""
        self.appended: list[tuple[bytes, asyncio.Future[None]]] = []

    def check(self, loaded: list[bytes], seed: int) -> None:
        acknowledged = [key for key, future in self.appended if _outcome(future) == "durable"]
        possible = [key for key, future in self.appended if _outcome(future) != "failed"]
        failed = [key for key, future in self.appended if _outcome(future) == "failed"]
        message = (
            f"seed {seed}: base {self.base}, loaded {loaded}, acknowledged {acknowledged}, failed {failed}"
        )
        assert loaded[: len(self.base)] == self.base, message
        rest = loaded[len(self.base) :]
        assert rest[: len(acknowledged)] == acknowledged, message
        assert rest == possible[: len(rest)], message


def _outcome(future: asyncio.Future[None]) -> str:
    if not future.done() or future.cancelled():
        return "unknown"
    return "durable" if future.exception() is None else "failed"


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_power_loss(seed: int) -> None:
    print(f"seed {seed}")
    random_ = random.Random(seed)
    key = None
    files = CrashFiles()
    files.make_directory("/data")
    files.sync_directory("/")
    ledger = Ledger()
    for life in range(LIVES + 1):  # the last one only looks at what the crash before it left
        threads = StepThreads(random_)
        if random_.random() < 0.5:  # from one life on the journal is sealed, for good
            key = KEY
        committer = Committer(files, "/data", threads, lambda _error: None)
        journal = LocalJournal(files, PATH, committer, threads, key)
        loaded = []
        async for record in journal.load():
            assert record.key is not None
            loaded.append(record.key)
        ledger.check(loaded, seed)
        assert files.content(PATH)[4] == (1 if key is None else 2)
        if life == LIVES:
            break
        ledger.base, ledger.appended = loaded, []
        await _live(journal, files, threads, random_, ledger, life)
        files.crash(random_)


async def _live(
    journal: LocalJournal,
    files: CrashFiles,
    threads: StepThreads,
    random_: random.Random,
    ledger: Ledger,
    life: int,
) -> None:
    files.cut_power_at = files.operations + random_.randrange(1, 80)
    compaction: asyncio.Future[None] | None = None
    try:
        for step in range(STEPS):
            choice = random_.random()
            if choice < 0.4:
                key = f"{life}.{step}".encode()
                filler = bytes(random_.randrange(6000))
                try:
                    ledger.appended.append((key, journal.append([JournalRecord(key, filler)])))
                except JournalFailed:
                    pass
            elif choice < 0.45 and compaction is None and not journal._round and not journal._pending:
                durable = [*ledger.base, *(k for k, f in ledger.appended if _outcome(f) == "durable")]
                snapshot = [JournalRecord(key, b"snapshot") for key in durable]
                compaction = asyncio.ensure_future(journal.compact(iter(snapshot)))
            elif choice < 0.5:
                files.faults.append(Fault("write", errno.ENOSPC, written=random_.randrange(3000)))
            else:
                threads.step()
            await asyncio.sleep(0)
    except PowerCut:
        pass
    finally:
        if compaction is not None and not compaction.done():
            compaction.cancel()
            await asyncio.gather(compaction, return_exceptions=True)
