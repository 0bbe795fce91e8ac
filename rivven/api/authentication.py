"""ApiVersions (18), SaslHandshake (17) and SaslAuthenticate (36): how a session gets its identity.

Decisions are `security.authn.sasl`'s; here they become responses, the session takes the identity, and a
refusal
is answered after the delay that admission asks for. The log names the precise reason, the client never
hears it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from rivven.api.context import RequestContext
from rivven.api.rules import Open
from rivven.api.session import Session
from rivven.clock import Clock
from rivven.errors import ErrorCode
from rivven.protocol import messages as m
from rivven.protocol.exceptions import ProtocolError
from rivven.protocol.versions import ApiVersionsAnswers, is_valid_client_software
from rivven.security.admission import Admission
from rivven.security.authn.authenticator import Authenticated, Deferred, Rejected, Step
from rivven.security.authn.sasl import SaslExchange, SaslState

_log = logging.getLogger("rivven.auth")

AUTHENTICATION_RULES = (Open(),)


class AuthenticationObserver(Protocol):
    """What the metrics hear."""

    def authenticated(self, mechanism: str) -> None: ...
    def authentication_failed(self, mechanism: str) -> None: ...


def handshake_failure(_request: Any, _version: int, code: ErrorCode) -> Any:
    """The answer to an unexpected error in SaslHandshake."""
    return m.SaslHandshakeResponse(error_code=code)


def authenticate_failure(_request: Any, _version: int, code: ErrorCode) -> Any:
    """The answer to an unexpected error in SaslAuthenticate."""
    return m.SaslAuthenticateResponse(error_code=code, error_message="Authentication failed")


class VersionsHandler:
    """Handles ApiVersions 0-4; versions above are answered by dispatch."""

    def __init__(self, answers: ApiVersionsAnswers) -> None:
        self._answers = answers

    async def api_versions(self, context: RequestContext, request: Any) -> Any:
        """What the table offers, from the cache; remembers what software the client says it is."""
        version = context.api_version
        name, software_version = request.client_software_name, request.client_software_version
        if name and is_valid_client_software(name, software_version):
            context.session.client_software = f"{name[:64]}/{software_version[:64]}"
        return self._answers.answer_to(version, name, software_version)


def versions_failure(_request: Any, _version: int, code: ErrorCode) -> Any:
    """The answer to an unexpected error in ApiVersions."""
    return m.ApiVersionsResponse(error_code=code)


class AuthenticationHandlers:
    """Handles SaslHandshake 0-1, SaslAuthenticate 0-2 and the bare tokens after a handshake v0."""

    def __init__(self, admission: Admission, clock: Clock, observer: AuthenticationObserver) -> None:
        self._admission = admission
        self._clock = clock
        self._observer = observer

    async def sasl_handshake(self, context: RequestContext, request: Any) -> Any:
        """Choose a mechanism; an unknown one is answered with the list, then the connection closes."""
        session = context.session
        exchange = session.exchange
        if exchange is None:
            session.closing = "SASL handshake on a listener without SASL"
            return m.SaslHandshakeResponse(error_code=ErrorCode.ILLEGAL_SASL_STATE)
        code, mechanisms = exchange.handshake(request.mechanism, context.now_ms, context.api_version)
        if exchange.state is SaslState.FAILED:
            session.closing = f"SASL handshake refused: {code.name}"
            self._observer.authentication_failed("unknown")
        return m.SaslHandshakeResponse(error_code=code, mechanisms=mechanisms)

    async def sasl_authenticate(self, context: RequestContext, request: Any) -> Any:
        """One token; the answer carries the next one, the identity's lifetime, or the one refusal text."""
        session = context.session
        exchange = session.exchange
        if exchange is None:
            session.closing = "SASL token on a listener without SASL"
            return m.SaslAuthenticateResponse(
                error_code=ErrorCode.ILLEGAL_SASL_STATE, error_message="SASL is not used here"
            )
        step = await self._step(exchange, request.auth_bytes, context.now_ms)
        if isinstance(step, Rejected):
            await self._refuse(session, exchange, step)
            return m.SaslAuthenticateResponse(
                error_code=step.code, error_message=exchange.error_text(step), auth_bytes=step.token
            )
        response = m.SaslAuthenticateResponse(auth_bytes=step.token, error_message=None)
        if isinstance(step, Authenticated):
            self._accept(session, exchange, step)
            if exchange.session is not None:
                response.session_lifetime_ms = exchange.session.lifetime_ms(context.now_ms)
        return response

    async def raw_token(self, session: Session, token: bytes) -> list[bytes | bytearray | memoryview]:
        """One bare token after a handshake v0: the bare answer. Raises ProtocolError to close on refusal."""
        exchange = session.exchange
        assert exchange is not None
        step = await self._step(exchange, token, self._clock.now_ms())
        if isinstance(step, Rejected):
            await self._refuse(session, exchange, step)
            raise ProtocolError("authentication failed")
        if isinstance(step, Authenticated):
            self._accept(session, exchange, step)
        return [len(step.token).to_bytes(4, "big") + step.token]

    async def _step(self, exchange: SaslExchange, token: bytes, now_ms: int) -> Step:
        step = exchange.authenticate(token, now_ms)
        if isinstance(step, Deferred):
            outcome = await step.outcome()
            return exchange.conclude(outcome, self._clock.now_ms())
        return step

    def _accept(self, session: Session, exchange: SaslExchange, step: Authenticated) -> None:
        mechanism = exchange.mechanism or ""
        first = not session.authenticated
        session.become(step, mechanism)
        self._observer.authenticated(mechanism)
        if first:
            _log.info(
                "authenticated %s from %s on %s by %s",
                step.principal,
                session.host,
                session.listener.name,
                mechanism,
            )

    async def _refuse(self, session: Session, exchange: SaslExchange, step: Rejected) -> None:
        mechanism = exchange.mechanism or "unknown"
        self._observer.authentication_failed(mechanism)
        _log.warning(
            "authentication from %s on %s by %s failed: %s",
            session.host,
            session.listener.name,
            mechanism,
            step.reason,
        )
        if exchange.state is SaslState.FAILED:
            delay = self._admission.authentication_failed(session.host, self._clock.monotonic())
            await asyncio.sleep(delay)
            session.closing = "authentication failed"
