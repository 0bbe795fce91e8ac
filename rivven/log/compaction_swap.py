"""Replacing segments by a compacted one so that a crash leaves either the old ones or the new one, never
a mix.

A pass writes `<base>.<tag>.cleaned`, synced, beside the segments it will replace. From there (base and
end are 20 digits; end is the base of the segment after the replaced ones):

1. `commit`: rename to `<base>.<end>.swap`, sync the directory. This rename is the one atomic step: before
   it the old segments count, after it the new one does. The name says which segments it replaces.
2. `finish`: remove every old segment in base..end except the first one's `.log`, sync the directory BEFORE
   renaming `.swap` over that `.log` (else a crash could show the new file beside old ones), sync again.
3. `recover`, at every opening of a partition: remove `.cleaned`, finish every `.swap`. It may crash and run
   again.

Also the cleaner's checkpoint. Blocking throughout: for threads and tests, not for the event loop.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct

from rivven.log import framed_file
from rivven.log.files import Files

CHECKPOINT_NAME = "compaction.checkpoint"
CHECKPOINT_MAGIC = b"RVCC"
CHECKPOINT_VERSION = 1

_log = logging.getLogger("rivven.log")
_offset = Struct(">q")
_swap_name = re.compile(r"([0-9]{20})\.([0-9]{20})\.swap", re.ASCII)
_cleaned_name = re.compile(r"[0-9]{20}\.[0-9a-f]{1,32}\.cleaned", re.ASCII)
_segment_name = re.compile(r"([0-9]{20})\.(log|index|timeindex)", re.ASCII)


@dataclass(frozen=True, slots=True)
class PreparedSegment:
    """A compacted segment, complete and synced under the name `path`, that covers
    `base_offset..end_offset`."""

    base_offset: int
    end_offset: int
    size_bytes: int
    max_timestamp: int
    path: str
    sealed: bool = False


def cleaned_path(directory: str, base_offset: int, tag: str) -> str:
    """Where a pass writes; `tag` (lower-case hex) is new for every pass, so that two never share a file."""
    return f"{directory}/{base_offset:020d}.{tag}.cleaned"


def swap_path(directory: str, base_offset: int, end_offset: int) -> str:
    """The name a compacted segment has between `commit` and `finish`."""
    return f"{directory}/{base_offset:020d}.{end_offset:020d}.swap"


def commit(files: Files, directory: str, prepared: PreparedSegment) -> str:
    """Make the new segment the one that counts; returns its path until `finish` has run. Raises OSError."""
    path = swap_path(directory, prepared.base_offset, prepared.end_offset)
    files.rename(prepared.path, path)
    files.sync_directory(directory)
    return path


def finish(files: Files, directory: str, base_offset: int, end_offset: int) -> None:
    """Remove what a committed swap replaces and give it its final name. Safe to repeat. Raises OSError."""
    _finish(files, directory, base_offset, end_offset, files.list(directory))


def pending(names: Iterable[str]) -> bool:
    """Whether a listing of a partition directory holds anything for `recover` to do."""
    return any(name.endswith((".cleaned", ".swap")) for name in names)


def recover(files: Files, directory: str) -> int:
    """Undo or complete whatever a crash has interrupted; returns the number of swaps completed.

    Must run before the segments of a directory are listed. Raises OSError.
    """
    names = files.list(directory)
    for name in names:
        if _cleaned_name.fullmatch(name):
            files.remove(f"{directory}/{name}")
    completed = 0
    for name in sorted(names):
        match = _swap_name.fullmatch(name)
        if match:
            _finish(files, directory, int(match[1]), int(match[2]), names)
            completed += 1
    return completed


def _finish(files: Files, directory: str, base_offset: int, end_offset: int, names: Iterable[str]) -> None:
    for name in names:
        match = _segment_name.fullmatch(name)
        if match is None or not base_offset <= int(match[1]) < end_offset:
            continue
        if int(match[1]) == base_offset and match[2] == "log":
            continue  # replaced by the rename below
        files.remove(f"{directory}/{name}")
    files.sync_directory(directory)
    files.rename(swap_path(directory, base_offset, end_offset), f"{directory}/{base_offset:020d}.log")
    files.sync_directory(directory)


def load_first_dirty_offset(files: Files, directory: str) -> int:
    """Where cleaning starts; 0 without a checkpoint or with a damaged one, which only costs a longer pass."""
    path = f"{directory}/{CHECKPOINT_NAME}"
    try:
        found = framed_file.read(files, path, CHECKPOINT_MAGIC, CHECKPOINT_VERSION)
    except framed_file.FramedFileDamaged as error:
        _log.warning("the cleaner starts from the beginning of the log: %s", error)
        return 0
    if found is None or len(found[1]) != _offset.size:
        return 0
    offset: int = _offset.unpack(found[1])[0]
    return max(0, offset)


def store_first_dirty_offset(files: Files, directory: str, offset: int) -> None:
    """Durably remember that the log below `offset` is clean; only after every swap of the pass has finished.

    A checkpoint that lags is harmless; one ahead of the swaps would let tombstones go before what they
    delete.
    """
    content = framed_file.encode(CHECKPOINT_MAGIC, CHECKPOINT_VERSION, _offset.pack(offset))
    framed_file.replace(files, f"{directory}/{CHECKPOINT_NAME}", content)
