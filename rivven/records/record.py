"""One record inside a v2 batch: zigzag varints, the record's layout, and a strict walk over a batch body.

Works on the uncompressed body only and touches no batch header. Everything that does not fit the layout
raises
`RecordsUnreadable`: under a valid CRC such bytes are the client's own data, not damage.

A record, all integers zigzag varints unless said otherwise (Kafka message format v2, KIP-98)::

    length | attributes i8 (unused) | timestampDelta | offsetDelta | keyLength (-1 null) key |
    valueLength (-1 null) value | headerCount { keyLength key valueLength (-1 null) value }*
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rivven.records.unreadable import RecordsUnreadable

VARINT_BYTES_MAX = 10
"""A 64-bit zigzag varint never takes more; a longer one is refused instead of growing a Python integer."""

RECORD_BYTES_MIN = 7
"""Length, attributes, two deltas, two lengths and a header count, one byte each."""


class Record(NamedTuple):
    """A record as applications see it; `timestamp` in ms since the epoch, headers in order with
    duplicates."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class RecordSpan(NamedTuple):
    """Where a record lies in its body, without copying anything.

    `start..end` is the whole record with its length; `tail` is the position after the offset delta, from
    which the bytes do not depend on the batch header. `key_start` is -1 for a null key, `value_start` for
    a null value.
    """

    start: int
    tail: int
    end: int
    timestamp_delta: int
    offset_delta: int
    key_start: int
    key_end: int
    value_start: int
    value_end: int


INT64_MAX = 2**63 - 1

