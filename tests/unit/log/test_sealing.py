"""Frames and headers of sealed segments."""

from __future__ import annotations

import os
from uuid import UUID, uuid4

import pytest

from rivven.log.sealing import (
    FRAME_OVERHEAD_BYTES,
    SEGMENT_HEADER_BYTES,
    DataKey,
    FrameRefused,
    SegmentHeader,
    frame_intact,
    open_frame,
    parse_frame,
    parse_segment_header,
    seal_batch,
)
from rivven.records.batch import CorruptBatch, crc_matches, parse_header
from tests.unit.log.harness import batch_of

ALGORITHMS = [1, 2]


def header_of(algorithm: int = 1, *, topic: UUID | None = None, partition: int = 3) -> SegmentHeader:
    return SegmentHeader(
        algorithm, topic or uuid4(), partition, os.urandom(16), os.urandom(16), os.urandom(60)
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_batch_comes_back_as_it_was(algorithm: int) -> None:
    batch, header, key = batch_of(b"one", b"two"), header_of(algorithm), DataKey(os.urandom(32), algorithm)
    before = bytes(batch)
    frame = memoryview(seal_batch(key, header, 4711, batch))
    assert bytes(batch) == before
    assert len(frame) == len(batch) + FRAME_OVERHEAD_BYTES
    assert frame_intact(frame)
    clear, size = parse_frame(frame, 0)
    assert size == len(frame)
    assert clear == parse_header(batch)._replace(crc=0)
    plain = b"".join(open_frame(key, header, 4711, frame))
    assert plain == before
    assert crc_matches(plain, 0, parse_header(plain))


def test_neither_records_nor_the_crc_of_the_batch_can_be_seen() -> None:
    batch = batch_of(b"marker-of-a-value")
    frame = bytes(seal_batch(DataKey(bytes(32), 1), header_of(), 128, batch))
    assert b"marker" not in frame
    assert bytes(batch[17:21]) not in frame


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_frame_opens_only_at_its_place_in_its_segment_with_its_key(algorithm: int) -> None:
    secret = os.urandom(32)
    batch, header, key = batch_of(b"one"), header_of(algorithm), DataKey(secret, algorithm)
    frame = memoryview(seal_batch(key, header, 128, batch))
    others = [
        (key, header, 129),
        (key, header._replace(topic_id=uuid4()), 128),
        (key, header._replace(partition=4), 128),
        (key, header._replace(incarnation=os.urandom(16)), 128),
        (DataKey(os.urandom(32), algorithm), header, 128),
        (DataKey(secret, 3 - algorithm), header, 128),
    ]
    for other_key, other_header, position in others:
        with pytest.raises(FrameRefused):
            open_frame(other_key, other_header, position, frame)


def test_every_changed_bit_of_a_frame_is_noticed_by_its_crc_and_by_its_key() -> None:
    header, key = header_of(), DataKey(os.urandom(32), 1)
    frame = bytes(seal_batch(key, header, 128, batch_of(b"x")))
    for at in range(len(frame)):
        changed = bytearray(frame)
        changed[at] ^= 0x10
        assert not frame_intact(memoryview(changed))
        if at >= 16:
            with pytest.raises(FrameRefused):
                open_frame(key, header, 128, memoryview(changed))


def test_nonces_do_not_repeat() -> None:
    header, key, batch = header_of(), DataKey(bytes(32), 1), batch_of(b"x")
    nonces = {bytes(seal_batch(key, header, 128, batch)[77:89]) for _ in range(2000)}
    assert len(nonces) == 2000


def test_a_frame_that_is_none_is_refused() -> None:
    frame = bytes(seal_batch(DataKey(bytes(32), 1), header_of(), 128, batch_of(b"x")))
    for damaged, reason in (
        (b"xxxx" + frame[4:], "no frame begins"),
        (frame[:4] + b"\x09" + frame[5:], "format 9"),
        (frame[:8] + b"\x00\x00\x10\x00" + frame[12:], "holds a batch of"),
        (frame[:50], "cut short"),
    ):
        with pytest.raises(CorruptBatch, match=reason):
            parse_frame(damaged, 0)


def test_the_header_of_a_segment() -> None:
    header = header_of(2)
    content = header.encode()
    assert len(content) == SEGMENT_HEADER_BYTES
    assert parse_segment_header(content + b"more") == header
    assert parse_segment_header(bytes(batch_of(b"x"))) is None
    for at in range(4, len(content)):
        changed = bytearray(content)
        changed[at] ^= 1
        with pytest.raises(CorruptBatch):
            parse_segment_header(changed)
    with pytest.raises(CorruptBatch, match="cut short"):
        parse_segment_header(content[:100])
