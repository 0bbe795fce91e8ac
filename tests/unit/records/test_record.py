"""Varints and the layout of one record."""

from __future__ import annotations

import pytest

from rivven.records.record import Record, read_varint, record_at, spans, write_record, write_varint
from rivven.records.unreadable import RecordsUnreadable

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (-1, "01"),
        (1, "02"),
        (-64, "7f"),
        (63, "7e"),
        (64, "8001"),
        (-65, "8101"),
        (300, "d804"),
        (8191, "fe7f"),
        (8192, "808001"),
        (INT64_MAX, "feffffffffffffffff01"),
        (INT64_MIN, "ffffffffffffffffff01"),
    ],
)
def test_varint_bytes_are_zigzag_both_ways(value: int, encoded: str) -> None:
    out = bytearray()
    write_varint(out, value)
    assert out.hex() == encoded
    assert read_varint(bytes(out), 0) == (value, len(out))
    assert read_varint(b"\xff" + out, 1) == (value, len(out) + 1)


@pytest.mark.parametrize("encoded", ["", "80", "ffffffffffffffffffff01", "ffffffffffffffffff03", "80" * 40])
def test_a_cut_or_too_long_varint_is_refused(encoded: str) -> None:
    with pytest.raises(RecordsUnreadable):
        read_varint(bytes.fromhex(encoded), 0)


def body_of(*records: Record) -> bytes:
    out = bytearray()
    for record in records:
        write_record(out, record, base_offset=100, base_timestamp=1000)
    return bytes(out)


def test_a_record_is_laid_out_as_kafka_does() -> None:
    body = body_of(Record(101, 1003, b"k", b"vv", [("h", b"x"), ("n", None)]))
    assert body.hex() == "20" + "00" + "06" + "02" + "026b" + "047676" + "04" + "02680278" + "026e01"


def test_spans_tell_null_from_empty() -> None:
    body = body_of(Record(100, 1000, None, b""), Record(101, 1000, b"", None))
    first, second = spans(body, 2, 1, 1000)
    assert (first.key_start, first.value_end - first.value_start) == (-1, 0)
    assert (second.key_end - second.key_start, second.value_start) == (0, -1)
    assert record_at(body, first, 100, 1000) == Record(100, 1000, None, b"", [])
    assert record_at(body, second, 100, 1000) == Record(101, 1000, b"", None, [])


def test_spans_find_every_record_and_header() -> None:
    records = [
        Record(
            100 + index, 1000 + 37 * index, b"k" * index, b"v" * (index * 50), [("h" * index, b"")] * index
        )
        for index in range(70)
    ]
    body = body_of(*records)
    found = [record_at(body, span, 100, 1000 + span.timestamp_delta) for span in spans(body, 70, 69, 1000)]
    assert found == records


GOOD = Record(100, 1000, b"key", b"value", [("name", b"x")])


@pytest.mark.parametrize("size", range(len(body_of(GOOD))))
def test_a_body_cut_anywhere_is_refused(size: int) -> None:
    with pytest.raises(RecordsUnreadable):
        list(spans(body_of(GOOD)[:size], 1, 0, 1000))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("0e0000000101" + "0000", "a length that ends beyond the last field"),
        ("0c00000003" + "6b01" + "00", "a key length of -2"),
        ("0c0000000103" + "00", "a value length of -2"),
        ("0c000000010101", "a header count of -1"),
        ("0c00000001017e", "more headers than bytes"),
        ("1000000001010201" + "01", "a header without a name"),
        ("000000000101" + "00", "a record shorter than its fields"),
        ("0c0000020101" + "00", "an offset delta above the batch's"),
        ("0c0000010101" + "00", "a negative offset delta"),
    ],
)
def test_misfits_are_refused(body: str, why: str) -> None:
    with pytest.raises(RecordsUnreadable):
        list(spans(bytes.fromhex(body), 1, 0, 1000))


def test_offsets_must_rise() -> None:
    one = body_of(Record(101, 1000, b"k", b"v"))
    with pytest.raises(RecordsUnreadable, match="offset"):
        list(spans(one + one, 2, 5, 1000))


def test_a_timestamp_outside_64_bits_is_refused() -> None:
    body = body_of(Record(100, 1001, b"k", b"v"))
    with pytest.raises(RecordsUnreadable, match="timestamp"):
        list(spans(body, 1, 0, INT64_MAX))


def test_bytes_after_the_last_record_are_refused() -> None:
    with pytest.raises(RecordsUnreadable, match="after"):
        list(spans(body_of(GOOD) + b"\x00", 1, 0, 1000))


def test_a_record_count_beyond_the_bytes_is_refused_before_anything_is_read() -> None:
    with pytest.raises(RecordsUnreadable, match="fewer"):
        next(spans(b"\x00" * 100, 2**31 - 1, 2**31 - 2, 0))


def test_a_header_name_must_be_text() -> None:
    body = body_of(Record(100, 1000, None, None, [("x", b"")])).replace(b"x", b"\xff")
    (span,) = spans(body, 1, 0, 1000)
    with pytest.raises(RecordsUnreadable, match="UTF-8"):
        record_at(body, span, 100, 1000)
