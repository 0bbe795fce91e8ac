"""Problem documents: what callers are told, and what they are not."""

from __future__ import annotations

import json

import pytest

from rivven.errors import ErrorCode, RivvenError
from rivven.http.admin.problems import FIELDS_MAX, Problem, from_error, from_validation, unexpected


def test_a_problem_is_a_document_of_rfc_9457() -> None:
    document = json.loads(Problem(409, "there is one already", error="DUPLICATE_RESOURCE").body())
    assert document == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "there is one already",
        "error": "DUPLICATE_RESOURCE",
    }


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCode.CLUSTER_AUTHORIZATION_FAILED, 403),
        (ErrorCode.RESOURCE_NOT_FOUND, 404),
        (ErrorCode.DUPLICATE_RESOURCE, 409),
        (ErrorCode.INVALID_REQUEST, 422),
        (ErrorCode.UNACCEPTABLE_CREDENTIAL, 422),
        (ErrorCode.THROTTLING_QUOTA_EXCEEDED, 429),
        (ErrorCode.KAFKA_STORAGE_ERROR, 503),
        (ErrorCode.UNKNOWN_SERVER_ERROR, 500),
    ],
)
def test_every_failure_of_the_broker_has_a_status(code: ErrorCode, status: int) -> None:
    problem = from_error(RivvenError("as it is", code))
    assert (problem.status, problem.detail, problem.error) == (status, "as it is", code.name)


def test_a_failure_without_a_text_is_named() -> None:
    assert from_error(RivvenError(code=ErrorCode.RESOURCE_NOT_FOUND)).detail == "resource not found"


def test_wrong_fields_are_named_but_not_repeated() -> None:
    problem = from_validation(
        [{"loc": ("body", "password"), "msg": "Value error, too short", "input": "hunter2"}]
    )
    text = problem.body().decode()
    assert json.loads(text)["fields"] == [{"field": "body.password", "reason": "too short"}]
    assert "hunter2" not in text
    assert len(from_validation([{"loc": (), "msg": "no"}] * 500).fields) == FIELDS_MAX


def test_what_callers_sent_is_not_quoted_without_end() -> None:
    assert len(Problem(422, "x" * 100_000).body()) < 2_000


def test_the_unexpected_says_nothing() -> None:
    assert unexpected().status == 500
    assert "log" in unexpected().detail
