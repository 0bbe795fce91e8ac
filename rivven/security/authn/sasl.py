"""The SASL conversation of one connection (KIP-43, KIP-152, KIP-368), as a state machine without I/O.

    OPENING --handshake--> TOKENS --authenticate*--> AUTHENTICATED --handshake--> TOKENS (again) ...
                any refusal --> FAILED: the connection must close once its answer has left

It decides which requests are legal when, when a session ends, and who may re-authenticate. It must not know
mechanisms (authenticators do), frames, or the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from rivven.errors import ErrorCode
from rivven.protocol.api import ApiKey
from rivven.security.authn.authenticator import (
    AuthContext,
    Authenticated,
    Authenticator,
    AuthenticatorSource,
    Challenge,
    Credentials,
    Deferred,
    Entropy,
    Rejected,
    Step,
)
from rivven.types import Principal

REAUTHENTICATION_INTERVAL_MS = 1_000
"""Kafka's floor between two re-authentications of one connection: each costs a conversation."""

REAUTHENTICATION_JITTER = 0.1
"""A session's lifetime is shortened by up to this share: clients that came at the same time, after a restart,
must not come back at the same time for ever."""

TOKENS_MAX = 16
"""Tokens of one conversation. SCRAM needs 2, OAUTHBEARER 2; more is a peer that never finishes."""

TOKEN_BYTES_MAX = 65_536
"""Bytes of one token: bearer tokens of identity providers stay below; the frame limit alone is 512 KiB."""


class SaslState(Enum):
    """Where the conversation is."""

    OPENING = "opening"
    TOKENS = "tokens"
    AUTHENTICATED = "authenticated"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Session:
    """A successful authentication: who, how, when (wall clock ms) and until when (None = no end)."""

    principal: Principal
    mechanism: str
    authenticated_at_ms: int
    expires_at_ms: int | None


def refusal_text(mechanism: str) -> str:
    """The one text every failed authentication gets, whatever was wrong (KIP-152)."""
    return f"Authentication failed: invalid credentials with SASL mechanism {mechanism}"