_new_span = RecordSpan._make
_one_byte = [(byte >> 1) ^ -(byte & 1) if byte < 0x80 else None for byte in range(256)]
"""The value of a number that is complete in its first byte, else None."""


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Read one zigzag varint; returns (value, position after it). Raises RecordsUnreadable."""
    try:
        byte = data[position]
        if byte < 0x80:
            return (byte >> 1) ^ -(byte & 1), position + 1
        following = data[position + 1]
        raw = byte & 0x7F | (following & 0x7F) << 7
        if following < 0x80:
            return (raw >> 1) ^ -(raw & 1), position + 2
        shift = 14
        for at in range(position + 2, position + VARINT_BYTES_MAX):
            byte = data[at]
            raw |= (byte & 0x7F) << shift
            if byte < 0x80:
                if raw >> 64:
                    break
                return (raw >> 1) ^ -(raw & 1), at + 1
            shift += 7
    except IndexError:
        raise RecordsUnreadable("the records end inside a number") from None
    raise RecordsUnreadable("a number in the records is longer than 64 bits")


def write_varint(out: bytearray, value: int) -> None:
    """Append one zigzag varint (64-bit)."""
    raw = (value << 1) ^ (value >> 63)
    while raw > 0x7F:
        out.append((raw & 0x7F) | 0x80)
        raw >>= 7
    out.append(raw)


def spans(body: bytes, count: int, last_offset_delta: int, base_timestamp: int) -> Iterator[RecordSpan]:
    """Walk `count` records that must fill `body` exactly. Raises RecordsUnreadable at the first misfit.

    Offset deltas must rise and stay within `last_offset_delta`, and timestamps must fit 64 bits, because both
    leave the broker in answers of its own.
    One-byte numbers, which most are, are read in place: a call for each would triple the time per record.
    """
    size = len(body)
    if count * RECORD_BYTES_MIN > size:
        raise RecordsUnreadable("fewer bytes than the record count needs")
    end = 0
    previous = -1
    try:
        for _ in range(count):
            start = end
            length, at = _one_byte[body[start]], start + 1
            if length is None:
                length, at = read_varint(body, start)
            end = at + length
            if length < RECORD_BYTES_MIN - 1 or end > size:
                raise RecordsUnreadable("a record's length does not fit its batch")
            at += 2
            timestamp_delta = _one_byte[body[at - 1]]
            if timestamp_delta is None:
                timestamp_delta, at = read_varint(body, at - 1)
            offset_delta, tail = _one_byte[body[at]], at + 1
            if offset_delta is None:
                offset_delta, tail = read_varint(body, at)
            if not previous < offset_delta <= last_offset_delta:
                raise RecordsUnreadable("a record's offset does not fit its batch")
            if not -INT64_MAX <= base_timestamp + timestamp_delta <= INT64_MAX:
                raise RecordsUnreadable("a record's timestamp does not fit 64 bits")
            previous = offset_delta
            key_start, key_end = _nullable(body, tail, end)
            value_start, value_end = _nullable(body, key_end, end)
            if value_end + 1 != end or body[value_end]:
                _check_headers(body, value_end, end)
            yield _new_span(
                (start, tail, end, timestamp_delta, offset_delta, key_start, key_end, value_start, value_end)
            )
    except IndexError:
        raise RecordsUnreadable("the records end inside a record") from None
    if end != size:
        raise RecordsUnreadable("bytes after the last record")


def _nullable(body: bytes, position: int, end: int) -> tuple[int, int]:
    """(start, end) of a length-prefixed field; a null one has start -1 and ends after its length."""
    length, at = _one_byte[body[position]], position + 1
    if length is None:
        length, at = read_varint(body, position)
    if length == -1:
        return -1, at
    if length < 0 or at + length > end:
        raise RecordsUnreadable("a field's length does not fit its record")
    return at, at + length


def _check_headers(body: bytes, position: int, end: int) -> None:
    count, at = read_varint(body, position)
    if count < 0 or count * 2 > end - at:
        raise RecordsUnreadable("a header count does not fit its record")
    for _ in range(count):
        name_start, at = _nullable(body, at, end)
        if name_start < 0:
            raise RecordsUnreadable("a header without a name")
        _, at = _nullable(body, at, end)
    if at != end:
        raise RecordsUnreadable("bytes after a record's headers")


def header_sizes(body: bytes, span: RecordSpan) -> list[tuple[int, int]]:
    """(name bytes, value bytes) of each header of a record whose span is known to be sound; a null value has
    none."""
    count, at = read_varint(body, span.value_end)
    sizes: list[tuple[int, int]] = []
    for _ in range(count):
        name_start, name_end = _nullable(body, at, span.end)
        value_start, at = _nullable(body, name_end, span.end)
        sizes.append((name_end - name_start, at - value_start if value_start >= 0 else 0))
    return sizes


def record_at(body: bytes, span: RecordSpan, base_offset: int, timestamp: int) -> Record:
    """Materialise the record of one span; header names that are not UTF-8 raise RecordsUnreadable."""
    key = body[span.key_start : span.key_end] if span.key_start >= 0 else None
    value = body[span.value_start : span.value_end] if span.value_start >= 0 else None
    return Record(
        base_offset + span.offset_delta, timestamp, key, value, _headers(body, span.value_end, span.end)
    )


def _headers(body: bytes, position: int, end: int) -> list[tuple[str, bytes | None]]:
    count, at = read_varint(body, position)
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        name_start, at = _nullable(body, at, end)
        try:
            name = body[name_start:at].decode()
        except UnicodeDecodeError:
            raise RecordsUnreadable("a header name that is not UTF-8") from None
        value_start, at = _nullable(body, at, end)
        headers.append((name, body[value_start:at] if value_start >= 0 else None))
    return headers


def write_record(out: bytearray, record: Record, base_offset: int, base_timestamp: int) -> None:
    """Append `record` to a body whose deltas count from the given bases."""
    tail = bytearray()
    _write_nullable(tail, record.key)
    _write_nullable(tail, record.value)
    write_varint(tail, len(record.headers))
    for name, value in record.headers:
        _write_nullable(tail, name.encode())
        _write_nullable(tail, value)
    write_record_tail(out, record.timestamp - base_timestamp, record.offset - base_offset, tail)


def write_record_tail(
    out: bytearray, timestamp_delta: int, offset_delta: int, tail: bytes | bytearray
) -> None:
    """Append a record whose bytes after the offset delta are already there."""
    head = bytearray(1)
    write_varint(head, timestamp_delta)
    write_varint(head, offset_delta)
    write_varint(out, len(head) + len(tail))
    out += head
    out += tail


def _write_nullable(out: bytearray, value: bytes | None) -> None:
    if value is None:
        write_varint(out, -1)
    else:
        write_varint(out, len(value))
        out += value
