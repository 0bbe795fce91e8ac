"""The newest batches of sealed segments as they came, so that consumers at the end cost no opening.

Loop-owned and bounded over all partitions of a directory; the oldest give way. It is a cache: what is not
here is read from the file and opened. Nothing in it may outlive its partition.
"""

from __future__ import annotations

from collections import OrderedDict

from rivven.log.files import Buffer
from rivven.log.reading import ReadResult, Wanted
from rivven.log.sealed_reading import JOINED_BYTES_MAX

ENTRY_BYTES = 512
"""What an entry costs in memory beside its batch."""
BATCHES_MAX = 512
"""Batches answered from here in one turn of the loop: walking over them takes some 0.1 ms."""


class _Entry:
    __slots__ = ("base_offset", "before", "buffers", "following", "next_offset", "size", "tail")

    def __init__(
        self, tail: HotTail, base_offset: int, next_offset: int, buffers: list[Buffer], size: int, before: int
    ) -> None:
        self.tail = tail
        self.base_offset = base_offset
        self.next_offset = next_offset
        self.buffers = buffers
        self.size = size
        self.before = before
        """Plain bytes of this log that came before, since it was opened."""
        self.following: _Entry | None = None


class HotMemory:
    """What all partitions of a directory keep together."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._entries: OrderedDict[_Entry, None] = OrderedDict()
        self.used_bytes = 0

    def keep(self, entry: _Entry) -> None:
        self._entries[entry] = None
        self.used_bytes += entry.size + ENTRY_BYTES
        while self.used_bytes > self._capacity:
            oldest, _ = self._entries.popitem(last=False)
            self.used_bytes -= oldest.size + ENTRY_BYTES
            oldest.tail.forget(oldest)

    def drop(self, entry: _Entry) -> None:
        del self._entries[entry]
        self.used_bytes -= entry.size + ENTRY_BYTES


class HotTail:
    """What is kept of one partition: always batches that follow each other."""

    __slots__ = ("_entries", "_last", "_memory", "_total")

    def __init__(self, memory: HotMemory) -> None:
        self._memory = memory
        self._entries: dict[int, _Entry] = {}
        self._last: _Entry | None = None
        self._total = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, next_offset: int, buffers: list[Buffer], size: int) -> None:
        """A batch is in the file; `size` plain bytes in buffers that nobody else changes."""
        base_offset = int.from_bytes(buffers[0][:8], "big")
        last = self._last
        if last is not None and last.next_offset != base_offset:
            self.clear()
            last = None
        if size < JOINED_BYTES_MAX:
            buffers = [b"".join(buffers)]
        entry = _Entry(self, base_offset, next_offset, buffers, size, self._total)
        self._total += size
        if last is not None:
            last.following = entry
        self._last = entry
        self._entries[base_offset] = entry
        self._memory.keep(entry)

    def read(self, wanted: Wanted) -> ReadResult | None:
        """The batches from the one that begins at the wanted offset; None when that is not here."""
        entry = self._entries.get(wanted.offset)
        if entry is None:
            return None
        if entry.next_offset > wanted.upper_bound:
            return wanted.nothing
        if entry.size > wanted.max_bytes and not wanted.at_least_one:
            return wanted.nothing
        buffers: list[Buffer] = []
        total = count = 0
        next_offset = wanted.offset
        while True:
            buffers += entry.buffers
            total += entry.size
            count += 1
            next_offset = entry.next_offset
            following = entry.following
            if following is None or count >= BATCHES_MAX:
                break
            if following.next_offset > wanted.upper_bound or total + following.size > wanted.max_bytes:
                break
            entry = following
        if total < JOINED_BYTES_MAX * count:
            buffers = [b"".join(buffers)]
        return ReadResult(buffers, total, wanted.offset, next_offset)

    def bytes_between(self, from_offset: int, upper_bound: int) -> int | None:
        """Plain bytes between two offsets; None when they are not known here."""
        first = self._entries.get(from_offset)
        if first is None:
            return None
        last = self._last
        if last is not None and upper_bound == last.next_offset:
            return self._total - first.before
        end = self._entries.get(upper_bound)
        return None if end is None else end.before - first.before

    def clear(self) -> None:
        """Forget everything: the partition is deleted, rewritten or cut."""
        for entry in self._entries.values():
            self._memory.drop(entry)
        self._entries.clear()
        self._last = None

    def forget(self, entry: _Entry) -> None:
        """The memory took the oldest entry away."""
        del self._entries[entry.base_offset]
        if entry is self._last:
            self._last = None
