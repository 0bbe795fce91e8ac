"""What a connection is allowed to be: its listener, its peer and, once authenticated, its principal.

One `Session` lives as long as its connection. It holds state and answers questions; the SASL decisions are
taken in `security.authn`, the closing of sockets in `server`.
"""

from __future__ import annotations

from dataclasses import dataclass

from rivven.security.authn.authenticator import NO_CREDENTIAL, Authenticated, Credential
from rivven.security.authn.sasl import SaslExchange
from rivven.security.authz.authorizer import Subject
from rivven.types import ANONYMOUS


@dataclass(frozen=True, slots=True)
class ListenerInfo:
    """The facts of a listener that requests can see: name, protocol and the address clients are told."""

    name: str
    tls: bool
    sasl: bool
    advertised_host: str
    advertised_port: int


@dataclass(slots=True)
class Session:
    """One connection's identity. `subject` is None until authentication has succeeded."""

    listener: ListenerInfo
    host: str
    exchange: SaslExchange | None
    subject: Subject | None = None
    expires_at_ms: int | None = None
    credential: Credential = NO_CREDENTIAL
    client_software: str = ""
    closing: str = ""
    """Why the connection must close once pending answers have left; empty while it may go on."""

    @property
    def authenticated(self) -> bool:
        return self.subject is not None

    @property
    def expects_raw_token(self) -> bool:
        """After SaslHandshake v0 the next frames are bare SASL tokens (kafka.md 2.7)."""
        return self.exchange is not None and self.exchange.raw_tokens

    def expired(self, now_ms: int) -> bool:
        """Whether the identity has ended (KIP-368): only a SASL request may come now."""
        return self.expires_at_ms is not None and now_ms >= self.expires_at_ms

    def become(self, identity: Authenticated, mechanism: str) -> None:
        """Take an identity (first authentication or re-authentication)."""
        self.subject = Subject(
            principal=identity.principal,
            host=self.host,
            listener=self.listener.name,
            groups=identity.groups,
            mechanism=mechanism,
            tls=self.listener.tls,
            scope=identity.scope,
        )
        self.expires_at_ms = identity.expires_at_ms
        self.credential = identity.credential

    def become_anonymous(self) -> None:
        """On a listener without SASL every peer is ``User:ANONYMOUS``."""
        self.become(Authenticated(ANONYMOUS), "none")
