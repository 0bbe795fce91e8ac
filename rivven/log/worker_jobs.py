"""What a worker process can be asked to do, and how jobs and their failures cross the pipe.

Both ends import this module, so it stays small: the worker imports a job's own module when first asked.
Values are plain (numbers, text, bytes, tuples, None); marshal carries them because it can carry nothing else.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable
from importlib import import_module
from struct import Struct
from typing import Any

from rivven.errors import CorruptMessage, ErrorCode, InvalidRecord, RivvenError
from rivven.records.unreadable import RecordsUnreadable

JOBS = {
    "open_and_validate": "rivven.records.validation",
    "first_offset_with_timestamp": "rivven.records.timestamps",
    "max_timestamp_offset": "rivven.records.timestamps",
    "compaction_begin": "rivven.log.compaction_jobs",
    "compaction_clean": "rivven.log.compaction_jobs",
    "compaction_end": "rivven.log.compaction_jobs",
    "reencrypt_part": "rivven.log.reencryption_jobs",
}
"""Function name to the module that defines it."""

FRAME_BYTES_MAX = 256 * 1024 * 1024
"""Largest frame either side accepts: a batch inflated to its limit and recompressed badly still fits."""

length_prefix = Struct("<I")


class WorkerFailed(RivvenError):
    """A job failed for a reason that is not the data's fault; clients may try again."""

    code = ErrorCode.KAFKA_STORAGE_ERROR


class WorkerLost(WorkerFailed):
    """The worker process ended, or was ended for taking too long, before it answered."""


class WorkersBusy(WorkerFailed):
    """More jobs are waiting than the pool holds."""


def frame(value: Any) -> bytes:
    """Length prefix and marshalled value. Raises WorkerFailed when the value is too large or not plain."""
    try:
        body = marshal.dumps(value)
    except ValueError as error:
        raise WorkerFailed(f"a value cannot be sent to a worker: {error}") from None
    if len(body) > FRAME_BYTES_MAX:
        raise WorkerFailed(f"a job or result of {len(body)} bytes is above the limit of {FRAME_BYTES_MAX}")
    return length_prefix.pack(len(body)) + body


def unframe(body: bytes) -> Any:
    """The value of a frame without its prefix; only ever what our own other end has written."""
    return marshal.loads(body)  # noqa: S302 - a private pipe between two processes of this program


def find_job(name: str) -> Callable[..., Any]:
    """The function of a job. Raises KeyError for a name that is not listed."""
    function: Callable[..., Any] = getattr(import_module(JOBS[name]), name)
    return function


def failure(error: Exception) -> tuple[str, Any]:
    """A failed job as plain values."""
    if isinstance(error, InvalidRecord):
        return "invalid-record", (error.message, error.record_errors)
    if isinstance(error, CorruptMessage):
        return "corrupt", error.message
    if isinstance(error, RecordsUnreadable):
        return "unreadable", (error.message, int(error.code))
    if isinstance(error, RivvenError):
        return "rivven", (error.message, int(error.code))
    if isinstance(error, OSError):
        return "os", (error.errno or 0, error.strerror or str(error), error.filename)
    return "unexpected", f"{type(error).__name__}: {error}"


def raised(kind: str, detail: Any) -> Exception:
    """The exception to raise on this side for a `failure` of the other."""
    if kind == "invalid-record":
        message, record_errors = detail
        return InvalidRecord(message, record_errors)
    if kind == "corrupt":
        return CorruptMessage(detail)
    if kind == "unreadable":
        message, code = detail
        return RecordsUnreadable(message, ErrorCode(code))
    if kind == "rivven":
        message, code = detail
        return RivvenError(message, ErrorCode(code))
    if kind == "os":
        return OSError(*detail)
    return WorkerFailed(f"a job failed unexpectedly: {detail}")
