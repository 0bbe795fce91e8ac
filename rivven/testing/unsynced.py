"""What a simulated disk holds of a file and of a directory, and what of it a crash leaves.

Pure but for the generator given to `crash`. It knows no paths, handles or failures: `testing.files` does.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from rivven.log.files import Buffer

PAGE_BYTES = 4096
SECTOR_BYTES = 512
VERSIONS_MAX = 4
"""Older versions of an unsynced page that a crash may bring back; more only repeat the same cases."""


class Inode:
    """The content of one file as it reads now and as the disk has it, with older versions of dirty pages."""

    __slots__ = ("content", "dirty", "sized", "stable")

    def __init__(self) -> None:
        self.content = bytearray()
        self.stable = b""
        self.dirty: dict[int, list[bytes]] = {}
        self.sized = False

    def page(self, number: int) -> bytes:
        return bytes(self.content[number * PAGE_BYTES : (number + 1) * PAGE_BYTES])

    def touch(self, start: int, end: int) -> None:
        """Remember what pages held before they are overwritten."""
        for number in range(start // PAGE_BYTES, -(-end // PAGE_BYTES)):
            versions = self.dirty.setdefault(number, [])
            versions.append(self.page(number))
            del versions[1:-VERSIONS_MAX]

    def write(self, data: Buffer, position: int) -> None:
        end = position + len(data)
        self.touch(min(position, len(self.content)), end)
        if len(self.content) < position:
            self.content.extend(bytes(position - len(self.content)))
        self.content[position:end] = data
        self.sized = True

    def truncate(self, size: int) -> None:
        self.touch(min(size, len(self.content)), max(size, len(self.content)))
        if size <= len(self.content):
            del self.content[size:]
        else:
            self.content.extend(bytes(size - len(self.content)))
        self.sized = True

    def sync(self) -> None:
        """Only dirty pages are written: one that a failed sync dropped never is."""
        size = len(self.content)
        stable = bytearray(self.stable[:size].ljust(size, b"\0"))
        for number in self.dirty:
            start = number * PAGE_BYTES
            stable[start : start + PAGE_BYTES] = self.page(number)
        self.stable = bytes(stable)
        self.forget()

    def settle(self) -> None:
        """What is there is what the disk holds."""
        self.stable = bytes(self.content)
        self.forget()

    def forget(self) -> None:
        self.dirty.clear()
        self.sized = False

    def drop_unsynced(self) -> None:
        """What a failed write-back does: pages stay readable, are clean, and are not on the disk."""
        self.forget()

    def crash(self, random_: random.Random) -> None:
        sizes = [len(self.stable), len(self.content)] if self.sized else [len(self.stable)]
        low, high = min(sizes), max(sizes)
        sizes += [random_.randrange(low, high + 1)] if high > low else []
        size = random_.choice(sizes)
        survived = bytearray(self.stable.ljust(max(high, len(self.stable)), b"\0"))
        for number, versions in sorted(self.dirty.items()):
            start = number * PAGE_BYTES
            page = self._surviving_page(number, versions, random_)
            if page is not None:
                survived[start : start + PAGE_BYTES] = page.ljust(PAGE_BYTES, b"\0")
        self.content = survived[:size]
        self.content.extend(bytes(size - len(self.content)))
        self.settle()

    def _surviving_page(self, number: int, versions: list[bytes], random_: random.Random) -> bytes | None:
        choice = random_.random()
        if choice < 0.3:
            return None
        if choice < 0.75:
            return self.page(number)
        older = random_.choice(versions)
        if choice < 0.9:
            return older
        newest = self.page(number).ljust(PAGE_BYTES, b"\0")
        sector = random_.randrange(PAGE_BYTES // SECTOR_BYTES + 1) * SECTOR_BYTES
        return newest[:sector] + older.ljust(PAGE_BYTES, b"\0")[sector:]


class Directory:
    """The names of one directory: as they read now, as they are on the disk, and the changes in between."""

    __slots__ = ("entries", "pending", "stable")

    def __init__(self) -> None:
        self.entries: dict[str, Inode | Directory] = {}
        self.stable: dict[str, Inode | Directory] = {}
        self.pending: list[tuple[tuple[str, Inode | Directory | None], ...]] = []

    def change(self, *changes: tuple[str, Inode | Directory | None]) -> None:
        """Apply names -> node (None: removed) together, durable only after a sync."""
        _apply(self.entries, changes)
        self.pending.append(changes)

    def sync(self) -> None:
        self.stable = dict(self.entries)
        self.pending.clear()

    def crash(self, random_: random.Random) -> None:
        if random_.random() < 0.5:  # a journaling file system keeps a prefix
            kept = self.pending[: random_.randrange(len(self.pending) + 1)]
        else:  # POSIX promises nothing about the order
            kept = [change for change in self.pending if random_.random() < 0.5]
        for changes in kept:
            _apply(self.stable, changes)
        self.entries = dict(self.stable)
        self.pending.clear()


def _apply(
    entries: dict[str, Inode | Directory], changes: Sequence[tuple[str, Inode | Directory | None]]
) -> None:
    for name, node in changes:
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node
