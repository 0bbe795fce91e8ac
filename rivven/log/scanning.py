"""Walking the batches of a segment file from the disk, checking each: recovery, rebuilding, verification.

Blocking and a Python loop: for start-up, I/O threads on short ranges, and offline tools, not for the event
loop.
"""

from __future__ import annotations

from collections.abc import Iterator

from rivven.log.files import File
from rivven.log.sealing import FRAME_CLEAR_BYTES, FRAME_OVERHEAD_BYTES, frame_intact, parse_frame
from rivven.records.batch import HEADER_BYTES, BatchHeader, CorruptBatch, crc_matches, parse_header

CHUNK_BYTES = 1 << 20
"""Read at a time: large enough that system calls do not count, small enough to be bounded."""
HOP_BYTES = 1 << 16
"""Read at a time when only headers matter: batches larger than this are not read at all."""


class BatchDamaged(Exception):
    """The bytes at `position` are not a whole, intact batch, or not a whole, intact frame with one."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"position {position}: {reason}")
        self.position = position
        self.reason = reason


def scan(
    file: File, position: int, end: int, *, sealed: bool = False, check_crc: bool = True
) -> Iterator[tuple[int, BatchHeader, memoryview]]:
    """Yield (position, header, batch) of each batch in [position, end); of a sealed one the frame as stored.

    Raises BatchDamaged at the first that is not whole and intact, with everything before it yielded.
    """
    window = _Window(file, end, CHUNK_BYTES, sealed)
    while position < end:
        header = window.header(position)
        size = header.size_bytes + window.overhead
        stored = window.bytes(position, size)
        if len(stored) < size:
            raise BatchDamaged(position, f"a batch of {size} bytes with {len(stored)} bytes left")
        if check_crc and not (frame_intact(stored) if sealed else crc_matches(stored, 0, header)):
            raise BatchDamaged(position, "CRC-32C does not match")
        yield position, header, stored
        position += size


def scan_headers(
    file: File, position: int, end: int, *, sealed: bool = False
) -> Iterator[tuple[int, BatchHeader]]:
    """Like `scan`, without CRCs and without reading large batches: their headers are hopped to."""
    window = _Window(file, end, HOP_BYTES, sealed)
    while position < end:
        header = window.header(position)
        yield position, header
        position += header.size_bytes + window.overhead


class _Window:
    """The part of the file that is in memory: it moves forward with what is asked for."""

    __slots__ = ("_chunk", "_end", "_file", "_read_bytes", "_sealed", "_start", "overhead")

    def __init__(self, file: File, end: int, read_bytes: int, sealed: bool) -> None:
        self._sealed = sealed
        self.overhead = FRAME_OVERHEAD_BYTES if sealed else 0
        self._file = file
        self._end = end
        self._read_bytes = read_bytes
        self._chunk = memoryview(b"")
        self._start = 0

    def bytes(self, position: int, size: int) -> memoryview:
        """`size` bytes from `position`, fewer only at the end."""
        at = position - self._start
        if at > len(self._chunk) or len(self._chunk) - at < size:
            want = min(max(size, self._read_bytes), self._end - position)
            self._chunk = memoryview(self._file.read(want, position))
            self._start, at = position, 0
        return self._chunk[at : at + size]

    def header(self, position: int) -> BatchHeader:
        """The header at `position`; raises BatchDamaged unless its batch fits before the end."""
        try:
            if self._sealed:
                header = parse_frame(self.bytes(position, FRAME_CLEAR_BYTES), 0)[0]
            else:
                header = parse_header(self.bytes(position, HEADER_BYTES))
        except CorruptBatch as error:
            raise BatchDamaged(position, error.message) from None
        size = header.size_bytes + self.overhead
        if size > self._end - position:
            left = self._end - position
            raise BatchDamaged(position, f"a batch of {size} bytes with {left} bytes left")
        return header
