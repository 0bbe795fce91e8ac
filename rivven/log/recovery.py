"""Opening a partition's directory after the process or the machine went down: what is believed, refused, cut.

Below the recovery point every byte was synced and possibly acknowledged: damage there is refused, with file
and position, and takes this partition offline. At or after it the log is cut at the first batch that is not
whole, intact and next in order, even if valid ones follow, because pages reach the disk in any order; what is
cut is kept beside the log, and the leader epoch rises. Indexes of what is scanned are rebuilt. Sealed
segments are walked by their frames' lengths and checksums, without a key. Blocking: start-up or a thread.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass

from rivven.errors import StorageFailed
from rivven.log import compaction_swap, plain_history
from rivven.log.checkpoint import CheckpointEntry
from rivven.log.cut_files import keep_cut
from rivven.log.epoch_file import load_epochs, save_epochs
from rivven.log.epochs import LeaderEpochs
from rivven.log.file_cache import FileCache
from rivven.log.files import File, Files
from rivven.log.index import SegmentIndex
from rivven.log.producer_snapshots import restore_producers
from rivven.log.producers import Producers
from rivven.log.scanning import BatchDamaged, scan
from rivven.log.segment import UNKNOWN_TIMESTAMP, Segment, base_offset_of, segment_path
from rivven.log.segment_index import index_paths, load_index, save_index
from rivven.log.segment_kind import PlainRefused, SegmentRefused, headers_from, learn

_log = logging.getLogger("rivven.log")

STALE_SUFFIXES = (".deleted", ".tmp")
"""Left by a deletion or replacement that a crash interrupted."""

NEVER_SAVED = CheckpointEntry(0, 0, 0, 0, 0, -1)
"""What is known of a partition that no checkpoint mentions."""


class PartitionDamaged(StorageFailed):
    """Bytes that were durable do not read back. The text names file, position and reason."""

    def __init__(self, path: str, position: int, reason: str) -> None:
        super().__init__(f"{path}, position {position}: {reason}")
        self.path = path
        self.position = position
        self.reason = reason


@dataclass(frozen=True, slots=True)
class OpenPlan:
    """How to open a partition. `interval` is index.interval.bytes."""

    directory: str
    saved: CheckpointEntry
    interval: int
    producers_max: int
    now_ms: int
    synced: bool = False
    """Everything in the directory was synced since the crash: no file has to be."""
    sealing: bool = False
    """The topic is encrypted: an empty directory gets the mark of `plain_history`."""
    only_sealed: bool = False
    """The topic has no plain segment: none that is found is believed."""


@dataclass(slots=True)
class Opened:
    """What was found in a partition's directory.

    `cut_bytes` were taken off its end; `touched` says that index and producers differ from what is on disk.
    """

    segments: list[Segment]
    producers: Producers
    epochs: LeaderEpochs
    log_start_offset: int
    log_end_offset: int
    cut_bytes: int = 0
    touched: bool = False
    never_plain: bool = False
    """It has the mark of `plain_history`."""


def open_clean(files: Files, cache: FileCache, plan: OpenPlan) -> Opened:
    """Open what a clean shutdown left: sizes are compared, nothing is scanned.

    Raises PartitionDamaged when the files are not what was left, and OSError.
    """
    saved = plan.saved
    names = _tidy(files, plan.directory)
    size = sum(files.size(f"{plan.directory}/{name}") for name in names if base_offset_of(name) is not None)
    segments = _find_segments(files, plan, names)
    if size != saved.size_bytes:
        reason = f"holds {size} bytes, {saved.size_bytes} at the last shutdown"
        raise PartitionDamaged(plan.directory, 0, reason)
    epochs = load_epochs(files, cache, plan.directory, segments, saved.leader_epoch)
    _add_missing_segment(segments, plan, saved.log_end_offset)
    _load_active(files, cache, segments[-1], plan)
    producers = restore_producers(files, cache, plan, segments, names, saved.log_end_offset, clean=True)
    return Opened(
        segments,
        producers,
        epochs,
        saved.log_start_offset,
        saved.log_end_offset,
        never_plain=plain_history.MARK_NAME in names,
    )


def recover(files: Files, cache: FileCache, plan: OpenPlan) -> Opened:
    """Open what a crash left. Raises PartitionDamaged when durable bytes are lost or wrong, and OSError."""
    return _Recovery(files, cache, plan).run()


class _Recovery:
    def __init__(self, files: Files, cache: FileCache, plan: OpenPlan) -> None:
        self._files = files
        self._cache = cache
        self._plan = plan
        self._directory = plan.directory
        self._point = plan.saved.recovery_point
        self._names = _tidy(files, plan.directory)
        if plan.sealing and not self._names:
            plain_history.make_mark(files, plan.directory)
            files.sync_directory(plan.directory)
            self._names.append(plain_history.MARK_NAME)
        self._cut_bytes = 0
        self._risen: LeaderEpochs | None = None

    def run(self) -> Opened:
        saved = self._plan.saved
        segments = _find_segments(self._files, self._plan, self._names)
        self._check_beginning(segments)
        new = any(segment.base_offset >= self._point and segment.written_position for segment in segments)
        if new and not self._plan.synced:
            # Names first: a segment that is believed below must not vanish with the next crash.
            self._files.sync_directory(self._directory)
        kept, log_end = self._scan_tail(segments)
        if log_end < self._point:
            path = kept[-1].data.path if kept else self._directory
            position = kept[-1].written_position if kept else 0
            raise PartitionDamaged(path, position, f"ends at offset {log_end}, {self._point} was durable")
        log_start = max(saved.log_start_offset, kept[0].base_offset if kept else 0)
        if log_start > log_end:  # only with relaxed flushing: deleted up to what the crash took away
            self._drop([], kept, log_start)
            kept, log_end = [], log_start
        _add_missing_segment(kept, self._plan, log_end)
        epochs = self._load_epochs(kept) if self._risen is None else self._risen
        producers = restore_producers(
            self._files, self._cache, self._plan, kept, self._names, log_end, clean=False
        )
        touched = any(segment.written_position for segment in kept)
        return Opened(
            kept,
            producers,
            epochs,
            log_start,
            log_end,
            self._cut_bytes,
            touched,
            never_plain=plain_history.MARK_NAME in self._names,
        )

    def _check_beginning(self, segments: list[Segment]) -> None:
        log_start = self._plan.saved.log_start_offset
        if segments and log_start < segments[0].base_offset <= self._point:
            # Retention makes the new log start durable before it removes anything.
            reason = f"is the first segment, but the log starts at offset {log_start}"
            raise PartitionDamaged(segments[0].data.path, 0, reason)

    def _scan_tail(self, segments: list[Segment]) -> tuple[list[Segment], int]:
        """Verify every segment that reaches the recovery point; the segments kept and the log's end."""
        kept: list[Segment] = []
        expected = self._plan.saved.log_start_offset
        if segments:
            expected = min(expected, segments[0].base_offset)
        for number, segment in enumerate(segments):
            following = segments[number + 1].base_offset if number + 1 < len(segments) else None
            if segment.base_offset != expected and not self._may_be_hole(expected, segment.base_offset):
                if expected < self._point:
                    reason = f"begins at offset {segment.base_offset}, {expected} is missing"
                    raise PartitionDamaged(segment.data.path, 0, reason)
                self._drop(kept, segments[number:], expected)
                break
            kept.append(segment)
            if following is not None and following <= self._point:
                expected = following  # wholly durable: synced before the next one was used
                continue
            expected, cut = self._verify(kept)
            if cut:
                self._drop(kept, segments[number + 1 :], expected)
                break
        self._write_indexes(kept)
        return kept, expected

    def _may_be_hole(self, expected: int, found: int) -> bool:
        """Compaction may leave offsets out at the end of a durable segment."""
        return expected < found <= self._point

    def _verify(self, kept: list[Segment]) -> tuple[int, bool]:
        """Sync and scan the last segment, index it, cut it where it is not intact. (next offset, cut?)"""
        segment = kept[-1]
        file = self._cache.get(segment.data, "write")
        size = segment.written_position
        if not self._plan.synced:
            file.sync()
        damage = self._learn_kind(segment, size)
        segment.end_position = segment.written_position = 0
        segment.index = SegmentIndex()
        segment.max_timestamp = -1
        expected = segment.base_offset
        if damage is None:
            expected, damage = self._scan(segment, file, size, expected, until=self._point)
        if damage is None:
            # What a failed sync left only in memory must not be taken for stored: the rest comes from disk.
            file.forget_cached(segment.end_position)
            expected, damage = self._scan(segment, file, size, expected, until=None)
            if damage is None and size and segment.end_position == 0:
                damage = BatchDamaged(0, "a header without a batch")
        segment.written_position = segment.end_position
        segment.first_append_ms = min(segment.first_timestamp, self._plan.now_ms)
        if damage is not None:
            if expected < self._point:
                raise PartitionDamaged(segment.data.path, damage.position, damage.reason)
            _log.warning("%s, position %d: %s", segment.data.path, damage.position, damage.reason)
            self._cut_off(kept, file, expected)
        return expected, damage is not None

    def _learn_kind(self, segment: Segment, size: int) -> BatchDamaged | None:
        """Plain or sealed; a header that is damaged, as a batch would be. Raises PartitionDamaged for one
        that is whole and wrong: nothing a crash leaves."""
        try:
            sealed = learn(self._cache, segment) if size else None
        except PlainRefused as refused:
            return self._not_sealed(segment, size, refused)
        except SegmentRefused as refused:
            raise PartitionDamaged(segment.data.path, refused.position, refused.reason) from None
        except BatchDamaged as damage:
            segment.sealed = None
            return damage
        if size and sealed is None and plain_history.MARK_NAME in self._names:
            plain_history.take_away(self._files, self._directory)
            self._files.sync_directory(self._directory)
            self._names.remove(plain_history.MARK_NAME)
        return None

    def _not_sealed(self, segment: Segment, size: int, refused: PlainRefused) -> BatchDamaged:
        """What a crash left of a sealed segment whose first page never reached the disk, to be cut like any
        damage. Raises PartitionDamaged when a plain batch is there, which no crash leaves."""
        with contextlib.suppress(BatchDamaged):
            for _ in scan(self._cache.get(segment.data), 0, size):
                raise PartitionDamaged(segment.data.path, refused.position, refused.reason) from None
        segment.sealed = None
        return refused

    def _scan(
        self, segment: Segment, file: File, size: int, expected: int, *, until: int | None
    ) -> tuple[int, BatchDamaged | None]:
        """Check batches from the segment's end in memory on, up to offset `until`: (next offset, damage)."""
        try:
            start = max(segment.end_position, segment.start)
            sealed = segment.sealed is not None
            for position, header, stored in scan(file, start, size, sealed=sealed):
                if until is not None and expected >= until:
                    break
                if header.base_offset < expected or header.base_offset > expected >= self._point:
                    reason = f"has offset {header.base_offset} where {expected} is next"
                    raise BatchDamaged(position, reason)
                stored_bytes = position + len(stored) - segment.end_position
                segment.note(header.last_offset, stored_bytes, header.max_timestamp, self._plan.interval)
                expected = header.last_offset + 1
        except BatchDamaged as damage:
            return expected, damage
        return expected, None

    def _cut_off(self, kept: list[Segment], file: File, log_end: int) -> None:
        """Cut the last segment kept at its verified end."""
        self._raise_epoch(kept, log_end)
        segment = kept[-1]
        position = segment.written_position
        self._cut_bytes += keep_cut(
            self._files, self._directory, self._names, file, segment.base_offset, position
        )
        file.truncate(position)
        file.sync()

    def _drop(self, kept: list[Segment], segments: list[Segment], log_end: int) -> None:
        """Segments after a cut: keep their bytes aside, then remove their files."""
        for segment in segments:
            file = self._cache.get(segment.data, "write")
            if file.size():
                self._raise_epoch(kept, log_end)
                self._cut_bytes += keep_cut(
                    self._files, self._directory, self._names, file, segment.base_offset, 0
                )
            self._cache.drop(segment.data)
            for path in (segment.data.path, *index_paths(segment)):
                if self._files.exists(path):
                    self._files.remove(path)
        if segments:
            self._files.sync_directory(self._directory)

    def _write_indexes(self, kept: list[Segment]) -> None:
        """Closed segments get their rebuilt indexes on disk; the active one's stale files go."""
        for segment in kept:
            if segment.index is None:
                continue
            paths = index_paths(segment)
            if segment is kept[-1]:
                stale = [path for path in paths if self._files.exists(path)]
                for path in stale:
                    self._files.remove(path)
                if stale:
                    self._files.sync_directory(self._directory)
            else:
                segment.finish_index()
                contents = (segment.index.encode_offsets(), segment.index.encode_times())
                save_index(self._files, paths, contents)

    def _raise_epoch(self, kept: list[Segment], log_end: int) -> None:
        """Durably, BEFORE anything is cut: a crash in between must not leave a cut log in its old epoch."""
        if self._risen is not None:
            return
        epochs = self._load_epochs(kept)
        newest = epochs.current
        epochs.cut_end(log_end)
        epochs.assign(newest + 1, log_end)
        save_epochs(self._files, self._directory, epochs)
        self._risen = epochs

    def _load_epochs(self, kept: list[Segment]) -> LeaderEpochs:
        return load_epochs(self._files, self._cache, self._directory, kept, self._plan.saved.leader_epoch)


