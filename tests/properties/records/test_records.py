"""Round trips, and random bytes never escape the typed errors."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rivven.config.topic_settings import TopicConfig
from rivven.errors import RivvenError
from rivven.records.batch import (
    CorruptBatch,
    Record,
    RecordsUnreadable,
    batch_spans,
    build_batch,
    crc_matches,
    iterate_batches,
    parse_header,
    read_records,
)
from rivven.records.compression import CODECS, compress, decompress
from rivven.records.record import read_varint, write_varint
from rivven.records.timestamps import first_offset_with_timestamp, max_timestamp_offset
from rivven.records.validation import open_and_validate, validate_produce

codecs = st.sampled_from(sorted(CODECS.values()))
optional_bytes = st.none() | st.binary(max_size=300)
headers = st.lists(st.tuples(st.text(max_size=8), optional_bytes), max_size=3)
timestamps = st.integers(-1, 2**62)


@st.composite
def record_lists(draw: st.DrawFn) -> list[Record]:
    offset = draw(st.integers(0, 2**40))
    records = []
    for _ in range(draw(st.integers(1, 12))):
        records.append(
            Record(offset, draw(timestamps), draw(optional_bytes), draw(optional_bytes), draw(headers))
        )
        offset += draw(st.integers(1, 1000))
    return records


@given(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=3))
def test_varints_round_trip(value: int, before: bytes) -> None:
    out = bytearray(before)
    write_varint(out, value)
    assert read_varint(bytes(out), len(before)) == (value, len(out))


@settings(max_examples=150)
@given(record_lists(), codecs)
def test_batches_round_trip(records: list[Record], codec: int) -> None:
    batch = build_batch(records, codec=codec)
    header = parse_header(batch)
    assert crc_matches(batch, 0, header)
    assert list(read_records(batch, 0, header)) == records
    assert (header.base_offset, header.last_offset) == (records[0].offset, records[-1].offset)


@settings(max_examples=100)
@given(record_lists(), codecs, timestamps)
def test_time_lookup_agrees_with_a_scan(records: list[Record], codec: int, target: int) -> None:
    batch = build_batch(records, codec=codec)
    hits = [(r.offset, r.timestamp) for r in records if r.timestamp >= target]
    assert first_offset_with_timestamp(batch, target) == (hits[0] if hits else None)
    newest = max(r.timestamp for r in records)
    expected = next((r.offset, r.timestamp) for r in records if r.timestamp == newest)
    assert max_timestamp_offset(batch) == (None if newest == -1 else expected)


@settings(max_examples=200)
@given(st.binary(max_size=400), codecs, st.integers(0, 4096))
def test_random_bytes_never_inflate_beyond_the_limit_or_escape(data: bytes, codec: int, limit: int) -> None:
    try:
        assert len(decompress(codec, data, limit)) <= max(limit, len(data) if codec == 0 else 0)
    except RecordsUnreadable:
        pass


@settings(max_examples=200)
@given(st.binary(max_size=400), st.integers(0, 60))
def test_random_records_never_escape(body: bytes, count: int) -> None:
    header = parse_header(build_batch([Record(0, 0, b"", b"")]))._replace(
        record_count=count, last_offset_delta=2**31 - 1
    )
    try:
        assert len(list(batch_spans(header, body))) == count
    except RecordsUnreadable:
        pass


@settings(max_examples=200)
@given(record_lists(), codecs, st.data())
def test_damaged_batches_never_escape(records: list[Record], codec: int, data: st.DataObject) -> None:
    """Any few bytes changed anywhere: typed errors only, whether the CRC is looked at or not."""
    batch = build_batch(records, codec=codec, base_offset=records[0].offset)
    for _ in range(data.draw(st.integers(1, 3))):
        batch[data.draw(st.integers(0, len(batch) - 1))] = data.draw(st.integers(0, 255))
    try:
        validate_produce(memoryview(batch), api_version=9, config=TopicConfig(), now_ms=0)
    except RivvenError:
        pass
    try:
        for position, header in iterate_batches(batch):
            list(read_records(batch, position, header, 1 << 16))
            open_and_validate(batch[position:], True, 1, 1 << 16, inflate_limit=1 << 16)
    except (RecordsUnreadable, CorruptBatch, RivvenError):
        pass


@given(st.binary(max_size=2000), codecs)
def test_codecs_round_trip(data: bytes, codec: int) -> None:
    assert decompress(codec, compress(codec, data), len(data)) == data
