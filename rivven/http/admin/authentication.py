"""Who sends an HTTP request: Basic, Bearer or the client certificate of its connection.

The verifying is done where the Kafka listeners have it done; here are only the headers (RFC 7617, RFC 6750).
Every refusal looks the same and comes as late as the back-off of the address says. Passwords and tokens
travel over TLS only. Nothing is remembered between requests.
"""

from __future__ import annotations

import asyncio
import logging
from base64 import b64decode
from collections.abc import Awaitable, Sequence
from typing import Protocol

from rivven.audit.events import AUTHENTICATION, FAILURE, SUCCESS, AuditEvent, principal_text
from rivven.audit.trail import AuditTrail
from rivven.clock import Clock
from rivven.errors import ErrorCode
from rivven.http.admin.peer import Peer
from rivven.http.admin.problems import Problem
from rivven.security.admission import Admission
from rivven.security.authn.authenticator import (
    CERTIFICATE_MECHANISM,
    Authenticated,
    Deferred,
    Rejected,
    Step,
)
from rivven.types import ANONYMOUS

BASIC, BEARER, CERTIFICATE, NONE = "BASIC", "BEARER", CERTIFICATE_MECHANISM, "none"
"""How a caller came in, as policies and the audit log see it."""

CHALLENGES = (
    ("WWW-Authenticate", 'Basic realm="rivven", charset="UTF-8"'),
    ("WWW-Authenticate", 'Bearer realm="rivven"'),
)

HEADER_LENGTH_MAX = 24_576
"""A bearer token has at most 16 KiB; Basic is base64 of far less."""

_log = logging.getLogger("rivven.http")


class PasswordVerifier(Protocol):
    """Checks a password; a token in a password's place is its business too."""

    def verify(self, user: str, password: str, host: str) -> Awaitable[Authenticated | Rejected]: ...


class BearerVerifier(Protocol):
    """Checks a bearer token: one of ours or of an identity provider."""

    def verify(self, text: str, host: str, now_ms: int) -> Step | Deferred: ...


class CertificateVerifier(Protocol):
    """Names the owner of a client certificate that the TLS library has verified."""

    def verify(self, der: bytes, now_ms: int) -> Authenticated | Rejected: ...


class AuthenticationObserver(Protocol):
    """What the metrics hear."""

    def authenticated(self, mechanism: str) -> None: ...
    def authentication_failed(self, mechanism: str) -> None: ...


