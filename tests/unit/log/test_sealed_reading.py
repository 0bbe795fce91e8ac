"""Frames found and opened: limits in plain bytes, and no frame that is not what it says."""

from __future__ import annotations

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.errors import ErrorCode, RivvenError
from rivven.log.files import Buffer
from rivven.log.reading import Found, IndexWrong, Wanted
from rivven.log.scanning import BatchDamaged
from rivven.log.sealed_reading import JOINED_BYTES_MAX, read_frames
from rivven.log.sealing import (
    FRAME_OVERHEAD_BYTES,
    SEGMENT_HEADER_BYTES,
    Seal,
    parse_segment_header,
    seal_batch,
)
from rivven.records.batch import patch_offset_and_epoch
from rivven.testing.segment_keys import StaticSegmentKeys
from tests.unit.log.harness import DIRECTORY, TOPIC, batch_of, broker

SEALED = TopicConfig(encryption_enabled=True)
START = SEGMENT_HEADER_BYTES
KEYS = StaticSegmentKeys(5)
SEAL = Seal(*KEYS.create(TOPIC, 0))
BATCHES: list[bytes] = []


def _content() -> bytes:
    content = bytearray(SEAL.header.encode())
    offset = 0
    for size in (10, 200, 5000, 30, 5000):
        batch = batch_of(b"%d" % offset * size, b"second")
        patch_offset_and_epoch(batch, offset, 0)
        offset += 2
        BATCHES.append(bytes(batch))
        content += seal_batch(SEAL.sealer, SEAL.header, len(content), batch)
    return bytes(content)


CONTENT = _content()
SIZES = [len(batch) for batch in BATCHES]


def find(
    offset: int,
    max_bytes: int,
    upper_bound: int = 10,
    *,
    at_least_one: bool = True,
    content: bytes = CONTENT,
    limit: int = 1 << 20,
    frames_max: int = 100,
    position: int = START,
    indexed: int = -1,
    chunk: int = 1 << 20,
    passed_max: int = 100,
) -> Found | None:
    def read(size: int, at: int) -> Buffer:
        return memoryview(content)[at : at + min(size, max(chunk, 200))]

    wanted = Wanted(offset, max_bytes, upper_bound, at_least_one)
    return read_frames(
        read, position, len(content), wanted, limit, frames_max, SEAL, indexed, passed_max=passed_max
    )


def batches(found: Found | None) -> bytes:
    assert found is not None and found.result is not None
    data = b"".join(found.result.buffers)
    assert len(data) == found.result.size
    return data


def test_all_that_fits_in_plain_bytes() -> None:
    for count in range(1, 6):
        total = sum(SIZES[:count])
        assert batches(find(0, total)) == b"".join(BATCHES[:count])
        if count > 1:
            assert batches(find(0, total - 1)) == b"".join(BATCHES[: count - 1])


def test_a_batch_of_exactly_the_limit_and_one_byte_more() -> None:
    size = SIZES[2]
    assert batches(find(4, size, at_least_one=False)) == BATCHES[2]
    found = find(4, size - 1, at_least_one=False)
    assert found is not None and found.result is not None and found.result.size == 0
    assert batches(find(4, 1)) == BATCHES[2], "at least one, however small the limit"
    assert batches(find(5, 1)) == BATCHES[2], "an offset inside a batch"


