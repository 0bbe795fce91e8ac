"""The fake disk forgets what it may forget, and only that."""

from __future__ import annotations

import errno
import random

import pytest

from rivven.testing.files import CrashFiles, Fault, PowerCut


def _after_crashes(prepare: object, observe: object) -> set[object]:
    """Everything that can be observed after a crash."""
    seen = set()
    for seed in range(200):
        files = CrashFiles()
        prepare(files)  # type: ignore[operator]
        files.crash(random.Random(seed))
        seen.add(observe(files))  # type: ignore[operator]
    return seen


def _content(files: CrashFiles) -> bytes | None:
    return files.content("/f") if files.exists("/f") else None


def test_a_file_whose_name_is_not_synced_may_be_gone() -> None:
    def prepare(files: CrashFiles) -> None:
        file = files.open("/f", "new")
        file.write((b"x",), 0)
        file.sync()

    assert _after_crashes(prepare, _content) == {None, b"x"}


def test_synced_content_under_a_synced_name_stays() -> None:
    def prepare(files: CrashFiles) -> None:
        file = files.open("/f", "new")
        file.write((b"x",), 0)
        file.sync()
        files.sync_directory("/")

    assert _after_crashes(prepare, _content) == {b"x"}


def test_unsynced_pages_are_lost_one_by_one() -> None:
    page = b"1" * 4096

    def prepare(files: CrashFiles) -> None:
        file = files.open("/f", "new")
        file.write((page + page,), 0)
        file.sync()
        files.sync_directory("/")
        file.write((b"2" * 8192,), 0)

    seen = {(content[:1], content[-1:]) for content in _after_crashes(prepare, _content)}  # type: ignore[index]
    assert seen == {(b"1", b"1"), (b"1", b"2"), (b"2", b"1"), (b"2", b"2")}


def test_an_older_version_of_a_page_may_come_back() -> None:
    def prepare(files: CrashFiles) -> None:
        file = files.open("/f", "new")
        file.sync()
        files.sync_directory("/")
        file.write((b"a",), 0)
        file.write((b"b",), 0)

    assert {b"", b"\0", b"a", b"b"} <= _after_crashes(prepare, _content)


def test_a_rename_is_kept_or_not_but_never_half() -> None:
    def prepare(files: CrashFiles) -> None:
        files.put("/f", b"old")
        file = files.open("/g", "new")
        file.write((b"new",), 0)
        file.sync()
        files.sync_directory("/")
        files.rename("/g", "/f")

    assert _after_crashes(prepare, lambda files: (_content(files), files.exists("/g"))) == {
        (b"old", True),
        (b"new", False),
    }


def test_a_removal_may_be_undone() -> None:
    def prepare(files: CrashFiles) -> None:
        files.put("/f", b"x")
        files.remove("/f")

    assert _after_crashes(prepare, _content) == {None, b"x"}


def test_a_failed_sync_drops_the_pages_and_the_next_one_succeeds() -> None:
    files = CrashFiles()
    file = files.open("/f", "new")
    files.sync_directory("/")
    file.write((b"x" * 5000,), 0)
    files.faults.append(Fault("sync"))
    with pytest.raises(OSError):
        file.sync()
    file.sync()
    assert file.read(10, 0) == b"x" * 10, "still readable"
    files.crash(random.Random(1))
    assert b"x" not in files.content("/f"), "but not on the disk"


def test_a_killed_process_loses_nothing_but_its_handles_and_locks() -> None:
    files = CrashFiles()
    file = files.open("/f", "new")
    file.write((b"x",), 0)
    assert files.lock("/lock") is not None and files.lock("/lock") is None
    files.restart()
    assert files.content("/f") == b"x"
    assert files.lock("/lock") is not None
    with pytest.raises(AssertionError):
        file.read(1, 0)


def test_the_disk_can_be_full() -> None:
    files = CrashFiles(capacity_bytes=10)
    file = files.open("/f", "new")
    assert file.write((b"x" * 6,), 0) == 6
    assert file.write((b"y" * 6,), 6) == 4, "short"
    with pytest.raises(OSError) as full:
        file.write((b"z",), 10)
    assert full.value.errno == errno.ENOSPC
    assert file.write((b"over",), 0) == 4
    files.remove("/f")
    assert files.free_bytes("/") == 10


def test_the_power_goes_at_any_operation_and_stays_away() -> None:
    for number in range(1, 5):
        files = CrashFiles()
        files.cut_power_at = number
        with pytest.raises(PowerCut):
            file = files.open("/f", "new")
            file.write((b"x",), 0)
            file.sync()
            files.sync_directory("/")
        with pytest.raises(PowerCut):
            files.make_directory("/d")
        files.crash(random.Random(number))
        files.make_directory("/d")


def test_faults_choose_path_and_turn() -> None:
    files = CrashFiles()
    files.faults.append(Fault("write", errno.EIO, path="b", skip=1, written=2))
    a, b = files.open("/a", "new"), files.open("/b", "new")
    assert a.write((b"1234",), 0) == b.write((b"1234",), 0) == 4
    with pytest.raises(OSError):
        b.write((b"5678",), 4)
    assert files.content("/b") == b"123456"
    assert b.write((b"78",), 6) == 2
