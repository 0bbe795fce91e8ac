"""The checks of every request, in one order: identity, permission, body, audit, handler.

Nothing of a body is looked at before the caller may use the route. A handler never runs unless the intent is
in the audit log, and what it did is there as well. It knows rows, not the framework that serves them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Protocol

from pydantic import BaseModel

from rivven.audit.requests import CURRENT
from rivven.clock import Clock
from rivven.errors import RivvenError
from rivven.http.admin.authentication import RequestAuthentication
from rivven.http.admin.peer import Peer
from rivven.http.admin.problems import Problem, from_error, unexpected
from rivven.http.admin.routes import Asked, Call, Open, Permission, Raw, Route, denied
from rivven.security.authn.authenticator import Authenticated
from rivven.security.authz.access import Access
from rivven.security.authz.authorizer import Subject
from rivven.security.authz.chain import AuthorizerChain
from rivven.types import ANONYMOUS

LISTENER = "admin"

CLIENT_ID_LENGTH_MAX = 128
"""Characters of a User-Agent that policies and the audit log see."""

_log = logging.getLogger("rivven.http")


class ChangeAudit(Protocol):
    """What the audit log hears about a change. Both return once it is stored; raising refuses the change."""

    async def intent(self, route: Route, call: Call) -> None: ...
    async def result(self, route: Route, call: Call, problem: Problem | None) -> None: ...

    def abandoned(self, route: Route, call: Call) -> None:
        """Nobody waited for the result."""
        ...


class Guard:
    """Belongs to the event loop; holds nothing about callers."""

    def __init__(
        self,
        authentication: RequestAuthentication,
        chain: AuthorizerChain,
        clock: Clock,
        audit: ChangeAudit | None = None,
    ) -> None:
        self._authentication = authentication
        self._chain = chain
        self._clock = clock
        self._audit = audit
        self._numbers = count(1)
        self._started_ms = clock.now_ms()

    async def admit(
        self,
        route: Route,
        peer: Peer,
        parameters: Mapping[str, str],
        authorization: Sequence[str],
        user_agent: str,
    ) -> Call:
        """Who asks and whether he may. Raises a 401 or 403 problem."""
        identity, subject = Authenticated(ANONYMOUS), Subject(ANONYMOUS, peer.host, LISTENER)
        if not isinstance(route.permission, Open):
            identity, mechanism = await self._authentication.authenticate(authorization, peer)
            subject = Subject(
                principal=identity.principal,
                host=peer.host,
                listener=LISTENER,
                groups=identity.groups,
                mechanism=mechanism,
                tls=peer.tls,
                client_id=user_agent[:CLIENT_ID_LENGTH_MAX],
                scope=identity.scope,
            )
        access = Access(None if isinstance(route.permission, Open) else subject, self._chain)
        number = f"{self._started_ms:x}-{next(self._numbers)}"
        call = Call(subject, identity, access, parameters, self._clock.now_ms(), number)
        CURRENT.set(call)  # decisions of this request are audited under its number
        rule = route.permission
        if isinstance(rule, Permission) and not access.allowed(
            rule.operation, rule.resource_type, rule.resource(parameters)
        ):
            raise denied()
        return call

    async def perform(self, route: Route, call: Call) -> BaseModel | Raw | None:
        """Run the handler between the audit log's two lines. Raises problems only."""
        if route.audited is None or self._audit is None:
            return await self._handled(route, call)
        await self._intent(self._audit, route, call)
        finished = False
        try:
            answer = await self._handled(route, call)
            finished = True
        except Problem as problem:
            finished = True
            await self._audit.result(route, call, problem)
            raise
        finally:
            if not finished:
                self._audit.abandoned(route, call)
        await self._audit.result(route, call, None)
        return answer

    async def _intent(self, audit: ChangeAudit, route: Route, call: Call) -> None:
        try:
            await audit.intent(route, call)
        except RivvenError as error:
            _log.error("%s %s is refused: the audit log cannot take it: %s", route.method, route.path, error)
            raise Problem(503, "the audit log cannot take this change, so it was not made") from None

    async def _handled(self, route: Route, call: Call) -> BaseModel | Raw | None:
        try:
            answer = await route.handler(call)
        except Problem:
            raise
        except RivvenError as error:
            _log.info("%s %s failed: %s", route.method, route.path, error)
            raise from_error(error) from None
        except Exception:  # noqa: BLE001 - as in dispatch: the unexpected becomes the API's own error
            _log.exception("unexpected error in %s %s", route.method, route.path)
            raise unexpected() from None
        if isinstance(route.permission, Asked) and not call.access.used:
            _log.error("%s %s answered without asking for authorisation", route.method, route.path)
            raise unexpected()
        return answer
