"""The authentication seam: one conversation of one connection, token by token.

A mechanism implements `Authenticator`; the listener's names choose its factory (see `sources`). What an
authenticator needs to know about users it asks of `Credentials`. Nothing here touches sockets or logs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from rivven.errors import ErrorCode
from rivven.protocol.scram import ScramMechanism, ScramVerifier
from rivven.types import Principal

Entropy = Callable[[int], bytes]
"""`entropy(n)` returns n unpredictable bytes (`os.urandom` outside tests)."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """The conversation goes on: send `token`, expect another.

    `failure` is set when the login has failed already and `token` says so (RFC 7628 3.2.3): the precise
    reason, for the operator only. The peer's next token then gets a `Rejected` that is `reported`.
    """

    token: bytes = field(repr=False)
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Credential:
    """What an identity was proved with, as far as a later revocation must recognise it. Never a secret.

    `kind` is one of password, token, jwt, certificate, none. `id` is the user's name, the token's id, the
    JWT's ``jti`` or the certificate's SHA-256 fingerprint in hex; `version` rises when a stored credential is
    replaced. The rest is for JWTs (``iss``, ``sub``, ``iat``) and certificates (issuer, serial in hex).
    """

    kind: str = "none"
    id: str = ""
    version: int = 0
    issuer: str = ""
    subject: str = ""
    issued_at_ms: int | None = None
    serial: str = ""


NO_CREDENTIAL = Credential()

CERTIFICATE_MECHANISM = "MTLS"
"""What stands where others have a SASL mechanism, in subjects, logs and metrics, when the client's TLS
certificate says who it is."""


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The peer is `principal`; `token` is the last message to it.

    `expires_at_ms` (wall clock) is when the identity ends, None when it does not end by itself. `groups` are
    the names of groups that the credential itself vouches for. `scope` is a ceiling on what the principal may
    do (entries as `security.authz` reads them), None without one.
    """

    principal: Principal
    token: bytes = field(default=b"", repr=False)
    expires_at_ms: int | None = None
    groups: tuple[str, ...] = ()
    credential: Credential = NO_CREDENTIAL
    scope: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The peer is refused. `reason` is precise and for the operator only; peers get one text for all.

    `text` is that one text where a mechanism has its own. `reported` says that a challenge's `failure` told
    the operator before.
    """

    reason: str
    token: bytes = field(default=b"", repr=False)
    code: ErrorCode = ErrorCode.SASL_AUTHENTICATION_FAILED
    text: str = ""
    reported: bool = False


Step = Challenge | Authenticated | Rejected


@dataclass(frozen=True, slots=True)
class Deferred:
    """The step needs a thread or the network: await `outcome()` and give the result to the conversation.

    Only for work that is bounded in number and time by whoever offers it.
    """

    outcome: Callable[[], Awaitable[Step]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class AuthContext:
    """Where a peer came in: listener name, peer address, and whether TLS protects the connection."""

    listener: str
    host: str
    tls: bool


class Credentials(Protocol):
    """What is stored about users, as mechanisms may ask for it."""

    def scram_verifier(self, user: str, mechanism: ScramMechanism) -> ScramVerifier | None:
        """The user's verifier, None when there is no such user or no such credential of it."""
        ...

    def decoy_verifier(self, user: str, mechanism: ScramMechanism) -> ScramVerifier:
        """A verifier that no password satisfies, always the same for the same name."""
        ...

    def identity(self, user: str) -> Authenticated | None:
        """Who the user is as of now, with its groups and its credential; None unless it may log in."""
        ...


class Authenticator(Protocol):
    """One conversation. After `Authenticated` or `Rejected` every further step is `Rejected`."""

    def step(self, token: bytes, now_ms: int) -> Step | Deferred:
        """Consume one token of the peer. Must not raise for any bytes."""
        ...


AuthenticatorFactory = Callable[[AuthContext, Credentials, Entropy], Authenticator]
AuthenticatorSource = Mapping[str, AuthenticatorFactory]
"""Factories by SASL mechanism name, as loaded for the mechanisms the listeners offer."""
