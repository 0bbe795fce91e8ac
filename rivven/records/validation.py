"""What the broker checks of a produced batch before it is appended. Pure; changes no bytes in place.

`validate_produce` reads the 61-byte header and the CRC only and is all that an ordinary batch meets. Where
`needs_opening` says so (compacted topics, another compression.type, an oldest timestamp, limits on records),
`open_and_validate` looks at the records; it loops over them and runs in a worker process unless
`may_open_inline` allows the loop. Codes follow Kafka's broker: framing and CRC 2, shape 87, size 10, codec
76, timestamps 32.
"""

from __future__ import annotations

from typing import Any

from crc32c import crc32c

from rivven.config.settings import LONG_MAX
from rivven.config.topic_settings import TopicConfig
from rivven.errors import CorruptMessage, ErrorCode, InvalidRecord, RivvenError
from rivven.records.batch import (
    CODEC_MASK,
    CONTROL,
    HEADER_BYTES,
    LOG_APPEND_TIME,
    MAGIC,
    NO_TIMESTAMP,
    TRANSACTIONAL,
    BatchHeader,
    batch_body,
    batch_spans,
    parse_header,
    seal_batch,
)
from rivven.records.compression import CODECS, INFLATE_BYTES_MAX, NONE, ZSTD, compress
from rivven.records.limits import RecordLimits, check_limits
from rivven.records.unreadable import RecordsUnreadable

FIRST_ZSTD_VERSION = 7
"""Produce versions below this one predate zstd (KIP-110)."""

INLINE_RECORDS_MAX = 32
INLINE_BYTES_MAX = 64 * 1024
"""Uncompressed batches up to both limits are opened where they are: about 2 µs a record, so some 60 µs, which
is what a round trip to a worker process costs."""

RECORD_ERRORS_MAX = 64
"""Record errors listed in one answer; the client needs to see that and where, not a copy of its batch."""

_CRC_AT = 21


class UnsupportedCodec(RivvenError):
    """A codec that does not exist or that this request version does not know."""

    code = ErrorCode.UNSUPPORTED_COMPRESSION_TYPE


class BatchTooLarge(RivvenError):
    """A batch above max.message.bytes."""

    code = ErrorCode.MESSAGE_TOO_LARGE


class TimestampOutOfRange(RivvenError):
    """A timestamp outside message.timestamp.before/after.max.ms, or set by a client in the broker's place."""

    code = ErrorCode.INVALID_TIMESTAMP


def validate_produce(
    records: memoryview, *, api_version: int, config: TopicConfig, now_ms: int
) -> BatchHeader:
    """Check one produced partition entry, which must be exactly one v2 batch; returns its header.

    Raises CorruptMessage (framing, CRC), InvalidRecord (shape), BatchTooLarge, UnsupportedCodec and
    TimestampOutOfRange. Timestamps are checked by the header's base and maximum; the header does not say
    which is the oldest, so that is `open_and_validate`'s where the topic has a bound (`oldest_allowed`).
    """
    header = _parse(records)
    base_offset, length, _, _, crc, attributes, last_delta, base_timestamp, max_timestamp = header[:9]
    producer_id, producer_epoch, base_sequence, count = header[9:]
    if length + 12 > config.max_message_bytes:
        raise BatchTooLarge(f"the batch has {length + 12} bytes, the limit is {config.max_message_bytes}")
    if crc32c(records[_CRC_AT:]) != crc:
        raise CorruptMessage("the batch's CRC does not match its bytes")
    if attributes:
        _check_attributes(attributes, api_version)
    if count != last_delta + 1 or count == 0:
        raise InvalidRecord(f"{count} records with a last offset delta of {last_delta}")
    if base_offset:
        raise InvalidRecord(f"the base offset of a produced batch is {base_offset} instead of 0")
    # Without idempotence sarama and kafkajs send a sequence and no producer id: it means nothing.
    if producer_id != -1 and (producer_id < 0 or producer_epoch < 0 or base_sequence < 0):
        raise InvalidRecord("a producer id without a valid epoch and sequence")
    if not config.log_append_time:
        _check_timestamps(base_timestamp, max_timestamp, config, now_ms)
    return header


def _parse(records: memoryview) -> BatchHeader:
    size = len(records)
    if size > 16 and records[16] != MAGIC:
        raise InvalidRecord(f"record format {records[16]} is not accepted, only {MAGIC}")
    if size < HEADER_BYTES:
        raise InvalidRecord("a produced partition needs exactly one record batch")
    header = parse_header(records)
    if header.size_bytes != size:
        raise InvalidRecord("a produced partition needs exactly one record batch, whole")
    return header


def _check_attributes(attributes: int, api_version: int) -> None:
    codec = attributes & CODEC_MASK
    if codec > ZSTD:
        raise UnsupportedCodec(f"compression codec {codec} is not defined")
    if codec == ZSTD and api_version < FIRST_ZSTD_VERSION:
        raise UnsupportedCodec(f"zstd needs Produce version {FIRST_ZSTD_VERSION} or later")
    if attributes & LOG_APPEND_TIME:
        raise TimestampOutOfRange("a producer must not set the timestamp type to LogAppendTime")
    if attributes & CONTROL:
        raise InvalidRecord("a client must not write control batches")
    if attributes & TRANSACTIONAL:
        raise InvalidRecord("transactions are not available on this broker")
    if attributes != codec:
        raise InvalidRecord(f"batch attributes {attributes:#x} are not for clients to set")


