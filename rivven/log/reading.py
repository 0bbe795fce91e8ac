"""Finding whole batches in the bytes of a segment: where a fetch begins, and where it may end.

Pure apart from the `read` function it is given. Nothing is parsed but what the position of the next batch
needs; the answer is the bytes as they are on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

from rivven.log.files import Buffer
from rivven.log.scanning import BatchDamaged

Reader = Callable[[int, int], Buffer | None]
"""read(size, position): fewer bytes at the end of what is there; None when it would block."""

READ_BYTES_MIN = 16 << 10
"""Least read at once: finding the batch of an offset costs up to an index interval and a header."""


class IndexWrong(Exception):
    """An index points to something else than it says: it has to be rebuilt from the batches."""


_frame = Struct(">qi11xi")
_FRAME_BYTES = _frame.size
_MAGIC_AT, _MAGIC = 16, 2
_LENGTH_AFTER = 12
_LENGTH_MIN = 49


class ReadResult(NamedTuple):
    """Whole batches as buffers, in order. Empty: size 0 and both offsets the one that was asked for."""

    buffers: list[Buffer]
    size: int
    first_offset: int
    next_offset: int


class Found(NamedTuple):
    """A result, None when the segment has no batch for the offset; and the position after what was read."""

    result: ReadResult | None
    position: int


class Wanted(NamedTuple):
    """What a fetch asks of one partition; never a batch that ends at or above `upper_bound`."""

    offset: int
    max_bytes: int
    upper_bound: int
    at_least_one: bool

    @property
    def nothing(self) -> ReadResult:
        return ReadResult([], 0, self.offset, self.offset)


def read_batches(
    read: Reader, position: int, end: int, wanted: Wanted, limit: int, indexed: int = -1
) -> Found | None:
    """Read batches from the one containing or following `wanted.offset`, scanning forward from `position`.

    `end` is where the segment's bytes end, `limit` the most to read at once, `indexed` the last offset of
    the batch at `position` if an index said so (-1 otherwise). None when it would block, or need more than
    `limit` for one batch. Raises BatchDamaged when there is no batch where one must be, IndexWrong when the
    index lied.
    """
    offset = wanted.offset
    chunk_bytes = max(wanted.max_bytes, READ_BYTES_MIN)
    while position + _FRAME_BYTES <= end:
        chunk = read(min(chunk_bytes, end - position, limit), position)
        if chunk is None or len(chunk) < _FRAME_BYTES:
            return None
        if indexed >= 0:
            _check_indexed(chunk, indexed)
            indexed = -1
        at = 0
        available = len(chunk)
        while at + _FRAME_BYTES <= available:
            base, length, delta = _frame.unpack_from(chunk, at)
            if length < _LENGTH_MIN:
                raise BatchDamaged(position + at, f"batch length {length} is impossible")
            if base + delta >= offset:
                return _take(read, chunk, at, position, wanted, limit)
            at += length + _LENGTH_AFTER
        position += at
    return Found(None, end)


def _check_indexed(chunk: Buffer, last_offset: int) -> None:
    base, length, delta = _frame.unpack_from(chunk)
    if base + delta != last_offset or length < _LENGTH_MIN or chunk[_MAGIC_AT] != _MAGIC:
        raise IndexWrong


def _take(
    read: Reader, chunk: Buffer, at: int, chunk_position: int, wanted: Wanted, limit: int
) -> Found | None:
    """The first batch is at `at` in the chunk: as many as fit, at least one if so asked."""
    base, length, delta = _frame.unpack_from(chunk, at)
    size = length + _LENGTH_AFTER
    position = chunk_position + at
    _, max_bytes, upper_bound, at_least_one = wanted
    if base + delta >= upper_bound or (size > max_bytes and not at_least_one):
        return Found(wanted.nothing, position)
    if at + size > len(chunk):
        whole = read(size, position) if size <= limit else None
        if whole is None or len(whole) < size:
            return None
        return Found(ReadResult([whole], size, base, base + delta + 1), position + size)
    stop = min(len(chunk), at + max(max_bytes, size))
    end = at + size
    next_offset = base + delta + 1
    unpack = _frame.unpack_from
    while end + _FRAME_BYTES <= stop:
        following, length, delta = unpack(chunk, end)
        after = end + length + _LENGTH_AFTER
        if after > stop or following + delta >= upper_bound:
            break
        if length < _LENGTH_MIN:
            raise BatchDamaged(chunk_position + end, f"batch length {length} is impossible")
        end = after
        next_offset = following + delta + 1
    taken = memoryview(chunk)[at:end]
    return Found(ReadResult([taken], end - at, base, next_offset), chunk_position + end)
