"""One partition's log: append, read, and how far it is written, durable and acknowledgeable.

Belongs to the event loop. Until it is first used after a clean shutdown it is only a few numbers; then its
directory is opened (`loaded.LoadedLog`). It knows offsets, bytes and epochs, not clients: who may append and
what a valid batch is was decided before. `log_start <= recovery_point <= durable_end <= written_end <=
log_end`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple
from uuid import UUID

from rivven.config.settings import LONG_MAX
from rivven.config.topic_settings import TopicConfig
from rivven.errors import OffsetOutOfRange, RivvenError, StorageFailed
from rivven.log import appending, lookup, opening, reads, replacing, retention, rolling, segment_info, waiting
from rivven.log.checkpoint import CheckpointEntry, PartitionKey
from rivven.log.committer import NOTHING, SyncPlan
from rivven.log.compaction import CleanableView
from rivven.log.compaction_swap import PreparedSegment
from rivven.log.descriptors import is_shortage
from rivven.log.dirty_files import DirtyFiles
from rivven.log.host import Host
from rivven.log.hot_tail import HotTail
from rivven.log.loaded import LoadedLog
from rivven.log.producers import ProducerEntry
from rivven.log.reading import ReadResult, Wanted
from rivven.log.recovery import Opened, open_clean
from rivven.log.sealing import FRAME_OVERHEAD_BYTES, SEGMENT_HEADER_BYTES
from rivven.log.segment_info import SegmentInfo
from rivven.log.write_queue import Queued, WriteFailed, WriteQueue
from rivven.records.batch import BatchHeader, patch_log_append_time, patch_offset_and_epoch

__all__ = ["Appended", "PartitionLog", "ReadResult"]

_log = logging.getLogger("rivven.log")


class Appended(NamedTuple):
    """Where a batch is. A duplicate has its original's place and waits until that is acknowledgeable."""

    base_offset: int
    last_offset: int
    log_append_time_ms: int
    duplicate: bool


