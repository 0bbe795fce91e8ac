"""Routes about the audit trail, and what the trail hears of the Admin API's own changes."""

from __future__ import annotations

import logging
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rivven.audit.events import FAILURE, INTENT, SUCCESS, UNKNOWN, AuditEvent, principal_text
from rivven.audit.reading import Wanted
from rivven.audit.sinks import AuditUnavailable
from rivven.audit.trail import AuditTrail
from rivven.http.admin.problems import Problem, not_found
from rivven.http.admin.routes import Call, Permission, Route
from rivven.http.admin.services import AuditServices
from rivven.types import Operation

_log = logging.getLogger("rivven.http")

LIMIT_MAX = 1_000
PATTERN_LENGTH_MAX = 300


class OutputInfo(BaseModel):
    """One place lines go to."""

    name: str
    required: bool
    healthy: bool
    waiting: int = Field(description="Lines it has not taken yet.")
    missed: int = Field(description="Lines it will never get, since start.")


class HeadInfo(BaseModel):
    """Where the chain stands. Keep `hash` elsewhere: `rivven audit verify --head` finds what was cut off."""

    next_sequence: int = Field(description="The number the next line gets.")
    hash: str = Field(description="SHA-256 of the last line.")
    dropped_events: int = Field(description="Events counted instead of recorded, since start.")
    outputs: list[OutputInfo]


class SearchQuery(BaseModel):
    """Which events; texts may use * and ?. Unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid")

    event_type: str = Field(default="", max_length=PATTERN_LENGTH_MAX, alias="type")
    principal: str = Field(default="", max_length=PATTERN_LENGTH_MAX, description="user:NAME")
    action: str = Field(default="", max_length=PATTERN_LENGTH_MAX)
    resource: str = Field(default="", max_length=PATTERN_LENGTH_MAX, description="topic:NAME, user:NAME ...")
    result: str = Field(default="", max_length=PATTERN_LENGTH_MAX)
    since: str = Field(default="", max_length=40, description="RFC 3339 in UTC, as in the lines.")
    until: str = Field(default="", max_length=40)
    after: int = Field(default=-1, ge=-1, le=2**53, description="Only events with a greater number.")
    limit: int = Field(default=100, ge=1, le=LIMIT_MAX, description="The newest events, at most.")


class Events(BaseModel):
    """Events, the oldest first."""

    items: list[dict[str, Any]]


def routes(services: AuditServices) -> list[Route]:
    """The rows of this module."""

    async def head(_call: Call) -> HeadInfo:
        trail = services.trail
        outputs = [
            OutputInfo(
                name=queue.name,
                required=queue.required,
                healthy=not queue.failure,
                waiting=len(queue),
                missed=queue.missed,
            )
            for queue in trail.queues
        ]
        return HeadInfo(
            next_sequence=trail.head.next_sequence,
            hash=trail.head.hash,
            dropped_events=trail.dropped,
            outputs=outputs,
        )

    async def search(call: Call) -> Events:
        if services.search is None:
            raise not_found("this broker keeps no audit file; see audit.output")
        query = call.query
        wanted = Wanted(
            query.event_type,
            query.principal,
            query.action,
            query.resource,
            query.result,
            query.since,
            query.until,
            query.after,
        )
        return Events(items=await services.search(wanted, query.limit))

    return [
        Route(
            "GET",
            "/v1/audit/head",
            Permission(Operation.DESCRIBE),
            head,
            "Where the audit chain stands, and whether its outputs work",
            HeadInfo,
        ),
        Route(
            "GET",
            "/v1/audit/events",
            Permission(Operation.DESCRIBE),
            search,
            "The newest audit events; all of them: rivven audit search, on the files",
            Events,
            query=SearchQuery,
        ),
    ]


class RouteAudit:
    """Implements `guard.ChangeAudit`: a change over HTTP is recorded before and after, as one over Kafka."""

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail

    async def intent(self, route: Route, call: Call) -> None:
        """Raises AuditUnavailable, and then the change must not happen."""
        await self._trail.intent(_event(route, call, INTENT))

    async def result(self, route: Route, call: Call, problem: Problem | None) -> None:
        """The change is made or refused already: what cannot be recorded now is only logged."""
        reason = "" if problem is None else f"{problem.status} {problem.detail}"
        try:
            await self._trail.result(_event(route, call, SUCCESS if problem is None else FAILURE, reason))
        except AuditUnavailable as error:
            _log.error("the result of %s %s is not recorded yet: %s", route.method, route.path, error)

    def abandoned(self, route: Route, call: Call) -> None:
        """What became of the change is not known here."""
        self._trail.event(_event(route, call, UNKNOWN, "the broker stopped before the answer"))


def _event(route: Route, call: Call, result: str, reason: str = "") -> AuditEvent:
    assert route.audited is not None
    subject = call.subject
    facts = {} if route.facts is None else route.facts(call)
    return AuditEvent(
        route.audited,
        {"DELETE": "delete", "PUT": "alter", "PATCH": "alter"}.get(route.method, "create"),
        call.made or (route.named_target(call.path) if route.names is None else route.names(call)),
        result,
        principal_text(subject.principal),
        reason,
        subject.host,
        subject.listener,
        subject.mechanism,
        request_id=call.request_id,
        details={"route": f"{route.method} {route.path}", "client_id": subject.client_id, **facts},
    )
