"""The only door: every request is decoded, authorised, handled and encoded here.

Order for each request: known API and version? authenticated? decode, apply the row's rules, call the handler,
add the entries of denied items, encode. Only this module catches `Exception`: an unexpected one becomes the
API's own UNKNOWN_SERVER_ERROR answer (for Produce the connection closes: -1 makes clients duplicate).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from rivven.api.audited import Audited
from rivven.api.context import RequestContext
from rivven.api.rules import DENIED_CODES, Filter, Open, Require, Split
from rivven.api.session import Session
from rivven.api.table import Row, Table
from rivven.api.throttling import Busy, Throttling, Usage
from rivven.audit.requests import CURRENT
from rivven.audit.sinks import AuditUnavailable
from rivven.audit.trail import AuditTrail
from rivven.clock import Clock
from rivven.errors import ErrorCode, RivvenError
from rivven.protocol.api import APIS, ApiKey
from rivven.protocol.codec import parse_request, parse_request_header, write_response_buffers
from rivven.protocol.exceptions import ProtocolError, UnsupportedApi
from rivven.protocol.versions import unsupported_version_frame
from rivven.security.authz.access import Access
from rivven.security.authz.chain import AuthorizerChain

_log = logging.getLogger("rivven.api")

Buffers = list[bytes | bytearray | memoryview]


RawToken = Callable[[Session, bytes], Awaitable[Buffers]]


class NotAuthenticated(ProtocolError):
    """A request that needs an identity came before there was one, or after the session's end."""


class Observer(Protocol):
    """What dispatch tells the metrics; every call is O(1)."""

    def denied(self, api_key: int) -> None: ...
    def failed(self, api_key: int) -> None: ...


class Call:
    """One decoded request between `Dispatch.accept` and its answer."""

    __slots__ = ("context", "denied", "early", "request", "row", "usage")

    def __init__(self, row: Row, context: RequestContext, request: Any) -> None:
        self.row = row
        self.context = context
        self.request = request
        self.denied: list[tuple[Split, Any]] | None = None
        self.early: Any = None
        """The whole answer, when a `Require` rule refused."""
        self.usage: Usage | None = None
        """What is charged to quotas; None while nothing is limited."""


