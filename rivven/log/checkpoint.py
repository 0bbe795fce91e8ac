"""The directory's checkpoint: one fixed-size entry per partition, kept in memory as the bytes of the file.

So writing it is one copy of a buffer, however many partitions there are, and starting after a clean shutdown
reads one file. Entry, big endian, 64 bytes::

    topic id 16 | partition i32 | leader epoch i32 | log start i64 | recovery point i64 | log end i64 |
    size in bytes i64 | oldest segment's largest timestamp i64

`log end`, size and timestamp are only believed when the file says that the shutdown was clean.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple
from uuid import UUID

from rivven.log.framed_file import FramedFileDamaged, encode

CHECKPOINT_NAME = "log-checkpoint"
CHECKPOINT_MAGIC = b"RVCP"
CHECKPOINT_VERSION = 1
CLEAN_FLAG = 1

_entry = Struct(">16siiqqqqq")
ENTRY_BYTES = _entry.size
_FREE = bytes(ENTRY_BYTES)

PartitionKey = tuple[UUID, int]


class CheckpointEntry(NamedTuple):
    """What is known of one partition. `oldest_timestamp`: largest in its first segment, -1 unknown."""

    leader_epoch: int
    log_start_offset: int
    recovery_point: int
    log_end_offset: int
    size_bytes: int
    oldest_timestamp: int


class CheckpointTable:
    """Slots by partition. Loop-owned; `image()` is what a thread may write to disk."""

    def __init__(self) -> None:
        self._image = bytearray()
        self._slots: dict[PartitionKey, int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, key: PartitionKey) -> bool:
        return key in self._slots

    def keys(self) -> list[PartitionKey]:
        return list(self._slots)

    def get(self, key: PartitionKey) -> CheckpointEntry | None:
        slot = self._slots.get(key)
        if slot is None:
            return None
        return CheckpointEntry(*_entry.unpack_from(self._image, slot)[2:])

    def put(self, key: PartitionKey, entry: CheckpointEntry) -> None:
        slot = self._slots.get(key)
        if slot is None:
            slot = self._free.pop() if self._free else self._grow()
            self._slots[key] = slot
        _entry.pack_into(self._image, slot, key[0].bytes, key[1], *entry)

    def remove(self, key: PartitionKey) -> None:
        slot = self._slots.pop(key, None)
        if slot is not None:
            self._image[slot : slot + ENTRY_BYTES] = _FREE
            self._free.append(slot)

    def image(self, clean: bool) -> bytes:
        """The whole file. A free slot is an entry of zeros."""
        return encode(CHECKPOINT_MAGIC, CHECKPOINT_VERSION, self._image, flags=CLEAN_FLAG if clean else 0)

    def _grow(self) -> int:
        slot = len(self._image)
        self._image += _FREE
        return slot


def load_table(path: str, payload: bytes) -> CheckpointTable:
    """The table of a checkpoint's payload. Raises FramedFileDamaged when entries contradict each other."""
    if len(payload) % ENTRY_BYTES:
        raise FramedFileDamaged(path, "an entry is cut")
    table = CheckpointTable()
    for fields in _entry.iter_unpack(payload):
        if fields[0] == _FREE[:16]:
            continue
        key = (UUID(bytes=fields[0]), fields[1])
        if key in table:
            raise FramedFileDamaged(path, f"two entries for {key[0]}-{key[1]}")
        table.put(key, CheckpointEntry(*fields[2:]))
    return table
