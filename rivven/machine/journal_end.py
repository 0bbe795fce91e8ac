"""Where a journal ended at the last clean shutdown, in a small file beside it. Blocking.

A torn end is what a crash leaves, and is cut; after a clean shutdown nothing may be missing. Without this a
journal that somebody cut short would be believed, and the partitions of topics it no longer knows be removed.
"""

from __future__ import annotations

from rivven.log import framed_file
from rivven.log.files import Files
from rivven.log.framed_file import FormatTooNew, FramedFileDamaged
from rivven.machine.journal import JournalCorrupt

SUFFIX = ".end"
_MAGIC, _VERSION, _END_BYTES = b"RVNE", 1, 8


def note(files: Files, path: str, end: int) -> None:
    """Remember durably that the journal at `path` has `end` bytes. Raises OSError."""
    framed_file.replace(files, path + SUFFIX, framed_file.encode(_MAGIC, _VERSION, end.to_bytes(_END_BYTES)))


def check(files: Files, path: str, size: int) -> None:
    """Compare with what is there now, 0 bytes without a file. Raises JournalCorrupt and OSError."""
    try:
        found = framed_file.read(files, path + SUFFIX, _MAGIC, _VERSION)
    except (FramedFileDamaged, FormatTooNew) as error:
        raise JournalCorrupt(f"{error}; without this file the end is not checked") from None
    if found is None:
        return
    end = int.from_bytes(found[1])
    if size < end:
        raise JournalCorrupt(
            f"{path}: has {size} bytes, {end} at the last shutdown;"
            f" remove {path}{SUFFIX} for one from a backup"
        )


def forget(files: Files, path: str) -> None:
    """Durably, before the journal changes: from here on it is rewritten, and crashes leave torn ends.

    Raises OSError.
    """
    if files.exists(path + SUFFIX):
        files.remove(path + SUFFIX)
        files.sync_directory(path.rpartition("/")[0] or ".")
