"""Byte-level pieces shared by generated and hand-written codecs: varints, counts, small integer arrays.

Functions take `bytes` or `memoryview` and a position and return the value with the next position. A read past
the end surfaces as IndexError or struct.error, which `codec` turns into ProtocolError. Nothing here may
allocate by a length that has not been compared with the bytes that remain.
"""

from __future__ import annotations

from struct import Struct, error
from typing import Final
from uuid import UUID

from rivven.protocol.exceptions import ProtocolError
from rivven.protocol.schema import NULL_UUID

Buffer = bytes | bytearray | memoryview

FOREIGN_BYTES_ERRORS: Final = (IndexError, error, UnicodeDecodeError)
"""What reading malformed bytes can raise besides ProtocolError; codecs convert these and nothing else."""

MAX_UVARINT: Final = 0xFFFFFFFF
"""A uvarint is an unsigned 32-bit value: at most five bytes (KIP-482)."""

SMALL_ARRAY: Final = 16
"""Integer arrays up to this length (replica lists) use a ready-made struct format."""

_INT_FORMAT: Final = {1: "b", 2: "h", 4: "i", 8: "q"}
_SMALL_INTS: Final = {
    size: tuple(Struct(f">{n}{code}") for n in range(SMALL_ARRAY)) for size, code in _INT_FORMAT.items()
}
_ZERO_UUID: Final = bytes(16)


def malformed(error: Exception) -> str:
    """A FOREIGN_BYTES_ERRORS instance in words, without repeating the bytes."""
    return "text is not UTF-8" if isinstance(error, UnicodeDecodeError) else "ends too early"


def read_uvarint(buf: Buffer, pos: int) -> tuple[int, int]:
    """An unsigned 32-bit varint; more than five bytes, or bits beyond 32, are refused."""
    byte = buf[pos]
    if byte < 0x80:
        return byte, pos + 1
    value = byte & 0x7F
    for shift in (7, 14, 21, 28):
        pos += 1
        byte = buf[pos]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > MAX_UVARINT:
                break
            return value, pos + 1
    raise ProtocolError("varint does not fit 32 bits")


def uvarint(value: int) -> bytes:
    """Encode 0..2^32-1."""
    if value < 0x80:
        return value.to_bytes(1)
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def truncated(what: str) -> ProtocolError:
    """A length or count that the remaining bytes cannot hold."""
    return ProtocolError(f"{what} is longer than the bytes that remain")


def null_refused(what: str) -> ProtocolError:
    """A null, or a negative length, where the version allows none."""
    return ProtocolError(f"{what} may not be null")


def read_ints(buf: Buffer, pos: int, count: int, size: int) -> list[int]:
    """`count` big-endian signed integers of `size` bytes; the caller has checked that they are there."""
    if count < SMALL_ARRAY:
        return list(_SMALL_INTS[size][count].unpack_from(buf, pos))
    return list(Struct(f">{count}{_INT_FORMAT[size]}").unpack_from(buf, pos))


def pack_ints(values: list[int], size: int) -> bytes:
    """The bytes of an integer array, without its count."""
    count = len(values)
    if count < SMALL_ARRAY:
        return _SMALL_INTS[size][count].pack(*values)
    return Struct(f">{count}{_INT_FORMAT[size]}").pack(*values)


def to_uuid(raw: bytes) -> UUID:
    """Sixteen bytes to a UUID; the null id is always the same object."""
    return NULL_UUID if raw == _ZERO_UUID else UUID(bytes=raw)
