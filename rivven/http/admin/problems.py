"""Errors of the Admin API as problem documents (RFC 9457). Pure: no request and no framework is known here.

A problem says what the caller may know. Why authentication failed, which rule denied and where the code
broke is for the log, never for the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field

from rivven.errors import ErrorCode, RivvenError

MEDIA_TYPE = "application/problem+json"

FIELDS_MAX = 20
"""Wrong fields named in one answer; more would bury the first."""

DETAIL_CHARACTERS_MAX = 1_000
"""Details may quote names that callers sent."""


class FieldProblem(BaseModel):
    """One place of a request that is wrong. The value itself is never repeated: it may be a secret."""

    field: str = Field(description="Where: body.name, query.limit.")
    reason: str = Field(description="What is wrong with it.")


class ProblemDocument(BaseModel):
    """RFC 9457: `type` is about:blank, so `title` is the meaning of the status."""

    type: str = "about:blank"
    title: str = Field(description="The meaning of the status code.")
    status: int = Field(description="The HTTP status code.")
    detail: str = Field(default="", description="What is wrong with this request.")
    error: str | None = Field(default=None, description="Kafka's name of the error, where there is one.")
    fields: list[FieldProblem] | None = Field(default=None, description="The wrong fields of a request.")


class Problem(Exception):
    """Ends a request with this status. `detail` is sent to the caller."""

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        error: str | None = None,
        fields: Sequence[FieldProblem] = (),
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(f"{status} {detail}")
        self.status = status
        self.detail = detail
        self.error = error
        self.fields = list(fields[:FIELDS_MAX])
        self.headers = tuple(headers)

    def body(self) -> bytes:
        """The document, UTF-8."""
        document = ProblemDocument(
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail[:DETAIL_CHARACTERS_MAX],
            error=self.error,
            fields=self.fields or None,
        )
        return document.model_dump_json(exclude_none=True).encode() + b"\n"


def not_found(detail: str) -> Problem:
    """There is no such thing."""
    return Problem(404, detail)


def unexpected() -> Problem:
    """Something broke in the broker; the log has it."""
    return Problem(500, "the broker failed to answer this request; its log says why")


_STATUS_BY_CODE: dict[int, tuple[ErrorCode, ...]] = {
    403: (
        ErrorCode.TOPIC_AUTHORIZATION_FAILED,
        ErrorCode.GROUP_AUTHORIZATION_FAILED,
        ErrorCode.CLUSTER_AUTHORIZATION_FAILED,
        ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        ErrorCode.DELEGATION_TOKEN_AUTHORIZATION_FAILED,
        ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED,
        ErrorCode.DELEGATION_TOKEN_OWNER_MISMATCH,
    ),
    404: (
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.GROUP_ID_NOT_FOUND,
        ErrorCode.RESOURCE_NOT_FOUND,
        ErrorCode.DELEGATION_TOKEN_NOT_FOUND,
        ErrorCode.TRANSACTIONAL_ID_NOT_FOUND,
    ),
    409: (
        ErrorCode.TOPIC_ALREADY_EXISTS,
        ErrorCode.DUPLICATE_RESOURCE,
        ErrorCode.NON_EMPTY_GROUP,
        ErrorCode.CONCURRENT_TRANSACTIONS,
    ),
    429: (ErrorCode.THROTTLING_QUOTA_EXCEEDED,),
    501: (ErrorCode.SECURITY_DISABLED, ErrorCode.DELEGATION_TOKEN_AUTH_DISABLED),
    503: (
        ErrorCode.REQUEST_TIMED_OUT,
        ErrorCode.NOT_CONTROLLER,
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.KAFKA_STORAGE_ERROR,
    ),
    500: (ErrorCode.UNKNOWN_SERVER_ERROR,),
}
_STATUS_OF = {code: status for status, codes in _STATUS_BY_CODE.items() for code in codes}


def from_error(error: RivvenError) -> Problem:
    """The problem of a failure that has a Kafka error code; codes not listed are faults of the request."""
    return Problem(
        _STATUS_OF.get(error.code, 422),
        error.message or error.code.name.replace("_", " ").lower(),
        error=error.code.name,
    )


def from_validation(errors: Sequence[Any]) -> Problem:
    """The problem of a body or query that is not what the route takes (pydantic's list of errors)."""
    fields = [
        FieldProblem(
            field=".".join(str(part) for part in one.get("loc", ())),
            reason=str(one.get("msg", "is wrong")).removeprefix("Value error, "),
        )
        for one in errors
    ]
    return Problem(422, "the request is not what this route takes", fields=fields)
