"""SASL PLAIN: the one message, and never without TLS."""

from __future__ import annotations

import os

import pytest

from rivven.protocol.scram import ScramMechanism, derive_verifier
from rivven.security.authn.authenticator import (
    AuthContext,
    Authenticated,
    Credential,
    Deferred,
    Rejected,
    Step,
)
from rivven.security.authn.plain import MESSAGE_BYTES_MAX, parse_message, plain
from tests.unit.security.authn.directory import Store, Stored, services

VERIFIER = derive_verifier(ScramMechanism.SCRAM_SHA_256, "correct", b"salt" * 8, 4096)
SERVICES = services(Store(Stored("ann", groups=("dev",), verifiers=(VERIFIER,))))
INSIDE, OPEN = AuthContext("main", "10.0.0.1", True), AuthContext("main", "10.0.0.1", False)


async def login(token: bytes, context: AuthContext = INSIDE) -> Step:
    step = plain(context, SERVICES, os.urandom).step(token, 0)
    return await step.outcome() if isinstance(step, Deferred) else step


@pytest.mark.parametrize("token", [b"\0ann\0correct", b"ann\0ann\0correct"])
async def test_the_right_password_gives_the_user_with_its_groups(token: bytes) -> None:
    step = await login(token)
    assert isinstance(step, Authenticated)
    assert (str(step.principal), step.groups) == ("User:ann", ("dev",))
    assert step.credential == Credential("password", "ann", 2)


@pytest.mark.parametrize("token", [b"\0ann\0wrong", b"\0bob\0correct", b"\0ann\0correct "])
async def test_a_wrong_one_gives_nothing(token: bytes) -> None:
    assert isinstance(await login(token), Rejected)


async def test_without_tls_the_password_is_not_even_looked_at() -> None:
    derivations = SERVICES.passwords.derivations
    step = await login(b"\0ann\0correct", OPEN)
    assert step == Rejected("PLAIN without TLS: the password was sent in the clear, change it")
    assert SERVICES.passwords.derivations == derivations


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (b"", "user NUL password expected"),
        (b"ann\0correct", "user NUL password expected"),
        (b"\0ann\0correct\0", "user NUL password expected"),
        (b"\0\0correct", "empty"),
        (b"\0ann\0", "empty"),
        (b"bob\0ann\0correct", "acting as another user"),
        (b"\0ann\0\xff\xfe", "not UTF-8"),
        (b"\0ann\0" + b"x" * MESSAGE_BYTES_MAX, "longer than"),
    ],
)
def test_messages_that_are_none(token: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        parse_message(token)
    assert "correct" not in str(refused.value)


async def test_there_is_one_message() -> None:
    authenticator = plain(INSIDE, SERVICES, os.urandom)
    assert isinstance(authenticator.step(b"\0ann\0wrong", 0), Deferred)
    assert isinstance(authenticator.step(b"\0ann\0correct", 0), Rejected)