def _check_timestamps(base: int, maximum: int, config: TopicConfig, now_ms: int) -> None:
    if maximum - now_ms > config.message_timestamp_after_max_ms or (
        base != NO_TIMESTAMP and base - now_ms > config.message_timestamp_after_max_ms
    ):
        raise TimestampOutOfRange(
            f"timestamp {max(base, maximum)} is more than {config.message_timestamp_after_max_ms} ms ahead"
        )
    oldest = oldest_allowed(config, now_ms)
    if oldest is None:
        return
    if (base < oldest and base != NO_TIMESTAMP) or (maximum < oldest and maximum != NO_TIMESTAMP):
        raise TimestampOutOfRange(
            f"timestamp {min(base, maximum)} is more than {config.message_timestamp_before_max_ms} ms old"
        )


def oldest_allowed(config: TopicConfig, now_ms: int) -> int | None:
    """The oldest timestamp a producer may give a record now; None where every one is taken."""
    if config.log_append_time or config.message_timestamp_before_max_ms == LONG_MAX:
        return None
    return now_ms - config.message_timestamp_before_max_ms


def target_codec(header: BatchHeader, config: TopicConfig) -> int | None:
    """The codec that the batch must be rewritten to, None when it stays as the client sent it."""
    if config.compression_type == "producer":
        return None
    codec = CODECS[config.compression_type]
    return None if codec == header.codec else codec


def needs_opening(header: BatchHeader, config: TopicConfig, limits: RecordLimits | None = None) -> bool:
    """Whether `open_and_validate` must see the batch before it may be appended."""
    return (
        limits is not None
        or config.compacted
        or target_codec(header, config) is not None
        or (config.message_timestamp_before_max_ms != LONG_MAX and not config.log_append_time)
    )


def may_open_inline(header: BatchHeader, config: TopicConfig) -> bool:
    """Whether opening is cheap enough for the event loop: few records, few bytes, no codec at all."""
    return (
        header.record_count <= INLINE_RECORDS_MAX
        and header.size_bytes <= INLINE_BYTES_MAX
        and header.codec == NONE
        and target_codec(header, config) is None
    )


def open_and_validate(
    batch: bytes | bytearray | memoryview,
    compacted: bool,
    codec: int | None,
    max_message_bytes: int,
    limits: tuple[Any, ...] | None = None,
    oldest_ms: int | None = None,
    inflate_limit: int = INFLATE_BYTES_MAX,
) -> bytearray | None:
    """Look into a batch that `validate_produce` has accepted; plain arguments, so that a worker can run it.

    With `compacted`, every record must parse, have consecutive offsets and a key. `limits` are the members
    of `RecordLimits`, which no record may exceed. No record may have a timestamp before `oldest_ms`. With
    `codec`, the records are rewritten in that codec: offsets, producer fields, sequence and timestamps stay,
    and the new batch is returned; otherwise None. Raises InvalidRecord (with `record_errors`),
    TimestampOutOfRange, BatchTooLarge when the result is above max.message.bytes, and InflateLimitExceeded.
    """
    header = parse_header(batch)
    try:
        body = batch_body(batch, 0, header, inflate_limit)
        if compacted:
            _check_keys(header, body)
        if limits is not None:
            check_limits(header, body, RecordLimits(*limits))
        if oldest_ms is not None:
            _check_ages(header, body, oldest_ms)
    except RecordsUnreadable as error:
        if error.code is not ErrorCode.INVALID_RECORD:
            raise
        raise InvalidRecord(f"the records cannot be read: {error.message}") from None
    if codec is None:
        return None
    rewritten = seal_batch(
        header._replace(attributes=header.attributes & ~CODEC_MASK | codec), compress(codec, body)
    )
    if len(rewritten) > max_message_bytes:
        raise BatchTooLarge(
            f"the batch has {len(rewritten)} bytes in the topic's codec, the limit is {max_message_bytes}"
        )
    return rewritten


def _check_keys(header: BatchHeader, body: bytes) -> None:
    errors: list[tuple[int, str]] = []
    for index, span in enumerate(batch_spans(header, body)):
        if span.offset_delta != index:
            raise InvalidRecord(f"record {index} has offset delta {span.offset_delta}")
        if span.key_start < 0 and len(errors) < RECORD_ERRORS_MAX:
            errors.append((index, "a record without a key in a compacted topic"))
    if errors:
        raise InvalidRecord("a compacted topic needs a key in every record", tuple(errors))


def _check_ages(header: BatchHeader, body: bytes, oldest_ms: int) -> None:
    base = header.base_timestamp
    for index, span in enumerate(batch_spans(header, body)):
        timestamp = base + span.timestamp_delta
        if timestamp < oldest_ms and timestamp != NO_TIMESTAMP:
            raise TimestampOutOfRange(
                f"record {index}: timestamp {timestamp} is before {oldest_ms}, the oldest the topic takes now"
            )
