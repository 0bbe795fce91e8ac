"""Index files of sealed segments: loaded when first needed, rebuilt from the batches when they do not fit.

Blocking. Also the bounded memory in which loaded indexes stay.
"""

from __future__ import annotations

from collections import OrderedDict

from rivven.log.file_cache import FileCache
from rivven.log.files import File, Files
from rivven.log.framed_file import write_whole
from rivven.log.index import SegmentIndex, decode_index
from rivven.log.scanning import BatchDamaged, scan_headers
from rivven.log.segment import RELATIVE_OFFSET_MAX, UNKNOWN_TIMESTAMP, Segment

INDEX_MEMORY_BYTES = 32 << 20
"""Memory for the indexes of sealed segments: sixteen full 1 GiB segments being read from the start."""


def index_paths(segment: Segment) -> tuple[str, str]:
    """Paths of the offset and the time index."""
    stem = segment.data.path.removesuffix(".log")
    return f"{stem}.index", f"{stem}.timeindex"


def load_index(files: Files, cache: FileCache, segment: Segment, interval: int) -> SegmentIndex:
    """Give a segment its index and largest timestamp, from its files or else from its batches; the index.

    Raises BatchDamaged and OSError.
    """
    index = None if segment.rebuild_index else _read(files, segment)
    if index is None or not _agrees(cache, segment, index):
        return rebuild(cache, segment, interval)
    _adopt(segment, index)
    return index


def rebuild(cache: FileCache, segment: Segment, interval: int) -> SegmentIndex:
    """Build index and timestamps from the batches. Raises BatchDamaged and OSError."""
    shadow, index = _build(cache, segment, interval)
    segment.max_timestamp, segment.max_timestamp_offset = shadow.max_timestamp, shadow.max_timestamp_offset
    segment.first_timestamp = shadow.first_timestamp
    segment.unindexed_bytes = shadow.unindexed_bytes
    segment.index = index
    return index


def _build(cache: FileCache, segment: Segment, interval: int) -> tuple[Segment, SegmentIndex]:
    shadow = Segment("", segment.base_offset)
    index = shadow.index = SegmentIndex()
    for _, header in scan_headers(cache.get(segment.data), 0, segment.written_position):
        shadow.note(header.last_offset, header.size_bytes, header.max_timestamp, interval)
    shadow.finish_index()
    return shadow, index


def save_index(files: Files, paths: tuple[str, str], contents: tuple[bytes, bytes], durable: bool) -> None:
    """Write both index files. Raises OSError."""
    for path, content in zip(paths, contents, strict=True):
        file = write_whole(files, path, content)
        if durable:
            file.sync()


def _read(files: Files, segment: Segment) -> SegmentIndex | None:
    contents = []
    for path in index_paths(segment):
        if not files.exists(path):
            return None
        file = files.open(path, "read")
        contents.append(file.read(file.size(), 0))
    index = decode_index(contents[0], contents[1], segment.written_position)
    if index is None or (not contents[1] and segment.written_position > 0):
        return None
    return index


def _agrees(cache: FileCache, segment: Segment, index: SegmentIndex) -> bool:
    """Whether the last entries of both indexes say what the batches say; others are checked when used."""
    last_time = index.last_time()
    position, relative = index.entry_before(RELATIVE_OFFSET_MAX)
    claims: list[tuple[int, int, int | None]] = [(relative, position, None)] if relative >= 0 else []
    if last_time is not None:
        claims.append((last_time[1], index.entry_before(last_time[1])[0], last_time[0]))
    file = cache.get(segment.data)
    try:
        return all(_holds(file, segment, claim) for claim in claims)
    except BatchDamaged:
        return False


def _holds(file: File, segment: Segment, claim: tuple[int, int, int | None]) -> bool:
    """(relative last offset, position to scan from, timestamp): there is such a batch."""
    relative, position, timestamp = claim
    last_offset = segment.base_offset + relative
    for _, header in scan_headers(file, position, segment.written_position):
        if header.last_offset >= last_offset:
            return header.last_offset == last_offset and timestamp in (None, header.max_timestamp)
    return False


def _adopt(segment: Segment, index: SegmentIndex) -> None:
    last = index.last_time()
    if last is not None and segment.max_timestamp in (-1, UNKNOWN_TIMESTAMP):
        segment.max_timestamp, relative = last
        segment.max_timestamp_offset = segment.base_offset + relative
    segment.index = index


class IndexMemory:
    """Which sealed segments keep their index in memory: least recently used ones lose it."""

    def __init__(self, capacity_bytes: int = INDEX_MEMORY_BYTES) -> None:
        self._capacity = capacity_bytes
        self._used = 0
        self._segments: OrderedDict[Segment, int] = OrderedDict()

    def touch(self, segment: Segment) -> None:
        """A sealed segment's index was loaded or used."""
        size = self._segments.get(segment)
        if size is not None:
            self._segments.move_to_end(segment)
            return
        if segment.index is None:
            return
        size = segment.index.bytes_used
        self._segments[segment] = size
        self._used += size
        while self._used > self._capacity and len(self._segments) > 1:
            oldest, freed = self._segments.popitem(last=False)
            oldest.index = None
            self._used -= freed

    def drop(self, segment: Segment) -> None:
        """The segment is gone, or became the active one."""
        self._used -= self._segments.pop(segment, 0)
