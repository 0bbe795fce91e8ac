"""Re-encryption as jobs of a worker process: one part of a segment after another under a new data key.

A job holds nothing between two parts: where the next one goes on is in its arguments, so that a lost worker
costs one part. What the batches say is not looked at, only whether they are whole; values are plain (see
`worker_jobs`).
"""

from __future__ import annotations

from rivven.log.files import Files, OsFiles
from rivven.log.rewriting import SegmentWriter, Source, Target, read_batches, seal_for
from rivven.log.rewriting_keys import SourceFields, TargetFields


def reencrypt_part(
    source: SourceFields, position: int, target: TargetFields, written: int, size: int
) -> tuple[int, int]:
    """See `copy_part`."""
    return copy_part(OsFiles(), Source(*source), position, Target(*target), written, size)


def copy_part(
    files: Files, source: Source, position: int, target: Target, written: int, size: int
) -> tuple[int, int]:
    """Copy about `size` bytes of batches, at least one, from `position` of a segment to the target's end.

    `written` is how long the target is; 0 creates it. Returns where the next part begins in both, the target
    durable up to there: the source is done when that is its size. Raises CorruptMessage, StorageFailed and
    OSError.
    """
    file = files.open(target.path, "write" if written else "new")
    writer = SegmentWriter(file, seal_for(target), written)
    until = position + size
    for batch, _, following in read_batches(files.open(source.path, "read"), source, position):
        writer.add(batch)
        position = following
        if position >= until:
            break
    else:
        position = source.size_bytes
    return position, writer.finish()
