"""Time lookup inside one batch is per record."""

from __future__ import annotations

import pytest

from rivven.records.batch import Record, RecordsUnreadable, build_batch, parse_header, patch_log_append_time
from rivven.records.compression import CODECS, GZIP
from rivven.records.timestamps import first_offset_with_timestamp, max_timestamp_offset, may_search_inline

TIMES = [100, 300, 200, 300, 50]


def batch(codec: int = 0) -> bytearray:
    return build_batch([Record(10 + i, t, b"k", b"v") for i, t in enumerate(TIMES)], codec=codec)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
@pytest.mark.parametrize(
    ("target", "expected"),
    [(0, (10, 100)), (100, (10, 100)), (101, (11, 300)), (300, (11, 300)), (301, None), (-5, (10, 100))],
)
def test_first_record_at_or_after(codec: int, target: int, expected: tuple[int, int] | None) -> None:
    assert first_offset_with_timestamp(batch(codec), target) == expected


def test_the_first_of_the_largest() -> None:
    assert max_timestamp_offset(batch()) == (11, 300)


def test_a_header_that_promises_more_than_the_records_hold() -> None:
    data = batch()
    data[35:43] = (10_000).to_bytes(8, "big")  # the CRC is the log's business
    assert first_offset_with_timestamp(data, 301) is None
    assert max_timestamp_offset(data) == (11, 300)


def test_log_append_time_batches_are_not_opened() -> None:
    data = build_batch([Record(10 + i, 100, b"k", b"v") for i in range(3)])
    patch_log_append_time(data, 777)
    data[61:] = b"\xff" * (len(data) - 61)
    assert first_offset_with_timestamp(data, 777) == (10, 777)
    assert first_offset_with_timestamp(data, 778) is None
    assert first_offset_with_timestamp(data, 777, 12) == (12, 777)
    assert max_timestamp_offset(data) == (10, 777)


def test_batches_without_records_or_times_have_no_answer() -> None:
    empty = batch()
    empty[57:61] = bytes(4)
    assert first_offset_with_timestamp(empty, 0) is None
    assert max_timestamp_offset(empty) is None
    assert max_timestamp_offset(build_batch([Record(0, -1, b"k", b"v")])) is None


def test_unreadable_records_are_a_typed_error() -> None:
    data = batch(GZIP)
    data[61:64] = b"\0\0\0"
    with pytest.raises(RecordsUnreadable):
        first_offset_with_timestamp(data, 0)
    with pytest.raises(RecordsUnreadable):
        max_timestamp_offset(data)


def test_inline_only_when_cheap() -> None:
    assert may_search_inline(parse_header(batch()))
    assert not may_search_inline(parse_header(batch(GZIP)))
    many = build_batch([Record(i, 0, b"k", b"v") for i in range(100)])
    assert not may_search_inline(parse_header(many))
    patch_log_append_time(many, 5)
    assert may_search_inline(parse_header(many))
