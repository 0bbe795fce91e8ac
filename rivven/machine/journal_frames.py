"""The bytes of a journal's file: frames, and the payloads of records in them. Pure codec.

    file    | header, see below | frame | frame | ...                              big-endian throughout
    frame   | stored length u32 | crc u32 | durable end u64 | payload as stored |
    payload | record count u32 | per record: key length i32 (-1 null), key, value length i32, value |

    header of format 1: "RVNJ" | 1 u8 | zero u24                payloads are stored as they are
    header of format 2: see `journal_sealing`                   payloads are sealed

The CRC-32C covers stored length, durable end and the stored payload: whether a frame is whole can be said
without a key.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from crc32c import crc32c

from rivven.machine.state_machine import JournalRecord

MAGIC = b"RVNJ"
PLAIN_VERSION = 1
FILE_HEADER = MAGIC + bytes((PLAIN_VERSION, 0, 0, 0))
"""The header of format 1; that of every format begins with the magic and a version byte."""

PAYLOAD_BYTES_MAX = 16 * 1024 * 1024
"""Largest payload: an append larger than this is refused, a longer length in the file is damage."""

STORED_BYTES_MAX = PAYLOAD_BYTES_MAX + 64
"""The same as stored: a sealed payload is a nonce and a tag longer."""

SNAPSHOT_SLICE = 200
"""Records encoded per turn of the event loop, and per frame, when the journal is rewritten (about 1 ms)."""

FRAME = struct.Struct(">IIQ")
_COVERED = struct.Struct(">IQ")
_LENGTH = struct.Struct(">i")
_COUNT = struct.Struct(">I")
NO_RECORDS = _COUNT.pack(0)


class Form(Protocol):
    """How one file stores its payloads. Used by one thread at a time."""

    header: bytes
    """The first bytes of the file."""

    def store(self, payload: bytes, position: int, durable_end: int) -> bytes:
        """A payload as it is stored in the frame at a position."""
        ...

    def read(self, stored: bytes, position: int, durable_end: int) -> bytes:
        """The payload of a frame whose CRC is right. Raises FrameRefused when it was not written there."""
        ...

    @property
    def worn(self) -> bool:
        """Whether the file has to be rewritten soon, whatever its size."""
        ...

    @property
    def exhausted(self) -> bool:
        """Whether nothing more may be stored until it is rewritten."""
        ...


class Plain:
    """Format 1: nothing is sealed."""

    header = FILE_HEADER
    worn = exhausted = False

    def store(self, payload: bytes, position: int, durable_end: int) -> bytes:
        return payload

    def read(self, stored: bytes, position: int, durable_end: int) -> bytes:
        return stored


def frame(stored: bytes, durable_end: int) -> bytes:
    """The frame of a payload as stored."""
    return FRAME.pack(len(stored), _crc(stored, durable_end), durable_end) + stored


def frame_at(data: bytes, position: int) -> tuple[bytes, int] | None:
    """(stored payload, durable end) of the frame at a position, None if there is no valid one."""
    if position + FRAME.size > len(data):
        return None
    length, crc, durable = FRAME.unpack_from(data, position)
    start = position + FRAME.size
    if length > STORED_BYTES_MAX or start + length > len(data) or durable > position:
        return None
    stored = data[start : start + length]
    return (stored, durable) if _crc(stored, durable) == crc else None


def proof_of_damage(data: bytes, position: int) -> int | None:
    """Where a later frame says that the bytes at `position` were durable; None if no frame does."""
    for later in range(position + 1, len(data) - FRAME.size + 1):
        _, _, durable = FRAME.unpack_from(data, later)
        if position < durable <= later and frame_at(data, later) is not None:
            return later
    return None


def payload_of(records: Sequence[JournalRecord]) -> bytes:
    """Records as one payload."""
    parts = [_COUNT.pack(len(records))]
    for record in records:
        for field in record:
            if field is None:
                parts.append(_LENGTH.pack(-1))
            else:
                parts += (_LENGTH.pack(len(field)), field)
    return b"".join(parts)


def records_of(payload: bytes) -> Iterator[JournalRecord]:
    """The records of a payload whose CRC is right; struct.error for a wrong shape, which only we write."""
    (count,) = _COUNT.unpack_from(payload, 0)
    position = _COUNT.size
    for _ in range(count):
        key, position = _field(payload, position)
        value, position = _field(payload, position)
        yield JournalRecord(key, value)


def slices(records: Iterable[JournalRecord]) -> Iterator[list[JournalRecord]]:
    """Records in groups of SNAPSHOT_SLICE."""
    part: list[JournalRecord] = []
    for record in records:
        part.append(record)
        if len(part) == SNAPSHOT_SLICE:
            yield part
            part = []
    if part:
        yield part


def _field(payload: bytes, position: int) -> tuple[bytes | None, int]:
    (length,) = _LENGTH.unpack_from(payload, position)
    position += _LENGTH.size
    if length < 0:
        return None, position
    return payload[position : position + length], position + length


def _crc(stored: bytes, durable_end: int) -> int:
    return int(crc32c(stored, crc32c(_COVERED.pack(len(stored), durable_end))))
