"""Where an append goes: into the active segment or a new one, plain or sealed, at once or through the queue.

Part of `PartitionLog`. It fails closed: a log that is to be sealed and has no key takes nothing, and a key is
had before anything on the disk changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rivven.errors import StorageFailed
from rivven.log import plain_history, rolling
from rivven.log.hot_tail import HotTail
from rivven.log.loaded import LoadedLog
from rivven.log.sealing import FRAME_CLEAR_BYTES, SEALS_MAX, KeyUnavailable, Seal, SegmentHeader
from rivven.log.segment import Segment
from rivven.log.write_queue import Queued, WriteFailed, write_one

if TYPE_CHECKING:
    from rivven.log.partition_log import PartitionLog


def may_go_on(log: PartitionLog, segment: Segment) -> bool:
    """Whether the active segment is of the kind that is wanted now, under the newest key. Raises
    KAFKA_STORAGE_ERROR when it is and its key cannot be had."""
    header = segment.sealed
    if not isinstance(header, SegmentHeader):
        return not log.config.encryption_enabled
    keys = log.host.keys
    if not log.config.encryption_enabled or keys is None or segment.seals >= SEALS_MAX:
        return False
    if keys.newest(log.topic_id) != header.topic_key_id:
        return False
    if segment.seal is None:
        # Written by an earlier process: at most so many frames are in it.
        segment.seals = max(segment.seals, segment.end_position // FRAME_CLEAR_BYTES)
        try:
            segment.seal = log.host.seal_of(header)
        except StorageFailed as error:
            log.host.complain(f"{log!r}: cannot seal: {error}")
            raise
    return True


def segment_for(log: PartitionLog, loaded: LoadedLog, last_offset: int, now_ms: int) -> Segment:
    """The segment for a batch that does not go behind the last one: the active one if it is empty, else a
    new one; sealed if the topic is. Raises KAFKA_STORAGE_ERROR, with nothing changed."""
    segment = loaded.active
    seal = _new_seal(log, segment)
    if seal is None and not log.host.may_begin_plain(log.topic_id):
        log.host.complain(f"{log!r}: no plain segment is begun, as the topic is marked as only sealed")
        raise StorageFailed("the key store does not say yet that the topic may have plain segments")
    try:
        if segment.end_position or not rolling.spans(segment, last_offset):
            segment = rolling.roll(log, loaded, now_ms)
        else:
            rolling.create_file(log, loaded, segment, now_ms)
        if seal is None and loaded.never_plain:
            plain_history.take_away(log.host.files, log.path)
            loaded.never_plain, loaded.directory_dirty = False, True
    except OSError as error:
        raise refused(log, error, "create a segment") from error
    segment.seal = seal
    segment.sealed = None if seal is None else seal.header
    segment.seals = 0
    return segment


def roll(log: PartitionLog, loaded: LoadedLog, now_ms: int) -> None:
    """Begin a new segment, whose kind the first append decides. Raises KAFKA_STORAGE_ERROR."""
    try:
        rolling.roll(log, loaded, now_ms)
    except OSError as error:
        raise refused(log, error, "create a segment") from error


def _new_seal(log: PartitionLog, active: Segment) -> Seal | None:
    """What a new segment behind the active one is sealed with. Raises KAFKA_STORAGE_ERROR.

    The key of what is in the active one has to be there: an older key store has older keys, and what is
    sealed under those is lost when the right store comes back, which has dropped them.
    """
    if not log.config.encryption_enabled:
        return None
    keys = log.host.keys
    try:
        if keys is None:
            raise KeyUnavailable("the topic is encrypted and this broker has no keys")
        seal = Seal(*keys.create(log.topic_id, log.partition))
        if active.end_position and isinstance(active.sealed, SegmentHeader):
            keys.sealer(active.sealed)
        return seal
    except StorageFailed as error:
        log.host.complain(f"{log!r}: cannot seal: {error}")
        raise


def write(log: PartitionLog, loaded: LoadedLog, idle: bool, batch: Queued) -> Queued | None:
    """Write now, or return what to queue. Raises KAFKA_STORAGE_ERROR, with the file as it was."""
    host = log.host
    segment = batch.segment
    segment.seals += 1
    if batch.size >= host.limits.thread_write_bytes or host.slow or not idle or log.disturbed:
        return batch
    try:
        file = host.cache.get(segment.data)
    except OSError as error:
        raise refused(log, error, "open a segment") from error
    started = host.clock.monotonic()
    try:
        write_one(file, host.frames, batch)
    except WriteFailed as failure:
        if failure.fatal:
            host.committer.fail(failure.error)
        raise refused(log, failure.error, "write") from failure
    host.wrote(host.clock.monotonic() - started)
    if segment not in loaded.dirty:
        loaded.dirty.add(segment, file)
    if batch.plain:
        keep_hot(log, batch)
    return None


def keep_hot(log: PartitionLog, batch: Queued) -> None:
    """A sealed batch is in the file: consumers at the end get it without opening it."""
    if log.deleted or not log.online:
        return
    if log.hot_tail is None:
        log.hot_tail = HotTail(log.host.hot_memory)
    log.hot_tail.add(batch.next_offset, batch.plain, len(batch.buffer))


def refused(log: PartitionLog, error: OSError, action: str) -> StorageFailed:
    """The failure to answer with; the reason goes to the broker's log."""
    log.host.complain(f"{log!r}: cannot {action}: {error}")
    return StorageFailed("the broker's disk refused the write")
