"""SASL PLAIN (RFC 4616) as an `Authenticator`: one message with user and password, over TLS only.

    message = [authzid] NUL authcid NUL password

The password is checked by `verification`, which also knows what is an API token. Here is only the message,
and that nothing in it is looked at where others may have read it on the way.
"""

from __future__ import annotations

from rivven.security.authn.authenticator import (
    AuthContext,
    Authenticator,
    Credentials,
    Deferred,
    Entropy,
    Rejected,
    Step,
)
from rivven.security.authn.services import AuthenticationServices, Passwords

MESSAGE_BYTES_MAX = 16_384
"""A name of 256 and a password of 1,024 characters take less; so does every token."""


class PlainAuthenticator:
    """One conversation of one token."""

    def __init__(self, context: AuthContext, passwords: Passwords) -> None:
        self._context = context
        self._passwords = passwords
        self._over = False

    def step(self, token: bytes, now_ms: int) -> Step | Deferred:
        """Consume the only token there is."""
        if self._over:
            return Rejected("a token after the end of the conversation")
        self._over = True
        if not self._context.tls:
            return Rejected("PLAIN without TLS: the password was sent in the clear, change it")
        try:
            user, password = parse_message(token)
        except ValueError as error:
            return Rejected(str(error))
        host = self._context.host
        return Deferred(lambda: self._passwords.verify(user, password, host))


def parse_message(token: bytes) -> tuple[str, str]:
    """User and password. Raises ValueError for anything RFC 4616 does not allow, or acting as another."""
    if len(token) > MESSAGE_BYTES_MAX:
        raise ValueError("PLAIN: a message longer than any name and password")
    try:
        parts = token.decode().split("\0")
    except UnicodeDecodeError:
        raise ValueError("PLAIN: the message is not UTF-8") from None
    if len(parts) != 3:
        raise ValueError("PLAIN: [authzid] NUL user NUL password expected")
    authzid, user, password = parts
    if not user or not password:
        raise ValueError("PLAIN: user or password is empty")
    if authzid not in ("", user):
        raise ValueError("PLAIN: acting as another user is not supported")
    return user, password


def plain(context: AuthContext, credentials: Credentials, entropy: Entropy) -> Authenticator:
    """The factory of PLAIN."""
    assert isinstance(credentials, AuthenticationServices)
    return PlainAuthenticator(context, credentials.passwords)
