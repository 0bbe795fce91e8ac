"""Routes about live sessions: who is connected, and ending one."""

from __future__ import annotations

from pydantic import BaseModel, Field

from rivven.http.admin.pages import Listing, PageQuery, page
from rivven.http.admin.problems import not_found
from rivven.http.admin.routes import Call, Permission, Route
from rivven.security.sessions import LiveSession, Sessions
from rivven.types import Operation


class SessionInfo(BaseModel):
    """One authenticated connection. Times are milliseconds since 1970."""

    id: str = Field(description="New after each connect; unique in this broker's lifetime.")
    principal: str
    groups: list[str]
    mechanism: str = Field(description="The SASL mechanism, MTLS, or none on an insecure listener.")
    credential: str = Field(description="password, token, jwt, certificate or none.")
    listener: str
    address: str
    client_id: str = Field(description="What the client calls itself; it chooses.")
    client_software: str = Field(description="Name and version of the client library, as it says.")
    connected_at_ms: int
    expires_at_ms: int | None = Field(description="When it must authenticate again; null: never.")


def routes(sessions: Sessions) -> list[Route]:
    """The rows of this module."""

    async def listing(call: Call) -> Listing[SessionInfo]:
        return page(sessions.all(), lambda one: one.id, _shown, call.query)

    async def kill(call: Call) -> None:
        by = f"ended by {call.subject.principal}"
        if not sessions.kill(call.path["id"], by):
            raise not_found("there is no such session; it may have ended by itself")

    return [
        Route(
            "GET",
            "/v1/sessions",
            Permission(Operation.DESCRIBE),
            listing,
            "Who is connected",
            Listing[SessionInfo],
            query=PageQuery,
        ),
        Route(
            "DELETE",
            "/v1/sessions/{id}",
            Permission(Operation.ALTER),
            kill,
            "End a session; answers in flight leave first",
            status=204,
            audited="session_change",
            target="session:{id}",
        ),
    ]


def _shown(session: LiveSession) -> SessionInfo:
    subject = session.subject
    assert subject is not None, "live sessions have an identity"
    return SessionInfo(
        id=session.id,
        principal=str(subject.principal),
        groups=list(subject.groups),
        mechanism=subject.mechanism,
        credential=session.credentials[0].kind,
        listener=subject.listener,
        address=subject.host,
        client_id=subject.client_id,
        client_software=session.client_software,
        connected_at_ms=session.connected_at_ms,
        expires_at_ms=session.expires_at_ms,
    )
