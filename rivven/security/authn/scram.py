"""SCRAM-SHA-256 and SCRAM-SHA-512 as an `Authenticator` (RFC 5802, RFC 7677); the server's side.

Parsing and arithmetic are `protocol.scram`'s. What is decided here: which verifier answers, that an unknown
user takes the same path with the same work as a wrong password, and that a credential removed while a login
runs does not let it through. The server never runs a key derivation for a peer.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace

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
    Authenticator,
    Challenge,
    Credentials,
    Entropy,
    Rejected,
    Step,
)

NONCE_BYTES = 24
"""192 random bits, 32 characters on the wire."""

NAME_SHOWN_MAX = 64
"""Characters of a claimed user name that reach a log line."""


class ScramAuthenticator:
    """One SCRAM conversation: client-first, challenge, client-final, server-final."""

    def __init__(self, mechanism: ScramMechanism, credentials: Credentials, entropy: Entropy) -> None:
        self._mechanism = mechanism
        self._credentials = credentials
        self._entropy = entropy
        self._offer: tuple[ClientFirst, ServerFirst, ScramVerifier, bool] | None = None
        self._over = False

    def step(self, token: bytes, now_ms: int) -> Step:
        """Consume client-first, then client-final; anything else is rejected."""
        if self._over:
            return Rejected("a token after the end of the conversation")
        try:
            if self._offer is None:
                return self._challenge(token)
            self._over = True
            return self._conclude(token, *self._offer)
        except ScramError as error:
            self._over = True
            return Rejected(str(error))

    def _challenge(self, token: bytes) -> Step:
        first = parse_client_first(token)
        if first.token_auth:
            raise ScramError("client-first: delegation tokens are not offered")
        user, mechanism = first.username, self._mechanism
        # Both are always made: the time must not tell which one answers.
        decoy = self._credentials.decoy_verifier(user, mechanism)
        stored = self._credentials.scram_verifier(user, mechanism)
        verifier = decoy if stored is None else stored
        nonce = b64encode(self._entropy(NONCE_BYTES)).decode()
        challenge = server_first(first, verifier, nonce)
        self._offer = (first, challenge, verifier, stored is not None)
        return Challenge(challenge.message)

    def _conclude(
        self, token: bytes, first: ClientFirst, challenge: ServerFirst, verifier: ScramVerifier, known: bool
    ) -> Step:
        user = first.username
        shown = user[:NAME_SHOWN_MAX]
        current = self._credentials.scram_verifier(user, self._mechanism)
        try:
            server_final = verify_client_final(verifier, first, challenge, parse_client_final(token))
        except ScramError as error:
            whose = f"user {shown!r}" if known else f"unknown user {shown!r}"
            return Rejected(f"{error} ({whose})")
        identity = self._credentials.identity(user)
        if not known or current != verifier or identity is None:
            return Rejected(f"the credential of user {shown!r} was changed or removed during the login")
        return replace(identity, token=server_final)


def scram_sha_256(context: AuthContext, credentials: Credentials, entropy: Entropy) -> Authenticator:
    """The factory of SCRAM-SHA-256."""
    return ScramAuthenticator(ScramMechanism.SCRAM_SHA_256, credentials, entropy)


def scram_sha_512(context: AuthContext, credentials: Credentials, entropy: Entropy) -> Authenticator:
    """The factory of SCRAM-SHA-512."""
    return ScramAuthenticator(ScramMechanism.SCRAM_SHA_512, credentials, entropy)
