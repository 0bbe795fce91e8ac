"""Produce validation by header, and what opening adds."""

from __future__ import annotations

import random

import pytest
from crc32c import crc32c

from rivven.config.topic_settings import TopicConfig
from rivven.errors import CorruptMessage, ErrorCode, InvalidRecord, RivvenError
from rivven.records.batch import Record, build_batch, crc_matches, parse_header, read_records
from rivven.records.compression import CODECS, GZIP, LZ4, NONE, SNAPPY, ZSTD, compress
from rivven.records.validation import (
    RECORD_ERRORS_MAX,
    TimestampOutOfRange,
    may_open_inline,
    needs_opening,
    oldest_allowed,
    open_and_validate,
    target_codec,
    validate_produce,
)

NOW = 1_700_000_000_000
COMPACTED = TopicConfig(cleanup_policy=frozenset({"compact"}))
NOISE = random.Random(3).randbytes(5000)


def batch(
    *,
    count: int = 3,
    codec: int = NONE,
    timestamp: int = NOW,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
) -> bytearray:
    return build_batch(
        [Record(i, timestamp + i, b"k%d" % i, b"value" * 20) for i in range(count)],
        codec=codec,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
    )


def patched(position: int, value: bytes, source: bytearray | None = None) -> bytearray:
    """A batch with bytes replaced and the CRC made right again."""
    data = batch() if source is None else source
    data[position : position + len(value)] = value
    data[17:21] = crc32c(memoryview(data)[21:]).to_bytes(4, "big")
    return data


def refusal(data: bytearray, config: TopicConfig = TopicConfig(), version: int = 9) -> ErrorCode:  # noqa: B008
    with pytest.raises(RivvenError) as caught:
        validate_produce(memoryview(data), api_version=version, config=config, now_ms=NOW)
    return caught.value.code


def accept(data: bytearray, config: TopicConfig = TopicConfig(), version: int = 9) -> None:  # noqa: B008
    header = validate_produce(memoryview(data), api_version=version, config=config, now_ms=NOW)
    assert header == parse_header(data)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
def test_ordinary_batches_pass(codec: int) -> None:
    accept(batch(codec=codec))
    accept(batch(codec=codec, producer_id=3, producer_epoch=0, base_sequence=0))


def test_a_wrong_crc_is_corrupt() -> None:
    for position in (17, 21, 61, -1):
        data = batch()
        data[position] ^= 1
        assert refusal(data) is ErrorCode.CORRUPT_MESSAGE


def test_exactly_one_whole_batch() -> None:
    assert refusal(bytearray()) is ErrorCode.INVALID_RECORD
    assert refusal(batch()[:40]) is ErrorCode.INVALID_RECORD
    assert refusal(batch()[:-1]) is ErrorCode.INVALID_RECORD
    assert refusal(batch() + b"\x00") is ErrorCode.INVALID_RECORD
    assert refusal(batch() + batch()) is ErrorCode.INVALID_RECORD
    assert refusal(patched(8, (48).to_bytes(4, "big"))) is ErrorCode.CORRUPT_MESSAGE


@pytest.mark.parametrize("magic", [0, 1, 3, 255])
def test_other_formats_are_invalid_records(magic: int) -> None:
    assert refusal(patched(16, bytes([magic]))) is ErrorCode.INVALID_RECORD
    assert refusal(patched(16, bytes([magic]))[:30]) is ErrorCode.INVALID_RECORD


def test_size_is_checked_before_anything_expensive() -> None:
    data = batch(count=50)
    data[17] ^= 1
    limit = TopicConfig(max_message_bytes=len(data) - 1)
    assert refusal(data, limit) is ErrorCode.MESSAGE_TOO_LARGE
    accept(batch(count=50), TopicConfig(max_message_bytes=len(data)))


def test_zstd_needs_produce_7() -> None:
    assert refusal(batch(codec=ZSTD), version=6) is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
    accept(batch(codec=ZSTD), version=7)
    accept(batch(codec=LZ4), version=3)


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_undefined_codecs(codec: int) -> None:
    assert refusal(patched(21, bytes([0, codec]))) is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE


@pytest.mark.parametrize(
    ("bits", "code"),
    [
        (0x10, ErrorCode.INVALID_RECORD),
        (0x20, ErrorCode.INVALID_RECORD),
        (0x30, ErrorCode.INVALID_RECORD),
        (0x40, ErrorCode.INVALID_RECORD),
        (0x80, ErrorCode.INVALID_RECORD),
        (0x8000, ErrorCode.INVALID_RECORD),
        (0x08, ErrorCode.INVALID_TIMESTAMP),
    ],
)
def test_bits_that_are_not_for_clients(bits: int, code: ErrorCode) -> None:
    assert refusal(patched(21, bits.to_bytes(2, "big"))) is code


