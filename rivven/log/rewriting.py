"""Reading closed segments batch by batch and writing a new one, plain or sealed: what a worker process needs.

Compaction and re-encryption stand on it. Every batch is checked before it is believed, a sealed one by the
CRC-32C of its frame, by its key and by its own CRC; damage is CorruptMessage with file and position. The new
segment is another incarnation under another data key. It must not know where keys come from or decide what a
new segment holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from rivven.errors import CorruptMessage, StorageFailed
from rivven.log import sealing
from rivven.log.files import Buffer, File
from rivven.log.sealing import (
    FRAME_CLEAR_BYTES,
    SEGMENT_HEADER_BYTES,
    DataKey,
    FrameRefused,
    KeyUnavailable,
    Seal,
    frame_intact,
    open_frame,
    parse_frame,
    parse_segment_header,
)
from rivven.records.batch import HEADER_BYTES, BatchHeader, CorruptBatch, crc_matches, parse_header

READ_BYTES = 4 * 1024 * 1024
"""Read ahead in one go: large enough to make calls cheap, small beside the key map of a compaction."""

WRITE_BYTES = 4 * 1024 * 1024
WRITE_BUFFERS = 512
"""Batches are collected up to either bound before they are written; the kernel takes at most 1024 at once."""

POSITION_MAX = 2**31 - 1
"""Largest position in a segment that its index can hold."""


@dataclass(frozen=True, slots=True)
class Source:
    """A closed segment to read, in a form whose fields cross to a worker. `key` is the data key of a sealed
    one."""

    base_offset: int
    end_offset: int
    path: str
    size_bytes: int
    key: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """The file to write, in a form whose fields cross to a worker; header and data key when it is sealed."""

    path: str
    header: bytes | None = None
    key: bytes | None = field(default=None, repr=False)


class Read(NamedTuple):
    """A batch as a producer sent it, and the position in its segment where the next one begins."""

    batch: memoryview
    header: BatchHeader
    next_position: int


def read_batches(file: File, source: Source, position: int = 0) -> Iterator[Read]:
    """The batches of a segment in order from a position, each checked and opened.

    Raises CorruptMessage with file and position, KeyUnavailable and OSError.
    """
    seal = _seal_of(file, source)
    if seal is not None:
        position = max(position, SEGMENT_HEADER_BYTES)
    clear = HEADER_BYTES if seal is None else FRAME_CLEAR_BYTES
    window = memoryview(b"")
    start = 0  # of the window, in the file
    while position < source.size_bytes:
        left = source.size_bytes - position
        if start + len(window) - position < min(clear, left):
            window, start = memoryview(file.read(min(READ_BYTES, left), position)), position
        try:
            size = _stored_size(window, position - start, seal)
            if size > left:
                raise CorruptBatch("a batch is cut short")
            if position + size > start + len(window):
                window = memoryview(file.read(min(max(READ_BYTES, size), left), position))
                start = position
            stored = window[position - start : position - start + size]
            batch, header = _checked(stored, position, seal)
        except (CorruptBatch, FrameRefused) as error:
            raise CorruptMessage(f"{source.path} at position {position}: {error.message}") from None
        position += size
        yield Read(batch, header, position)


def _seal_of(file: File, source: Source) -> Seal | None:
    """How the frames of a source are opened, None when it is plain."""
    if source.size_bytes == 0:
        return None
    try:
        header = parse_segment_header(file.read(SEGMENT_HEADER_BYTES, 0))
    except CorruptBatch as error:
        raise CorruptMessage(f"{source.path} at position 0: {error.message}") from None
    if header is None:
        if source.key is not None:
            raise CorruptMessage(f"{source.path} at position 0: the header of a sealed segment is gone")
        return None
    if source.key is None:
        raise KeyUnavailable(f"{source.path} is sealed and its key is not at hand")
    return Seal(header, DataKey(source.key, header.algorithm))


def _stored_size(window: memoryview, at: int, seal: Seal | None) -> int:
    return parse_header(window, at).size_bytes if seal is None else parse_frame(window, at)[1]


def _checked(stored: memoryview, position: int, seal: Seal | None) -> tuple[memoryview, BatchHeader]:
    if seal is None:
        batch = stored
    else:
        if not frame_intact(stored):
            raise CorruptBatch("CRC-32C of the frame does not match")
        batch = memoryview(b"".join(open_frame(seal.sealer, seal.header, position, stored)))
    header = parse_header(batch)
    if not crc_matches(batch, 0, header):
        raise CorruptBatch("CRC-32C does not match")
    return batch, header


def seal_for(target: Target) -> Seal | None:
    """How the frames of a target are sealed, None when it stays plain."""
    if target.header is None or target.key is None:
        return None
    header = parse_segment_header(target.header)
    if header is None:
        raise StorageFailed("a new segment's header is not that of a sealed one")
    return Seal(header, DataKey(target.key, header.algorithm))


class SegmentWriter:
    """Appends batches to one new file, sealed when `seal` is given. `position` is where it goes on."""

    def __init__(self, file: File, seal: Seal | None = None, position: int = 0) -> None:
        self._file = file
        self._seal = seal
        self._position = position
        self._waiting: list[Buffer] = []
        self._waiting_bytes = 0

    def add(self, batch: memoryview | bytearray) -> None:
        """Place one batch, behind the header of a sealed segment if it is the first.

        Raises StorageFailed when an index could not point behind it, and OSError.
        """
        if self._seal is not None and self._position + self._waiting_bytes == 0:
            self._put(self._seal.header.encode())
        position = self._position + self._waiting_bytes
        if position > POSITION_MAX:
            raise StorageFailed("the rewritten segment is too large for its index")
        if self._seal is None:
            self._put(batch)
        else:
            header, sealer = self._seal
            self._put(sealing.seal_batch(sealer, header, position, memoryview(batch)))
        if self._waiting_bytes >= WRITE_BYTES or len(self._waiting) >= WRITE_BUFFERS:
            self._flush()

    def finish(self) -> int:
        """Write what waits and sync; returns the size of the file, 0 without any batch."""
        self._flush()
        return self._position

    def _put(self, stored: Buffer) -> None:
        self._waiting.append(stored)
        self._waiting_bytes += len(stored)

    def _flush(self) -> None:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        while waiting:
            written = self._file.write(waiting, self._position)
            self._position += written
            waiting = _after(waiting, written)
        self._file.sync()  # bit by bit: one sync of a gigabyte would hold up the broker's own commits


def _after(buffers: list[Buffer], written: int) -> list[Buffer]:
    """What is left to write after a write that may have been short."""
    for index, buffer in enumerate(buffers):
        if written < len(buffer):
            return [memoryview(buffer)[written:], *buffers[index + 1 :]]
        written -= len(buffer)
    return []
