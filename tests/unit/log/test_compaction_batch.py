"""What compaction keeps of one batch."""

from __future__ import annotations

import pytest

from rivven.log.compaction_batch import HORIZON_MS_MAX, Cleaned, Kept, Rules, clean_batch
from rivven.log.compaction_map import KeyMap
from rivven.records.batch import (
    Record,
    build_batch,
    crc_matches,
    parse_header,
    patch_log_append_time,
    read_records,
    seal_batch,
)
from rivven.records.compression import CODECS, GZIP, LZ4

NOW, RETENTION = 100_000, 5_000


def rules(last: dict[bytes, int], *, end: int = 1000, now: int = NOW, retention: int = RETENTION) -> Rules:
    keys = KeyMap(1 << 16, b"s")
    for key, offset in last.items():
        keys.put(key, offset)
    return Rules(keys, end, now, retention)


def clean(batch: bytearray, rules_: Rules, last_of_producer: bool = False) -> Cleaned:
    return clean_batch(memoryview(batch), parse_header(batch), rules_, last_of_producer)


def keys_of(batch: bytearray | None) -> list[tuple[bytes | None, int]]:
    assert batch is not None
    header = parse_header(batch)
    assert crc_matches(batch, 0, header)
    assert len(batch) == header.size_bytes
    return [(record.key, record.offset) for record in read_records(batch, 0, header)]


def three(codec: int = 0) -> bytearray:
    return build_batch(
        [Record(10 + i, 500 + i, key, b"v", [("h", key)]) for i, key in enumerate((b"a", b"b", b"c"))],
        leader_epoch=6,
        codec=codec,
        producer_id=4,
        producer_epoch=1,
        base_sequence=70,
    )


def test_a_batch_of_latest_records_stays_as_it_is() -> None:
    assert clean(three(), rules({b"a": 10, b"b": 11})) == Cleaned(Kept.UNCHANGED)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
def test_superseded_records_go_and_nothing_else_changes(codec: int) -> None:
    batch = three(codec)
    cleaned = clean(batch, rules({b"a": 12, b"c": 900}))
    assert (cleaned.kept, cleaned.removed, cleaned.tombstones_removed) == (Kept.REWRITTEN, 2, 0)
    assert keys_of(cleaned.batch) == [(b"b", 11)]
    assert cleaned.batch is not None
    before, after = parse_header(batch), parse_header(cleaned.batch)
    assert after == before._replace(
        batch_length=after.batch_length, crc=after.crc, record_count=1, max_timestamp=501
    )
    (record,) = read_records(cleaned.batch, 0, after)
    assert (record.timestamp, record.value, record.headers) == (501, b"v", [("h", b"b")])


def test_nothing_left_drops_the_batch_or_empties_it_for_its_producer() -> None:
    gone = rules({b"a": 90, b"b": 91, b"c": 92})
    assert clean(three(), gone) == Cleaned(Kept.DROPPED, None, 3)
    emptied = clean(three(GZIP), gone, last_of_producer=True)
    assert (emptied.kept, emptied.removed) == (Kept.EMPTIED, 3)
    assert emptied.batch is not None
    header = parse_header(emptied.batch)
    assert keys_of(emptied.batch) == []
    assert (header.record_count, header.codec, header.size_bytes) == (0, 0, 61)
    assert (header.base_offset, header.last_offset) == (10, 12)
    assert (header.producer_id, header.producer_epoch, header.base_sequence, header.last_sequence) == (
        4,
        1,
        70,
        72,
    )


def test_an_empty_batch_lives_as_long_as_its_producer() -> None:
    empty = clean(three(), rules({b"a": 90, b"b": 91, b"c": 92}), last_of_producer=True).batch
    assert empty is not None
    assert clean(empty, rules({}), last_of_producer=True).kept is Kept.UNCHANGED
    assert clean(empty, rules({})).kept is Kept.DROPPED
    assert clean(empty, rules({}, end=12)).kept is Kept.UNCHANGED


