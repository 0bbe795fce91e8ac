"""What compaction keeps of one batch. Pure: a batch in, the batch to write (or nothing) out.

The rules are Kafka's. Of each key only the last record stays. A record with a null value (a tombstone)
goes once its batch's delete horizon has passed; the horizon is set when a pass first keeps the tombstone,
as in KIP-534: bit 6 of the attributes, with baseTimestamp holding it. A batch that reaches beyond the key
map starts no horizon: the values that its later tombstones delete are still there.
Base offset, last offset delta, epochs and producer fields never change. A batch of which nothing is left is
written as an empty one while it is the last of a live producer. Control and transactional batches, and
records that do not parse, are kept byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from rivven.log.compaction_map import KeyMap
from rivven.records.batch import (
    CODEC_MASK,
    DELETE_HORIZON,
    BatchHeader,
    RecordsUnreadable,
    batch_body,
    batch_spans,
    seal_batch,
)
from rivven.records.compression import INFLATE_BYTES_MAX, compress
from rivven.records.record import RecordSpan, write_record_tail

HORIZON_MS_MAX = 2**62
"""A delete.retention.ms near the 64-bit limit must not overflow the field that holds the horizon."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every batch of a pass. `end_offset` is where the key map ends; later records stay."""

    key_map: KeyMap
    end_offset: int
    now_ms: int
    delete_retention_ms: int
    inflate_limit: int = field(default=INFLATE_BYTES_MAX)


class Kept(Enum):
    """What became of a batch."""

    UNCHANGED = 1
    REWRITTEN = 2
    EMPTIED = 3
    DROPPED = 4
    UNREADABLE = 5


class Cleaned(NamedTuple):
    """The outcome for one batch; `batch` is None when the original bytes stay or nothing does."""

    kept: Kept
    batch: bytearray | None = None
    removed: int = 0
    tombstones_removed: int = 0


_UNCHANGED = Cleaned(Kept.UNCHANGED)


def clean_batch(batch: memoryview, header: BatchHeader, rules: Rules, last_of_producer: bool) -> Cleaned:
    """Apply the rules to one batch whose CRC is right. Raises nothing for what a client may have written."""
    if header.base_offset >= rules.end_offset or header.is_control or header.is_transactional:
        return _UNCHANGED
    if header.record_count == 0:
        stays = last_of_producer or header.last_offset >= rules.end_offset
        return _UNCHANGED if stays else Cleaned(Kept.DROPPED)
    try:
        body = batch_body(batch, 0, header, rules.inflate_limit)
        kept, removed, tombstones_removed, has_tombstones = _select(header, body, rules)
    except RecordsUnreadable:
        return Cleaned(Kept.UNREADABLE)
    whole = header.last_offset < rules.end_offset
    starts_horizon = has_tombstones and whole and header.delete_horizon_ms is None
    if not removed and not starts_horizon:
        return _UNCHANGED
    if not kept:
        emptied = _empty(header) if last_of_producer else None
        return Cleaned(Kept.EMPTIED if emptied else Kept.DROPPED, emptied, removed, tombstones_removed)
    horizon = min(rules.now_ms + rules.delete_retention_ms, HORIZON_MS_MAX) if starts_horizon else None
    return Cleaned(Kept.REWRITTEN, _rewrite(header, body, kept, horizon), removed, tombstones_removed)


def _select(header: BatchHeader, body: bytes, rules: Rules) -> tuple[list[RecordSpan], int, int, bool]:
    """(spans to keep, records removed, tombstones among them that expired, whether kept ones are
    tombstones)."""
    horizon = header.delete_horizon_ms
    expired = horizon is not None and rules.now_ms >= horizon
    kept: list[RecordSpan] = []
    removed = tombstones_removed = 0
    has_tombstones = False
    last_offset = rules.key_map.last_offset
    for span in batch_spans(header, body):
        offset = header.base_offset + span.offset_delta
        if span.key_start < 0 or last_offset(body[span.key_start : span.key_end]) > offset:
            removed += 1
        elif span.value_start >= 0:
            kept.append(span)
        elif expired:
            removed += 1
            tombstones_removed += 1
        else:
            kept.append(span)
            has_tombstones = True
    return kept, removed, tombstones_removed, has_tombstones


def _empty(header: BatchHeader) -> bytearray:
    """The batch without records: what remembers a producer's epoch and sequence, and the offset range."""
    return seal_batch(header._replace(attributes=header.attributes & ~CODEC_MASK, record_count=0), b"")


def _rewrite(header: BatchHeader, body: bytes, kept: list[RecordSpan], horizon: int | None) -> bytearray:
    """The batch with the kept records in its own codec, their offsets and timestamps as they were."""
    out = bytearray()
    if horizon is None:
        for span in kept:
            out += body[span.start : span.end]
    else:
        shift = header.base_timestamp - horizon
        for span in kept:
            tail = body[span.tail : span.end]
            write_record_tail(out, span.timestamp_delta + shift, span.offset_delta, tail)
    maximum = header.max_timestamp
    if not header.log_append_time:
        maximum = header.base_timestamp + max(span.timestamp_delta for span in kept)
    changed = header._replace(record_count=len(kept), max_timestamp=maximum)
    if horizon is not None:
        changed = changed._replace(attributes=header.attributes | DELETE_HORIZON, base_timestamp=horizon)
    return seal_batch(changed, compress(header.codec, out))
