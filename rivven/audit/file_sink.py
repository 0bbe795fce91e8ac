"""The file sink: lines in ``audit.log``, rotated by size and age, the oldest files removed by a stated rule.

Driver over the file seam, on a thread of its own. A full file is renamed to ``audit.log.<number of its first
line, 20 digits>``; its successor begins with the hash of its last line, because every line does. Opening cuts
what a crash left behind the last whole line, keeps it beside, and has it recorded. A failed write is undone
and tried again; a failed fsync is final (the kernel may have dropped the pages). Files are removed only after
the record of their removal is on stable storage.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rivven.audit.chain import Head, Line
from rivven.audit.events import AUDIT, FAILURE, AuditEvent, Fact
from rivven.audit.sinks import Opened, SinkBroken, SinkFailed
from rivven.audit.tail import Numbered, Tail, read_first, read_tail
from rivven.clock import Clock
from rivven.log.files import File, Files

DIGITS: Final = 20
"""Of the number in a rotated file's name: all of 64 bits, so that names sort as the chain goes."""

REMOVED_AT_ONCE_MAX: Final = 1000
"""Files one rotation removes; a larger backlog goes at the next ones."""

RETENTION = "retention"
_RETENTION_MARK: Final = b'"event_type":"audit","principal":null,"action":"retention"'


@dataclass(frozen=True, slots=True)
class FileRules:
    """When a file is full and when it goes; None for never."""

    bytes_max: int = 100 << 20
    age_ms_max: int | None = 86_400_000
    keep_files_max: int | None = None
    keep_ms_max: int | None = None


