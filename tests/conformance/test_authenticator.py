"""What every authenticator must keep to, whatever it speaks. A new one adds a row to MECHANISMS."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rivven.protocol import scram
from rivven.protocol.scram import ScramMechanism
from rivven.security.authn.authenticator import (
    AuthContext,
    Authenticated,
    Authenticator,
    Challenge,
    Deferred,
    Rejected,
    Step,
)
from rivven.security.authn.credentials import Shape
from rivven.security.authn.sasl import SaslExchange, SaslState
from rivven.security.authn.sources import AUTHENTICATORS, load_authenticators
from rivven.testing.canary import leaks
from rivven.types import Principal
from tests.unit.security.authn.directory import Store, Stored, services

USER, PASSWORD = "alice", "canary-Pa55word"
CONTEXT = AuthContext("main", "10.0.0.1", True)
VERIFIERS = {
    mechanism: scram.derive_verifier(mechanism, PASSWORD, b"s" * 32, 4096) for mechanism in ScramMechanism
}


STORE = Store(Stored(USER, verifiers=tuple(VERIFIERS.values())))
CREDENTIALS = services(STORE, shapes=(Shape(4096, 32),))


class ScramClient:
    """Speaks the client's side; `answer(None)` begins."""

    def __init__(self, mechanism: ScramMechanism, user: str, password: str) -> None:
        self._mechanism, self._password = mechanism, password
        self._first = scram.client_first(user, "clientnonce")

    def answer(self, token: bytes | None) -> bytes:
        if token is None:
            return self._first.message
        challenge = scram.parse_server_first(token, self._first)
        return scram.client_final(self._mechanism, self._password, self._first, challenge)[0]


class PlainClient:
    """Says everything at once."""

    def __init__(self, user: str, password: str) -> None:
        self._message = f"\0{user}\0{password}".encode()

    def answer(self, token: bytes | None) -> bytes:
        return self._message


class Awaited:
    """An authenticator whose deferred steps are waited for."""

    def __init__(self, inner: Authenticator) -> None:
        self._inner = inner

    def step(self, token: bytes, now_ms: int) -> Step:
        return awaited(self._inner.step(token, now_ms))

    def __repr__(self) -> str:
        return repr(self._inner)


def awaited(step: Step | Deferred) -> Step:
    async def outcome(deferred: Deferred) -> Step:
        return await deferred.outcome()

    return asyncio.run(outcome(step)) if isinstance(step, Deferred) else step


@dataclass(frozen=True)
class Mechanism:
    """A mechanism and how to log in with it; `tokens` is how many the client sends."""

    name: str
    client: Callable[[str, str], ScramClient | PlainClient]
    tokens: int

    def begin(self) -> Awaited:
        return Awaited(load_authenticators([self.name])[self.name](CONTEXT, CREDENTIALS, os.urandom))


MECHANISMS = [
    Mechanism("PLAIN", PlainClient, 1),
    *(
        Mechanism(one.value, lambda user, password, one=one: ScramClient(one, user, password), 2)  # type: ignore[misc]
        for one in ScramMechanism
    ),
]
every = pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda one: one.name)


def converse(authenticator: Awaited, client: ScramClient | PlainClient) -> list[Step]:
    steps: list[Step] = [authenticator.step(client.answer(None), 0)]
    while isinstance(steps[-1], Challenge):
        steps.append(authenticator.step(client.answer(steps[-1].token), 0))
        assert len(steps) < 10
    return steps


def test_every_built_in_mechanism_is_tested_here() -> None:
    tested_alone = {"OAUTHBEARER"}  # its client has no password: unit/security/authn/test_oauthbearer.py
    assert {one.name for one in MECHANISMS} == set(AUTHENTICATORS.names()) - tested_alone


@every
def test_the_right_secret_gives_the_principal(mechanism: Mechanism) -> None:
    last = converse(mechanism.begin(), mechanism.client(USER, PASSWORD))[-1]
    assert isinstance(last, Authenticated)
    assert last.principal == Principal("User", USER)


@every
@pytest.mark.parametrize(("user", "password"), [(USER, "wrong"), ("mallory", PASSWORD), ("mallory", "x")])
def test_wrong_secret_and_unknown_user_take_the_same_steps(
    mechanism: Mechanism, user: str, password: str
) -> None:
    steps = converse(mechanism.begin(), mechanism.client(user, password))
    good = converse(mechanism.begin(), mechanism.client(USER, PASSWORD))
    assert [type(step) for step in steps[:-1]] == [type(step) for step in good[:-1]]
    assert isinstance(steps[-1], Rejected)
    lengths = [len(step.token) for step in steps[:-1]]
    assert lengths == [len(step.token) for step in good[:-1]]


