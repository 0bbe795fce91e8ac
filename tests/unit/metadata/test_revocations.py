"""Revocations: stored, replaced, forgotten after their end, and found by what a credential says of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rivven.errors import ErrorCode, RivvenError
from rivven.metadata import revocations
from rivven.metadata.broker_values import BrokerValues
from rivven.metadata.controller import MetadataMachine
from rivven.metadata.revocations import (
    CERTIFICATE_FINGERPRINT,
    CERTIFICATE_SERIAL,
    JWT_ID,
    JWT_SUBJECT,
    Revocation,
    Revocations,
    Revoke,
    TakeBack,
)
from rivven.metadata.token_records import TokenOrigin
from rivven.metadata.tokens import RevokeToken
from rivven.security.authn.authenticator import Credential
from tests.unit.metadata.token_world import issue

CERTIFICATE = Credential("certificate", "ab" * 32, issuer="CN=CA", subject="CN=shop", serial="a3f")
JWT = Credential("jwt", "id-1", issuer="https://issuer", subject="alice", issued_at_ms=1000)


class World:
    def __init__(self) -> None:
        self.machine = MetadataMachine(BrokerValues(1, {}), 1)

    def submit(self, command: Any, now_ms: int = 0) -> Any:
        outcome = self.machine.decide(command, 1, now_ms)
        for event in outcome.events:
            self.machine.apply(self.machine.decode(self.machine.encode(event)))
        return outcome.replies[0][1]

    @property
    def family(self) -> Revocations:
        return self.machine.image.of(Revocations)


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(
    ("entry", "credential"),
    [
        (Revocation(CERTIFICATE_FINGERPRINT, "ab" * 32), CERTIFICATE),
        (Revocation(CERTIFICATE_SERIAL, "a3f"), CERTIFICATE),
        (Revocation(CERTIFICATE_SERIAL, "a3f", "CN=CA"), CERTIFICATE),
        (Revocation(JWT_ID, "id-1"), JWT),
        (Revocation(JWT_ID, "id-1", "https://issuer"), JWT),
        (Revocation(JWT_SUBJECT, "alice", "https://issuer", 1001), JWT),
        (Revocation(JWT_SUBJECT, "alice", "https://issuer", 1), replace(JWT, issued_at_ms=None)),
    ],
)
def test_what_is_revoked_is_refused_and_can_be_taken_back(
    world: World, entry: Revocation, credential: Credential
) -> None:
    assert world.family.reason(credential) is None
    stored = world.submit(Revoke(replace(entry, reason="stolen")))
    assert "stolen" in str(world.family.reason(credential))
    assert world.family.version == world.machine.image.version == 1
    assert [one.id for one in world.family.entries()] == [stored.id]
    world.submit(TakeBack(stored.id))
    assert world.family.reason(credential) is None
    assert len(world.family) == 0


@pytest.mark.parametrize(
    "entry",
    [
        Revocation(CERTIFICATE_SERIAL, "a3f", "CN=Another CA"),
        Revocation(CERTIFICATE_SERIAL, "a3"),
        Revocation(JWT_ID, "id-1", "https://another"),
        Revocation(JWT_ID, "a3f"),
        Revocation(JWT_SUBJECT, "alice", "https://issuer", 1000),
        Revocation(JWT_SUBJECT, "bob", "https://issuer", 9999),
    ],
)
def test_others_are_not_meant(world: World, entry: Revocation) -> None:
    world.submit(Revoke(entry))
    assert world.family.reason(CERTIFICATE) is None
    assert world.family.reason(JWT) is None
    assert world.family.reason(Credential("password", "alice")) is None


@pytest.mark.parametrize(
    "entry",
    [
        Revocation("user", "alice"),
        Revocation(JWT_ID, ""),
        Revocation(JWT_ID, "x" * 3000),
        Revocation(JWT_SUBJECT, "alice", "https://issuer"),
        Revocation(JWT_SUBJECT, "alice", "", 1000),
        Revocation(JWT_ID, "id-1", "", 1000),
        Revocation(CERTIFICATE_FINGERPRINT, "ab" * 32, "CN=CA"),
        Revocation(CERTIFICATE_SERIAL, "A3F"),
    ],
)
def test_what_could_never_match_is_refused(world: World, entry: Revocation) -> None:
    with pytest.raises(RivvenError) as refused:
        world.submit(Revoke(entry))
    assert refused.value.code == ErrorCode.INVALID_REQUEST


def test_what_is_past_its_end_goes_with_the_next_change(world: World) -> None:
    world.submit(Revoke(Revocation(JWT_ID, "old", forget_after_ms=500)))
    world.submit(Revoke(Revocation(JWT_ID, "new", forget_after_ms=5000)), now_ms=499)
    assert len(world.family) == 2
    world.submit(Revoke(Revocation(JWT_ID, "newer")), now_ms=500)
    assert [one.value for one in world.family.entries()] == ["new", "newer"]


ORIGIN_JWT = TokenOrigin("jwt", "id-1", "https://issuer", "alice", issued_at_ms=1000)
ORIGIN_CERTIFICATE = TokenOrigin("certificate", "ab" * 32, "CN=CA", serial="a3f")


@pytest.mark.parametrize(
    ("entry", "origin"),
    [
        (Revocation(CERTIFICATE_FINGERPRINT, "ab" * 32, forget_after_ms=500), ORIGIN_CERTIFICATE),
        (Revocation(CERTIFICATE_SERIAL, "a3f", forget_after_ms=500), ORIGIN_CERTIFICATE),
        (Revocation(CERTIFICATE_SERIAL, "a3f", "CN=CA", forget_after_ms=500), ORIGIN_CERTIFICATE),
        (Revocation(JWT_ID, "id-1", forget_after_ms=500), ORIGIN_JWT),
        (Revocation(JWT_SUBJECT, "alice", "https://issuer", 1001, forget_after_ms=500), ORIGIN_JWT),
    ],
)
def test_an_entry_stays_while_a_token_made_under_that_identity_is_valid(
    world: World, entry: Revocation, origin: TokenOrigin
) -> None:
    """The certificate has ended by itself; what was made with it has not."""
    world.submit(issue("one", origin=origin), now_ms=0)
    world.submit(Revoke(entry))
    world.submit(Revoke(Revocation(JWT_ID, "a")), now_ms=600)
    assert world.family.reason(origin) is not None
    world.submit(RevokeToken("one"), now_ms=700)
    world.submit(Revoke(Revocation(JWT_ID, "b")), now_ms=800)
    assert world.family.reason(origin) is None


def test_the_same_again_replaces_even_after_its_end(world: World) -> None:
    first = world.submit(Revoke(Revocation(JWT_ID, "id-1", forget_after_ms=500)))
    second = world.submit(Revoke(Revocation(JWT_ID, "id-1", reason="again")), now_ms=600)
    assert first.id == second.id
    assert [one.reason for one in world.family.entries()] == ["again"]


def test_there_is_an_end_to_how_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "REVOCATIONS_MAX", 1)
    world.submit(Revoke(Revocation(JWT_ID, "a")))
    with pytest.raises(RivvenError) as refused:
        world.submit(Revoke(Revocation(JWT_ID, "b")))
    assert refused.value.code == ErrorCode.POLICY_VIOLATION
    world.submit(Revoke(Revocation(JWT_ID, "a", reason="the same is no other")))


def test_what_is_not_there_cannot_be_taken_back(world: World) -> None:
    with pytest.raises(RivvenError) as refused:
        world.submit(TakeBack("0" * 16))
    assert refused.value.code == ErrorCode.RESOURCE_NOT_FOUND


def test_a_snapshot_holds_everything(world: World) -> None:
    entries = [
        Revocation(JWT_SUBJECT, "alice", "https://issuer", 1000, "left", 7, 9000),
        Revocation(CERTIFICATE_SERIAL, "a3f"),
    ]
    for entry in entries:
        world.submit(Revoke(entry))
    copy = World()
    for event in world.machine.snapshot():
        copy.machine.apply(copy.machine.decode(copy.machine.encode(event)))
    assert list(copy.family.entries()) == entries