class FileSink:
    """Implements `AuditSink`."""

    def __init__(self, files: Files, path: str, clock: Clock, rules: FileRules) -> None:
        self._files = files
        self._path = path
        self._directory, self._name = posixpath.split(path)
        self._directory = self._directory or "."
        self._clock = clock
        self._rules = rules
        self._file: File | None = None
        self._size = 0
        self._synced = True
        self._first_sequence: int | None = None
        self._began_ms = 0
        self._doomed: list[str] = []

    # -- opening ---------------------------------------------------------------------------------------------

    def open(self) -> Opened:
        self._make_directory()
        events: list[AuditEvent] = []
        head: Head | None = None
        if self._files.exists(self._path):
            file = self._files.open(self._path, "write")
            tail = read_tail(file)
            if tail.head is None and tail.size:
                events.append(self._set_aside(file, tail))
            else:
                if tail.good_bytes < tail.size:
                    events.append(self._cut(file, tail))
                self._use(file, tail.good_bytes)
                head = tail.head
        if self._file is None:
            self._use(self._create(), 0)
        return Opened(head if head is not None else self._rotated_head(), tuple(events))

    def _make_directory(self) -> None:
        """The last directory only: a wrong path must not grow a tree."""
        if not self._files.exists(self._directory):
            self._files.make_directory(self._directory)
            self._files.sync_directory(posixpath.dirname(self._directory) or ".")

    def _create(self) -> File:
        file = self._files.open(self._path, "new")
        self._files.sync_directory(self._directory)
        return file

    def _use(self, file: File, size: int) -> None:
        self._file, self._size = file, size
        first = read_first(file) if size else None
        self._first_sequence = first.sequence if first else None
        self._began_ms = _milliseconds(first) if first else self._clock.now_ms()

    def _cut(self, file: File, tail: Tail) -> AuditEvent:
        """A crash left part of a line: keep it beside, cut it off."""
        torn = file.read(tail.size - tail.good_bytes, tail.good_bytes)
        assert tail.head is not None
        kept = f"{self._name}.cut-{tail.head.next_sequence:0{DIGITS}d}"
        self._write_whole(f"{self._directory}/{kept}", torn)
        file.truncate(tail.good_bytes)
        file.sync()
        details: dict[str, Fact] = {
            "cut_bytes": len(torn),
            "sha256": hashlib.sha256(torn).hexdigest(),
            "kept_as": kept,
        }
        return AuditEvent(AUDIT, "recovered", f"file:{self._name}", details=details)

    def _set_aside(self, file: File, tail: Tail) -> AuditEvent:
        """Nothing in the end of the file is a line of ours: it stays as it is, under another name."""
        first = read_first(file)
        kept = f"{self._name}.damaged-{first.sequence if first else 0:0{DIGITS}d}-{tail.size}"
        self._files.rename(self._path, f"{self._directory}/{kept}")
        self._files.sync_directory(self._directory)
        details: dict[str, Fact] = {"bytes": tail.size, "kept_as": kept}
        return AuditEvent(AUDIT, "recovered", f"file:{self._name}", FAILURE, details=details)

    def _write_whole(self, path: str, content: bytes) -> None:
        file = self._files.open(path, "create")
        file.truncate(0)
        _write_all(file, content, 0)
        file.sync()
        self._files.sync_directory(self._directory)

    def _rotated_head(self) -> Head | None:
        """The end of the newest rotated file: a crash came between renaming it and beginning the next."""
        rotated = self._rotated()
        if not rotated:
            return None
        return read_tail(self._files.open(f"{self._directory}/{rotated[-1]}", "read")).head

    # -- writing ---------------------------------------------------------------------------------------------

    def write(self, lines: Sequence[Line], durable: bool) -> Sequence[AuditEvent]:
        file = self._file
        if file is None:
            raise SinkBroken(f"{self._path} is not open")
        events = list(self._check_untouched())
        if self._full(sum(len(line.data) + 1 for line in lines)):
            events += self._rotate()
        if lines:
            self._append(lines)
        mentions_removal = bool(self._doomed) and any(_RETENTION_MARK in line.data for line in lines)
        if (durable or mentions_removal) and not self._synced:
            self._sync()
        if mentions_removal:
            self._remove_doomed()
        return events

    def _append(self, lines: Sequence[Line]) -> None:
        assert self._file is not None
        content = b"\n".join((*(line.data for line in lines), b""))
        self._synced = False
        try:
            _write_all(self._file, content, self._size)
        except OSError:
            self._file.truncate(self._size)  # the same lines come again
            raise
        if self._first_sequence is None:
            self._first_sequence = lines[0].sequence
            self._began_ms = self._clock.now_ms()
        self._size += len(content)

    def _sync(self) -> None:
        assert self._file is not None
        try:
            self._file.sync()
        except OSError as error:
            self._file = None
            raise SinkBroken(f"{self._path} could not be synced: {error.strerror or error}") from error
        self._synced = True

    def _check_untouched(self) -> Sequence[AuditEvent]:
        """Somebody else removed, replaced or changed the file: keep theirs, say so, and begin another."""
        try:
            found = self._files.size(self._path)
        except FileNotFoundError:
            found = -1
        if found == self._size:
            return ()
        details: dict[str, Fact] = {"expected_bytes": self._size, "found_bytes": found}
        if found >= 0:
            kept = f"{self._name}.damaged-{self._first_sequence or 0:0{DIGITS}d}-{found}"
            self._files.rename(self._path, f"{self._directory}/{kept}")
            details["kept_as"] = kept
        self._use(self._create(), 0)
        self._synced = True
        return (AuditEvent(AUDIT, "file_changed", f"file:{self._name}", FAILURE, details=details),)

    def close(self) -> None:
        if self._file is not None and not self._synced:
            try:
                self._sync()
            except SinkFailed:
                pass  # the queue has said what was not delivered
        self._file = None

    # -- rotation and retention ------------------------------------------------------------------------------

    def _full(self, coming: int) -> bool:
        if not self._size:
            return False
        if self._size + coming > self._rules.bytes_max:
            return True
        age = self._rules.age_ms_max
        return age is not None and self._clock.now_ms() - self._began_ms > age

    def _rotate(self) -> Sequence[AuditEvent]:
        if not self._synced:
            self._sync()
        target = f"{self._directory}/{self._name}.{self._first_sequence or 0:0{DIGITS}d}"
        self._files.rename(self._path, target)
        self._use(self._create(), 0)
        return self._plan_removals()

    def _rotated(self) -> list[str]:
        """Names of rotated files, oldest first."""
        prefix = f"{self._name}."
        return sorted(
            name
            for name in self._files.list(self._directory)
            if name.startswith(prefix) and len(name) == len(prefix) + DIGITS and name[-DIGITS:].isdigit()
        )

    def _plan_removals(self) -> Sequence[AuditEvent]:
        """Which files go, as the record of it; they are removed when that record is on stable storage."""
        if self._doomed:
            return ()  # their record is on its way
        names = self._rotated()
        firsts = [self._first_of(name) for name in names]
        count = self._expired(firsts)
        # The newest rotated file always stays: the hash of the last removed line is in its successor.
        count = min(count, len(names) - 1, REMOVED_AT_ONCE_MAX)
        successor = firsts[count] if 0 < count < len(firsts) else None
        if successor is None:
            return ()
        self._doomed = names[:count]
        details: dict[str, Fact] = {
            "files": names[:count],
            "removed_below": successor.sequence,
            "last_hash": successor.previous,
        }
        return (AuditEvent(AUDIT, RETENTION, f"file:{self._name}", details=details, signed=True),)

    def _expired(self, firsts: Sequence[Numbered | None]) -> int:
        """How many of the oldest files are beyond the rules."""
        rules, count = self._rules, 0
        if rules.keep_files_max is not None:
            count = max(0, len(firsts) - rules.keep_files_max)
        if rules.keep_ms_max is not None:
            limit = self._clock.now_ms() - rules.keep_ms_max
            # A file's last line is older than the first of the next one.
            while count + 1 < len(firsts):
                following = firsts[count + 1]
                if following is None or _milliseconds(following) >= limit:
                    break
                count += 1
        return count

    def _first_of(self, name: str) -> Numbered | None:
        return read_first(self._files.open(f"{self._directory}/{name}", "read"))

    def _remove_doomed(self) -> None:
        doomed, self._doomed = self._doomed, []
        for name in doomed:
            path = f"{self._directory}/{name}"
            if self._files.exists(path):
                self._files.remove(path)


def _write_all(file: File, content: bytes, position: int) -> None:
    view = memoryview(content)
    while view:
        written = file.write([view], position)
        position += written
        view = view[written:]


def _milliseconds(line: Numbered) -> int:
    moment = line.moment
    return 0 if moment is None else int(moment.timestamp() * 1000)
