"""The SASL APIs: the client hears one text, the log the reason, and the connection ends when it must."""

import logging
import random
from typing import Any

import pytest

from rivven.api.authentication import AuthenticationHandlers, VersionsHandler
from rivven.api.session import Session
from rivven.errors import ErrorCode as E
from rivven.protocol import messages as m
from rivven.protocol.exceptions import ProtocolError
from rivven.protocol.scram import (
    ScramMechanism,
    client_final,
    client_first,
    derive_verifier,
    parse_server_first,
)
from rivven.protocol.versions import ApiVersionsAnswers
from rivven.security.admission import Admission
from rivven.security.authn.authenticator import AuthContext, Authenticated
from rivven.security.authn.sasl import SaslExchange
from rivven.security.authn.sources import load_authenticators
from rivven.types import Principal
from tests.unit.api.requests import LISTENER, context
from tests.unit.replication.data_plane import NOW_MS, StillClock

NAME = "SCRAM-SHA-256"
VERIFIER = derive_verifier(ScramMechanism.SCRAM_SHA_256, "secret", b"salt" * 4, 4096)


class Users:
    """Only alice."""

    def scram_verifier(self, user: str, mechanism: ScramMechanism) -> Any:
        return VERIFIER if user == "alice" else None

    def decoy_verifier(self, user: str, mechanism: ScramMechanism) -> Any:
        return derive_verifier(mechanism, "no one's", b"fake" * 4, 4096)

    def identity(self, user: str) -> Any:
        return Authenticated(Principal("User", user)) if user == "alice" else None


class Heard:
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def authenticated(self, mechanism: str) -> None:
        self.events.append(("yes", mechanism))

    def authentication_failed(self, mechanism: str) -> None:
        self.events.append(("no", mechanism))


class World:
    """One connection's conversation."""

    def __init__(self, *, max_reauth_ms: int = 0) -> None:
        self.heard = Heard()
        admission = Admission(
            max_connections=10,
            max_connections_per_ip=10,
            handshake_timeout_s=1,
            authentication_timeout_s=1,
            failure_delay_s=0,
        )
        self.handlers = AuthenticationHandlers(admission, StillClock(), self.heard)
        exchange = SaslExchange(
            [NAME],
            load_authenticators({NAME}),
            AuthContext(listener="main", host="10.0.0.1", tls=True),
            Users(),  # type: ignore[arg-type]
            random.Random(1).randbytes,
            max_reauth_ms=max_reauth_ms,
        )
        self.session = Session(LISTENER, "10.0.0.1", exchange)

    def context(self, version: int) -> Any:
        made = context(version)
        made.session = self.session
        return made

    async def handshake(self, mechanism: str = NAME, version: int = 1) -> Any:
        request = m.SaslHandshakeRequest(mechanism=mechanism)
        return await self.handlers.sasl_handshake(self.context(version), request)

    async def token(self, token: bytes) -> Any:
        request = m.SaslAuthenticateRequest(auth_bytes=token)
        return await self.handlers.sasl_authenticate(self.context(2), request)

    async def login(self, user: str, password: str) -> Any:
        await self.handshake()
        first = client_first(user, "nonce")
        challenge = parse_server_first((await self.token(f"n,,{first.bare}".encode())).auth_bytes, first)
        return await self.token(client_final(ScramMechanism.SCRAM_SHA_256, password, first, challenge)[0])


async def test_a_login_gives_the_session_its_identity() -> None:
    world = World(max_reauth_ms=60_000)
    answer = await world.login("alice", "secret")
    assert answer.error_code == 0
    assert 54_000 <= answer.session_lifetime_ms <= 60_000
    assert world.session.subject is not None
    assert str(world.session.subject.principal) == "User:alice"
    assert world.session.expires_at_ms == NOW_MS + answer.session_lifetime_ms
    assert world.heard.events == [("yes", NAME)]
    assert world.session.closing == ""


@pytest.mark.parametrize("user", ["alice", "bob"])
async def test_a_refusal_says_the_same_whoever_asks(user: str, caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    with caplog.at_level(logging.WARNING):
        answer = await world.login(user, "letmein")
    assert answer.error_code == E.SASL_AUTHENTICATION_FAILED
    assert answer.error_message == f"Authentication failed: invalid credentials with SASL mechanism {NAME}"
    assert world.session.closing
    assert not world.session.authenticated
    assert world.heard.events == [("no", NAME)]
    assert "10.0.0.1" in caplog.text
    assert "letmein" not in caplog.text


async def test_bare_tokens_have_no_words_for_a_refusal() -> None:
    world = World()
    await world.handshake(version=0)
    assert world.session.expects_raw_token
    with pytest.raises(ProtocolError):
        await world.handlers.raw_token(world.session, b"rubbish")
    assert world.heard.events == [("no", NAME)]


async def test_an_unknown_mechanism_ends_the_connection_after_its_answer() -> None:
    world = World()
    answer = await world.handshake("GSSAPI")
    assert (answer.error_code, answer.mechanisms) == (E.UNSUPPORTED_SASL_MECHANISM, [NAME])
    assert world.session.closing
    assert world.heard.events == [("no", "unknown")], "what a stranger wrote is no label of a metric"


async def test_sasl_where_there_is_none() -> None:
    world = World()
    world.session = Session(LISTENER, "10.0.0.1", None)
    assert (await world.handshake()).error_code == E.ILLEGAL_SASL_STATE
    assert (await world.token(b"x")).error_code == E.ILLEGAL_SASL_STATE
    assert world.session.closing


@pytest.mark.parametrize(
    ("name", "version", "kept"), [("librdkafka", "2.12", "librdkafka/2.12"), ("a b", "1", ""), ("", "", "")]
)
async def test_the_clients_software_is_remembered_if_it_is_a_name(name: str, version: str, kept: str) -> None:
    asked = context(3)
    request = m.ApiVersionsRequest(client_software_name=name, client_software_version=version)
    await VersionsHandler(ApiVersionsAnswers({18: (0, 4)})).api_versions(asked, request)
    assert asked.session.client_software == kept
