"""Time lookup inside one batch, for ListOffsets by timestamp and by maximum timestamp. Pure.

The log narrows a lookup to one batch by its time index; the answer must be per record, so the batch is opened
here, except where the broker stamped it (LogAppendTime: all its records have one time). Opening is a Python
loop and runs in a worker process unless `validation.may_open_inline` would allow it.
"""

from __future__ import annotations

from rivven.records.batch import NO_TIMESTAMP, BatchHeader, BytesLike, batch_body, batch_spans, parse_header
from rivven.records.compression import INFLATE_BYTES_MAX, NONE
from rivven.records.validation import INLINE_BYTES_MAX, INLINE_RECORDS_MAX


def may_search_inline(header: BatchHeader) -> bool:
    """Whether the event loop may run a lookup in this batch: it is not opened, or it is small and plain."""
    return header.log_append_time or (
        header.codec == NONE
        and header.record_count <= INLINE_RECORDS_MAX
        and header.size_bytes <= INLINE_BYTES_MAX
    )


def first_offset_with_timestamp(
    batch: BytesLike, target_ms: int, from_offset: int = 0, inflate_limit: int = INFLATE_BYTES_MAX
) -> tuple[int, int] | None:
    """(offset, timestamp) of the first record at or after `target_ms`, None when the batch has none.

    Records before `from_offset`, which the start of the log has passed, do not count.

    Raises RecordsUnreadable for records that do not decode: the caller goes on with the next batch.
    """
    header = parse_header(batch)
    if header.record_count == 0 or header.max_timestamp < target_ms:
        return None
    if header.log_append_time:
        return (max(header.base_offset, from_offset), header.max_timestamp)
    earliest = target_ms - header.base_timestamp
    for span in batch_spans(header, batch_body(batch, 0, header, inflate_limit)):
        if span.timestamp_delta >= earliest and header.base_offset + span.offset_delta >= from_offset:
            return header.base_offset + span.offset_delta, header.base_timestamp + span.timestamp_delta
    return None


def max_timestamp_offset(batch: BytesLike, inflate_limit: int = INFLATE_BYTES_MAX) -> tuple[int, int] | None:
    """(offset, timestamp) of the first record with the batch's largest timestamp; None without timestamps.

    Raises RecordsUnreadable for records that do not decode.
    """
    header = parse_header(batch)
    if header.record_count == 0 or header.max_timestamp == NO_TIMESTAMP:
        return None
    if header.log_append_time:
        return header.base_offset, header.max_timestamp
    best: tuple[int, int] | None = None
    for span in batch_spans(header, batch_body(batch, 0, header, inflate_limit)):
        timestamp = header.base_timestamp + span.timestamp_delta
        if best is None or timestamp > best[1]:
            best = header.base_offset + span.offset_delta, timestamp
    return best
