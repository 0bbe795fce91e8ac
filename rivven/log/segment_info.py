"""What a partition's segments are sealed with, for listings of keys, re-encryption and erasure.

Part of `PartitionLog`. It reads the beginning of files, never a record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rivven.errors import StorageFailed
from rivven.log import plain_history
from rivven.log.loaded import LoadedLog
from rivven.log.scanning import BatchDamaged
from rivven.log.segment_kind import PlainRefused, learn

if TYPE_CHECKING:
    from rivven.log.partition_log import PartitionLog


class SegmentInfo(NamedTuple):
    """One segment. `topic_key_id` None: plain, or nothing in it yet (then `stored_bytes` is 0)."""

    base_offset: int
    end_offset: int
    path: str
    stored_bytes: int
    topic_key_id: bytes | None


def view(log: PartitionLog, loaded: LoadedLog) -> list[SegmentInfo]:
    """See `PartitionLog.segments_view`."""
    found = []
    for number, segment in enumerate(loaded.segments):
        try:
            sealed = learn(log.host.cache, segment) if segment.end_position else None
        except PlainRefused as forged:
            log.take_offline(f"{segment.data.path}, {forged}")
            raise StorageFailed("the log of this partition is offline") from forged
        except (BatchDamaged, OSError) as error:
            log.host.complain(f"{segment.data.path}: {error}")
            raise StorageFailed("the log of this partition cannot be read") from error
        end_offset = loaded.end_of(number, log.log_end_offset)
        key_id = None if sealed is None else sealed.topic_key_id
        found.append(
            SegmentInfo(segment.base_offset, end_offset, segment.data.path, segment.end_position, key_id)
        )
    return found


def had_plain(log: PartitionLog) -> bool:
    """See `PartitionLog.plaintext_history`."""
    try:
        return plain_history.had_plain(log.host.files.list(log.path), log.log_end_offset)
    except OSError:
        return True
