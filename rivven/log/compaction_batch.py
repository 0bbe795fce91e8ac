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
from rivven.records.record import write_record_tail

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
        chosen = _choose(header, body, rules)
    except RecordsUnreadable:
        return Cleaned(Kept.UNREADABLE)
    whole = header.last_offset < rules.end_offset
    starts_horizon = chosen.tombstones and whole and header.delete_horizon_ms is None
    removed = header.record_count - chosen.kept
    if not removed and not starts_horizon:
        return _UNCHANGED
    if not chosen.kept:
        emptied = _empty(header) if last_of_producer else None
        return Cleaned(Kept.EMPTIED if emptied else Kept.DROPPED, emptied, removed, chosen.expired)
    horizon = min(rules.now_ms + rules.delete_retention_ms, HORIZON_MS_MAX) if starts_horizon else None
    return Cleaned(Kept.REWRITTEN, _rewrite(header, body, chosen, horizon), removed, chosen.expired)


class _Chosen(NamedTuple):
    """The records that stay: a flag for each, their number and largest timestamp delta; whether tombstones
    are among them, and how many tombstones have expired. One byte a record, as a batch may hold millions."""

    flags: bytearray
    kept: int
    timestamp_delta_max: int
    tombstones: bool
    expired: int


def _choose(header: BatchHeader, body: bytes, rules: Rules) -> _Chosen:
    horizon = header.delete_horizon_ms
    expired = horizon is not None and rules.now_ms >= horizon
    flags = bytearray(min(header.record_count, len(body)))  # a count beyond the bytes does not parse
    kept = tombstones_expired = 0
    timestamp_delta_max = -(2**63)
    has_tombstones = False
    last_offset = rules.key_map.last_offset
    for index, span in enumerate(batch_spans(header, body)):
        offset = header.base_offset + span.offset_delta
        if span.key_start < 0 or last_offset(body[span.key_start : span.key_end]) > offset:
            continue
        if span.value_start < 0:
            if expired:
                tombstones_expired += 1
                continue
            has_tombstones = True
        flags[index] = 1
        kept += 1
        timestamp_delta_max = max(timestamp_delta_max, span.timestamp_delta)
    return _Chosen(flags, kept, timestamp_delta_max, has_tombstones, tombstones_expired)


def _empty(header: BatchHeader) -> bytearray:
    """The batch without records: what remembers a producer's epoch and sequence, and the offset range."""
    return seal_batch(header._replace(attributes=header.attributes & ~CODEC_MASK, record_count=0), b"")


def _rewrite(header: BatchHeader, body: bytes, chosen: _Chosen, horizon: int | None) -> bytearray:
    """The batch with the chosen records in its own codec, their offsets and timestamps as they were."""
    out = bytearray()
    shift = 0 if horizon is None else header.base_timestamp - horizon
    for stays, span in zip(chosen.flags, batch_spans(header, body), strict=True):
        if not stays:
            continue
        if horizon is None:
            out += body[span.start : span.end]
        else:
            tail = body[span.tail : span.end]
            write_record_tail(out, span.timestamp_delta + shift, span.offset_delta, tail)
    changed = header._replace(record_count=chosen.kept)
    if not header.log_append_time:
        changed = changed._replace(max_timestamp=header.base_timestamp + chosen.timestamp_delta_max)
    if horizon is not None:
        changed = changed._replace(attributes=header.attributes | DELETE_HORIZON, base_timestamp=horizon)
    return seal_batch(changed, compress(header.codec, out))
