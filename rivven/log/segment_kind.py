"""Whether a segment is plain or sealed, read from the first bytes of its file when somebody needs to know.

What does not belong where it lies is refused here, before a byte of it is believed. It must not ask for keys.
"""

from __future__ import annotations

from collections.abc import Iterator

from rivven.log.file_cache import FileCache
from rivven.log.files import Buffer
from rivven.log.scanning import BatchDamaged, scan_headers
from rivven.log.sealing import SEGMENT_HEADER_BYTES, SealedTooNew, SegmentHeader, parse_segment_header
from rivven.log.segment import Segment, Unread
from rivven.records.batch import BatchHeader, CorruptBatch


class SegmentRefused(BatchDamaged):
    """A whole header, but not to be believed here: of another partition, or of a later version. Never cut."""


class PlainRefused(SegmentRefused):
    """Does not begin like a sealed segment, and its topic has no other ones."""

    def __init__(self, path: str) -> None:
        name = path.rpartition("/")[2]
        super().__init__(0, f"{name} is not sealed, and by the key store its topic has sealed segments only")


def learn(cache: FileCache, segment: Segment) -> SegmentHeader | None:
    """The header of a sealed segment, None for a plain one. Blocking.

    Raises BatchDamaged, PlainRefused where none may be plain, and OSError.
    """
    sealed = segment.sealed
    if isinstance(sealed, Unread):
        content = cache.get(segment.data).read(SEGMENT_HEADER_BYTES, 0)
        sealed = segment.sealed = _kind(segment, content)
    return sealed


def learn_cached(segment: Segment, content: Buffer | None) -> bool:
    """Learn the kind from what memory holds of the file's beginning; False when that is too little."""
    if isinstance(segment.sealed, Unread):
        if content is None or len(content) < min(SEGMENT_HEADER_BYTES, segment.written_position):
            return False
        segment.sealed = _kind(segment, content)
    return True


def _kind(segment: Segment, content: Buffer) -> SegmentHeader | None:
    sealed = header_in(content, segment.data.path)
    if sealed is None and segment.only_sealed:
        raise PlainRefused(segment.data.path)
    return sealed


def header_in(content: Buffer, path: str) -> SegmentHeader | None:
    """The header at the beginning of a segment's file, None for a plain one.

    Raises BatchDamaged when it is damaged, SegmentRefused when it is another partition's or too new.
    """
    try:
        header = parse_segment_header(content)
    except SealedTooNew as error:
        raise SegmentRefused(0, error.message) from None
    except CorruptBatch as error:
        raise BatchDamaged(0, error.message) from None
    if header is not None:
        partition = f"{header.topic_id}-{header.partition}"
        if path.split("/")[-2:-1] != [partition]:
            raise SegmentRefused(0, f"was sealed for partition {partition}")
    return header


def headers_from(cache: FileCache, segment: Segment, position: int = 0) -> Iterator[tuple[int, BatchHeader]]:
    """(position, header) of the batches in the file from a position on; 0 is the first batch.

    Raises BatchDamaged and OSError.
    """
    if segment.written_position == 0:
        return
    sealed = learn(cache, segment) is not None
    file = cache.get(segment.data)
    start = max(position, segment.start)
    yield from scan_headers(file, start, segment.written_position, sealed=sealed)