class PartitionLog:
    """See the module. All methods belong to the loop; those that wait for a disk are coroutines."""

    __slots__ = (
        "_host",
        "_loaded",
        "_queue",
        "config",
        "deleted",
        "durable_end",
        "failure_listener",
        "hot_tail",
        "leader_epoch",
        "log_end_offset",
        "log_start_offset",
        "offline_reason",
        "oldest_timestamp",
        "partition",
        "progress_listener",
        "size_bytes",
        "topic_id",
        "written_end",
    )

    def __init__(
        self, host: Host, topic_id: UUID, partition: int, config: TopicConfig, saved: CheckpointEntry
    ) -> None:
        """A log that a clean shutdown left as `saved` says; nothing is opened."""
        self._host = host
        self.topic_id = topic_id
        self.partition = partition
        self.config = config
        self.log_start_offset = saved.log_start_offset
        self.log_end_offset = self.written_end = self.durable_end = saved.log_end_offset
        self.leader_epoch = saved.leader_epoch
        self.size_bytes = saved.size_bytes
        self.oldest_timestamp = saved.oldest_timestamp
        """Largest timestamp in the oldest segment when nothing is loaded; -1 unknown."""
        self.offline_reason: str | None = None
        self.deleted = False
        self.progress_listener: Callable[[PartitionLog], None] | None = None
        """Called on the loop whenever the acknowledgeable end or the log start moved, or the log went
        offline."""
        self.failure_listener: Callable[[PartitionLog, int, RivvenError], None] | None = None
        """Called on the loop when appends that had returned could not be written: nothing from this offset
        on happened, the log ends there again and stays online. Whoever waits for more waits in vain."""
        self.hot_tail: HotTail | None = None
        """The newest batches of sealed segments; `appending` makes it."""
        self._loaded: LoadedLog | None = None
        self._queue: WriteQueue | None = None

    def __repr__(self) -> str:
        return (
            f"PartitionLog({self.topic_id}-{self.partition}, {self.log_start_offset}..{self.log_end_offset})"
        )

    # -- what it is ------------------------------------------------------------------------------------------

    @property
    def key(self) -> PartitionKey:
        return self.topic_id, self.partition

    @property
    def path(self) -> str:
        """Directory of this partition."""
        return f"{self._host.partitions_path}/{self.topic_id}-{self.partition}"

    @property
    def host(self) -> Host:
        return self._host

    @property
    def online(self) -> bool:
        return self.offline_reason is None

    @property
    def loaded(self) -> LoadedLog | None:
        """What is in memory, None before the first use."""
        return self._loaded

    @property
    def acknowledgeable_end(self) -> int:
        """Offsets below may be acknowledged and read: durable, or only written under relaxed flushing."""
        return self.durable_end if self.config.flush_messages == 1 else self.written_end

    @property
    def recovery_point(self) -> int:
        """Everything below is durable, indexes of full segments included."""
        loaded = self._loaded
        if loaded is not None and loaded.finishing:
            return min(self.durable_end, loaded.finishing[0].segment.base_offset)
        return self.durable_end

    @property
    def checkpoint_entry(self) -> CheckpointEntry:
        """What the directory's checkpoint should say about this log."""
        return CheckpointEntry(
            self.leader_epoch,
            self.log_start_offset,
            max(self.recovery_point, self.log_start_offset),
            self.log_end_offset,
            self.size_bytes,
            self.oldest_timestamp,
        )

    def check_usable(self) -> None:
        """Raises KAFKA_STORAGE_ERROR while offline or being deleted."""
        if self.offline_reason is not None:
            raise StorageFailed("the log of this partition is offline")
        if self.deleted:
            raise StorageFailed("the log of this partition is being deleted")

    def update_config(self, config: TopicConfig) -> None:
        """From now on these settings hold; what is unsynced is synced when flushing became strict."""
        self.config = config
        if config.flush_messages == 1 and self.durable_end < self.written_end:
            self._host.committer.mark_dirty(self)

    def adopt(self, opened: Opened) -> None:
        """Take over what opening the directory found."""
        dirty = DirtyFiles(self._host.pins, self._host.cache)
        loaded = LoadedLog(opened.segments, opened.producers, opened.epochs, dirty)
        loaded.touched = opened.touched
        loaded.never_plain = opened.never_plain
        self._loaded = loaded
        self._queue = WriteQueue(self._host, self)
        self.log_start_offset = opened.log_start_offset
        self.log_end_offset = self.written_end = self.durable_end = opened.log_end_offset
        self.leader_epoch = max(self.leader_epoch, loaded.epochs.current)
        self.size_bytes = sum(segment.written_position for segment in loaded.segments)
        loaded.epochs.cut_start(self.log_start_offset)
        loaded.saved_recovery_point = loaded.saved_start = self.log_start_offset

    def usable(self) -> LoadedLog:
        """The open log; raises KAFKA_STORAGE_ERROR when it is offline or cannot be opened."""
        if self.offline_reason is not None or self.deleted:
            self.check_usable()
        loaded = self._loaded
        return self._open() if loaded is None else loaded

    def _open(self) -> LoadedLog:
        plan = opening.plan_of(self, self.checkpoint_entry)
        try:
            self.adopt(open_clean(self._host.files, self._host.cache, plan))
        except (OSError, StorageFailed) as error:
            if is_shortage(error):  # the next use finds one: nothing is wrong with the log
                raise StorageFailed("the broker is out of file descriptors") from error
            self.take_offline(str(error))
            raise StorageFailed("the log of this partition is offline") from error
        assert self._loaded is not None
        return self._loaded

    # -- appending -------------------------------------------------------------------------------------------

    def append(
        self, batch: memoryview, header: BatchHeader, now_ms: int, *, internal: bool = False
    ) -> Appended:
        """Place one validated batch at the end, at once; it is acknowledgeable when `acknowledgeable_end`
        passes it.

        `batch` is writable and stamped in place; a reference is kept until it is written. `internal` appends
        go on when free space is below the reserve. Raises OUT_OF_ORDER_SEQUENCE_NUMBER,
        INVALID_PRODUCER_EPOCH, KAFKA_STORAGE_ERROR; then nothing was appended.
        """
        loaded = self.usable()
        host = self._host
        if not host.accepting and not internal:
            raise StorageFailed("the disk is nearly full")
        producer_id = header[9]
        if producer_id >= 0:
            sent = loaded.producers.check(header)
            if sent is not None:
                return Appended(sent.base_offset, sent.last_offset, sent.timestamp, True)
        config = self.config
        base = self.log_end_offset
        last = base + header[6]
        size = header[1] + 12
        if config.encryption_enabled:
            size += FRAME_OVERHEAD_BYTES
        segment = loaded.segments[-1]
        if (
            segment.end_position == 0
            or rolling.is_due(segment, size, last, now_ms, config)
            or not appending.may_go_on(self, segment)
        ):
            segment = appending.segment_for(self, loaded, last, now_ms)
            if segment.seal is not None:
                size += SEGMENT_HEADER_BYTES
        stamped = -1
        timestamp = header[8]
        if config.message_timestamp_type == "LogAppendTime":
            patch_log_append_time(batch, now_ms)
            stamped = timestamp = now_ms
        patch_offset_and_epoch(batch, base, self.leader_epoch)
        assert self._queue is not None
        queued = appending.write(self, loaded, self._queue.idle, Queued(batch, segment, size, last + 1))
        before = (segment.max_timestamp, segment.max_timestamp_offset, segment.unindexed_bytes)
        segment.note(last, size, timestamp, config.index_interval_bytes)
        old = loaded.producers.record(header, base, stamped, now_ms) if producer_id >= 0 else None
        self.log_end_offset = last + 1
        self.size_bytes += size
        loaded.touched = True
        if queued is None:
            segment.written_position = segment.end_position
            self._wrote(loaded, last + 1, header[12])
        else:
            queued.record_count = header[12]
            queued.producer_id = producer_id
            queued.old_entry = old
            queued.segment_before = before
            self._queue.put(queued)
        return Appended(base, last, stamped, False)

    def _wrote(self, loaded: LoadedLog, written_end: int, record_count: int) -> None:
        """The file holds everything below `written_end` now."""
        self.written_end = written_end
        committer = self._host.committer
        if self.config.flush_messages == 1:
            committer.mark_dirty(self)
            return
        loaded.unsynced_records += record_count
        if loaded.unsynced_records >= self.config.flush_messages:
            committer.mark_dirty(self)
        elif loaded.flush_timer is None and self.config.flush_ms < LONG_MAX:
            loaded.flush_timer = self._host.threads.later(self.config.flush_ms / 1000, self._flush_due)
        self.tell_progress()

    def _flush_due(self) -> None:
        if self._loaded is not None:
            self._loaded.flush_timer = None
        self._host.committer.mark_dirty(self)

    # -- the write queue's owner -----------------------------------------------------------------------------

    @property
    def disturbed(self) -> bool:
        """Whether a write on the loop might wait for a sync."""
        loaded = self._loaded
        return self._host.committer.covers_all or (loaded is not None and loaded.syncing)

    def batches_written(self, batches: Sequence[Queued]) -> None:
        """The queue wrote these."""
        loaded = self._loaded
        assert loaded is not None
        if self.deleted:
            return
        records = 0
        for batch in batches:
            batch.segment.written_position = batch.position + batch.size
            if batch.segment not in loaded.dirty and batch.file is not None:
                loaded.dirty.add(batch.segment, batch.file)
            if batch.plain:
                appending.keep_hot(self, batch)
            records += batch.record_count
        if loaded.finishing:
            rolling.finish_written(self, loaded)
        self._wrote(loaded, batches[-1].next_offset, records)

    def batches_failed(self, batches: Sequence[Queued], failure: WriteFailed) -> None:
        """The queue could not write these: they never happened, and neither did what follows from them."""
        if self.deleted:
            return  # the file was gone, the disk is sound
        if failure.fatal:
            self._host.committer.fail(failure.error)
        if self.offline_reason is not None:
            return  # whoever waited has been told
        loaded = self._loaded
        assert loaded is not None
        for batch in reversed(batches):
            if batch.producer_id >= 0:
                loaded.producers.undo(batch.producer_id, batch.old_entry)
        self.size_bytes -= sum(batch.size for batch in batches)
        self.log_end_offset = self.written_end
        rolling.take_back(self, loaded, batches)
        self._host.complain(f"{self!r}: {len(batches)} appends taken back: {failure}")
        if self.failure_listener is not None:
            error = StorageFailed("the broker's disk refused the write")
            self.failure_listener(self, self.log_end_offset, error)

    # -- the commit round's member ---------------------------------------------------------------------------

    def begin_sync(self) -> SyncPlan:
        """What makes everything written so far durable."""
        loaded = self._loaded
        if loaded is None or self.deleted:
            return NOTHING
        loaded.sync_target = self.written_end
        loaded.syncing = True
        loaded.unsynced_records = 0
        files = loaded.dirty.take()
        directories = (self.path,) if loaded.directory_dirty else ()
        loaded.directory_dirty = False
        return SyncPlan(files, directories)

    def synced(self) -> None:
        """The round ended well."""
        loaded = self._loaded
        if loaded is None:
            return
        loaded.syncing = False
        if loaded.sync_target > self.durable_end:
            self.durable_end = loaded.sync_target
            self._host.checkpoints.note(self)
            if self.config.flush_messages == 1:
                self.tell_progress()

    def sync_failed(self, error: OSError) -> None:
        """The directory is offline; it tells all its logs by itself."""

    def take_offline(self, reason: str) -> None:
        """Answer nothing more from this log until the next start."""
        if self.offline_reason is None:
            self.offline_reason = reason
            _log.error("partition %s-%d is offline: %s", self.topic_id, self.partition, reason)
            self.drop_decrypted()
            self.tell_progress()

    def delete(self) -> None:
        """Answer nothing more from this log and close its files, so that their space becomes free."""
        self.deleted = True
        self.drop_decrypted()
        loaded = self._loaded
        if loaded is not None:
            retention.forget(self._host, loaded, loaded.segments)
            if loaded.flush_timer is not None:
                loaded.flush_timer.cancel()
        self.tell_progress()

    def drop_decrypted(self) -> None:
        """Forget what is kept open of sealed segments, and their keys."""
        if self.hot_tail is not None:
            self.hot_tail.clear()
        for segment in self._loaded.segments if self._loaded is not None else ():
            segment.seal = None

    def tell_progress(self) -> None:
        """An end, the start or the state moved."""
        if self.progress_listener is not None:
            self.progress_listener(self)

    # -- reading ---------------------------------------------------------------------------------------------

    def read(self, offset: int, max_bytes: int, upper_bound: int, *, at_least_one: bool) -> ReadResult | None:
        """Whole batches from the one containing or following `offset`, from memory; None when that would
        block.

        At most `max_bytes`, but the first batch whole if `at_least_one`; never a batch reaching
        `upper_bound`. Raises OFFSET_OUT_OF_RANGE, KAFKA_STORAGE_ERROR.
        """
        loaded = self._readable(offset)
        if offset >= upper_bound:
            return ReadResult([], 0, offset, offset)
        return reads.read_cached(self, loaded, Wanted(offset, max_bytes, upper_bound, at_least_one))

    async def read_cold(
        self, offset: int, max_bytes: int, upper_bound: int, *, at_least_one: bool
    ) -> ReadResult:
        """Like `read`, from the disk if need be."""
        self._readable(offset)
        if offset >= upper_bound:
            return ReadResult([], 0, offset, offset)
        return await reads.read_cold(self, Wanted(offset, max_bytes, upper_bound, at_least_one))

    def bytes_available(self, from_offset: int, upper_bound: int, cap: int) -> int:
        """About how many bytes lie between two offsets, at most `cap`: by index, without reading; 0 only
        if none."""
        if from_offset >= upper_bound or self.offline_reason is not None:
            return 0
        return reads.bytes_between(self, self.usable(), from_offset, upper_bound, cap)

    def _readable(self, offset: int) -> LoadedLog:
        loaded = self.usable()
        if not self.log_start_offset <= offset <= self.log_end_offset:
            raise OffsetOutOfRange(
                f"offset {offset} is not in {self.log_start_offset}..{self.log_end_offset}"
            )
        return loaded

    async def offset_for_timestamp(self, timestamp: int, upper_bound: int) -> tuple[int, int, int] | None:
        """(offset, timestamp, leader epoch) of the first record at or after a time; None without one."""
        return await lookup.first_at_or_after(self, timestamp, upper_bound)

    async def max_timestamp(self, upper_bound: int) -> tuple[int, int, int] | None:
        """(offset, timestamp, leader epoch) of the record with the largest timestamp; None without one."""
        return await lookup.latest(self, upper_bound)

    def epoch_end_offset(self, epoch: int) -> tuple[int, int]:
        """OffsetForLeaderEpoch: (largest epoch <= `epoch`, its end offset), (-1, -1) when unknown."""
        if epoch == self.leader_epoch:
            return epoch, self.log_end_offset
        return self.usable().epochs.end_offset(epoch, self.log_end_offset)

    def epoch_for_offset(self, offset: int) -> int:
        """The leader epoch the batch at `offset` carries."""
        if self.leader_epoch == 0:
            return 0
        return self.usable().epochs.epoch_for(offset)

    def segments_view(self) -> list[SegmentInfo]:
        """Its segments in order. Reads the beginning of files not used yet. Raises KAFKA_STORAGE_ERROR."""
        return segment_info.view(self, self.usable())

    @property
    def plaintext_history(self) -> bool:
        """Whether anything of this partition was ever stored unsealed, or may have been. Looks at the
        disk."""
        return segment_info.had_plain(self)

    def active_producers(self) -> list[tuple[int, ProducerEntry]]:
        """(producer id, state) of every producer remembered."""
        return list(self.usable().producers)

    # -- shrinking -------------------------------------------------------------------------------------------

    async def delete_records_before(self, offset: int) -> int:
        """Make `offset` the log start durably (not above the acknowledgeable end, never back); the log start.

        Raises OFFSET_OUT_OF_RANGE beyond the acknowledgeable end, KAFKA_STORAGE_ERROR.
        """
        return await retention.delete_records_before(self, offset)

    async def delete_expired(self, now_ms: int) -> int:
        """Delete whole segments by age and size, and forget producers long gone; returns the bytes freed."""
        return await retention.delete_expired(self, now_ms)

    def roll(self, now_ms: int) -> None:
        """Begin a new segment unless the active one is empty. Raises KAFKA_STORAGE_ERROR."""
        loaded = self.usable()
        if loaded.active.end_position:
            appending.roll(self, loaded, now_ms)
            self._host.committer.mark_dirty(self)

    async def flush(self) -> None:
        """Return once everything appended so far is durable. Raises KAFKA_STORAGE_ERROR."""
        while self.durable_end < self.log_end_offset:
            self.check_usable()
            self._host.committer.mark_dirty(self)
            await waiting.round_end(self._host)
        self.check_usable()

    # -- compaction ------------------------------------------------------------------------------------------

    def cleanable(self, now_ms: int) -> CleanableView | None:
        """The closed, durable part of a compacted log; None when there is none."""
        return replacing.cleanable(self, now_ms)

    async def replace_segments(self, old: Sequence[int], prepared: PreparedSegment) -> bool:
        """Put a compacted segment in place of those with these base offsets; False when they are gone."""
        return await replacing.replace_segments(self, old, prepared)
