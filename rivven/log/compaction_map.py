"""The bounded key map of a compaction pass: key to the offset of its last record.

An open-addressing table of 24-byte entries (16-byte keyed hash, 8-byte offset + 1) in one block of
memory, some eight times denser than a dict. Keys are told apart by their hash alone: BLAKE2b under a key
drawn for each pass, so nobody can prepare two keys of which one would delete the other.
"""

from __future__ import annotations

from hashlib import blake2b
from mmap import mmap
from struct import Struct

_entry = Struct("<16sq")
ENTRY_BYTES = _entry.size
LOAD_MAX = 0.7
"""Share of the entries that may be used; linear probing stays at a few steps up to here."""
SLOTS_FIRST = 1024
"""Where tables begin: what a partition of a few hundred keys needs."""
SLOTS_MIN = 16
"""A pass must be able to map something, whatever the configured memory."""


class KeyMap:
    """Holds keys in at most `buffer_bytes` (but never in fewer than 16 entries), growing by doubling.

    While it grows, the old table (half as large) is there too.
    """

    def __init__(self, buffer_bytes: int, secret: bytes) -> None:
        self._slots_max = max(SLOTS_MIN, buffer_bytes // ENTRY_BYTES)
        self._secret = secret
        self._set_table(min(SLOTS_FIRST, self._slots_max))
        self.size = 0

    def put(self, key: bytes, offset: int) -> bool:
        """Remember the offset of a later record of `key`; False, and nothing done, when the map is full."""
        digest = blake2b(key, digest_size=16, key=self._secret).digest()
        position, found = self._find(digest)
        if found < 0:
            if self.size >= self._capacity:
                if self._slots == self._slots_max:
                    return False
                self._grow()
                position, _ = self._find(digest)
            self.size += 1
        _entry.pack_into(self._table, position, digest, offset + 1)
        return True

    def last_offset(self, key: bytes) -> int:
        """The offset of the last record of `key` that was put, -1 for none."""
        return self._find(blake2b(key, digest_size=16, key=self._secret).digest())[1]

    def close(self) -> None:
        """Give the memory back."""
        self._table.close()

    def _find(self, digest: bytes) -> tuple[int, int]:
        """(position of the entry or of the free slot for it, its offset or -1). There is always a free
        slot."""
        table = self._table
        end = self._slots * ENTRY_BYTES
        position = int.from_bytes(digest[:8], "little") % self._slots * ENTRY_BYTES
        while True:
            stored, offset_plus_1 = _entry.unpack_from(table, position)
            if offset_plus_1 == 0 or stored == digest:
                return position, offset_plus_1 - 1
            position += ENTRY_BYTES
            if position == end:
                position = 0

    def _set_table(self, slots: int) -> None:
        self._slots = slots
        self._capacity = int(slots * LOAD_MAX)
        self._table = mmap(-1, slots * ENTRY_BYTES)

    def _grow(self) -> None:
        old = self._table
        self._set_table(min(self._slots_max, self._slots * 2))
        for digest, offset_plus_1 in _entry.iter_unpack(old):
            if offset_plus_1:
                position, _ = self._find(digest)
                _entry.pack_into(self._table, position, digest, offset_plus_1)
        old.close()
