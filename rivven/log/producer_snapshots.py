"""Producer state on disk: `<offset>.snapshot` says what producers had sent below that offset. Blocking.

Written at every roll and at shutdown. One beyond the end of the log is discarded, a damaged one ignored; what
is missing since the newest good one is rebuilt from the batches.
"""

from __future__ import annotations

import logging
from typing import Protocol

from rivven.errors import StorageFailed
from rivven.log import framed_file
from rivven.log.file_cache import FileCache
from rivven.log.files import Files
from rivven.log.framed_file import FormatTooNew, FramedFileDamaged
from rivven.log.producers import SNAPSHOT_MAGIC, SNAPSHOT_VERSION, Producers
from rivven.log.scanning import BatchDamaged
from rivven.log.segment import Segment, base_offset_of, segment_path
from rivven.log.segment_kind import headers_from

SNAPSHOTS_KEPT = 2
"""The newest two: one may turn out to lie beyond what a crash left of the log."""

_log = logging.getLogger("rivven.log")


class SnapshotPlan(Protocol):
    """What of an OpenPlan is needed here."""

    @property
    def directory(self) -> str: ...
    @property
    def producers_max(self) -> int: ...
    @property
    def now_ms(self) -> int: ...


def restore_producers(
    files: Files,
    cache: FileCache,
    plan: SnapshotPlan,
    segments: list[Segment],
    names: list[str],
    log_end: int,
    *,
    clean: bool,
) -> Producers:
    """Producer state as of `log_end`. After a clean stop no snapshot means no producers. Raises OSError."""
    offsets = snapshot_offsets(names)
    producers = Producers(plan.producers_max)
    if clean and not offsets:
        return producers
    start = segments[0].base_offset
    if offsets and offsets[-1] > log_end:
        _discard_beyond(files, plan.directory, offsets, log_end)
    for offset in reversed(offsets):
        path = segment_path(plan.directory, offset, "snapshot")
        if _restore(files, path, producers):
            start = offset
            break
    _replay(cache, segments, producers, start, plan.now_ms)
    return producers


def _discard_beyond(files: Files, directory: str, offsets: list[int], log_end: int) -> None:
    """Durably, before anything is appended: a later crash must not bring one back for other batches."""
    while offsets and offsets[-1] > log_end:
        files.remove(segment_path(directory, offsets.pop(), "snapshot"))
    files.sync_directory(directory)


def snapshot_offsets(names: list[str]) -> list[int]:
    """Offsets of the snapshots in a listing, ascending."""
    return sorted(offset for name in names if (offset := base_offset_of(name, "snapshot")) is not None)


def encode_snapshot(producers: Producers) -> bytes:
    """The content of a snapshot file."""
    return framed_file.encode(SNAPSHOT_MAGIC, SNAPSHOT_VERSION, producers.encode())


def save_snapshot(files: Files, directory: str, offset: int, content: bytes) -> None:
    """Write a snapshot durably and remove older ones. Raises OSError."""
    framed_file.write_whole(files, segment_path(directory, offset, "snapshot"), content).sync()
    for old in snapshot_offsets(files.list(directory))[:-SNAPSHOTS_KEPT]:
        files.remove(segment_path(directory, old, "snapshot"))


def _restore(files: Files, path: str, producers: Producers) -> bool:
    try:
        found = framed_file.read(files, path, SNAPSHOT_MAGIC, SNAPSHOT_VERSION)
        if found is None:
            return False
        fresh = Producers(producers.maximum)
        fresh.restore(found[1])
    except (FramedFileDamaged, ValueError) as error:
        _log.warning("producer state is rebuilt from the batches: %s", error)
        return False
    except FormatTooNew as error:
        raise StorageFailed(error.message) from None
    producers.restore(found[1])
    return True


def _replay(cache: FileCache, segments: list[Segment], producers: Producers, start: int, now_ms: int) -> None:
    """Remember the batches from offset `start` on. Activity counts from now: expiry must not forget too
    early."""
    for number, segment in enumerate(segments):
        following = segments[number + 1].base_offset if number + 1 < len(segments) else None
        if (following is not None and following <= start) or segment.written_position == 0:
            continue
        try:
            for _, header in headers_from(cache, segment):
                if header.producer_id >= 0 and header.base_offset >= start:
                    timestamp = header.max_timestamp if header.log_append_time else -1
                    producers.record(header, header.base_offset, timestamp, now_ms)
        except BatchDamaged as damage:
            raise StorageFailed(f"{segment.data.path}: {damage}") from None
