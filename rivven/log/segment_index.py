"""Index files of closed segments: loaded when first needed, rebuilt from the batches when they do not fit.

Blocking. Also the bounded memory in which loaded indexes stay.
"""

from __future__ import annotations

from collections import OrderedDict

from rivven.log.file_cache import FileCache
from rivven.log.files import Files
from rivven.log.framed_file import write_whole
from rivven.log.index import SegmentIndex, decode_index
from rivven.log.scanning import BatchDamaged
from rivven.log.segment import RELATIVE_OFFSET_MAX, Segment
from rivven.log.segment_kind import headers_from, learn

INDEX_MEMORY_BYTES = 32 << 20
"""Memory for the indexes of closed segments: sixteen full 1 GiB segments being read from the start."""


def index_paths(segment: Segment) -> tuple[str, str]:
    """Paths of the offset and the time index."""
    stem = segment.data.path.removesuffix(".log")
    return f"{stem}.index", f"{stem}.timeindex"


def load_index(files: Files, cache: FileCache, segment: Segment, interval: int) -> SegmentIndex:
    """Give a segment its index and largest timestamp, from its files or else from its batches; the index.

    Raises BatchDamaged and OSError.
    """
    if segment.written_position:
        learn(cache, segment)
    index = None if segment.rebuild_index else _read(files, segment)
    if index is None or not _adopt(cache, segment, index):
        return rebuild(cache, segment, interval)
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
    for position, header in headers_from(cache, segment):
        size = position + header.size_bytes + segment.overhead - shadow.end_position
        shadow.note(header.last_offset, size, header.max_timestamp, interval)
    shadow.finish_index()
    return shadow, index


def save_index(files: Files, paths: tuple[str, str], contents: tuple[bytes, bytes]) -> None:
    """Write both index files durably, names included: a crash must not bring an older one back. Raises
    OSError."""
    for path, content in zip(paths, contents, strict=True):
        write_whole(files, path, content).sync()
    files.sync_directory(paths[0].rpartition("/")[0])


def _read(files: Files, segment: Segment) -> SegmentIndex | None:
    contents = []
    for path in index_paths(segment):
        if not files.exists(path):
            return None
        file = files.open(path, "read")
        contents.append(file.read(file.size(), 0))
    index = decode_index(contents[0], contents[1], segment.written_position)
    if index is None or (not contents[1] and segment.written_position > segment.start):
        return None
    return index


def _adopt(cache: FileCache, segment: Segment, index: SegmentIndex) -> bool:
    """Take over an index and find the segment's largest timestamp; False when it does not fit the batches.

    Checks the last entries of both; others are checked when used. What follows the last entry is walked, so
    an index that ends too early costs time, nothing else.
    """
    last_time = index.last_time() or (-1, -1)
    try:
        if last_time[1] >= 0 and not _has_time(cache, segment, index, last_time):
            return False
        best = last_time
        position, relative = index.entry_before(RELATIVE_OFFSET_MAX)
        for at, header in headers_from(cache, segment, position):
            if at == position and relative >= 0 and header.last_offset != segment.base_offset + relative:
                return False
            if header.max_timestamp > best[0]:
                best = header.max_timestamp, header.last_offset - segment.base_offset
    except BatchDamaged:
        return False
    segment.max_timestamp = best[0]
    segment.max_timestamp_offset = segment.base_offset + best[1]
    segment.index = index
    return True


def _has_time(cache: FileCache, segment: Segment, index: SegmentIndex, entry: tuple[int, int]) -> bool:
    timestamp, relative = entry
    last_offset = segment.base_offset + relative
    for _, header in headers_from(cache, segment, index.entry_before(relative)[0]):
        if header.last_offset >= last_offset:
            return header.last_offset == last_offset and header.max_timestamp == timestamp
    return False


class IndexMemory:
    """Which closed segments keep their index in memory: least recently used ones lose it."""

    def __init__(self, capacity_bytes: int = INDEX_MEMORY_BYTES) -> None:
        self._capacity = capacity_bytes
        self._used = 0
        self._segments: OrderedDict[Segment, int] = OrderedDict()

    def touch(self, segment: Segment) -> None:
        """A closed segment's index was loaded or used."""
        size = self._segments.get(segment)
        if size is not None:
            self._segments.move_to_end(segment)
            return
        if segment.index is None or segment.retired:
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
