"""One compaction pass at work: map the keys of the dirty part, then rewrite group after group of segments.

Runs in a worker process (or inline in a simulation) over the `Files` seam and touches only the `.cleaned`
files it creates; putting them in place is `compaction_swap`'s and the log's. Sources may be plain or sealed,
each with its own key. Damage (see `rewriting`) raises CorruptMessage and ends the pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rivven.errors import CorruptMessage, StorageFailed
from rivven.log.compaction_batch import Kept, Rules, clean_batch
from rivven.log.compaction_map import KeyMap
from rivven.log.files import Files
from rivven.log.rewriting import SegmentWriter, Source, Target, read_batches, seal_for
from rivven.records.batch import (
    BatchHeader,
    RecordsUnreadable,
    batch_body,
    batch_spans,
    parse_header,
)
from rivven.records.compression import INFLATE_BYTES_MAX
from rivven.records.record import RecordSpan

SPANS_HELD_MAX = 10_000
"""Record positions of one batch held at a time (2 MB); larger batches are walked twice instead."""


class Mapped(NamedTuple):
    """What the key map covers: every key in first dirty offset..`end_offset`."""

    end_offset: int
    keys: int
    unreadable_batches: int


class Rewritten(NamedTuple):
    """A group after cleaning. With `changed` False nothing was removed and no file is left behind."""

    changed: bool
    size_bytes: int
    max_timestamp: int
    records_removed: int
    tombstones_removed: int


@dataclass(frozen=True, slots=True)
class PassSettings:
    """`producers`: producer id to the last offset of its last batch. `secret`: 16-64 random bytes."""

    now_ms: int
    delete_retention_ms: int
    buffer_bytes: int
    producers: Mapping[int, int]
    secret: bytes
    inflate_limit: int = INFLATE_BYTES_MAX


class CompactionPass:
    """Use `map_keys` once, then `rewrite` for each group in offset order, then `close`."""

    def __init__(self, files: Files, settings: PassSettings) -> None:
        self._files = files
        self._settings = settings
        self._key_map = KeyMap(settings.buffer_bytes, settings.secret)
        self._rules = self._rules_until(0)

    def map_keys(self, segments: Sequence[Source], first_dirty_offset: int, end_offset: int) -> Mapped:
        """Read the keys of the dirty part until it ends or the map is full.

        Raises CorruptMessage and OSError.
        """
        unreadable = 0
        for segment in segments:
            if segment.end_offset <= first_dirty_offset:
                continue
            for batch, header, _ in read_batches(self._files.open(segment.path, "read"), segment):
                if header.last_offset < first_dirty_offset or header.is_control or header.is_transactional:
                    continue
                try:
                    full_at = self._map_batch(batch, header, first_dirty_offset)
                except RecordsUnreadable:
                    unreadable += 1
                    continue
                if full_at is not None:
                    return self._mapped(full_at, unreadable)
        return self._mapped(end_offset, unreadable)

    def rewrite(self, group: Sequence[Source], target: Target) -> Rewritten:
        """Write the cleaned records of neighbouring segments to the new file of `target` and sync it.

        Raises CorruptMessage, StorageFailed and OSError; the file is removed then, as it is when nothing
        changed.
        """
        seal = seal_for(target)
        writer = SegmentWriter(self._files.open(target.path, "new"), seal)
        try:
            result = self._rewrite(group, writer)
        except (OSError, CorruptMessage, StorageFailed):
            self._files.remove(target.path)
            raise
        if not result.changed:
            self._files.remove(target.path)
        return result

    def close(self) -> None:
        """Give the key map's memory back."""
        self._key_map.close()

    def _rules_until(self, end_offset: int) -> Rules:
        settings = self._settings
        return Rules(
            key_map=self._key_map,
            end_offset=end_offset,
            now_ms=settings.now_ms,
            delete_retention_ms=settings.delete_retention_ms,
            inflate_limit=settings.inflate_limit,
        )

    def _mapped(self, end_offset: int, unreadable: int) -> Mapped:
        self._rules = self._rules_until(end_offset)
        return Mapped(end_offset, self._key_map.size, unreadable)

    def _map_batch(self, batch: memoryview, header: BatchHeader, first_dirty_offset: int) -> int | None:
        """Put a batch's keys; the offset of the first record that no longer fits, None when all did."""
        if header.record_count == 0:
            return None
        body = batch_body(batch, 0, header, self._settings.inflate_limit)
        spans = self._parsed(header, body)
        put = self._key_map.put
        base_offset = header.base_offset
        for span in spans:
            offset = base_offset + span.offset_delta
            if span.key_start < 0 or offset < first_dirty_offset:
                continue
            if not put(body[span.key_start : span.key_end], offset):
                return offset
        return None

    @staticmethod
    def _parsed(header: BatchHeader, body: bytes) -> Iterable[RecordSpan]:
        """The spans, once it is certain that all of them parse: none of a batch counts unless all do."""
        if header.record_count <= SPANS_HELD_MAX:
            return list(batch_spans(header, body))
        for _ in batch_spans(header, body):
            pass
        return batch_spans(header, body)

    def _rewrite(self, group: Sequence[Source], writer: SegmentWriter) -> Rewritten:
        producers = self._settings.producers
        changed = len(group) > 1
        removed = tombstones_removed = 0
        max_timestamp = -1
        for segment in group:
            for batch, header, _ in read_batches(self._files.open(segment.path, "read"), segment):
                last_of_producer = producers.get(header.producer_id) == header.last_offset
                cleaned = clean_batch(batch, header, self._rules, last_of_producer)
                removed += cleaned.removed
                tombstones_removed += cleaned.tombstones_removed
                changed = changed or cleaned.kept not in (Kept.UNCHANGED, Kept.UNREADABLE)
                if cleaned.kept is Kept.DROPPED:
                    continue
                if cleaned.batch is None:
                    writer.add(batch)
                else:
                    writer.add(cleaned.batch)
                    header = parse_header(cleaned.batch)
                max_timestamp = max(max_timestamp, header.max_timestamp)
        size = writer.finish() if changed else 0
        return Rewritten(changed, size, max_timestamp, removed, tombstones_removed)
