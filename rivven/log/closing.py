"""A clean end: everything durable, indexes and producers saved, and a checkpoint that says so.

The mark in the checkpoint is written last; the next start then believes the files instead of scanning them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import partial

from rivven.errors import RivvenError
from rivven.log.checkpoint import CHECKPOINT_NAME
from rivven.log.checkpoint_keeper import CheckpointKeeper
from rivven.log.committer import SYNCFS_FROM
from rivven.log.files import Files
from rivven.log.framed_file import replace, write_whole
from rivven.log.host import Host
from rivven.log.partition_log import PartitionLog
from rivven.log.producer_snapshots import encode_snapshot
from rivven.log.segment import UNKNOWN_TIMESTAMP, segment_path
from rivven.log.segment_index import index_paths
from rivven.log.waiting import on_worker

_log = logging.getLogger("rivven.log")

Saved = list[tuple[str, bytes]]


async def close_cleanly(
    host: Host, keeper: CheckpointKeeper, logs: Collection[PartitionLog], path: str
) -> None:
    """Make everything durable and leave the mark; without it when anything could not be saved."""
    clean = True
    for log in logs:
        try:
            if log.loaded is not None and log.online:
                await log.flush()
        except RivvenError as error:
            _log.error("%r could not be flushed: %s", log, error)
    clean = all(log.online for log in logs) and host.committer.failure is None
    contents: Saved = []
    for log in logs:
        if log.online and log.loaded is not None:
            contents += _unsaved(log)
            keeper.note(log)
    keeper.close()
    keeper.take_entries()
    job = partial(_save, host.files, contents, f"{path}/{CHECKPOINT_NAME}", keeper.table.image(clean), path)
    try:
        await on_worker(host.threads, host.janitor, job)
    except OSError as error:
        _log.error("shutdown is not clean, the next start verifies the logs: %s", error)


def _unsaved(log: PartitionLog) -> Saved:
    """The files that say what the log has in memory: (path, content)."""
    loaded = log.loaded
    assert loaded is not None
    log.oldest_timestamp = _oldest_timestamp(log)
    if not loaded.touched:
        return []
    contents: Saved = []
    segments = [full.segment for full in loaded.finishing]
    if loaded.active.index:
        # Without an entry it is shorter than an index interval, and read as quickly as an index.
        segments.append(loaded.active)
    for segment in segments:
        if segment.index is not None:
            segment.finish_index()
            encoded = segment.index.encode_offsets(), segment.index.encode_times()
            contents += zip(index_paths(segment), encoded, strict=True)
    loaded.finishing.clear()
    if len(loaded.producers) or len(loaded.segments) > 1:
        path = segment_path(log.path, log.log_end_offset, "snapshot")
        contents.append((path, encode_snapshot(loaded.producers)))
    return contents


def _oldest_timestamp(log: PartitionLog) -> int:
    """The largest timestamp in the first segment that has any bytes, -1 when not known without reading."""
    assert log.loaded is not None
    for segment in log.loaded.segments:
        if segment.end_position:
            return -1 if segment.max_timestamp == UNKNOWN_TIMESTAMP else segment.max_timestamp
    return -1


def _save(files: Files, contents: Saved, checkpoint_path: str, checkpoint: bytes, root: str) -> None:
    """On a thread, after what was submitted before. Raises OSError."""
    together = len(contents) >= SYNCFS_FROM
    for path, content in contents:
        file = write_whole(files, path, content)
        if not together:
            file.sync()
    if not (together and files.sync_all(root)):
        for path, _ in contents if together else ():
            files.open(path, "write").sync()
        for directory in {path.rpartition("/")[0] for path, _ in contents}:
            files.sync_directory(directory)
    replace(files, checkpoint_path, checkpoint)