def test_never_at_or_above_the_bound() -> None:
    for bound in range(2, 10):
        expected = b"".join(BATCHES[: bound // 2])
        assert batches(find(0, 1 << 20, bound)) == expected
    found = find(4, 1 << 20, 5)
    assert found is not None and found.result is not None and found.result.size == 0


def test_at_most_so_many_frames() -> None:
    found = find(0, 1 << 20, frames_max=2)
    assert batches(found) == b"".join(BATCHES[:2])
    assert found is not None and found.result is not None
    assert found.result.next_offset == 4
    assert batches(find(4, 1 << 20, position=found.position)) == b"".join(BATCHES[2:])


def test_a_frame_above_the_limit_of_one_read_is_left_to_a_thread() -> None:
    assert find(4, 1 << 20, limit=4000, position=START + sum(SIZES[:2]) + 2 * FRAME_OVERHEAD_BYTES) is None


def test_large_batches_leave_as_buffers_and_small_ones_joined() -> None:
    found = find(4, 1)
    assert found is not None and found.result is not None
    assert SIZES[2] >= JOINED_BYTES_MAX and len(found.result.buffers) == 2
    found = find(0, SIZES[0] + SIZES[1])
    assert found is not None and found.result is not None and len(found.result.buffers) == 1


def test_nothing_behind_the_end() -> None:
    assert find(10, 100) == Found(None, len(CONTENT))


def test_an_index_that_lies_is_noticed() -> None:
    second = START + SIZES[0] + FRAME_OVERHEAD_BYTES
    assert batches(find(2, 1, position=second, indexed=3)) == BATCHES[1]
    with pytest.raises(IndexWrong):
        find(2, 1, position=second, indexed=5)
    with pytest.raises(IndexWrong):
        find(2, 1, position=second + 1, indexed=3)


def test_no_flipped_bit_is_ever_answered() -> None:
    second = START + SIZES[0] + FRAME_OVERHEAD_BYTES
    for at in range(second, second + SIZES[1] + FRAME_OVERHEAD_BYTES):
        content = bytearray(CONTENT)
        content[at] ^= 0x40
        try:
            found = find(2, 1, content=bytes(content), position=second)
        except BatchDamaged as damage:
            assert damage.position == second
            continue
        # The checksum is for those without a key: here the tag counts. An offset that became another one is
        # not the one that was asked for; `rivven log verify` and recovery name it.
        assert found is not None and found.result is not None
        place = at - second
        if place < 16:
            assert place in (5, 6, 7, 12, 13, 14, 15)
            assert batches(found) == BATCHES[1]
        else:
            assert 16 <= place < 24 or 39 <= place < 43, "base offset, last offset delta"
            assert batches(found) in (b"", BATCHES[2])


def test_a_frame_moved_within_its_segment_is_refused() -> None:
    size = SIZES[2] + FRAME_OVERHEAD_BYTES
    third = START + sum(SIZES[:2]) + 2 * FRAME_OVERHEAD_BYTES
    last = len(CONTENT) - SIZES[4] - FRAME_OVERHEAD_BYTES
    assert SIZES[2] == SIZES[4]
    content = CONTENT[:third] + CONTENT[last : last + size] + CONTENT[third + size :]
    with pytest.raises(BatchDamaged, match="does not open"):
        find(8, 1, content=content, position=third)


def test_damage_takes_the_partition_offline_with_file_and_position() -> None:
    for where, reason in ((-1, "CRC-32C does not match"), (START, "no frame begins here")):
        keys = StaticSegmentKeys()
        with broker(config=SEALED, keys=keys) as b:
            b.commit(batch_of(b"1"))
            path = b.log.usable().active.data.path
            files = b.stop()
        content = bytearray(files.content(path))
        content[where] ^= 1
        files.put(path, bytes(content))
        with broker(files, config=SEALED, keys=keys) as b:
            with pytest.raises(RivvenError) as caught:
                b.log.read(0, 100, 1, at_least_one=True)
            assert caught.value.code == ErrorCode.KAFKA_STORAGE_ERROR
            assert not b.log.online
            assert f"{path}, position {START}: {reason}" in str(b.log.offline_reason)
            assert b.open(1).online


def test_bytes_sealed_with_another_key_take_the_partition_offline() -> None:
    """A frame put there by somebody who can compute checksums but has no key."""
    keys = StaticSegmentKeys()
    with broker(config=SEALED, keys=keys) as b:
        b.commit(batch_of(b"1"))
        segment = b.log.usable().active
        files = b.stop()
    other = StaticSegmentKeys(99).create(TOPIC, 0)[1]
    frame = seal_batch(other, SEAL.header, START, batch_of(b"1"))
    files.put(segment.data.path, files.content(segment.data.path)[:START] + frame)
    with broker(files, config=SEALED, keys=keys) as b:
        with pytest.raises(RivvenError):
            b.read_all()
        assert "does not open with its key" in str(b.log.offline_reason)


def test_a_data_key_that_does_not_open_takes_the_partition_offline() -> None:
    keys = StaticSegmentKeys()
    with broker(config=SEALED, keys=keys) as b:
        b.commit(batch_of(b"1"))
        files = b.stop()
    path = f"{DIRECTORY}/00000000000000000000.log"
    content = files.content(path)
    header = parse_segment_header(content)
    assert header is not None
    files.put(path, header._replace(wrapped_key=bytes(60)).encode() + content[START:])
    with broker(files, config=SEALED, keys=keys) as b:
        with pytest.raises(RivvenError):
            b.read_all()
        assert not b.log.online


def test_what_is_passed_over_is_opened_too() -> None:
    """Else changed offsets, which are readable, would hide records from who begins to read right there."""
    second = START + SIZES[0] + FRAME_OVERHEAD_BYTES
    content = bytearray(CONTENT)
    content[second + 16 : second + 24] = bytes(8)
    assert batches(find(0, SIZES[0], content=bytes(content))) == BATCHES[0]
    with pytest.raises(BatchDamaged, match="CRC-32C") as raised:
        find(2, 1, content=bytes(content))
    assert raised.value.position == second


def test_no_more_is_passed_over_than_may_be_opened() -> None:
    assert find(6, 1, passed_max=2) is None
    assert batches(find(6, 1, passed_max=3)) == BATCHES[3]
