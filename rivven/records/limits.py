"""Limits on single records that an operator may set: key, header count and sizes (`validation` in the file).

Pure. It loops over records: whoever has no limits must not call it, and large batches go to a worker process.
"""

from __future__ import annotations

from typing import NamedTuple

from rivven.errors import InvalidRecord
from rivven.records.batch import BatchHeader, batch_spans
from rivven.records.record import RecordSpan, header_sizes

RECORD_ERRORS_MAX = 100
"""Records named in one answer; the batch is refused as a whole anyway."""


class RecordLimits(NamedTuple):
    """Sizes in bytes; None = no limit."""

    key_bytes_max: int | None = None
    key_required: bool = False
    headers_max: int | None = None
    header_key_bytes_max: int | None = None
    header_value_bytes_max: int | None = None

    @property
    def any(self) -> bool:
        return self != NO_LIMITS

    @property
    def headers(self) -> bool:
        """Whether headers must be looked at."""
        sizes = (self.headers_max, self.header_key_bytes_max, self.header_value_bytes_max)
        return any(size is not None for size in sizes)


NO_LIMITS = RecordLimits()


def check_limits(header: BatchHeader, body: bytes, limits: RecordLimits) -> None:
    """Raises InvalidRecord with the index and reason of each record that is over a limit, and
    RecordsUnreadable for records that do not parse."""
    errors: list[tuple[int, str]] = []
    for index, span in enumerate(batch_spans(header, body)):
        reason = _over(body, span, limits)
        if reason is not None:
            errors.append((index, reason))
            if len(errors) >= RECORD_ERRORS_MAX:
                break
    if errors:
        raise InvalidRecord(f"record {errors[0][0]}: {errors[0][1]}", tuple(errors))


def _over(body: bytes, span: RecordSpan, limits: RecordLimits) -> str | None:
    if span.key_start < 0:
        if limits.key_required:
            return "a key is required (validation.key.required)"
    elif limits.key_bytes_max is not None and span.key_end - span.key_start > limits.key_bytes_max:
        return f"the key is longer than {limits.key_bytes_max} bytes"
    return _headers_over(body, span, limits) if limits.headers else None


def _headers_over(body: bytes, span: RecordSpan, limits: RecordLimits) -> str | None:
    sizes = header_sizes(body, span)
    if limits.headers_max is not None and len(sizes) > limits.headers_max:
        return f"more than {limits.headers_max} headers"
    for name_bytes, value_bytes in sizes:
        if limits.header_key_bytes_max is not None and name_bytes > limits.header_key_bytes_max:
            return f"a header name is longer than {limits.header_key_bytes_max} bytes"
        if limits.header_value_bytes_max is not None and value_bytes > limits.header_value_bytes_max:
            return f"a header value is longer than {limits.header_value_bytes_max} bytes"
    return None
