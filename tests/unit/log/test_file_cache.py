from __future__ import annotations

import errno

import pytest

from rivven.log.file_cache import FileCache, FileRef
from rivven.testing.files import CrashFiles, Fault


def _refs(files: CrashFiles, count: int) -> list[FileRef]:
    for number in range(count):
        files.put(f"/{number}", b"%d" % number)
    return [FileRef(f"/{number}") for number in range(count)]


def test_only_so_many_stay_open() -> None:
    files = CrashFiles()
    cache = FileCache(files, 3)
    for ref in _refs(files, 10):
        assert cache.get(ref).read(10, 0).decode() == ref.path[1:]
    assert len(cache) == files.open_files == 3


def test_the_least_recently_used_is_closed() -> None:
    files = CrashFiles()
    cache = FileCache(files, 2)
    first, second, third = _refs(files, 3)
    kept = cache.get(first)
    cache.get(second)
    assert cache.get(first) is kept
    cache.get(third)
    assert cache.get(first) is kept
    files.faults.append(Fault("open", errno.EACCES, "/1"))
    with pytest.raises(PermissionError):
        cache.get(second)


def test_a_file_in_use_outlives_its_place_in_the_cache() -> None:
    files = CrashFiles()
    cache = FileCache(files, 1)
    first, second = _refs(files, 2)
    used = cache.get(first)
    cache.get(second)
    assert used.read(1, 0) == b"0" and files.open_files == 2
    del used
    assert files.open_files == 1


def test_what_is_dropped_is_not_kept_again() -> None:
    """Not for one who was opening it meanwhile either."""
    files = CrashFiles()
    cache = FileCache(files, 10)
    [ref] = _refs(files, 1)
    cache.get(ref)
    cache.drop(ref)
    assert files.open_files == 0
    assert cache.get(ref).read(1, 0) == b"0"
    assert len(cache) == files.open_files == 0


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_running_out_of_descriptors_closes_cached_ones_and_tries_again(code: int) -> None:
    files = CrashFiles()
    cache = FileCache(files, 100)
    refs = _refs(files, 9)
    for ref in refs[:8]:
        cache.get(ref)
    files.faults.append(Fault("open", code, times=2))
    assert cache.get(refs[8]).read(1, 0) == b"8"
    assert len(cache) == 3


def test_trying_again_is_bounded() -> None:
    files = CrashFiles()
    cache = FileCache(files, 100)
    (ref,) = _refs(files, 1)
    files.faults.append(Fault("open", errno.EMFILE, times=100))
    with pytest.raises(OSError) as raised:
        cache.get(ref)
    assert raised.value.errno == errno.EMFILE
    assert files.faults[0].times == 100 - 9


def test_two_names_of_one_path_are_two_entries() -> None:
    """A segment that replaces another has the same path: the old handle must not serve it."""
    files = CrashFiles()
    cache = FileCache(files, 10)
    (old,) = _refs(files, 1)
    handle = cache.get(old)
    assert cache.get(FileRef(old.path)) is not handle
    new = FileRef(old.path)
    new.pinned = handle
    assert cache.get(new) is handle
