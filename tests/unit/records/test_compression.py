"""The four codecs: what is written, what else is read, and that inflating is bounded."""

from __future__ import annotations

import gzip
import random
import zlib

import cramjam
import pytest

from rivven.errors import ErrorCode
from rivven.records.compression import (
    CODECS,
    GZIP,
    GZIP_MEMBERS_MAX,
    LZ4,
    NONE,
    SNAPPY,
    ZSTD,
    compress,
    decompress,
)
from rivven.records.unreadable import CodecUnknown, InflateLimitExceeded, RecordsUnreadable

COMPRESSED = [GZIP, SNAPPY, LZ4, ZSTD]
TEXT = b"the quick brown fox jumps over the lazy dog " * 5000
NOISE = random.Random(7).randbytes(200_000)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
@pytest.mark.parametrize("data", [b"", b"x", TEXT, NOISE, NOISE[:65536], NOISE[:32768]], ids=len)
def test_round_trip(codec: int, data: bytes) -> None:
    packed = compress(codec, data)
    assert decompress(codec, packed, len(data)) == data
    assert decompress(codec, memoryview(bytearray(packed)), 1 << 22) == data


@pytest.mark.parametrize("codec", COMPRESSED)
def test_text_shrinks(codec: int) -> None:
    assert len(compress(codec, TEXT)) < len(TEXT) / 4


@pytest.mark.parametrize("codec", COMPRESSED)
@pytest.mark.parametrize("limit", [0, 1, 65536, len(TEXT) - 1])
def test_inflating_stops_at_the_limit(codec: int, limit: int) -> None:
    with pytest.raises(InflateLimitExceeded) as caught:
        decompress(codec, compress(codec, TEXT), limit)
    assert caught.value.code is ErrorCode.MESSAGE_TOO_LARGE


@pytest.mark.parametrize("codec", [GZIP, LZ4, ZSTD])
def test_a_bomb_is_refused_without_its_memory(codec: int) -> None:
    import tracemalloc

    bomb = compress(codec, bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(InflateLimitExceeded):
            decompress(codec, bomb, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("codec", COMPRESSED)
def test_cut_and_garbled_data_are_typed_errors(codec: int) -> None:
    packed = compress(codec, TEXT)
    for cut in (1, 3, len(packed) // 2, len(packed) - 1):
        with pytest.raises(RecordsUnreadable) as caught:
            decompress(codec, packed[:-cut], 1 << 20)
        assert caught.value.code is ErrorCode.INVALID_RECORD
    with pytest.raises(RecordsUnreadable):
        decompress(codec, b"\x01\x02\x03\x04" * 100, 1 << 20)


def test_an_undefined_codec_is_typed() -> None:
    for codec in (5, 6, 7):
        with pytest.raises(CodecUnknown):
            decompress(codec, b"", 1)
        with pytest.raises(CodecUnknown):
            compress(codec, b"")


def test_snappy_is_written_framed_as_java_does_and_read_raw_too() -> None:
    packed = compress(SNAPPY, TEXT)
    assert packed[:16] == b"\x82SNAPPY\x00" + b"\x00\x00\x00\x01" * 2
    raw = bytes(cramjam.snappy.compress_raw(TEXT))
    assert decompress(SNAPPY, raw, len(TEXT)) == TEXT
    with pytest.raises(InflateLimitExceeded):
        decompress(SNAPPY, raw, len(TEXT) - 1)


def test_snappy_frames_may_follow_one_another() -> None:
    packed = compress(SNAPPY, TEXT)
    assert decompress(SNAPPY, packed + packed, 2 * len(TEXT)) == TEXT + TEXT
    with pytest.raises(InflateLimitExceeded, match=str(2 * len(TEXT) - 1)):
        decompress(SNAPPY, packed + packed, 2 * len(TEXT) - 1)


def test_a_raw_snappy_length_is_not_believed_beyond_the_limit() -> None:
    claims_4_gib = b"\xff\xff\xff\xff\x0f" + b"\x00a"
    with pytest.raises(InflateLimitExceeded):
        decompress(SNAPPY, claims_4_gib, 1 << 20)


def test_lz4_is_written_with_independent_blocks_as_java_demands() -> None:
    for data in (TEXT, NOISE):
        packed = compress(LZ4, data)
        assert packed[:4].hex() == "04224d18"
        assert packed[4] == 0x60  # version 1, independent blocks, no checksums
        assert packed[-4:] == bytes(4)
        assert bytes(cramjam.lz4.decompress(packed)) == data


def test_lz4_is_read_with_linked_blocks() -> None:
    packed = bytes(cramjam.lz4.compress(TEXT))
    assert packed[4] & 0x20 == 0
    assert decompress(LZ4, packed, len(TEXT)) == TEXT


def test_gzip_members_may_follow_one_another_up_to_a_limit() -> None:
    member = gzip.compress(b"abc")
    assert decompress(GZIP, member * GZIP_MEMBERS_MAX, 1000) == b"abc" * GZIP_MEMBERS_MAX
    with pytest.raises(RecordsUnreadable, match="members"):
        decompress(GZIP, member * (GZIP_MEMBERS_MAX + 1), 1000)


def test_plain_zlib_is_not_gzip() -> None:
    with pytest.raises(RecordsUnreadable):
        decompress(GZIP, zlib.compress(TEXT), 1 << 20)


def test_levels_of_gzip_and_zstd() -> None:
    for codec in (GZIP, ZSTD):
        fast, small = compress(codec, TEXT, 1), compress(codec, TEXT, 9)
        assert decompress(codec, fast, len(TEXT)) == decompress(codec, small, len(TEXT)) == TEXT


def test_uncompressed_is_a_copy() -> None:
    data = bytearray(b"abc")
    packed = compress(NONE, data)
    data[0] = 0
    assert packed == b"abc"


def test_the_limit_is_far_above_what_a_first_guess_holds() -> None:
    """Growing the output must reach sizes many times the input."""
    data = bytes(8 << 20)
    for codec in (LZ4, ZSTD):
        assert decompress(codec, compress(codec, data), len(data)) == data


@pytest.mark.parametrize("data", [b"x", TEXT, NOISE], ids=len)
def test_another_clients_decoders_read_what_is_written(data: bytes) -> None:
    """aiokafka's, which know nothing of ours; and ours read what aiokafka writes."""
    from aiokafka import codec as other

    pairs = [
        (GZIP, other.gzip_encode, other.gzip_decode),
        (SNAPPY, other.snappy_encode, other.snappy_decode),
        (LZ4, other.lz4_encode, other.lz4_decode),
        (ZSTD, other.zstd_encode, other.zstd_decode),
    ]
    for number, encode, decode in pairs:
        assert bytes(decode(compress(number, data))) == data
        assert decompress(number, bytes(encode(data)), len(data)) == data
