"""Offline verification of logs (`rivven log verify`): every CRC, every offset, every index entry, every
small file.

Reads only and needs no keys: of a sealed segment the frames are checked, their records are not opened. A
finding is `damage` when records may be lost or wrong, `hint` when what disagrees is rebuilt by
itself. Blocking and a Python loop over batches: a tool, not for the broker's process.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field

from rivven.log import framed_file
from rivven.log.checkpoint import CHECKPOINT_MAGIC, CHECKPOINT_NAME, CHECKPOINT_VERSION, load_table
from rivven.log.epoch_file import EPOCHS_NAME
from rivven.log.epochs import EPOCHS_MAGIC, EPOCHS_VERSION, decode_epochs
from rivven.log.files import Files
from rivven.log.framed_file import FormatTooNew, FramedFileDamaged
from rivven.log.identity import lock_directory
from rivven.log.index import SegmentIndex, decode_index
from rivven.log.producer_snapshots import snapshot_offsets
from rivven.log.producers import SNAPSHOT_MAGIC, SNAPSHOT_VERSION, Producers
from rivven.log.scanning import BatchDamaged, scan
from rivven.log.sealing import SEGMENT_HEADER_BYTES
from rivven.log.segment import base_offset_of, segment_path
from rivven.log.segment_kind import header_in

PARTITIONS_NAME = "partitions"
FINDINGS_MAX = 10_000
"""Findings kept in a report; a file that is garbage would give millions."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it must be. `position` is a byte in the file, None for the file as a whole."""

    path: str
    position: int | None
    reason: str
    damage: bool


@dataclass(slots=True)
class Report:
    """What was looked at, and what was found."""

    partitions: int = 0
    segments: int = 0
    sealed_segments: int = 0
    batches: int = 0
    records: int = 0
    size_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def damaged(self) -> bool:
        """Whether records may be lost or wrong."""
        return any(finding.damage for finding in self.findings)

    def add(self, path: str, position: int | None, reason: str, *, damage: bool = False) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(path, position, reason, damage))


def verify(files: Files, path: str) -> Report:
    """Verify a data directory, one partition's directory, or one `.log` file.

    A data directory is locked meanwhile. Raises OSError, and DirectoryLocked while a broker uses it.
    """
    report = Report()
    if path.endswith(".log"):
        _Partition(files, path.rpartition("/")[0] or ".", report).segment(base_of(path), None, 0)
        return report
    names = files.list(path)
    if PARTITIONS_NAME not in names:
        _verify_partition(files, path, report, names)
        return report
    lock = lock_directory(files, path)
    try:
        ends = {}
        for partition in sorted(files.list(f"{path}/{PARTITIONS_NAME}")):
            directory = f"{path}/{PARTITIONS_NAME}/{partition}"
            if not partition.endswith(".deleted"):
                ends[partition] = _verify_partition(files, directory, report, files.list(directory))
        _verify_checkpoint(files, f"{path}/{CHECKPOINT_NAME}", ends, report)
    finally:
        lock.release()
    return report


def base_of(path: str) -> int:
    """The base offset in the name of a segment file; raises ValueError."""
    base = base_offset_of(path.rpartition("/")[2])
    if base is None:
        raise ValueError(f"{path}: not named like a segment (20 digits and .log)")
    return base


def _verify_partition(files: Files, directory: str, report: Report, names: list[str]) -> int:
    """Verify a partition's directory; returns the log's end."""
    report.partitions += 1
    partition = _Partition(files, directory, report)
    bases = sorted(base for name in names if (base := base_offset_of(name)) is not None)
    end = bases[0] if bases else 0
    # strict is off for a partition without segments: one that was created and never written
    for base, following in zip(bases, [*bases[1:], None], strict=False):
        end = partition.segment(base, following, end)
    partition.small_files(names, end)
    return end


