"""SCRAM-SHA-256 and SCRAM-SHA-512 as an `Authenticator` (RFC 5802, RFC 7677); the server's side.

Parsing and arithmetic are `protocol.scram`'s. What is decided here: which verifier answers, that an unknown
user takes the same path with the same work as a wrong password, and that a credential removed while a login
runs does not let it through. The server never runs a key derivation for a peer.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from rivven.protocol.exceptions import ScramError
from rivven.protocol.scram import (
    ClientFirst,
    ScramMechanism,
    ScramVerifier,
    ServerFirst,
    parse_client_final,
    parse_client_first,
    server_first,
    verify_client_final,
)
from rivven.security.authn.authenticator import (
    AuthContext,
    Authenticated,
    Authenticator,
    Challenge,
    Credentials,
    Entropy,
    Rejected,
    Step,
)
from rivven.security.authn.tokens import TokenAuthentication

NONCE_BYTES = 24
"""192 random bits, 32 characters on the wire."""

NAME_SHOWN_MAX = 64
"""Characters of a claimed user name that reach a log line."""


class ScramLogins(Protocol):
    """Whom a conversation is about: users by their passwords, or tokens by their ids."""

    what: str

    def verifiers(self, name: str, now_ms: int) -> Sequence[ScramVerifier]:
        """What a proof may satisfy, all with one salt and iteration count; empty for an unknown name."""
        ...

    def decoy(self, name: str) -> ScramVerifier:
        """What an unknown name is asked to satisfy."""
        ...

    def identity(self, name: str, verifier: ScramVerifier, now_ms: int) -> Authenticated | Rejected:
        """Who has satisfied this verifier, as of now."""
        ...


class UserLogins:
    """Logins with a user's password."""

    what = "user"

    def __init__(self, mechanism: ScramMechanism, credentials: Credentials) -> None:
        self._mechanism = mechanism
        self._credentials = credentials

    def verifiers(self, name: str, now_ms: int) -> Sequence[ScramVerifier]:
        """See `ScramLogins`."""
        stored = self._credentials.scram_verifier(name, self._mechanism)
        return () if stored is None else (stored,)

    def decoy(self, name: str) -> ScramVerifier:
        """See `ScramLogins`."""
        return self._credentials.decoy_verifier(name, self._mechanism)

    def identity(self, name: str, verifier: ScramVerifier, now_ms: int) -> Authenticated | Rejected:
        """See `ScramLogins`."""
        identity = self._credentials.identity(name)
        if identity is None or self._credentials.scram_verifier(name, self._mechanism) != verifier:
            shown = name[:NAME_SHOWN_MAX]
            return Rejected(f"the credential of user {shown!r} was changed or removed during the login")
        return identity


class TokenLogins:
    """Logins with ``tokenauth=true`` (KIP-48): a token's id, and its secret in base64 as password."""

    what = "API token"

    def __init__(self, mechanism: ScramMechanism, tokens: TokenAuthentication, host: str) -> None:
        self._mechanism = mechanism
        self._tokens = tokens
        self._host = host

    def verifiers(self, name: str, now_ms: int) -> Sequence[ScramVerifier]:
        """See `ScramLogins`."""
        return self._tokens.scram_verifiers(name, self._mechanism, now_ms)

    def decoy(self, name: str) -> ScramVerifier:
        """See `ScramLogins`."""
        return self._tokens.decoy_verifier(name, self._mechanism)

    def identity(self, name: str, verifier: ScramVerifier, now_ms: int) -> Authenticated | Rejected:
        """See `ScramLogins`."""
        return self._tokens.proved(name, verifier, host=self._host, now_ms=now_ms)


class _Offer(NamedTuple):
    first: ClientFirst
    challenge: ServerFirst
    logins: ScramLogins
    verifiers: tuple[ScramVerifier, ...]
    known: bool


class ScramAuthenticator:
    """One SCRAM conversation: client-first, challenge, client-final, server-final.

    Without `tokens` a login with ``tokenauth=true`` is refused.
    """

    def __init__(
        self,
        mechanism: ScramMechanism,
        credentials: Credentials,
        entropy: Entropy,
        tokens: ScramLogins | None = None,
    ) -> None:
        self._users: ScramLogins = UserLogins(mechanism, credentials)
        self._tokens = tokens
        self._entropy = entropy
        self._offer: _Offer | None = None
        self._over = False

    def step(self, token: bytes, now_ms: int) -> Step:
        """Consume client-first, then client-final; anything else is rejected."""
        if self._over:
            return Rejected("a token after the end of the conversation")
        try:
            if self._offer is None:
                return self._challenge(token, now_ms)
            self._over = True
            return _conclude(token, self._offer, now_ms)
        except ScramError as error:
            self._over = True
            return Rejected(str(error))

    def _challenge(self, token: bytes, now_ms: int) -> Step:
        first = parse_client_first(token)
        logins = self._tokens if first.token_auth else self._users
        if logins is None:
            raise ScramError("client-first: tokens are not accepted here")
        # Both are always made: the time must not tell which one answers.
        decoy = logins.decoy(first.username)
        stored = tuple(logins.verifiers(first.username, now_ms))
        verifiers = stored or (decoy,)
        nonce = b64encode(self._entropy(NONCE_BYTES)).decode()
        challenge = server_first(first, verifiers[0], nonce)
        self._offer = _Offer(first, challenge, logins, verifiers, bool(stored))
        return Challenge(challenge.message)


def _conclude(token: bytes, offer: _Offer, now_ms: int) -> Step:
    name, logins = offer.first.username, offer.logins
    shown = f"{logins.what} {name[:NAME_SHOWN_MAX]!r}"
    final = parse_client_final(token)
    proved: tuple[ScramVerifier, bytes] | None = None
    failure = ScramError("no verifier")
    # Every verifier is tried: the time must not tell which of two valid secrets was shown.
    for verifier in offer.verifiers:
        try:
            server_final = verify_client_final(verifier, offer.first, offer.challenge, final)
        except ScramError as error:
            failure = error
        else:
            proved = (verifier, server_final)
    if proved is None:
        return Rejected(f"{failure} ({shown})" if offer.known else f"{failure} (unknown {shown})")
    identity = logins.identity(name, proved[0], now_ms)
    if isinstance(identity, Rejected):
        return identity
    return replace(identity, token=proved[1])


def scram_sha_256(context: AuthContext, credentials: Credentials, entropy: Entropy) -> Authenticator:
    """The factory of SCRAM-SHA-256."""
    return _authenticator(ScramMechanism.SCRAM_SHA_256, context, credentials, entropy)


def scram_sha_512(context: AuthContext, credentials: Credentials, entropy: Entropy) -> Authenticator:
    """The factory of SCRAM-SHA-512."""
    return _authenticator(ScramMechanism.SCRAM_SHA_512, context, credentials, entropy)


def _authenticator(
    mechanism: ScramMechanism, context: AuthContext, credentials: Credentials, entropy: Entropy
) -> Authenticator:
    # The broker's own services have tokens; `Credentials` asks nobody for them.
    known = getattr(credentials, "tokens", None)
    tokens = TokenLogins(mechanism, known, context.host) if isinstance(known, TokenAuthentication) else None
    return ScramAuthenticator(mechanism, credentials, entropy, tokens)
