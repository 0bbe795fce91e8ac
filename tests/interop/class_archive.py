"""The classes a Java program loads, parsed once per machine: the first run archives them, the next map them.

A JVM that starts Kafka's client or one of its tools parses some four thousand classes, which is half of its
time. An archive of another JVM or class path is refused by the JVM itself, which then starts as without one
(JEP 350, `-Xshare:auto`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ClassArchive:
    """One archive, for one class path."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Each worker writes its own; whoever is done last is who is read, and both are right.
        self._recorded = path.with_suffix(f".{os.getpid()}")

    def mapped(self) -> list[str]:
        """Options of a run that uses the archive, if there is one."""
        return [f"-XX:SharedArchiveFile={self._path}"] if self._path.exists() else []

    @contextmanager
    def written(self) -> Iterator[list[str]]:
        """Options of a run that uses the archive or writes it; to be left when the program has ended well."""
        if mapped := self.mapped():
            yield mapped
            return
        self._recorded.unlink(missing_ok=True)
        try:
            yield [f"-XX:ArchiveClassesAtExit={self._recorded}"]
            if self._recorded.exists():
                self._recorded.replace(self._path)
        finally:
            self._recorded.unlink(missing_ok=True)
