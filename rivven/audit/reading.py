"""Reads audit lines back: parsed, filtered, from files that may still be written to.

Driver over the file seam. It believes what it reads; whether the lines are genuine is `verify`'s task.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from rivven.audit.verify import lines_of
from rivven.log.files import Files

NEWEST_BYTES = 4 << 20
"""What a running broker searches of its own file: some 8,000 events, parsed in 50 ms beside the loop. Whole
logs are searched by `rivven audit search`, in a process of its own."""

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: each condition that is not empty must hold. Texts may use ``*`` and ``?``.

    `since` and `until` are timestamps as in the lines; RFC 3339 in UTC compares as text.
    """

    event_type: str = ""
    principal: str = ""
    action: str = ""
    resource: str = ""
    result: str = ""
    since: str = ""
    until: str = ""
    after: int = -1
    """Only events with a greater number."""

    def matches(self, event: Event) -> bool:
        number = event.get("sequence")
        if isinstance(number, int) and number <= self.after:
            return False
        at = str(event.get("timestamp") or "")
        if (self.since and at < self.since) or (self.until and at >= self.until):
            return False
        for name in ("event_type", "principal", "action", "resource", "result"):
            pattern = getattr(self, name)
            if pattern and not fnmatchcase(str(event.get(name) or ""), pattern):
                return False
        return True


def events_of(files: Files, paths: Sequence[str], wanted: Wanted | None = None) -> Iterator[dict[str, Any]]:
    """Events of files, in order; lines that are none are skipped. Raises OSError."""
    for path in paths:
        for data, whole in lines_of(files.open(path, "read")):
            event = parse(data) if whole else None
            if event is not None and (wanted is None or wanted.matches(event)):
                yield event


def newest_events(files: Files, path: str, count: int, wanted: Wanted) -> list[dict[str, Any]]:
    """The last `count` wanted events in the newest NEWEST_BYTES of a file, oldest first. Raises OSError."""
    file = files.open(path, "read")
    size = file.size()
    start = max(0, size - NEWEST_BYTES)
    lines = file.read(size - start, start).split(b"\n")
    found: list[dict[str, Any]] = []
    for data in reversed(lines[1:-1] if start else lines[:-1]):
        event = parse(data)
        if event is not None and wanted.matches(event):
            found.append(event)
            if len(found) >= count:
                break
    found.reverse()
    return found


def parse(data: bytes) -> dict[str, Any] | None:
    """An event, or None for what is none."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):  # nesting without end
        return None
    return fields if isinstance(fields, dict) and "event_type" in fields else None
