"""The v2 record batch: its 61-byte header, CRC-32C, in-place patches, iteration and construction.

A batch stays opaque bytes: nothing here opens records except `read_records` and `build_batch`, which loop in
Python and therefore belong in a worker process or in small internal topics. Layout (big endian, KIP-98)::

    0 baseOffset i64 | 8 batchLength i32 (bytes after it) | 12 partitionLeaderEpoch i32 | 16 magic i8 |
    17 crc u32 | 21 attributes i16 | 23 lastOffsetDelta i32 | 27 baseTimestamp i64 | 35 maxTimestamp i64 |
    43 producerId i64 | 51 producerEpoch i16 | 53 baseSequence i32 | 57 count i32 | 61 records

The CRC covers byte 21 to the end, so base offset and leader epoch may be patched freely.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import NamedTuple, TypeAlias

from crc32c import crc32c

from rivven.errors import CorruptMessage
from rivven.records.compression import INFLATE_BYTES_MAX, NONE, compress, decompress
from rivven.records.record import Record, RecordSpan, record_at, spans, write_record
from rivven.records.unreadable import RecordsUnreadable

__all__ = [
    "HEADER_BYTES",
    "NO_PRODUCER_EPOCH",
    "NO_PRODUCER_ID",
    "NO_SEQUENCE",
    "NO_TIMESTAMP",
    "BatchHeader",
    "CorruptBatch",
    "Record",
    "RecordsUnreadable",
    "batch_body",
    "batch_spans",
    "build_batch",
    "crc_matches",
    "iterate_batches",
    "parse_header",
    "patch_log_append_time",
    "patch_offset_and_epoch",
    "read_records",
    "seal_batch",
]

BytesLike: TypeAlias = bytes | bytearray | memoryview

HEADER_BYTES = 61
MAGIC = 2
BATCH_BYTES_MAX = 2**31 - 1
"""Largest size that the 4-byte length field can hold."""
SEQUENCE_MAX = 2**31 - 1
"""Sequence numbers wrap from here to 0 (KIP-98)."""

NO_TIMESTAMP = -1
NO_PRODUCER_ID = -1
NO_PRODUCER_EPOCH = -1
NO_SEQUENCE = -1

CODEC_MASK = 0x07
LOG_APPEND_TIME = 0x08
TRANSACTIONAL = 0x10
CONTROL = 0x20
DELETE_HORIZON = 0x40

_LENGTH_AFTER = 12
"""batchLength counts the bytes from here on: base offset and the length itself are outside."""
_CRC_FROM = 21
_header = Struct(">qiibIhiqqqhii")
_offset = Struct(">q")
_int32 = Struct(">i")
_crc = Struct(">I")
_attributes = Struct(">h")
_int64 = Struct(">q")


class CorruptBatch(CorruptMessage):
    """Framing that cannot be a v2 batch, or a CRC that is wrong: damage, never readable client data."""


class BatchHeader(NamedTuple):
    """The 61 bytes in front of the records, in wire order. Times in ms since the epoch, -1 where absent."""

    base_offset: int
    batch_length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole batch, header included."""
        return self.batch_length + _LENGTH_AFTER

    @property
    def last_offset(self) -> int:
        """Offset of the last record ever in the batch; compaction may have removed that record."""
        return self.base_offset + self.last_offset_delta

    @property
    def codec(self) -> int:
        return self.attributes & CODEC_MASK

    @property
    def log_append_time(self) -> bool:
        """Whether every record's timestamp is `max_timestamp`, set by the broker."""
        return self.attributes & LOG_APPEND_TIME != 0

    @property
    def is_transactional(self) -> bool:
        return self.attributes & TRANSACTIONAL != 0

    @property
    def is_control(self) -> bool:
        return self.attributes & CONTROL != 0

    @property
    def delete_horizon_ms(self) -> int | None:
        """From when tombstones of this batch may go (KIP-534): base_timestamp holds it once the bit is
        set."""
        return self.base_timestamp if self.attributes & DELETE_HORIZON else None

    @property
    def last_sequence(self) -> int:
        """Sequence of the last record, wrapped at 2147483647 to 0; -1 when the batch has no sequence."""
        if self.base_sequence < 0:
            return NO_SEQUENCE
        return (self.base_sequence + self.last_offset_delta) & SEQUENCE_MAX


_new_header = BatchHeader._make


def parse_header(buf: BytesLike, pos: int = 0) -> BatchHeader:
    """Read the header at `pos`; whether the records are in `buf` too is not checked.

    Raises CorruptBatch when fewer than 61 bytes are left, the magic is not 2, or length, last offset delta or
    record count are impossible.
    """
    if pos + HEADER_BYTES > len(buf):
        raise CorruptBatch("fewer bytes than a batch header")
    header = _new_header(_header.unpack_from(buf, pos))
    if header[3] != MAGIC:
        raise CorruptBatch(f"batch magic {header[3]} is not {MAGIC}")
    if header[1] < HEADER_BYTES - _LENGTH_AFTER or header[1] > BATCH_BYTES_MAX - _LENGTH_AFTER:
        raise CorruptBatch(f"batch length {header[1]} is impossible")
    if header[6] < 0 or header[12] < 0 or header[0] < 0:
        raise CorruptBatch("negative base offset, last offset delta or record count")
    return header