class SaslExchange:
    """The conversation of one connection. `max_reauth_ms` is ``connections.max.reauth.ms`` (0 = none)."""

    def __init__(
        self,
        mechanisms: Sequence[str],
        source: AuthenticatorSource,
        context: AuthContext,
        credentials: Credentials,
        entropy: Entropy,
        *,
        max_reauth_ms: int = 0,
    ) -> None:
        self.state = SaslState.OPENING
        self.session: Session | None = None
        self.mechanism: str | None = None
        """The mechanism of the current or last conversation; only ever one the listener offers."""
        self.raw_tokens = False
        """After a handshake of version 0 the next frames are bare tokens, without a request header."""
        self._mechanisms = list(mechanisms)
        self._source = source
        self._context = context
        self._credentials = credentials
        self._entropy = entropy
        self._max_reauth_ms = max_reauth_ms
        self._authenticator: Authenticator | None = None
        self._tokens = 0
        self._reauthentication_started_ms: int | None = None

    def permits(self, api_key: int) -> bool:
        """Whether a request of this API is legal now (its header may be read and it may be handled).

        Before authentication: ApiVersions, SaslHandshake, and SaslAuthenticate after a handshake v1. During
        a re-authentication the same; after it everything (an untimely SASL request is answered with 34).
        """
        if self.state is SaslState.AUTHENTICATED:
            return True
        if self.state is SaslState.FAILED or self.raw_tokens:
            return False
        if api_key == ApiKey.API_VERSIONS:
            return True
        if self.state is SaslState.TOKENS:
            return api_key == ApiKey.SASL_AUTHENTICATE
        return api_key == ApiKey.SASL_HANDSHAKE

    @property
    def renewing(self) -> bool:
        """Whether an authenticated peer is proving itself anew: until it has, it may do nothing else."""
        return self.session is not None and self.state is SaslState.TOKENS

    def expired(self, now_ms: int) -> bool:
        """Whether the session has ended: the first request other than SASL must close the connection."""
        session = self.session
        return session is not None and session.expires_at_ms is not None and now_ms >= session.expires_at_ms

    def handshake(self, mechanism: str, now_ms: int, version: int = 1) -> tuple[ErrorCode, list[str]]:
        """SaslHandshake: (error code, offered mechanisms). After an error other than 34 on a live session
        the state is FAILED: answer, then close."""
        if self.state is SaslState.AUTHENTICATED:
            if not self._may_reauthenticate(now_ms):
                return ErrorCode.ILLEGAL_SASL_STATE, self._mechanisms
            self._reauthentication_started_ms = now_ms
        elif self.state is not SaslState.OPENING:
            self.state = SaslState.FAILED
            return ErrorCode.ILLEGAL_SASL_STATE, self._mechanisms
        if mechanism not in self._mechanisms:
            self.state = SaslState.FAILED
            return ErrorCode.UNSUPPORTED_SASL_MECHANISM, self._mechanisms
        self._authenticator = self._source[mechanism](self._context, self._credentials, self._entropy)
        self.mechanism = mechanism
        self.state = SaslState.TOKENS
        self.raw_tokens = version == 0
        self._tokens = 0
        return ErrorCode.NONE, self._mechanisms

    def authenticate(self, token: bytes, now_ms: int) -> Step | Deferred:
        """One token of the peer (SaslAuthenticate, or a bare frame).

        The outcome of a `Deferred` goes to `conclude`. `Authenticated` carries the end of the session. After
        `Rejected` the connection must close if the state is FAILED; outside a conversation an authenticated
        connection is only told so and stays open.
        """
        authenticator = self._authenticator
        if self.state is not SaslState.TOKENS or authenticator is None:
            untimely = Rejected("SaslAuthenticate outside a conversation", code=ErrorCode.ILLEGAL_SASL_STATE)
            return untimely if self.state is SaslState.AUTHENTICATED else self._fail(untimely)
        self._tokens += 1
        if len(token) > TOKEN_BYTES_MAX:
            return self._fail(Rejected("a token larger than any mechanism needs"))
        step = authenticator.step(token, now_ms)
        return step if isinstance(step, Deferred) else self.conclude(step, now_ms)

    def conclude(self, step: Step, now_ms: int) -> Step:
        """What an authenticator's answer means for the conversation."""
        if self.state is not SaslState.TOKENS:
            return self._fail(Rejected("an answer outside a conversation"))
        if isinstance(step, Challenge):
            if self._tokens >= TOKENS_MAX:
                return self._fail(Rejected("too many tokens"))
            return step
        if isinstance(step, Rejected):
            return self._fail(step)
        return self._succeed(step, now_ms)

    def error_text(self, rejected: Rejected) -> str:
        """The text for the client that goes with a refusal; never its reason."""
        if rejected.code is ErrorCode.ILLEGAL_SASL_STATE:
            return "SaslAuthenticate is not expected now"
        return rejected.text or refusal_text(self.mechanism or "")

    def _may_reauthenticate(self, now_ms: int) -> bool:
        assert self.session is not None
        if self.session.expires_at_ms is None:
            return False
        started = self._reauthentication_started_ms
        return started is None or now_ms - started >= REAUTHENTICATION_INTERVAL_MS

    def _succeed(self, step: Authenticated, now_ms: int) -> Step:
        assert self.mechanism is not None
        previous = self.session
        if previous is not None and previous.mechanism != self.mechanism:
            return self._fail(
                Rejected(f"re-authentication with {self.mechanism} of a {previous.mechanism} session")
            )
        if previous is not None and previous.principal != step.principal:
            return self._fail(Rejected(f"re-authentication of {previous.principal} as {step.principal}"))
        if step.expires_at_ms is not None and step.expires_at_ms <= now_ms:
            return self._fail(Rejected(f"the credential of {step.principal} has expired"))
        expires_at_ms = self._session_end(step.expires_at_ms, now_ms)
        self.session = Session(step.principal, self.mechanism, now_ms, expires_at_ms)
        self.state = SaslState.AUTHENTICATED
        self.raw_tokens = False
        self._authenticator = None
        return replace(step, expires_at_ms=expires_at_ms)

    def _session_end(self, credential_end_ms: int | None, now_ms: int) -> int | None:
        """The earlier of the credential's end and the longest session allowed (KIP-368), jittered."""
        ends = [] if credential_end_ms is None else [credential_end_ms]
        if self._max_reauth_ms > 0:
            share = int.from_bytes(self._entropy(2), "big") / 0x10000
            ends.append(
                now_ms + self._max_reauth_ms - int(self._max_reauth_ms * REAUTHENTICATION_JITTER * share)
            )
        return min(ends, default=None)

    def _fail(self, step: Rejected) -> Rejected:
        self.state = SaslState.FAILED
        self.raw_tokens = False
        self._authenticator = None
        return step