class _Partition:
    def __init__(self, files: Files, directory: str, report: Report) -> None:
        self._files = files
        self._directory = directory
        self._report = report
        self._epoch = 0

    def segment(self, base: int, following: int | None, expected: int) -> int:
        """Verify one segment; returns the offset after its last record."""
        path = segment_path(self._directory, base)
        report = self._report
        file = self._files.open(path, "read")
        size = file.size()
        report.segments += 1
        report.size_bytes += size
        if base < expected:
            report.add(path, None, f"begins at {base}, the one before reaches {expected}", damage=True)
        positions: list[int] = []
        last_offsets: list[int] = []
        timestamps: list[int] = []
        end = base
        try:
            sealed = header_in(file.read(SEGMENT_HEADER_BYTES, 0), path) is not None
            report.sealed_segments += sealed
            start = SEGMENT_HEADER_BYTES if sealed else 0
            for position, header, _ in scan(file, start, size, sealed=sealed):
                self._check_order(path, position, header.base_offset, header.leader_epoch, end)
                end = header.last_offset + 1
                report.batches += 1
                report.records += header.record_count
                positions.append(position)
                last_offsets.append(header.last_offset)
                timestamps.append(header.max_timestamp)
        except BatchDamaged as damage:
            report.add(path, damage.position, damage.reason, damage=True)
            return end
        if following is not None and end > following:
            report.add(path, None, f"reaches {end}, the next one begins at {following}", damage=True)
        self._indexes(base, size, positions, last_offsets, timestamps)
        return end

    def _check_order(self, path: str, position: int, offset: int, epoch: int, expected: int) -> None:
        if offset < expected:
            self._report.add(path, position, f"offset {offset} after {expected - 1}", damage=True)
        if epoch < self._epoch:
            self._report.add(path, position, f"leader epoch {epoch} after {self._epoch}", damage=True)
        self._epoch = max(self._epoch, epoch)

    def _indexes(
        self, base: int, size: int, positions: list[int], last_offsets: list[int], timestamps: list[int]
    ) -> None:
        index_path = segment_path(self._directory, base, "index")
        time_path = segment_path(self._directory, base, "timeindex")
        if not (self._files.exists(index_path) and self._files.exists(time_path)):
            return  # the active segment has none until it is full or the broker stops
        index = decode_index(self._read(index_path), self._read(time_path), size)
        if index is None:
            self._report.add(index_path, None, "is not the index of a segment of this size")
            return
        for number, reason in _wrong_positions(index, base, positions, last_offsets):
            self._report.add(index_path, number * 8, reason)
        for number, reason in _wrong_times(index, base, last_offsets, timestamps):
            self._report.add(time_path, number * 12, reason)

    def small_files(self, names: list[str], end: int) -> None:
        """Epochs and producer snapshots: hints, as both are rebuilt from the batches."""
        path = f"{self._directory}/{EPOCHS_NAME}"
        try:
            found = framed_file.read(self._files, path, EPOCHS_MAGIC, EPOCHS_VERSION)
            if found is not None:
                decode_epochs(found[1])
        except (FramedFileDamaged, FormatTooNew, ValueError) as error:
            self._report.add(path, None, str(error))
        for offset in snapshot_offsets(names):
            path = segment_path(self._directory, offset, "snapshot")
            try:
                found = framed_file.read(self._files, path, SNAPSHOT_MAGIC, SNAPSHOT_VERSION)
                Producers(1 << 30).restore(b"" if found is None else found[1])
            except (FramedFileDamaged, FormatTooNew, ValueError) as error:
                self._report.add(path, None, str(error))
            if offset > end:
                self._report.add(path, None, f"is beyond the end of the log, {end}")

    def _read(self, path: str) -> bytes:
        file = self._files.open(path, "read")
        return file.read(file.size(), 0)


def _wrong_positions(
    index: SegmentIndex, base: int, positions: list[int], last_offsets: list[int]
) -> Iterator[tuple[int, str]]:
    for number, (relative, position) in enumerate(index.entries):
        at = bisect.bisect_left(positions, position)
        if at >= len(positions) or positions[at] != position:
            yield number, f"no batch begins at position {position}"
        elif last_offsets[at] != base + relative:
            yield number, f"the batch at {position} ends with {last_offsets[at]}, not {base + relative}"


def _wrong_times(
    index: SegmentIndex, base: int, last_offsets: list[int], timestamps: list[int]
) -> Iterator[tuple[int, str]]:
    latest = -1
    at = 0
    for number, (timestamp, relative) in enumerate(index.time_entries):
        while at < len(last_offsets) and last_offsets[at] <= base + relative:
            latest = max(latest, timestamps[at])
            at += 1
        if latest != timestamp:
            yield number, f"the largest timestamp up to {base + relative} is {latest}, not {timestamp}"


def _verify_checkpoint(files: Files, path: str, ends: dict[str, int], report: Report) -> None:
    try:
        found = framed_file.read(files, path, CHECKPOINT_MAGIC, CHECKPOINT_VERSION)
        if found is None:
            return
        table = load_table(path, found[1])
    except (FramedFileDamaged, FormatTooNew) as error:
        report.add(path, None, str(error), damage=True)
        return
    for key in table.keys():  # noqa: SIM118 - not a mapping
        entry = table.get(key)
        name = f"{key[0]}-{key[1]}"
        if entry is not None and entry.recovery_point > max(ends.get(name, 0), entry.log_start_offset):
            reason = f"{name} ends at {ends.get(name, 0)}, {entry.recovery_point} was durable"
            report.add(path, None, reason, damage=True)