def test_count_and_last_offset_delta_must_agree() -> None:
    assert refusal(patched(57, (2).to_bytes(4, "big"))) is ErrorCode.INVALID_RECORD
    assert refusal(patched(23, (3).to_bytes(4, "big"))) is ErrorCode.INVALID_RECORD
    empty = patched(23, (-1).to_bytes(4, "big", signed=True))
    assert refusal(patched(57, bytes(4), empty)) is ErrorCode.CORRUPT_MESSAGE
    assert refusal(patched(57, bytes(4), patched(23, bytes(4)))) is ErrorCode.INVALID_RECORD


def test_offsets_of_a_produced_batch_start_at_zero() -> None:
    assert refusal(patched(0, (5).to_bytes(8, "big"))) is ErrorCode.INVALID_RECORD


@pytest.mark.parametrize(
    ("producer_id", "epoch", "sequence"), [(5, -1, 0), (5, 0, -1), (5, -1, -1), (-2, 0, 0)]
)
def test_a_producer_id_needs_epoch_and_sequence(producer_id: int, epoch: int, sequence: int) -> None:
    data = batch(producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence)
    assert refusal(data) is ErrorCode.INVALID_RECORD


def test_a_sequence_without_producer_id_means_nothing() -> None:
    """What sarama (epoch -1) and kafkajs (epoch 0) send without idempotence."""
    accept(batch(producer_id=-1, producer_epoch=-1, base_sequence=0))
    accept(batch(producer_id=-1, producer_epoch=0, base_sequence=0))


def test_timestamps_must_lie_in_the_window() -> None:
    window = TopicConfig(message_timestamp_before_max_ms=1000, message_timestamp_after_max_ms=500)
    accept(batch(timestamp=NOW - 1000), window)
    assert refusal(batch(timestamp=NOW - 1001), window) is ErrorCode.INVALID_TIMESTAMP
    accept(batch(timestamp=NOW + 498), window)
    assert refusal(batch(timestamp=NOW + 499), window) is ErrorCode.INVALID_TIMESTAMP
    backwards = build_batch([Record(0, NOW + 501, b"", b""), Record(1, NOW, b"", b"")])
    assert refusal(backwards, window) is ErrorCode.INVALID_TIMESTAMP


def test_no_timestamp_is_fine_and_the_default_window_is_an_hour_ahead() -> None:
    accept(build_batch([Record(0, -1, b"", b"")]), TopicConfig(message_timestamp_before_max_ms=1000))
    accept(batch(timestamp=1))
    assert refusal(batch(timestamp=NOW + 3_600_001)) is ErrorCode.INVALID_TIMESTAMP


def test_log_append_time_ignores_the_clients_times() -> None:
    accept(batch(timestamp=NOW * 2), TopicConfig(message_timestamp_type="LogAppendTime"))


def test_a_bound_on_age_holds_for_every_record() -> None:
    """Header fields give the first and the largest timestamp; the oldest may be any other."""
    window = TopicConfig(message_timestamp_before_max_ms=1000)
    oldest = oldest_allowed(window, NOW)
    assert oldest == NOW - 1000
    for middle, refused in ((NOW - 1001, True), (NOW - 1000, False), (-1, False)):
        for codec in (NONE, ZSTD):
            times = (NOW, middle, NOW)
            data = build_batch([Record(i, at, b"k", b"v") for i, at in enumerate(times)], codec=codec)
            accept(data, window)  # as far as its header goes
            assert needs_opening(parse_header(data), window)
            if refused:
                with pytest.raises(TimestampOutOfRange, match="record 1"):
                    open_and_validate(data, False, None, 1 << 20, None, oldest)
            else:
                assert open_and_validate(data, False, None, 1 << 20, None, oldest) is None


def test_no_bound_on_age_without_one_or_with_the_brokers_own_times() -> None:
    assert oldest_allowed(TopicConfig(), NOW) is None
    stamped = TopicConfig(message_timestamp_before_max_ms=1000, message_timestamp_type="LogAppendTime")
    assert oldest_allowed(stamped, NOW) is None
    assert not needs_opening(parse_header(batch()), stamped)


def test_what_needs_opening() -> None:
    plain, squeezed = parse_header(batch()), parse_header(batch(codec=GZIP))
    assert not needs_opening(plain, TopicConfig())
    assert not needs_opening(squeezed, TopicConfig())
    assert needs_opening(plain, COMPACTED)
    assert needs_opening(plain, TopicConfig(cleanup_policy=frozenset({"compact", "delete"})))
    assert needs_opening(plain, TopicConfig(compression_type="gzip"))
    assert not needs_opening(squeezed, TopicConfig(compression_type="gzip"))
    assert needs_opening(squeezed, TopicConfig(compression_type="uncompressed"))
    assert target_codec(squeezed, TopicConfig(compression_type="uncompressed")) == NONE
    assert target_codec(plain, TopicConfig(compression_type="uncompressed")) is None


