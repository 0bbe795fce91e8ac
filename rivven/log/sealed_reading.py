"""Finding whole frames in the bytes of a sealed segment, and opening them: what `reading` is for plain ones.

Pure apart from the `read` function it is given. Limits count the plain bytes a client gets. A frame that does
not open is never skipped and never answered.
"""

from __future__ import annotations

from struct import Struct

from rivven.log.files import Buffer
from rivven.log.reading import READ_BYTES_MIN, Found, IndexWrong, Reader, ReadResult, Wanted
from rivven.log.scanning import BatchDamaged
from rivven.log.sealing import (
    FORMAT_VERSION,
    FRAME_CLEAR_BYTES,
    FRAME_MAGIC,
    FRAME_OVERHEAD_BYTES,
    FrameRefused,
    Seal,
    frame_intact,
    open_frame,
)

CHUNK_BYTES_MAX = 4 << 20
"""Read and opened at once: stored and plain bytes are in memory together, and only the latter budgeted."""
JOINED_BYTES_MAX = 4096
"""Smaller batches leave joined: a buffer each would cost more than copying them."""

_clear = Struct(">5s3xI4xqi11xi")
"""Magic and version, frame length, base offset, batch length, last offset delta."""
_BEGINNING = FRAME_MAGIC + bytes((FORMAT_VERSION,))
_LENGTH_AFTER = 12

_Frames = list[tuple[int, memoryview]]
"""(position in the file, frame)"""


def read_frames(
    read: Reader,
    position: int,
    end: int,
    wanted: Wanted,
    limit: int,
    frames_max: int,
    seal: Seal,
    indexed: int = -1,
    *,
    passed_max: int,
) -> Found | None:
    """Like `reading.read_batches`, with at most `frames_max` frames in the result, which is plain.

    Frames on the way to the first are opened too, or a changed offset would make a reader pass over records
    in silence; None when they are more than `passed_max`. Raises BatchDamaged where no frame is or one does
    not open, IndexWrong when the index lied.
    """
    passed = 0
    chunk_bytes = min(max(wanted.max_bytes, READ_BYTES_MIN), CHUNK_BYTES_MAX) + FRAME_OVERHEAD_BYTES
    while position + FRAME_CLEAR_BYTES <= end:
        chunk = read(min(chunk_bytes, end - position, limit), position)
        if chunk is None or len(chunk) < FRAME_CLEAR_BYTES:
            return None
        if indexed >= 0:
            _check_indexed(chunk, indexed)
            indexed = -1
        at = 0
        while at + FRAME_CLEAR_BYTES <= len(chunk):
            _, last, size = _at(chunk, at, position)
            wants = last >= wanted.offset
            if wants and size - FRAME_OVERHEAD_BYTES > wanted.max_bytes and not wanted.at_least_one:
                return Found(wanted.nothing, position + at)
            if at + size > len(chunk):
                whole = read(size, position + at) if size <= limit else None
                if whole is None or len(whole) < size:
                    return None
                chunk, position, at = whole, position + at, 0
            if wants:
                return _take(memoryview(chunk), at, position, wanted, frames_max, seal)
            if passed == passed_max:
                return None
            open_at(seal, position + at, memoryview(chunk)[at : at + size])
            passed += 1
            at += size
        position += at
    return Found(None, end)


def _at(chunk: Buffer, at: int, chunk_position: int) -> tuple[int, int, int]:
    """(base offset, last offset, bytes of the frame)"""
    beginning, size, base, length, delta = _clear.unpack_from(chunk, at)
    if beginning != _BEGINNING or size != length + _LENGTH_AFTER + FRAME_OVERHEAD_BYTES:
        raise BatchDamaged(chunk_position + at, "no frame begins here")
    return base, base + delta, size


def _check_indexed(chunk: Buffer, last_offset: int) -> None:
    try:
        if _at(chunk, 0, 0)[1] != last_offset:
            raise IndexWrong
    except BatchDamaged:
        raise IndexWrong from None


def _take(
    chunk: memoryview, at: int, chunk_position: int, wanted: Wanted, frames_max: int, seal: Seal
) -> Found:
    """The first frame is whole at `at` in the chunk: as many as fit."""
    frames: _Frames = []
    base, last, size = _at(chunk, at, chunk_position)
    if last >= wanted.upper_bound:
        return Found(wanted.nothing, chunk_position + at)
    first_offset = base
    total = next_offset = 0
    while True:
        frames.append((chunk_position + at, chunk[at : at + size]))
        total += size - FRAME_OVERHEAD_BYTES
        next_offset = last + 1
        at += size
        if at + FRAME_CLEAR_BYTES > len(chunk) or len(frames) >= frames_max:
            break
        base, last, size = _at(chunk, at, chunk_position)
        if at + size > len(chunk) or last >= wanted.upper_bound:
            break
        if total + size - FRAME_OVERHEAD_BYTES > wanted.max_bytes:
            break
    return Found(
        ReadResult(_opened(frames, total, seal), total, first_offset, next_offset), chunk_position + at
    )


def _opened(frames: _Frames, total: int, seal: Seal) -> list[Buffer]:
    buffers: list[Buffer] = []
    for position, frame in frames:
        buffers += open_at(seal, position, frame)
    return [b"".join(buffers)] if total < JOINED_BYTES_MAX * len(frames) else buffers


def open_at(seal: Seal, position: int, frame: memoryview) -> list[Buffer]:
    """The batch of the frame that was read at a position: its header, its records. Raises BatchDamaged."""
    try:
        return open_frame(seal.sealer, seal.header, position, frame)
    except FrameRefused:
        # Which of the two is found out only now: a tag that fits says more than the checksum does.
        reason = "a frame does not open with its key" if frame_intact(frame) else "CRC-32C does not match"
        raise BatchDamaged(position, reason) from None
