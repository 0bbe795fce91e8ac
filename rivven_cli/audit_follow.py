"""Follows an audit log that is being written: new events in order, each once, over rotations.

It reads files, or asks the Admin API, and believes what it reads. Which file comes next is told by the
numbers of lines, so that nothing is missed when the log is rotated, several times even, between two looks.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from rivven_client.admin import AdminApi

FOLLOW_SECONDS = 0.5
"""Between two looks."""

PAGE_EVENTS = 1_000
"""Events the Admin API gives at once at most."""

READ_BYTES = 1 << 20

STEP_BACK_BYTES = 1 << 18
"""Where the first look begins: before the end, which may be within a line; a line is shorter than this."""


def following(path: Path, last: int) -> Iterator[dict[str, Any]]:
    """Events after the number `last`, for ever. `path` is the current file of a log. Raises OSError."""
    file: BinaryIO = _begin(path, last)
    try:
        while True:
            replaced = _replaced(path, file)  # asked first: then what is read now is all of this file
            for event in _read(file):
                if event["sequence"] > last:
                    last = event["sequence"]
                    yield event
            if replaced:
                file.close()
                file = _next_file(path, last)
            else:
                sys.stdout.flush()
                time.sleep(FOLLOW_SECONDS)
    finally:
        file.close()


def _replaced(path: Path, file: BinaryIO) -> bool:
    """Whether the log goes on in another file."""
    try:
        return path.stat().st_ino != os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False  # renamed, and its successor is not there yet


def _read(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """The events from the file's position on; an unfinished line is left for the next time."""
    from rivven.audit.reading import parse

    rest = b""
    while chunk := file.read(READ_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            event = parse(line)
            if event is not None and isinstance(event.get("sequence"), int):
                yield event
    file.seek(-len(rest), os.SEEK_CUR)


def _next_file(path: Path, last: int) -> BinaryIO:
    """The oldest file of the log that begins after the line `last`."""
    while True:
        found = _after(path, last)
        try:
            file = found.open("rb")
        except FileNotFoundError:  # renamed, or its successor is not there yet
            time.sleep(FOLLOW_SECONDS)
            continue
        if _after(path, last) == found:
            return file
        file.close()  # the log was rotated in between: a file came before this one


def remote_events(
    admin: AdminApi, conditions: dict[str, str], count: int, *, follow: bool = False
) -> Iterator[dict[str, Any]]:
    """The broker's newest events that fit, oldest first; with `follow` what comes then, for ever. Raises
    ClientFailed."""
    from rivven_client.admin import path

    query = {"type" if name == "event_type" else name: value for name, value in conditions.items()}
    last, limit = -1, count
    while True:
        page: dict[str, str | int] = {**query, "limit": max(1, min(limit, PAGE_EVENTS)), "after": last}
        found = admin.get(path("audit", "events"), page)["items"]
        yield from found[len(found) - min(limit, len(found)) :]
        last = max([last, *(event["sequence"] for event in found)])
        if not follow:
            return
        limit = PAGE_EVENTS
        sys.stdout.flush()
        time.sleep(FOLLOW_SECONDS)


def _begin(path: Path, last: int) -> BinaryIO:
    """Where to look first: the log may have been rotated since `last` was read, and while this looks."""
    while True:
        before = [found for found in _rotated(path) if _first_of(found) <= last]
        file = (before[-1] if before else path).open("rb")
        if before or not any(_first_of(found) <= last for found in _rotated(path)):
            file.seek(max(0, file.seek(0, os.SEEK_END) - STEP_BACK_BYTES))
            return file
        file.close()


def _after(path: Path, last: int) -> Path:
    return next((found for found in _rotated(path) if _first_of(found) > last), path)


def _rotated(path: Path) -> list[Path]:
    """The full files of the log, oldest first."""
    from rivven.audit.verify import chain_files
    from rivven.log.files import OsFiles

    return [Path(found) for found in chain_files(OsFiles(), str(path))[:-1]]


def _first_of(rotated: Path) -> int:
    """The number of a full file's first line."""
    return int(rotated.suffix[1:])
