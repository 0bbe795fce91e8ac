"""Varints and small arrays."""

from __future__ import annotations

from uuid import UUID

import pytest

from rivven.protocol import primitives as p
from rivven.protocol.exceptions import ProtocolError
from rivven.protocol.schema import NULL_UUID


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (0, b"\x00"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (16_383, b"\xff\x7f"),
        (16_384, b"\x80\x80\x01"),
        (2**32 - 1, b"\xff\xff\xff\xff\x0f"),
    ],
)
def test_uvarints(value: int, raw: bytes) -> None:
    assert p.uvarint(value) == raw
    assert p.read_uvarint(b"." + raw + b".", 1) == (value, 1 + len(raw))


def test_uvarint_beyond_32_bits() -> None:
    for raw in (b"\xff\xff\xff\xff\x10", b"\x80\x80\x80\x80\x80\x00"):
        with pytest.raises(ProtocolError):
            p.read_uvarint(raw, 0)
    with pytest.raises(IndexError):
        p.read_uvarint(b"\x80", 0)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1000])
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_integer_arrays(count: int, size: int) -> None:
    values = [(-1) ** i * (i % 100) for i in range(count)]
    raw = p.pack_ints(values, size)
    assert raw == b"".join(value.to_bytes(size, signed=True) for value in values)
    assert p.read_ints(b"." + raw, 1, count, size) == values


def test_uuids() -> None:
    assert p.to_uuid(bytes(16)) is NULL_UUID
    assert p.to_uuid(bytes(range(16))) == UUID("00010203-0405-0607-0809-0a0b0c0d0e0f")