def _tidy(files: Files, directory: str) -> list[str]:
    """The names in the directory after unfinished work of others is completed."""
    names = files.list(directory)
    if compaction_swap.pending(names):
        compaction_swap.recover(files, directory)
        names = files.list(directory)
    stale = [name for name in names if name.endswith(STALE_SUFFIXES)]
    for name in stale:
        files.remove(f"{directory}/{name}")
        names.remove(name)
    return names


def _find_segments(files: Files, plan: OpenPlan, names: list[str]) -> list[Segment]:
    """Segments in order, without those that end before the log's start: their deletion was under way."""
    directory, log_start = plan.directory, plan.saved.log_start_offset
    bases = sorted(base for name in names if (base := base_offset_of(name)) is not None)
    while len(bases) > 1 and bases[1] <= log_start:
        base = bases.pop(0)
        for suffix in ("log", "index", "timeindex"):
            path = segment_path(directory, base, suffix)
            if files.exists(path):
                files.remove(path)
    segments = []
    for base in bases:
        segment = Segment(directory, base, files.size(segment_path(directory, base)))
        segment.max_timestamp = UNKNOWN_TIMESTAMP
        segment.only_sealed = plan.only_sealed
        segments.append(segment)
    return segments


def _add_missing_segment(segments: list[Segment], plan: OpenPlan, log_end: int) -> None:
    """A log without segments gets its first one in memory; the file comes with the first append."""
    if not segments:
        segment = Segment(plan.directory, log_end)
        segment.index = SegmentIndex()
        segments.append(segment)


def _load_active(files: Files, cache: FileCache, segment: Segment, plan: OpenPlan) -> None:
    if segment.index is not None:
        return
    try:
        load_index(files, cache, segment, plan.interval)
    except BatchDamaged as damage:
        raise PartitionDamaged(segment.data.path, damage.position, damage.reason) from None
    segment.max_timestamp = max(segment.max_timestamp, -1)
    for _, first in headers_from(cache, segment):
        segment.first_timestamp = first.max_timestamp
        segment.first_append_ms = min(first.max_timestamp, plan.now_ms)
        break