def test_the_first_cleaning_of_a_tombstone_starts_its_horizon() -> None:
    batch = build_batch([Record(10, 500, b"a", None), Record(11, 700, b"b", b"v")], codec=LZ4)
    cleaned = clean(batch, rules({b"a": 10}))
    assert (cleaned.kept, cleaned.removed) == (Kept.REWRITTEN, 0)
    assert cleaned.batch is not None
    header = parse_header(cleaned.batch)
    assert header.delete_horizon_ms == NOW + RETENTION
    assert header.max_timestamp == 700
    assert [r.timestamp for r in read_records(cleaned.batch, 0, header)] == [500, 700]
    assert clean(cleaned.batch, rules({}, now=NOW + RETENTION - 1)).kept is Kept.UNCHANGED
    expired = clean(cleaned.batch, rules({}, now=NOW + RETENTION))
    assert (expired.removed, expired.tombstones_removed) == (1, 1)
    assert keys_of(expired.batch) == [(b"b", 11)]
    assert expired.batch is not None
    (record,) = read_records(expired.batch, 0, parse_header(expired.batch))
    assert record.timestamp == 700


def test_a_horizon_near_the_end_of_time_fits_its_field() -> None:
    batch = build_batch([Record(10, -1, b"a", None), Record(11, 700, b"b", b"v")])
    cleaned = clean(batch, rules({}, retention=2**63 - 1))
    assert cleaned.batch is not None
    header = parse_header(cleaned.batch)
    assert header.delete_horizon_ms == HORIZON_MS_MAX
    assert [r.timestamp for r in read_records(cleaned.batch, 0, header)] == [-1, 700]


def test_a_batch_beyond_the_map_starts_no_horizon_but_loses_what_is_known() -> None:
    batch = build_batch([Record(10, 1, b"a", b"v"), Record(11, 1, b"b", None), Record(12, 1, b"c", None)])
    cleaned = clean(batch, rules({b"a": 11, b"b": 11}, end=12))
    assert keys_of(cleaned.batch) == [(b"b", 11), (b"c", 12)]
    assert cleaned.batch is not None
    assert parse_header(cleaned.batch).delete_horizon_ms is None
    assert clean(batch, rules({b"a": 99}, end=10)).kept is Kept.UNCHANGED


def test_records_without_key_go() -> None:
    """As in Kafka: what was written before the topic became compacted has nothing to be found by."""
    batch = build_batch([Record(10, 1, None, b"v"), Record(11, 1, b"a", b"v")])
    assert keys_of(clean(batch, rules({})).batch) == [(b"a", 11)]


def test_control_transactional_and_unreadable_batches_stay_byte_for_byte() -> None:
    gone = rules({b"a": 900, b"k": 900})
    control = build_batch([Record(10, 1, b"a", b"v")], control=True)
    transactional = build_batch([Record(10, 1, b"a", b"v")], transactional=True)
    assert clean(control, gone).kept is Kept.UNCHANGED
    assert clean(transactional, gone).kept is Kept.UNCHANGED
    broken = seal_batch(parse_header(build_batch([Record(10, 1, b"k", b"v")])), b"\xff" * 9)
    assert clean(broken, gone) == Cleaned(Kept.UNREADABLE)
    boastful = seal_batch(parse_header(broken)._replace(record_count=2**31 - 1), b"\x00" * 20)
    assert clean(boastful, gone) == Cleaned(Kept.UNREADABLE)


def test_broker_times_survive() -> None:
    batch = build_batch([Record(10, 1, b"a", None), Record(11, 2, b"b", b"v"), Record(12, 3, b"c", b"v")])
    patch_log_append_time(batch, 9999)
    cleaned = clean(batch, rules({b"c": 500}))
    assert cleaned.batch is not None
    header = parse_header(cleaned.batch)
    assert header.log_append_time
    assert {record.timestamp for record in read_records(cleaned.batch, 0, header)} == {9999}
