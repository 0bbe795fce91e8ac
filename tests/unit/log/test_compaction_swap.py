"""Putting a compacted segment in place of others, and the cleaner's checkpoint."""

from __future__ import annotations

import pytest
from crc32c import crc32c

from rivven.errors import StorageFailed
from rivven.log import framed_file
from rivven.log.compaction_swap import (
    CHECKPOINT_MAGIC,
    CHECKPOINT_NAME,
    PreparedSegment,
    cleaned_path,
    commit,
    finish,
    load_first_dirty_offset,
    pending,
    recover,
    store_first_dirty_offset,
    swap_path,
)
from rivven.testing.files import CrashFiles

BASES = (0, 10, 20, 30)


@pytest.fixture
def files() -> CrashFiles:
    files = CrashFiles()
    files.make_directory("/d")
    for base in BASES:
        for suffix in ("log", "index", "timeindex"):
            files.put(f"/d/{base:020d}.{suffix}", b"%s %d" % (suffix.encode(), base))
    files.put("/d/00000000000000000020.snapshot", b"producers")
    files.put("/d/leader-epochs", b"x")
    return files


def prepare(files: CrashFiles) -> PreparedSegment:
    path = cleaned_path("/d", 10, "a1b2")
    files.put(path, b"new")
    return PreparedSegment(10, 30, 3, 5, path)


def names(files: CrashFiles) -> list[str]:
    return [name.lstrip("0") for name in files.list("/d")]


DONE = [
    ".index",
    ".log",
    ".timeindex",
    "10.log",
    "20.snapshot",
    "30.index",
    "30.log",
    "30.timeindex",
    "leader-epochs",
]


def test_commit_then_finish_replaces_exactly_the_range(files: CrashFiles) -> None:
    prepared = prepare(files)
    assert commit(files, "/d", prepared) == swap_path("/d", 10, 30)
    assert files.content("/d/00000000000000000010.log") == b"log 10"
    finish(files, "/d", 10, 30)
    assert names(files) == DONE
    assert files.content("/d/00000000000000000010.log") == b"new"


def test_recovery_undoes_what_was_not_committed(files: CrashFiles) -> None:
    before = files.list("/d")
    prepare(files)
    assert pending(files.list("/d"))
    assert recover(files, "/d") == 0
    assert files.list("/d") == before
    assert not pending(before)


def test_recovery_completes_what_was_and_may_run_again(files: CrashFiles) -> None:
    commit(files, "/d", prepare(files))
    assert pending(files.list("/d"))
    assert recover(files, "/d") == 1
    assert recover(files, "/d") == 0
    assert names(files) == DONE
    assert files.content("/d/00000000000000000010.log") == b"new"


def test_recovery_completes_after_the_old_segments_went(files: CrashFiles) -> None:
    commit(files, "/d", prepare(files))
    for base in (10, 20):
        files.remove(f"/d/{base:020d}.log")
    assert recover(files, "/d") == 1
    assert names(files) == DONE


def test_names_that_only_look_alike_are_left_alone(files: CrashFiles) -> None:
    for name in ("x.cleaned", "00000000000000000000.swap", "1.2.swap", "00000000000000000000.ZZ.cleaned"):
        files.put(f"/d/{name}", b"")
    before = files.list("/d")
    assert recover(files, "/d") == 0
    assert files.list("/d") == before


def test_the_checkpoint_round_trips(files: CrashFiles) -> None:
    assert load_first_dirty_offset(files, "/d") == 0
    for offset in (5, 2**62):
        store_first_dirty_offset(files, "/d", offset)
        assert load_first_dirty_offset(files, "/d") == offset
    assert f"{CHECKPOINT_NAME}.tmp" not in files.list("/d")


def test_the_checkpoint_of_version_1_is_read_for_ever(files: CrashFiles) -> None:
    stored = bytes.fromhex("525643430001000000000008000000000000012c")
    stored += crc32c(stored).to_bytes(4, "big")
    files.put(f"/d/{CHECKPOINT_NAME}", stored)
    assert load_first_dirty_offset(files, "/d") == 300
    store_first_dirty_offset(files, "/d", 300)
    assert files.content(f"/d/{CHECKPOINT_NAME}") == stored


def test_a_damaged_checkpoint_costs_a_longer_pass_and_nothing_else(files: CrashFiles) -> None:
    store_first_dirty_offset(files, "/d", 77)
    path = f"/d/{CHECKPOINT_NAME}"
    content = files.content(path)
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1
        files.put(path, bytes(damaged))
        assert load_first_dirty_offset(files, "/d") == 0
    files.put(path, framed_file.encode(CHECKPOINT_MAGIC, 1, b"short"))
    assert load_first_dirty_offset(files, "/d") == 0


def test_a_checkpoint_of_a_later_version_is_refused(files: CrashFiles) -> None:
    files.put(f"/d/{CHECKPOINT_NAME}", framed_file.encode(CHECKPOINT_MAGIC, 2, bytes(8)))
    with pytest.raises(StorageFailed, match="newer"):
        load_first_dirty_offset(files, "/d")
