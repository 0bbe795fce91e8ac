"""What recovery cuts off a log is kept beside it, so that nothing is ever lost without a trace.

A partition keeps at most CUT_FILES_MAX such files, the newest; nothing reads them but people. Blocking.
"""

from __future__ import annotations

import re

from rivven.log.files import File, Files
from rivven.log.scanning import CHUNK_BYTES

CUT_FILES_MAX = 8
"""Files kept per partition: enough to look into repeated crashes, bounded so that they cannot fill the disk.
"""

_NAME = re.compile(r"cut-(\d{6})-(\d{20})-(\d+)\.bin", re.ASCII)


def keep_cut(files: Files, directory: str, names: list[str], source: File, base: int, position: int) -> int:
    """Copy a segment file from `position` to its end into a new side file, durably; returns the bytes.

    `names` is the listing of the directory. Raises OSError.
    """
    end = source.size()
    if end <= position:
        return 0
    kept = sorted(name for name in names if _NAME.fullmatch(name))
    number = int(kept[-1][4:10]) + 1 if kept else 0
    name = f"cut-{number % 1_000_000:06d}-{base:020d}-{position}.bin"
    target = files.open(f"{directory}/{name}", "new")
    for start in range(position, end, CHUNK_BYTES):
        _copy(source, target, start, min(start + CHUNK_BYTES, end), position)
    target.sync()
    files.sync_directory(directory)
    names.append(name)
    for old in [*kept, name][:-CUT_FILES_MAX]:
        files.remove(f"{directory}/{old}")
        names.remove(old)
    return end - position


def _copy(source: File, target: File, start: int, end: int, shift: int) -> None:
    data = memoryview(source.read(end - start, start))
    written = 0
    while written < len(data):
        written += target.write((data[written:],), start - shift + written)