def test_only_small_plain_batches_are_opened_inline() -> None:
    assert may_open_inline(parse_header(batch()), COMPACTED)
    assert not may_open_inline(parse_header(batch(count=33)), COMPACTED)
    assert not may_open_inline(parse_header(batch(codec=SNAPPY)), COMPACTED)
    assert not may_open_inline(parse_header(batch()), TopicConfig(compression_type="lz4"))
    large = build_batch([Record(0, NOW, b"k", bytes(70_000))])
    assert not may_open_inline(parse_header(large), COMPACTED)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
def test_records_without_key_are_listed(codec: int) -> None:
    data = build_batch([Record(i, NOW, None if i in (1, 4) else b"k", b"v") for i in range(6)], codec=codec)
    with pytest.raises(InvalidRecord) as caught:
        open_and_validate(data, True, None, 1 << 20)
    assert [index for index, _ in caught.value.record_errors] == [1, 4]
    assert open_and_validate(batch(codec=codec), True, None, 1 << 20) is None


def test_the_list_of_record_errors_is_bounded() -> None:
    data = build_batch([Record(i, NOW, None, b"") for i in range(1000)])
    with pytest.raises(InvalidRecord) as caught:
        open_and_validate(data, True, None, 1 << 20)
    assert len(caught.value.record_errors) == RECORD_ERRORS_MAX


def test_an_empty_key_is_a_key() -> None:
    assert open_and_validate(build_batch([Record(0, NOW, b"", b"v")]), True, None, 1 << 20) is None


def test_holes_between_offsets_are_refused_where_records_are_opened() -> None:
    data = build_batch([Record(0, NOW, b"k", b"v"), Record(2, NOW, b"k", b"v")])
    with pytest.raises(InvalidRecord, match="offset delta"):
        open_and_validate(data, True, None, 1 << 20)


def test_records_that_do_not_parse_are_refused_where_they_are_opened() -> None:
    broken = patched(len(batch()) - 1, b"\x7f")
    accept(broken)
    with pytest.raises(InvalidRecord, match="cannot be read"):
        open_and_validate(broken, True, None, 1 << 20)
    undecodable = patched(61, b"\x00\x00\x00", batch(codec=GZIP))
    with pytest.raises(InvalidRecord, match="gzip"):
        open_and_validate(undecodable, False, NONE, 1 << 20)


@pytest.mark.parametrize("source", CODECS.values(), ids=CODECS.keys())
@pytest.mark.parametrize("target", CODECS.values(), ids=CODECS.keys())
def test_recompression_keeps_everything_but_the_codec(source: int, target: int) -> None:
    data = batch(codec=source, producer_id=9, producer_epoch=3, base_sequence=11)
    rewritten = open_and_validate(data, False, target, 1 << 20)
    assert rewritten is not None
    before, after = parse_header(data), parse_header(rewritten)
    assert crc_matches(rewritten, 0, after)
    assert after.codec == target
    assert after._replace(attributes=0, crc=0, batch_length=0) == before._replace(
        attributes=0, crc=0, batch_length=0
    )
    assert list(read_records(rewritten, 0, after)) == list(read_records(data, 0, before))
    accept(rewritten)


def test_the_rewritten_batch_must_fit_max_message_bytes_too() -> None:
    data = build_batch([Record(0, NOW, b"k", bytes(100_000))], codec=ZSTD)
    with pytest.raises(RivvenError) as caught:
        open_and_validate(data, False, NONE, 50_000)
    assert caught.value.code is ErrorCode.MESSAGE_TOO_LARGE


def test_a_bomb_is_too_large() -> None:
    data = build_batch([Record(0, NOW, b"k", bytes(1 << 20))], codec=ZSTD)
    with pytest.raises(RivvenError) as caught:
        open_and_validate(data, True, None, 1 << 20, inflate_limit=1 << 16)
    assert caught.value.code is ErrorCode.MESSAGE_TOO_LARGE


def test_validation_changes_nothing() -> None:
    data = batch(codec=LZ4)
    copy = bytes(data)
    accept(data)
    open_and_validate(data, True, GZIP, 1 << 20)
    assert data == copy


def test_compressed_garbage_with_a_right_crc_passes_where_nothing_opens_it() -> None:
    """A record batch is opaque: only topics that need its records look at them."""
    data = patched(61, NOISE[:20], batch(codec=GZIP))
    accept(data)
    assert compress(NONE, NOISE) == NOISE
    with pytest.raises(CorruptMessage):
        open_and_validate(data[:60], True, None, 1 << 20)
