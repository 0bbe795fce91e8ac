"""What is in the directories of a broker that may be running.

A file can go between its listing and its reading, as those of a deleted topic, of a compaction and of every
write that replaces a whole file do.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def contents(*directories: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below, in order, with what it holds."""
    for path in _below(*directories):
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            yield path, path.read_bytes()


def holding(directory: Path, text: bytes) -> list[str]:
    """The files below that hold a text, relative to the directory."""
    return [str(path.relative_to(directory)) for path, content in contents(directory) if text in content]


def statuses(directory: Path) -> dict[Path, os.stat_result]:
    """The directory and everything below it."""
    found = {}
    for path in [directory, *_below(directory)]:
        with contextlib.suppress(FileNotFoundError):
            found[path] = path.stat()
    return found


def segments(data: Path, partitions: str = "*") -> Iterator[tuple[Path, bytes]]:
    """The segments with content, of the partitions whose directories match."""
    for folder in sorted((data / "partitions").glob(partitions)):
        for path, content in contents(folder):
            if path.suffix == ".log" and content:
                yield path, content


def _below(*directories: Path) -> list[Path]:
    """`os.walk` passes over a directory that has gone, which `Path.rglob` does not."""
    found = [
        Path(root, name)
        for directory in directories
        for root, folders, files in os.walk(directory)
        for name in (*folders, *files)
    ]
    return sorted(found)
