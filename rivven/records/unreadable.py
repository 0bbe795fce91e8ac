"""The failures of opening a batch whose CRC is right: the client's own data does not decode.

They mean "keep the bytes, skip the records" to whoever reads a log, and an INVALID_RECORD answer to whoever
validates a produce request. Damage on disk is something else: `batch.CorruptBatch`.
"""

from __future__ import annotations

from rivven.errors import ErrorCode, RivvenError


class RecordsUnreadable(RivvenError):
    """Client data that does not parse although the CRC of its batch is right."""

    code = ErrorCode.INVALID_RECORD


class InflateLimitExceeded(RecordsUnreadable):
    """Compressed records that inflate to more than the named limit; nothing above the limit was allocated."""

    code = ErrorCode.MESSAGE_TOO_LARGE


class CodecUnknown(RecordsUnreadable):
    """A codec number that the format does not define (5-7)."""

    code = ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