@every
def test_the_end_is_the_end(mechanism: Mechanism) -> None:
    for password in (PASSWORD, "wrong"):
        authenticator, client = mechanism.begin(), mechanism.client(USER, password)
        converse(authenticator, client)
        assert isinstance(authenticator.step(client.answer(None), 0), Rejected)
        assert isinstance(authenticator.step(b"", 0), Rejected)


@pytest.mark.parametrize(
    "mechanism", [one for one in MECHANISMS if one.tokens > 1], ids=lambda one: one.name
)  # a password in the clear can be said again: TLS has to hide it
def test_tokens_of_one_conversation_are_worth_nothing_in_another(mechanism: Mechanism) -> None:
    sent: list[bytes] = []
    authenticator, client = mechanism.begin(), mechanism.client(USER, PASSWORD)
    step: Step = Challenge(b"")
    token: bytes | None = None
    while isinstance(step, Challenge):
        sent.append(client.answer(token))
        step = authenticator.step(sent[-1], 0)
        token = step.token
    assert isinstance(step, Authenticated)
    replay = mechanism.begin()
    assert not any(isinstance(replay.step(one, 0), Authenticated) for one in sent)


@every
@settings(max_examples=150)
@given(tokens=st.lists(st.binary(max_size=300) | st.text(max_size=100).map(str.encode), max_size=5))
def test_random_tokens_are_never_an_error_nor_a_login(mechanism: Mechanism, tokens: list[bytes]) -> None:
    authenticator = mechanism.begin()
    for token in tokens:
        assert isinstance(authenticator.step(token, 0), Challenge | Rejected)


@every
@settings(max_examples=150)
@given(position=st.integers(0, 2**16), change=st.integers(1, 255), which=st.integers(0, 1))
def test_a_damaged_token_is_never_a_login(
    mechanism: Mechanism, position: int, change: int, which: int
) -> None:
    """Except for the bytes of a name or nonce that the peer chooses itself and signs later."""
    authenticator, client = mechanism.begin(), mechanism.client(USER, PASSWORD)
    step: Step = Challenge(b"")
    answer: bytes | None = None
    which = min(which, mechanism.tokens - 1)
    for number in range(2):
        token = bytearray(client.answer(answer))
        if number == which:
            token[position % len(token)] ^= change
        step = authenticator.step(bytes(token), 0)
        if not isinstance(step, Challenge):
            break
        answer = step.token
        if number == 0 and which == 0 and not answer.startswith(b"r=clientnonce"):
            break
    assert not isinstance(step, Authenticated)


@every
def test_no_secret_in_any_repr_or_reason(mechanism: Mechanism) -> None:
    outputs: dict[str, str] = {}
    for password in (PASSWORD, "wrong-canary"):
        authenticator = mechanism.begin()
        steps = converse(authenticator, mechanism.client(USER, password))
        outputs[f"steps {password}"] = repr(steps)
        outputs[f"authenticator {password}"] = repr(authenticator)
    outputs["verifiers"] = repr(VERIFIERS)
    secrets: list[str | bytes] = [PASSWORD, "wrong-canary", b"k" * 32]
    for verifier in VERIFIERS.values():
        secrets += [verifier.stored_key, verifier.server_key]
    assert leaks(secrets, outputs) == []


@every
def test_through_the_exchange_of_a_connection(mechanism: Mechanism) -> None:
    sasl = SaslExchange(
        [mechanism.name], load_authenticators([mechanism.name]), CONTEXT, CREDENTIALS, os.urandom
    )
    assert sasl.handshake(mechanism.name, 0)[0] == 0
    client = mechanism.client(USER, PASSWORD)
    step: Step = Challenge(b"")
    token: bytes | None = None
    while isinstance(step, Challenge):
        deferred = sasl.authenticate(client.answer(token), 0)
        step = sasl.conclude(awaited(deferred), 0) if isinstance(deferred, Deferred) else deferred
        token = step.token
    assert sasl.state is SaslState.AUTHENTICATED
    assert sasl.session is not None
    assert sasl.session.principal == Principal("User", USER)
