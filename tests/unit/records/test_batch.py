"""The v2 batch: header, CRC, patches, iteration, construction."""

from __future__ import annotations

import pytest

from rivven.records.batch import (
    HEADER_BYTES,
    CorruptBatch,
    Record,
    RecordsUnreadable,
    build_batch,
    crc_matches,
    iterate_batches,
    parse_header,
    patch_log_append_time,
    patch_offset_and_epoch,
    read_records,
)
from rivven.records.compression import CODECS, ZSTD

GOLDEN = bytes.fromhex(
    "0000000000000000000000490000000002ffdbdfd800000000000100000000000000640000000000000069"
    "ffffffffffffffffffffffffffff0000000210000000026b0276001c000a02086b657932010202680278"
)
"""Written by kafka-python's encoder: two records, the second a tombstone with a header."""

GOLDEN_RECORDS = [Record(0, 100, b"k", b"v"), Record(1, 105, b"key2", None, [("h", b"x")])]


def sample(count: int = 3, codec: int = 0, base_sequence: int = 9) -> bytearray:
    return build_batch(
        [Record(50 + i, 1000 + i, b"k%d" % i, b"v" * i, [("h", b"x")]) for i in range(count)],
        leader_epoch=4,
        codec=codec,
        producer_id=7,
        producer_epoch=2,
        base_sequence=base_sequence,
    )


def test_another_encoders_batch_is_read_and_written_byte_for_byte() -> None:
    header = parse_header(GOLDEN)
    assert crc_matches(GOLDEN, 0, header)
    assert [r._replace(headers=tuple(r.headers)) for r in read_records(GOLDEN, 0, header)] == [
        r._replace(headers=tuple(r.headers)) for r in GOLDEN_RECORDS
    ]
    assert build_batch(GOLDEN_RECORDS, leader_epoch=0) == GOLDEN


def test_header_fields_and_what_follows_from_them() -> None:
    batch = sample(3, ZSTD)
    header = parse_header(batch)
    assert header.base_offset == 50
    assert header.last_offset == 52
    assert header.size_bytes == len(batch)
    assert header.leader_epoch == 4
    assert (header.base_timestamp, header.max_timestamp) == (1000, 1002)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (7, 2, 9)
    assert header.record_count == 3
    assert header.codec == ZSTD
    assert not header.is_control
    assert not header.is_transactional
    assert not header.log_append_time
    assert header.delete_horizon_ms is None


def test_sequences_wrap_to_zero() -> None:
    assert parse_header(sample(3, base_sequence=2147483646)).last_sequence == 0
    assert parse_header(sample(2, base_sequence=2147483646)).last_sequence == 2147483647
    assert parse_header(sample(3, base_sequence=-1)).last_sequence == -1


def test_attribute_bits() -> None:
    control = parse_header(build_batch([Record(0, 5, b"\0\0\0\1", b"")], control=True, transactional=True))
    assert control.is_control
    assert control.is_transactional
    assert control._replace(attributes=0x40).delete_horizon_ms == 5


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
def test_records_survive_every_codec(codec: int) -> None:
    batch = sample(40, codec)
    header = parse_header(batch)
    assert crc_matches(batch, 0, header)
    records = list(read_records(batch, 0, header))
    assert records == [Record(50 + i, 1000 + i, b"k%d" % i, b"v" * i, [("h", b"x")]) for i in range(40)]


def test_offset_and_epoch_are_outside_the_crc() -> None:
    batch = sample()
    before = parse_header(batch)
    patch_offset_and_epoch(memoryview(batch), 2**40, 77)
    after = parse_header(batch)
    assert after == before._replace(base_offset=2**40, leader_epoch=77)
    assert crc_matches(batch, 0, after)


def test_log_append_time_is_inside_the_crc_and_gives_every_record_its_time() -> None:
    buffer = bytearray(5) + sample()
    patch_log_append_time(memoryview(buffer), 123456, pos=5)
    header = parse_header(buffer, 5)
    assert header.log_append_time
    assert header.max_timestamp == 123456
    assert crc_matches(buffer, 5, header)
    assert {record.timestamp for record in read_records(buffer, 5, header)} == {123456}


def test_every_flipped_bit_that_the_crc_covers_is_noticed() -> None:
    batch = sample()
    header = parse_header(batch)
    for position in range(21, len(batch)):
        batch[position] ^= 0x10
        assert not crc_matches(batch, 0, header)
        batch[position] ^= 0x10


def test_a_cut_batch_does_not_match() -> None:
    batch = sample()
    assert not crc_matches(batch[:-1], 0, parse_header(batch))


def test_iteration_gives_positions_and_refuses_a_cut_end() -> None:
    first, second = sample(1), sample(5)
    both = first + second
    assert [(pos, h.record_count) for pos, h in iterate_batches(both)] == [(0, 1), (len(first), 5)]
    assert list(iterate_batches(b"")) == []
    for cut in range(1, len(second)):
        with pytest.raises(CorruptBatch):
            list(iterate_batches(both[:-cut]))


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (0, b"\xff" * 8),  # base offset -1
        (8, (48).to_bytes(4, "big")),  # shorter than a header
        (8, b"\xff\xff\xff\xff"),
        (8, b"\x7f\xff\xff\xff"),  # longer than a length field can say
        (16, b"\x01"),  # message format 1
        (23, b"\xff\xff\xff\xff"),  # last offset delta -1
        (57, b"\xff\xff\xff\xff"),  # record count -1
    ],
)
def test_impossible_headers_are_corrupt(position: int, value: bytes) -> None:
    batch = sample()
    batch[position : position + len(value)] = value
    with pytest.raises(CorruptBatch):
        parse_header(batch)


def test_fewer_bytes_than_a_header_are_corrupt() -> None:
    with pytest.raises(CorruptBatch):
        parse_header(bytes(HEADER_BYTES - 1))
    with pytest.raises(CorruptBatch):
        parse_header(sample(), 2)


def test_records_that_do_not_parse_under_a_right_crc_are_not_corruption() -> None:
    batch = build_batch([Record(0, 0, b"k", b"v")])
    header = parse_header(batch)
    with pytest.raises(RecordsUnreadable):
        list(read_records(batch, 0, header._replace(record_count=2)))


def test_memoryviews_and_bytes_read_alike() -> None:
    batch = sample()
    assert parse_header(memoryview(batch)) == parse_header(bytes(batch)) == parse_header(batch)
    assert list(read_records(memoryview(batch), 0, parse_header(batch)))