def crc_matches(buf: BytesLike, pos: int, header: BatchHeader) -> bool:
    """Whether the whole batch lies in `buf` and its CRC-32C is right."""
    end = pos + header[1] + _LENGTH_AFTER
    if end > len(buf):
        return False
    return bool(crc32c(memoryview(buf)[pos + _CRC_FROM : end]) == header[4])


def patch_offset_and_epoch(
    buf: bytearray | memoryview, base_offset: int, leader_epoch: int, pos: int = 0
) -> None:
    """Stamp offset and epoch in place; the CRC does not cover them."""
    _offset.pack_into(buf, pos, base_offset)
    _int32.pack_into(buf, pos + 12, leader_epoch)


def patch_log_append_time(buf: bytearray | memoryview, now_ms: int, pos: int = 0) -> None:
    """Set the LogAppendTime bit and `max_timestamp` in place and recompute the CRC, which covers both."""
    (attributes,) = _attributes.unpack_from(buf, pos + 21)
    _attributes.pack_into(buf, pos + 21, attributes | LOG_APPEND_TIME)
    _int64.pack_into(buf, pos + 35, now_ms)
    (length,) = _int32.unpack_from(buf, pos + 8)
    _crc.pack_into(buf, pos + 17, crc32c(memoryview(buf)[pos + _CRC_FROM : pos + _LENGTH_AFTER + length]))


def iterate_batches(buf: BytesLike) -> Iterator[tuple[int, BatchHeader]]:
    """Yield (position, header) of each whole batch; CRCs are not checked.

    Raises CorruptBatch at the first impossible header or when the last batch is cut.
    """
    pos = 0
    end = len(buf)
    while pos < end:
        header = parse_header(buf, pos)
        size = header[1] + _LENGTH_AFTER
        if pos + size > end:
            raise CorruptBatch("a batch is cut short")
        yield pos, header
        pos += size


def batch_body(
    buf: BytesLike, pos: int, header: BatchHeader, inflate_limit: int = INFLATE_BYTES_MAX
) -> bytes:
    """The uncompressed records of one batch as bytes. Raises RecordsUnreadable or a subclass."""
    return decompress(
        header.attributes & CODEC_MASK,
        memoryview(buf)[pos + HEADER_BYTES : pos + header.size_bytes],
        inflate_limit,
    )


def batch_spans(header: BatchHeader, body: bytes) -> Iterator[RecordSpan]:
    """Where the records of an uncompressed body lie. Raises RecordsUnreadable at the first misfit."""
    return spans(body, header[12], header[6], header[7])


def read_records(
    buf: BytesLike, pos: int, header: BatchHeader, inflate_limit: int = INFLATE_BYTES_MAX
) -> Iterator[Record]:
    """Yield the records of one batch whose CRC the caller has checked; a Python loop, so not for the
    event loop.

    Raises RecordsUnreadable (or a subclass) where inflating or parsing fails, possibly after some records.
    """
    body = batch_body(buf, pos, header, inflate_limit)
    fixed = header.max_timestamp if header.log_append_time else None
    for span in batch_spans(header, body):
        timestamp = header.base_timestamp + span.timestamp_delta if fixed is None else fixed
        yield record_at(body, span, header.base_offset, timestamp)


def build_batch(
    records: Sequence[Record],
    *,
    base_offset: int | None = None,
    leader_epoch: int = -1,
    codec: int = NONE,
    producer_id: int = NO_PRODUCER_ID,
    producer_epoch: int = NO_PRODUCER_EPOCH,
    base_sequence: int = NO_SEQUENCE,
    transactional: bool = False,
    control: bool = False,
) -> bytearray:
    """Encode records (at least one, offsets ascending) into one batch.

    `base_offset` defaults to the first record's offset; the log stamps the real one. Timestamps are
    CreateTime.
    """
    first = records[0]
    base = first.offset if base_offset is None else base_offset
    body = bytearray()
    for record in records:
        write_record(body, record, base, first.timestamp)
    return seal_batch(
        BatchHeader(
            base_offset=base,
            batch_length=0,
            leader_epoch=leader_epoch,
            magic=MAGIC,
            crc=0,
            attributes=codec | (TRANSACTIONAL if transactional else 0) | (CONTROL if control else 0),
            last_offset_delta=records[-1].offset - base,
            base_timestamp=first.timestamp,
            max_timestamp=max(record.timestamp for record in records),
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            base_sequence=base_sequence,
            record_count=len(records),
        ),
        compress(codec, body),
    )


def seal_batch(header: BatchHeader, payload: BytesLike) -> bytearray:
    """Header (its length and CRC are computed here) followed by `payload` in the codec the attributes
    name."""
    batch = bytearray(HEADER_BYTES)
    length = HEADER_BYTES - _LENGTH_AFTER + len(payload)
    _header.pack_into(batch, 0, *header._replace(batch_length=length, crc=0))
    batch += payload
    _crc.pack_into(batch, 17, crc32c(memoryview(batch)[_CRC_FROM:]))
    return batch
