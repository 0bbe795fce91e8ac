"""What a partition remembers of idempotent producers, and the rule that tells new batches from repeated ones.

Pure. Per producer id: its epoch and the last five batches (KIP-98, and five requests in flight of KIP-185).
Entries are replaced, never changed, so that an append that fails can be undone by putting the old entry back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import NamedTuple

from rivven.errors import ErrorCode, RivvenError
from rivven.records.batch import BatchHeader

WINDOW_BATCHES = 5
"""Batches remembered per producer: clients keep at most five requests in flight."""

SNAPSHOT_MAGIC = b"RVPS"
SNAPSHOT_VERSION = 1

_SEQUENCE_MASK = 0x7FFFFFFF
_entry = Struct(">qhqB")
_batch = Struct(">iiqqq")


class SentBatch(NamedTuple):
    """One batch in the window. `timestamp` is what the produce answer said (-1 for CreateTime)."""

    first_sequence: int
    last_sequence: int
    base_offset: int
    last_offset: int
    timestamp: int


class ProducerEntry(NamedTuple):
    """State of one producer id. `active_ms`: wall clock of its last append, for expiry."""

    epoch: int
    active_ms: int
    batches: tuple[SentBatch, ...]


class SequenceRefused(RivvenError):
    """A batch that must not be appended: out of order (45) or from a fenced epoch (47)."""


class Producers:
    """Producer id -> entry, least recently active first. At most `maximum` ids; the oldest gives way."""

    __slots__ = ("_entries", "maximum")

    def __init__(self, maximum: int) -> None:
        self._entries: dict[int, ProducerEntry] = {}
        self.maximum = maximum

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[tuple[int, ProducerEntry]]:
        return iter(self._entries.items())

    def get(self, producer_id: int) -> ProducerEntry | None:
        return self._entries.get(producer_id)

    def check(self, header: BatchHeader) -> SentBatch | None:
        """The earlier batch this one repeats, or None when it may be appended. Raises SequenceRefused."""
        entry = self._entries.get(header.producer_id)
        if entry is None or not entry.batches:
            return None
        first = header.base_sequence
        if header.producer_epoch == entry.epoch:
            last = header.last_sequence
            for sent in entry.batches:
                if sent.first_sequence == first and sent.last_sequence == last:
                    return sent
            expected = (entry.batches[-1].last_sequence + 1) & _SEQUENCE_MASK
        elif header.producer_epoch < entry.epoch:
            raise SequenceRefused(
                f"epoch {header.producer_epoch} of producer {header.producer_id} is fenced by {entry.epoch}",
                ErrorCode.INVALID_PRODUCER_EPOCH,
            )
        else:
            expected = 0
        if first != expected:
            raise SequenceRefused(
                f"producer {header.producer_id} sent sequence {first} where {expected} is next",
                ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
            )
        return None

    def record(
        self, header: BatchHeader, base_offset: int, timestamp: int, now_ms: int
    ) -> ProducerEntry | None:
        """Remember an appended batch of an idempotent producer; returns the entry it replaced."""
        producer_id = header.producer_id
        old = self._entries.pop(producer_id, None)
        sent = SentBatch(
            header.base_sequence,
            header.last_sequence,
            base_offset,
            base_offset + header.last_offset_delta,
            timestamp,
        )
        if old is None or old.epoch != header.producer_epoch:
            batches: tuple[SentBatch, ...] = (sent,)
        else:
            batches = (*old.batches[1 - WINDOW_BATCHES :], sent)
        self._entries[producer_id] = ProducerEntry(header.producer_epoch, now_ms, batches)
        if len(self._entries) > self.maximum:
            del self._entries[next(iter(self._entries))]
        return old

    def undo(self, producer_id: int, old: ProducerEntry | None) -> None:
        """Take back the latest `record` of a producer."""
        self._entries.pop(producer_id, None)
        if old is not None:
            self._entries[producer_id] = old

    def expire(self, before_ms: int) -> int:
        """Forget producers not active since `before_ms`; returns how many."""
        gone = [producer_id for producer_id, entry in self._entries.items() if entry.active_ms < before_ms]
        for producer_id in gone:
            del self._entries[producer_id]
        return len(gone)

    def encode(self) -> bytes:
        """The payload of a snapshot file: per producer id i64, epoch i16, active ms i64, count u8, then
        batches.

        A batch is first sequence i32, last sequence i32, base offset i64, last offset i64, timestamp i64.
        """
        out = bytearray()
        for producer_id, entry in self._entries.items():
            out += _entry.pack(producer_id, entry.epoch, entry.active_ms, len(entry.batches))
            for sent in entry.batches:
                out += _batch.pack(*sent)
        return bytes(out)

    def restore(self, payload: bytes) -> None:
        """Take over a snapshot's entries; raises ValueError when the payload is cut."""
        self._load(_decode(payload))

    def _load(self, entries: Iterable[tuple[int, ProducerEntry]]) -> None:
        for producer_id, entry in entries:
            self._entries.pop(producer_id, None)
            self._entries[producer_id] = entry
        while len(self._entries) > self.maximum:
            del self._entries[next(iter(self._entries))]


def _decode(payload: bytes) -> Iterator[tuple[int, ProducerEntry]]:
    position = 0
    while position < len(payload):
        if position + _entry.size > len(payload):
            raise ValueError("a producer entry is cut")
        producer_id, epoch, active_ms, count = _entry.unpack_from(payload, position)
        position += _entry.size
        end = position + count * _batch.size
        if count > WINDOW_BATCHES or end > len(payload):
            raise ValueError("a producer's batches are cut")
        batches = tuple(SentBatch(*fields) for fields in _batch.iter_unpack(payload[position:end]))
        position = end
        yield producer_id, ProducerEntry(epoch, active_ms, batches)
