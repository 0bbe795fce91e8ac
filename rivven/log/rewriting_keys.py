"""The data keys a worker process needs to rewrite segments, gathered on the broker's side.

A worker never talks to a key store: with each job it gets the data keys of the segments it reads and of the
one it writes, through a pipe that only the two processes hold. Blocking where it reads files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from rivven.errors import CorruptMessage
from rivven.log.compaction import ClosedSegment
from rivven.log.files import Files
from rivven.log.sealing import (
    SEGMENT_HEADER_BYTES,
    FrameRefused,
    KeyUnavailable,
    Sealer,
    SegmentHeader,
    parse_segment_header,
)
from rivven.log.segment_kind import PlainRefused
from rivven.records.batch import CorruptBatch

SourceFields = tuple[int, int, str, int, bytes | None]
"""The fields of `rewriting.Source`, as a job carries them."""
TargetFields = tuple[str, bytes | None, bytes | None]
"""The fields of `rewriting.Target`."""


class RewritingKeys(Protocol):
    """What rewriting needs of the keys (`security.keys.topic_keys.TopicKeys`). Any thread may call."""

    def create(self, topic_id: UUID, partition: int) -> tuple[SegmentHeader, Sealer]:
        """Header and sealer of a new segment, under the topic's newest key. Raises KeyUnavailable."""
        ...

    def export(self, header: SegmentHeader) -> bytes:
        """The data key of a segment, for a worker of our own. Raises KeyUnavailable, FrameRefused."""
        ...

    def only_sealed(self, topic_id: UUID) -> bool:
        """Whether the topic has no plain segment: one that is found was put there by somebody."""
        ...


def read_segment_header(
    files: Files, segment: ClosedSegment, topic_id: UUID, partition: int
) -> SegmentHeader | None:
    """The header of a sealed segment, None of a plain one. Raises CorruptMessage (also for a segment of
    another partition) and OSError."""
    try:
        header = parse_segment_header(files.open(segment.path, "read").read(SEGMENT_HEADER_BYTES, 0))
    except CorruptBatch as error:
        raise CorruptMessage(f"{segment.path} at position 0: {error.message}") from None
    if header is not None and (header.topic_id, header.partition) != (topic_id, partition):
        owner = f"{header.topic_id}-{header.partition}"
        raise CorruptMessage(f"{segment.path} at position 0: the segment belongs to partition {owner}")
    return header


def source_fields(
    files: Files,
    keys: RewritingKeys | None,
    topic_id: UUID,
    partition: int,
    segments: Sequence[ClosedSegment],
) -> tuple[SourceFields, ...]:
    """What a worker needs to read these segments. Raises CorruptMessage, KeyUnavailable and OSError."""
    found = []
    only_sealed = keys is not None and keys.only_sealed(topic_id)
    for segment in segments:
        header = read_segment_header(files, segment, topic_id, partition)
        if header is None and only_sealed and segment.size_bytes:
            raise forged(segment)
        found.append(fields_of(segment, header, keys))
    return tuple(found)


def forged(segment: ClosedSegment) -> CorruptMessage:
    """A plain segment of a topic that has none: nothing of it is believed, nor sealed by rewriting it."""
    return CorruptMessage(f"{segment.path} at {PlainRefused(segment.path)}")


def fields_of(
    segment: ClosedSegment, header: SegmentHeader | None, keys: RewritingKeys | None
) -> SourceFields:
    """What a worker needs to read a segment with this header. Raises CorruptMessage, KeyUnavailable."""
    try:
        key = None if header is None else _having(keys, segment.path).export(header)
    except FrameRefused:
        reason = "the data key in the header does not open"
        raise CorruptMessage(f"{segment.path} at position 0: {reason}") from None
    return segment.base_offset, segment.end_offset, segment.path, segment.size_bytes, key


def sealed_target(keys: RewritingKeys | None, topic_id: UUID, partition: int, path: str) -> TargetFields:
    """A new file under a data key of its own. Raises KeyUnavailable."""
    keys = _having(keys, path)
    header, _ = keys.create(topic_id, partition)
    return path, header.encode(), keys.export(header)


def plain_target(path: str) -> TargetFields:
    """A new file that stays readable to whoever reads the disk."""
    return path, None, None


def _having(keys: RewritingKeys | None, path: str) -> RewritingKeys:
    if keys is None:
        raise KeyUnavailable(f"{path} needs a key, and this broker has no storage.encryption")
    return keys


def key_ids_on_disk(files: Files, partitions_path: str, topic_id: UUID) -> set[bytes]:
    """Topic keys that segment files of a topic name, whatever is open. Raises CorruptMessage and OSError."""
    found: set[bytes] = set()
    for name in files.list(partitions_path):
        owner, _, partition = name.rpartition("-")
        if owner != str(topic_id) or not partition.isdecimal():
            continue
        directory = f"{partitions_path}/{name}"
        for file in files.list(directory):
            if file.endswith((".log", ".swap")):
                segment = ClosedSegment(0, 0, f"{directory}/{file}", 0)
                header = read_segment_header(files, segment, topic_id, int(partition))
                if header is not None:
                    found.add(header.topic_key_id)
    return found
