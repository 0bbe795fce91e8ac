"""What a connection is allowed to be: its listener, its peer and, once authenticated, its principal.

One `Session` lives as long as its connection. It holds state and answers questions; the SASL decisions are
taken in `security.authn`, the closing of sockets in `server`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from rivven.security.authn.authenticator import NO_CREDENTIAL, Authenticated, Credential
from rivven.security.authn.sasl import SaslExchange
from rivven.security.authz.authorizer import Subject
from rivven.security.sessions import Refusal, Sessions
from rivven.types import ANONYMOUS

CLIENT_ID_CHARACTERS_MAX = 256
"""As many as a quota can name. Kafka sends up to 32 KiB, and what is remembered by client id - quotas, counts
of the audit trail - would hold all of it."""


@dataclass(frozen=True, slots=True)
class ListenerInfo:
    """The facts of a listener that requests can see: name, protocol and the address clients are told."""

    name: str
    tls: bool
    sasl: bool
    advertised_host: str
    advertised_port: int


@dataclass(slots=True, eq=False)
class Session:
    """One connection's identity. `subject` is None until authentication has succeeded.

    From then on it is among the live `sessions`, which may end it. `connected_at_ms` is wall-clock time.
    """

    listener: ListenerInfo
    host: str
    exchange: SaslExchange | None
    sessions: Sessions = field(default_factory=Sessions)
    connected_at_ms: int = 0
    subject: Subject | None = None
    expires_at_ms: int | None = None
    renew_by_ms: int | None = None
    """When a new login must have come at the latest: the end of what a new login can renew, which leaves out
    a client certificate beside it."""
    credential: Credential = NO_CREDENTIAL
    certificate: Credential | None = None
    """The client certificate of the TLS connection, when SASL says who the client is."""
    certificate_expires_at_ms: int | None = None
    still_trusted: Callable[[], str | None] = lambda: None
    """Why the client certificate of the connection no longer counts, None while it does or there is none."""
    client_software: str = ""
    closing: str = ""
    """Why the connection must close once pending answers have left; empty while it may go on."""
    ended: bool = False
    """Whether the identity was taken away: even what is closing anyway must hurry then."""
    closer: Callable[[str], None] | None = None
    """How the connection is told that its session has ended."""
    id: str = field(init=False)

    def __post_init__(self) -> None:
        self.id = self.sessions.new_id()

    @property
    def authenticated(self) -> bool:
        return self.subject is not None

    @property
    def expects_raw_token(self) -> bool:
        """After SaslHandshake v0 the next frames are bare SASL tokens (kafka.md 2.7)."""
        return self.exchange is not None and self.exchange.raw_tokens

    def subject_of(self, client_id: str) -> Subject | None:
        """The subject of a request that says it comes from `client_id`."""
        client_id = client_id[:CLIENT_ID_CHARACTERS_MAX]
        subject = self.subject
        if subject is not None and subject.client_id != client_id:
            subject = self.subject = replace(subject, client_id=client_id)
        return subject

    def expired(self, now_ms: int) -> bool:
        """Whether the identity has ended (KIP-368): only a SASL request may come now."""
        return self.expires_at_ms is not None and now_ms >= self.expires_at_ms

    def lifetime_ms(self, now_ms: int) -> int:
        """What SaslAuthenticate v1+ tells the client: milliseconds left for a new login, 0 = none is needed.

        A certificate's end is not told: clients would log in again and again shortly before it, in vain.
        """
        return 0 if self.renew_by_ms is None else max(1, self.renew_by_ms - now_ms)

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """What the identity rests on."""
        if self.certificate is None:
            return (self.credential,)
        return (self.credential, self.certificate)

    def end(self, reason: str) -> None:
        """Take no more requests, let answers in flight leave, close (see `security.sessions`)."""
        if self.ended:
            return
        self.ended = True
        self.closing = self.closing or reason
        if self.closer is not None:
            self.closer(reason)

    def refuse(self, mechanism: str, reason: str) -> None:
        """A login failed: tell who records it. `reason` is for the operator."""
        refusal = Refusal(self.id, self.host, self.listener.name, mechanism, reason, self.subject)
        self.sessions.refused(refusal)

    def become(self, identity: Authenticated, mechanism: str) -> None:
        """Take an identity (first authentication or re-authentication) and be a live session."""
        self.subject = Subject(
            principal=identity.principal,
            host=self.host,
            listener=self.listener.name,
            groups=identity.groups,
            mechanism=mechanism,
            tls=self.listener.tls,
            scope=identity.scope,
        )
        ends = [end for end in (identity.expires_at_ms, self.certificate_expires_at_ms) if end is not None]
        self.expires_at_ms = min(ends, default=None)
        self.renew_by_ms = identity.expires_at_ms
        self.credential = identity.credential
        self.sessions.add(self)

    def become_anonymous(self) -> None:
        """On a listener without SASL every peer is ``User:ANONYMOUS``."""
        self.become(Authenticated(ANONYMOUS), "none")
