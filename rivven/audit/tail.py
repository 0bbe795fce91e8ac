"""Where a file of audit lines ends: its last whole line, and what a crash left after it.

Driver over the file seam; reads only the end of a file. Whether the lines before chain up is `verify`'s task.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from rivven.audit.chain import Head, line_hash
from rivven.audit.events import LINE_BYTES_MAX
from rivven.log.files import File

TAIL_BYTES: Final = 1 << 20
"""How far back a whole line is looked for: one write of the sink is no larger, so a crash damages no more."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """What the chain needs of a line: its number, the hash it names, and when it was written."""

    sequence: int
    previous: str
    timestamp: str

    @property
    def moment(self) -> datetime | None:
        """`timestamp` as a time; None when it is none."""
        try:
            return datetime.strptime(self.timestamp, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Tail:
    """`head` is None when no whole line was found; `good_bytes` is where the last one ends."""

    head: Head | None
    good_bytes: int
    size: int


def numbered(data: bytes) -> Numbered | None:
    """The numbers of a line; None when it is not a line of ours."""
    if len(data) > LINE_BYTES_MAX * 2:
        return None
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):  # nesting without end
        return None
    if not isinstance(fields, dict):
        return None
    sequence, previous, at = fields.get("sequence"), fields.get("previous"), fields.get("timestamp")
    if type(sequence) is not int or not isinstance(previous, str) or not isinstance(at, str):
        return None
    return Numbered(sequence, previous, at)


def read_tail(file: File) -> Tail:
    """The end of a file of lines; raises OSError."""
    size = file.size()
    start = max(0, size - TAIL_BYTES)
    content = file.read(size - start, start)
    end = content.rfind(b"\n") + 1
    while end > 0:
        begin = content.rfind(b"\n", 0, end - 1) + 1
        if begin == 0 and start > 0:
            break  # the line begins before what was read
        data = content[begin : end - 1]
        found = numbered(data)
        if found is not None:
            return Tail(Head(found.sequence + 1, line_hash(data)), start + end, size)
        end = begin
    return Tail(None, 0, size)


def read_first(file: File) -> Numbered | None:
    """The numbers of a file's first line; None when it has none. Raises OSError."""
    content = file.read(LINE_BYTES_MAX * 2, 0)
    data, newline, _ = content.partition(b"\n")
    return numbered(data) if newline else None