class Dispatch:
    """Applies the table to requests; holds no per-connection state."""

    def __init__(
        self,
        table: Table,
        chain: AuthorizerChain,
        clock: Clock,
        observer: Observer,
        raw_token: RawToken,
        trail: AuditTrail | None = None,
        throttling: Throttling | None = None,
    ) -> None:
        self._throttling = throttling
        self._trail = trail
        self._raw_token = raw_token
        self._rows = table.rows
        self._chain = chain
        self._clock = clock
        self._observer = observer

    def accept(self, session: Session, frame: memoryview) -> Call | Buffers:
        """Decode and authorise one frame.

        Returns the call to perform, or the finished answer of an ApiVersions request that is too new.
        Raises ProtocolError when the connection must close (unknown API, malformed body, no identity).
        """
        started = time.perf_counter()
        header, position = parse_request_header(frame)
        if header.api_key == ApiKey.API_VERSIONS and header.api_version > APIS[ApiKey.API_VERSIONS].max:
            return [unsupported_version_frame(frame)]
        now_ms = self._clock.now_ms()
        row = self._rows.get(header.api_key)
        if row is None:
            raise UnsupportedApi(f"API key {header.api_key} is not offered")
        subject = session.subject_of(header.client_id or "")
        is_open = type(row.rules[0]) is Open
        exchange = session.exchange
        if exchange is not None and not exchange.permits(header.api_key):
            raise NotAuthenticated(f"{row.key.name} is not legal before authentication has succeeded")
        if not is_open:
            if subject is None:
                raise NotAuthenticated(f"{row.key.name} without an identity")
            if session.expired(now_ms):
                raise NotAuthenticated(f"{row.key.name} after the session expired")
        request = parse_request(header.api_key, header.api_version, frame, position)
        access = Access(None if is_open else subject, self._chain)
        context = RequestContext(
            header.api_key,
            header.api_version,
            header.correlation_id,
            header.client_id,
            session,
            access,
            now_ms,
        )
        CURRENT.set(context)  # decisions and handlers of this request are audited under its number
        call = Call(row, context, request)
        if not is_open:
            self._authorise(call)
            if self._throttling is not None:
                usage = call.usage = self._throttling.begin(row.key, request)
                if usage is not None:
                    usage.busy_s = time.perf_counter() - started
        return call

    def holds_back(self, resume: Callable[[], None]) -> bool:
        """Whether no request may begin now, because the audit trail must take what is queued first
        (``audit.overflow: block``); then `resume` is called when it has."""
        if self._trail is None or not self._trail.congested:
            return False
        self._trail.when_room(resume)
        return True

    async def perform(self, call: Call) -> Any:
        """Run the handler of a call (not Produce) and return its response struct."""
        if call.early is not None:
            return call.early
        if call.usage is not None:
            return await Busy(self._performed(call), call.usage)
        return await self._performed(call)

    async def _performed(self, call: Call) -> Any:
        if call.row.audited is not None and self._trail is not None:
            return await self._recorded(call, call.row.audited, self._trail)
        return await self._handled(call)

    async def _recorded(self, call: Call, audited: Audited, trail: AuditTrail) -> Any:
        """Run the handler of a change between the audit trail's two records of it."""
        context, request = call.context, call.request
        intents = audited.intents(context, request)
        if not intents:
            return await self._handled(call)
        try:
            await trail.intent(*intents)
        except AuditUnavailable as error:
            _log.error("%s is refused: %s", call.row.key.name, error)
            return call.row.failure(request, context.api_version, error.code)
        finished = False
        try:
            response = await self._handled(call)
            finished = True
        finally:
            if not finished:
                for event in audited.abandoned(context, request):
                    trail.event(event)
        try:
            await trail.result(*audited.results(context, request, response))
        except AuditUnavailable as error:
            # The change is made and the intent is recorded; a client told otherwise would try again.
            _log.error("the result of %s is not recorded yet: %s", call.row.key.name, error)
        return response

    async def _handled(self, call: Call) -> Any:
        row, context = call.row, call.context
        assert row.handler is not None
        try:
            response = await row.handler(context, call.request)
        except RivvenError as error:
            _log.info("%s failed: %s", row.key.name, error)
            response = row.failure(call.request, context.api_version, error.code)
        except Exception:  # noqa: BLE001 - the one place where the last resort stands
            _log.exception("unexpected error in %s", row.key.name)
            self._observer.failed(row.key)
            response = row.failure(call.request, context.api_version, ErrorCode.UNKNOWN_SERVER_ERROR)
        if Filter in map(type, row.rules) and not context.access.used:
            _log.error("%s answered without asking for authorisation", row.key.name)
            response = row.failure(call.request, context.api_version, ErrorCode.UNKNOWN_SERVER_ERROR)
        return response

    async def raw_token(self, session: Session, frame: memoryview) -> Buffers:
        """A bare SASL token after a handshake v0. Raises ProtocolError when it is refused."""
        return await self._raw_token(session, bytes(frame))

    def start(self, call: Call, respond: Callable[[Any], None]) -> int:
        """Begin a Produce call; `respond` gets the response (or None) once, maybe before this returns.

        Returns the milliseconds its connection must be silent for from now on.

        An exception that escapes the handler closes the connection: the caller must not answer it.
        """
        assert call.row.start is not None
        if call.usage is None or self._throttling is None:
            call.row.start(call.context, call.request, respond)
            return 0
        started = time.perf_counter()
        silence_ms = self._throttling.charge_produced(call.context, call.usage, call.request)
        call.row.start(call.context, call.request, respond)
        call.usage.busy_s += time.perf_counter() - started
        return silence_ms

    def settle(self, call: Call, response: Any) -> int:
        """Charge a finished call to the quotas, before `encode`; returns the milliseconds its connection must
        be silent for, which the answer says too."""
        if call.usage is None or self._throttling is None:
            return 0
        silence_ms = self._throttling.charge(call.context, call.usage, call.request, response)
        if silence_ms and hasattr(response, "throttle_time_ms"):
            response.throttle_time_ms = silence_ms
        return silence_ms

    def encode(self, call: Call, response: Any) -> Buffers:
        """The answer's buffers, size prefix and header included."""
        context = call.context
        if call.denied is not None:
            for rule, item in call.denied:
                code = DENIED_CODES[rule.resource_type]
                rule.deny(response, item, context.api_version, code)
        return write_response_buffers(context.api_key, context.api_version, response, context.correlation_id)

    def _authorise(self, call: Call) -> None:
        access, request, version = call.context.access, call.request, call.context.api_version
        for rule in call.row.rules:
            if type(rule) is Split:
                if rule.unless is not None and access.probe_cluster(rule.unless):
                    continue
                items = rule.items(request, version)
                kept = []
                for name, item in items:
                    if access.allowed(rule.operation, rule.resource_type, name):
                        kept.append(item)
                    else:
                        if call.denied is None:
                            call.denied = []
                        call.denied.append((rule, item))
                if len(kept) != len(items):
                    self._observer.denied(call.row.key)
                    rule.keep(request, version, kept)
            elif type(rule) is Require and not access.allowed(
                rule.operation, rule.resource_type, rule.name(request)
            ):
                self._observer.denied(call.row.key)
                code = DENIED_CODES[rule.resource_type]
                call.early = rule.denied(request, version, code)
                return
