"""What one request brings to its handler besides its body."""

from __future__ import annotations

from dataclasses import dataclass

from rivven.api.memory import Lease
from rivven.api.session import Session
from rivven.security.authz.access import Access
from rivven.security.authz.authorizer import Subject


@dataclass(slots=True)
class RequestContext:
    """One request: its header, who asks, and the door to the authorizers for rules of mode `filter`."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None
    session: Session
    access: Access
    now_ms: int
    lease: Lease | None = None
    """Response memory held by the answer; the connection releases it once the bytes have left."""

    @property
    def request_id(self) -> str:
        """An id for the audit trail: the session's, which no other of this process has, and the client's
        number."""
        return f"req-{self.session.id}-{self.correlation_id}"

    @property
    def subject(self) -> Subject | None:
        """Who asks."""
        return self.access.subject
