"""ApiVersions (18), SaslHandshake (17) and SaslAuthenticate (36): how a session gets its identity.

Decisions are `security.authn.sasl`'s; here they become responses, the session takes the identity, and a
refusal
is answered after the delay that admission asks for. The log names the precise reason, the client never
hears it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from rivven.api.context import RequestContext
from rivven.api.rules import Open
from rivven.api.session import Session
from rivven.clock import Clock
from rivven.errors import ErrorCode
from rivven.protocol import messages as m
from rivven.protocol.exceptions import ProtocolError
from rivven.protocol.versions import ApiVersionsAnswers, is_valid_client_software
from rivven.security.admission import Admission
from rivven.security.authn.authenticator import (
    CERTIFICATE_MECHANISM,
    Authenticated,
    Challenge,
    Deferred,
    Rejected,
    Step,
)
from rivven.security.authn.sasl import SaslExchange, SaslState

if TYPE_CHECKING:  # it imports the crypto library, which only listeners that ask for certificates need
    from rivven.security.authn.certificates import CertificateAuthentication
    from rivven.security.tls_trust import ClientTrust

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
            session.refuse("unknown", f"the mechanism {request.mechanism!r} is refused: {code.name}")
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
        step = await self._step(session, exchange, request.auth_bytes, context.now_ms)
        if isinstance(step, Rejected):
            await self._refuse(session, exchange, step)
            return m.SaslAuthenticateResponse(
                error_code=step.code, error_message=exchange.error_text(step), auth_bytes=step.token
            )
        response = m.SaslAuthenticateResponse(auth_bytes=step.token, error_message=None)
        if isinstance(step, Authenticated):
            self._accept(session, exchange, step)
            response.session_lifetime_ms = session.lifetime_ms(context.now_ms)
        return response

    async def raw_token(self, session: Session, token: bytes) -> list[bytes | bytearray | memoryview]:
        """One bare token after a handshake v0: the bare answer. Raises ProtocolError to close on refusal."""
        exchange = session.exchange
        assert exchange is not None
        step = await self._step(session, exchange, token, self._clock.now_ms())
        if isinstance(step, Rejected):
            await self._refuse(session, exchange, step)
            raise ProtocolError("authentication failed")
        if isinstance(step, Authenticated):
            self._accept(session, exchange, step)
        return [len(step.token).to_bytes(4, "big") + step.token]

    async def _step(self, session: Session, exchange: SaslExchange, token: bytes, now_ms: int) -> Step:
        step = exchange.authenticate(token, now_ms)
        if isinstance(step, Deferred):
            outcome = await step.outcome()
            step = exchange.conclude(outcome, self._clock.now_ms())
        if isinstance(step, Challenge) and step.failure:
            # Many clients hang up at such a challenge: what they tried counts now.
            await self._report(session, exchange, step.failure)
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
        failed = exchange.state is SaslState.FAILED
        if not step.reported:
            await self._report(session, exchange, step.reason, delayed=failed)
        if failed:
            session.closing = "authentication failed"

    async def _report(
        self, session: Session, exchange: SaslExchange, reason: str, *, delayed: bool = True
    ) -> None:
        """Tell the operator why a login failed, and let the peer wait for its answer."""
        mechanism = exchange.mechanism or "unknown"
        self._observer.authentication_failed(mechanism)
        session.refuse(mechanism, reason)
        _log.warning(
            "authentication from %s on %s by %s failed: %s",
            session.host,
            session.listener.name,
            mechanism,
            reason,
        )
        if delayed:
            delay = self._admission.authentication_failed(session.host, self._clock.monotonic())
            if self._admission.hold_failure(session.host):
                try:
                    await asyncio.sleep(delay)
                finally:
                    self._admission.failure_answered(session.host)


class CertificateIdentities:
    """What the client certificate of a connection, which the handshake has verified, means for its session.

    On a listener without SASL the certificate is the identity, and who shows none (``client_auth:
    optional``) is anonymous. With SASL it only has to be good: SASL says who is there, until the
    certificate's end at most, or that of an authority above it. Its chain must be trusted by what is in force
    when the handshake is done, and for as long as the connection lives.
    """

    def __init__(
        self,
        certificates: CertificateAuthentication,
        trust: Callable[[], ClientTrust],
        clock: Clock,
        observer: AuthenticationObserver,
    ) -> None:
        self._certificates = certificates
        self._trust = trust
        self._clock = clock
        self._observer = observer

    def identify(self, session: Session, chain: Sequence[bytes]) -> None:
        """Give the session its identity, or a reason to close (`session.closing`). `chain` is what the client
        showed (DER), its own certificate first; empty when it showed none."""
        if not chain:
            if session.exchange is None:
                session.become_anonymous()
            return
        peer = self._certificates.peer(chain, self._trust, self._clock.now_ms)
        distrusted = peer.problem()
        if distrusted is not None:
            self._close(session, distrusted)
            return
        session.still_trusted = peer.problem
        ends_ms = peer.ends_ms
        assert ends_ms is not None, "it is trusted"
        der, now_ms = chain[0], self._clock.now_ms()
        if session.exchange is not None:
            checked = self._certificates.check(der, now_ms)
            if isinstance(checked, Rejected):
                self._close(session, checked.reason)
                return
            session.certificate = checked.credential
            session.certificate_expires_at_ms = ends_ms
            return
        step = self._certificates.verify(der, now_ms)
        if isinstance(step, Rejected):
            self._close(session, step.reason)
            return
        session.become(replace(step, expires_at_ms=ends_ms), CERTIFICATE_MECHANISM)
        self._observer.authenticated(CERTIFICATE_MECHANISM)
        _log.info(
            "authenticated %s from %s on %s by %s",
            step.principal,
            session.host,
            session.listener.name,
            CERTIFICATE_MECHANISM,
        )

    def refuse(self, session: Session, reason: str) -> None:
        """The handshake failed because of the certificate, or because there is none: a login that failed."""
        self._observer.authentication_failed(CERTIFICATE_MECHANISM)
        session.refuse(CERTIFICATE_MECHANISM, reason)

    def _close(self, session: Session, reason: str) -> None:
        self.refuse(session, reason)
        session.closing = f"the client certificate is refused: {reason}"
