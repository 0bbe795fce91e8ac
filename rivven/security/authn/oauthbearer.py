"""SASL OAUTHBEARER, the server's side (RFC 7628, KIP-255). Pure.

    client: gs2-header ^A auth=Bearer TOKEN ^A key=value ^A ... ^A        (^A is the byte 1)
    server: empty (welcome), or {"status":"invalid_token"} and, after the client's ^A, the refusal

Whose token it is and whether it is good is `bearer`'s. Every refused token gets the same answer; why goes to
the operator with the first one, as many clients hang up instead of acknowledging.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from rivven.security.authn.authenticator import (
    AuthContext,
    Authenticated,
    Authenticator,
    Challenge,
    Credentials,
    Deferred,
    Entropy,
    Rejected,
    Step,
)
from rivven.security.authn.bearer import BearerAuthentication
from rivven.security.authn.jwt_format import shown
from rivven.security.authn.jwt_verifier import Verdict

if TYPE_CHECKING:
    from rivven.security.authn.services import AuthenticationServices

MECHANISM = "OAUTHBEARER"

INVALID_TOKEN = '{"status":"invalid_token"}'  # noqa: S105 - what is sent instead of a welcome
"""RFC 7628 3.2.2; RFC 6750 3.1 has the name of the status."""

EXTENSIONS_MAX = 32
"""Key-value pairs of one message; clients send a handful."""

_ACKNOWLEDGEMENT = b"\x01"
_MESSAGE = re.compile(r"[ny],(?:a=(?P<authzid>[^,\x00-\x1f\x7f]+))?,\x01(?P<pairs>.*)\x01\x01", re.DOTALL)
_KEY = re.compile(r"[A-Za-z]+", re.ASCII)
_VALUE = re.compile(r"[\x21-\x7e \t\r\n]*", re.ASCII)
_BEARER = re.compile(r"(?i:bearer) +(?P<token>[A-Za-z0-9._~+/-]+=*)", re.ASCII)


class MalformedMessage(ValueError):
    """A first message that is not RFC 7628's."""


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """What a client's first message says. Extensions are checked for their form and otherwise ignored."""

    token: str = field(repr=False)
    authzid: str | None = None


def parse_message(data: bytes) -> ClientMessage:
    """Parse the first message. Raises MalformedMessage, whose text never holds the token."""
    try:
        match = _MESSAGE.fullmatch(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise MalformedMessage("not UTF-8") from None
    if match is None:
        raise MalformedMessage("not the form of RFC 7628 3.1")
    pairs = match["pairs"].split("\x01")
    if len(pairs) > EXTENSIONS_MAX:
        raise MalformedMessage(f"more than {EXTENSIONS_MAX} pairs")
    values: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not _KEY.fullmatch(key) or not _VALUE.fullmatch(value) or key in values:
            raise MalformedMessage("a pair that is malformed or given twice")
        values[key] = value
    bearer = _BEARER.fullmatch(values.get("auth", ""))
    if bearer is None:
        raise MalformedMessage("auth is missing or not a bearer token")
    return ClientMessage(bearer["token"], _authzid(match["authzid"]))


def _authzid(text: str | None) -> str | None:
    """The saslname unescaped (RFC 5801 4)."""
    if text is None:
        return None
    if re.search(r"=(?!2C|3D)", text):
        raise MalformedMessage("the authorisation identity is not escaped as it must be")
    return text.replace("=2C", ",").replace("=3D", "=")


class OAuthBearerAuthenticator:
    """One conversation: the token, and after a bad one the client's acknowledgement."""

    def __init__(self, bearer: BearerAuthentication, context: AuthContext) -> None:
        self._bearer = bearer
        self._context = context
        self._begun = False
        self._failure: str | None = None

    def step(self, token: bytes, now_ms: int) -> Step | Deferred:
        """Consume the first message, then at most the acknowledgement of its refusal."""
        if self._begun:
            return self._end(token)
        self._begun = True
        if not self._context.tls:
            return Rejected("a bearer token on a connection without TLS (RFC 7628 4)")
        try:
            message = parse_message(token)
        except MalformedMessage as error:
            return Rejected(f"{MECHANISM} message: {error}")
        return self._bearer.verify(
            message.token, self._context.host, now_ms, lambda verdict: self._conclude(verdict, message)
        )

    def _conclude(self, verdict: Verdict, message: ClientMessage) -> Step:
        if isinstance(verdict, Authenticated):
            name = verdict.principal.name
            if message.authzid in (None, name):
                return verdict
            verdict = Rejected(f"authorisation identity {shown(message.authzid)} is not the principal {name}")
        self._failure = verdict.reason
        return Challenge(INVALID_TOKEN.encode(), failure=verdict.reason)

    def _end(self, token: bytes) -> Step:
        failure, self._failure = self._failure, None
        if failure is None or token != _ACKNOWLEDGEMENT:
            return Rejected("a token after the end of the conversation")
        return Rejected(failure, text=INVALID_TOKEN, reported=True)


def oauthbearer(context: AuthContext, credentials: Credentials, entropy: Entropy) -> Authenticator:
    """The factory of OAUTHBEARER; `credentials` are the broker's own `AuthenticationServices`."""
    services = cast("AuthenticationServices", credentials)
    return OAuthBearerAuthenticator(services.bearer, context)
