"""Which request the events of this moment belong to, so that those who decide need not carry its number.

The API and the HTTP application name the request they begin; the trail reads it when an event needs it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final, Protocol

from rivven.audit.events import Asking


class Request(Protocol):
    """What begins a request: its id is only made when somebody asks."""

    @property
    def request_id(self) -> str: ...
    @property
    def subject(self) -> Asking | None: ...


CURRENT: Final[ContextVar[Request | None]] = ContextVar("rivven_audit_request", default=None)
"""The request that runs in this context; set by whoever accepts one."""


def current_request_id() -> str:
    """The id of the running request, empty outside of one."""
    request = CURRENT.get()
    return request.request_id if request is not None else ""