class RequestAuthentication:
    """Belongs to the event loop. A verifier that is None is a way in that this broker does not offer;
    `anonymous` lets callers without TLS in as ``User:ANONYMOUS`` (``insecure: true`` only)."""

    def __init__(
        self,
        admission: Admission,
        clock: Clock,
        observer: AuthenticationObserver,
        *,
        passwords: PasswordVerifier | None = None,
        bearer: BearerVerifier | None = None,
        certificates: CertificateVerifier | None = None,
        anonymous: bool = False,
        trail: AuditTrail | None = None,
    ) -> None:
        self._trail = trail
        self._admission = admission
        self._clock = clock
        self._observer = observer
        self._passwords = passwords
        self._bearer = bearer
        self._certificates = certificates
        self._anonymous = anonymous

    async def authenticate(self, authorization: Sequence[str], peer: Peer) -> tuple[Authenticated, str]:
        """The caller's identity and how it was proved; `authorization` are the headers of that name.

        Raises the 401 problem, the same for everything that can be wrong.
        """
        if not peer.tls:
            return self._without_tls(authorization)
        if not authorization and peer.certificate is None:
            raise unauthenticated()
        mechanism, step = await self._step(authorization, peer)
        distrusted = peer.still_trusted()
        if distrusted is not None:
            step = Rejected(f"the client certificate is refused: {distrusted}")
        if isinstance(step, Authenticated) and self._ended(step):
            step = Rejected(f"the credential of {step.principal} has expired")
        if isinstance(step, Authenticated):
            if not peer.trusted:
                peer.trusted = True
                self._record(SUCCESS, mechanism, peer, principal_text(step.principal), "")
                self._observer.authenticated(mechanism)
            return step, mechanism
        reason = step.reason if isinstance(step, Rejected) else "the conversation needs a second message"
        self._observer.authentication_failed(mechanism)
        self._record(FAILURE, mechanism, peer, "", reason)
        _log.warning("authentication from %s on admin by %s failed: %s", peer.host, mechanism, reason)
        delay = self._admission.authentication_failed(peer.host, self._clock.monotonic())
        if self._admission.hold_failure(peer.host):
            try:
                await asyncio.sleep(delay)
            finally:
                self._admission.failure_answered(peer.host)
        if isinstance(step, Rejected) and step.code is ErrorCode.REQUEST_TIMED_OUT:
            raise Problem(503, step.text, error=step.code.name, headers=[("Retry-After", "1")])
        raise unauthenticated()

    def _record(self, result: str, mechanism: str, peer: Peer, principal: str, reason: str) -> None:
        """Once per connection that succeeds, and every failure."""
        if self._trail is not None:
            event = AuditEvent(
                AUTHENTICATION,
                "login",
                result=result,
                principal=principal,
                reason=reason,
                client_ip=peer.host,
                listener="admin",
                mechanism=mechanism,
            )
            self._trail.event(event)

    def _without_tls(self, authorization: Sequence[str]) -> tuple[Authenticated, str]:
        if authorization:
            raise Problem(400, "passwords and tokens are taken over TLS only; change the one you sent")
        if not self._anonymous:
            raise unauthenticated()
        return Authenticated(ANONYMOUS), NONE

    def _ended(self, identity: Authenticated) -> bool:
        return identity.expires_at_ms is not None and identity.expires_at_ms <= self._clock.now_ms()

    async def _step(self, authorization: Sequence[str], peer: Peer) -> tuple[str, Step]:
        """A header wins over a certificate: a wrong password is not rescued by one."""
        if not authorization:
            return CERTIFICATE, self._by_certificate(peer)
        scheme, _, value = authorization[0].partition(" ")
        mechanism = {"basic": BASIC, "bearer": BEARER}.get(scheme.lower(), NONE)
        if len(authorization) > 1 or len(authorization[0]) > HEADER_LENGTH_MAX:
            return mechanism, Rejected("more than one Authorization header, or one that is too long")
        if mechanism == BASIC:
            return mechanism, await self._by_password(value.strip(), peer)
        if mechanism == BEARER:
            return mechanism, await self._by_token(value.strip(), peer)
        return mechanism, Rejected("an Authorization header that is neither Basic nor Bearer")

    async def _by_password(self, value: str, peer: Peer) -> Step:
        if self._passwords is None:
            return Rejected("Basic is not offered")
        try:
            user, colon, password = b64decode(value, validate=True).decode().partition(":")
        except ValueError:
            return Rejected("Basic credentials that are not base64 of UTF-8")
        if not colon or not user or not password:
            return Rejected("Basic credentials without user or password")
        return await self._passwords.verify(user, password, peer.host)

    async def _by_token(self, value: str, peer: Peer) -> Step:
        if self._bearer is None:
            return Rejected("Bearer is not offered")
        step = self._bearer.verify(value, peer.host, self._clock.now_ms())
        return await step.outcome() if isinstance(step, Deferred) else step

    def _by_certificate(self, peer: Peer) -> Step:
        if self._certificates is None or peer.certificate is None:
            return Rejected("client certificates are not offered")
        return self._certificates.verify(peer.certificate, self._clock.now_ms())


def unauthenticated() -> Problem:
    """The one answer to whoever could not prove who he is, or did not try."""
    return Problem(
        401, "log in with a user and password, a token or a client certificate", headers=CHALLENGES
    )
