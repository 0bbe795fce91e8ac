"""SCRAM with ``tokenauth=true``: a token's id and secret take a user's path, and nothing tells them apart."""

from __future__ import annotations

import random
from base64 import b64encode
from typing import Any

import pytest

from rivven.protocol import scram
from rivven.protocol.scram import ScramMechanism
from rivven.security.authn.authenticator import Authenticated, Challenge, Rejected
from rivven.security.authn.scram import ScramAuthenticator, TokenLogins
from tests.unit.security.authn.test_tokens import NOW, Store, stored


class NoUsers:
    """Nobody has a password."""

    def scram_verifier(self, user: str, mechanism: ScramMechanism) -> None:
        return None

    def decoy_verifier(self, user: str, mechanism: ScramMechanism) -> Any:
        raise AssertionError("a login with tokenauth asked about users")

    def identity(self, user: str) -> None:
        return None


def login(
    store: Store | None,
    name: str,
    secret: bytes,
    mechanism: ScramMechanism = ScramMechanism.SCRAM_SHA_256,
    meanwhile: Any = None,
) -> Authenticated | Rejected:
    """The whole conversation; `meanwhile` happens between challenge and proof."""
    tokens = TokenLogins(mechanism, store.authentication, "10.0.0.1") if store is not None else None
    server = ScramAuthenticator(mechanism, NoUsers(), random.Random(1).randbytes, tokens)
    first = scram.client_first(name, "nonce-of-the-client", token_auth=True)
    challenge = server.step(first.message, NOW)
    if isinstance(challenge, Rejected):
        return challenge
    assert isinstance(challenge, Challenge)
    if meanwhile is not None:
        meanwhile()
    answer = scram.parse_server_first(challenge.token, first)
    final, expected = scram.client_final(mechanism, b64encode(secret).decode(), first, answer)
    result = server.step(final, NOW)
    assert isinstance(result, Authenticated | Rejected)
    if isinstance(result, Authenticated):
        scram.verify_server_final(result.token, expected)
    return result


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.mark.parametrize("mechanism", list(ScramMechanism))
def test_the_secret_of_a_token_proves_its_owner(store: Store, mechanism: ScramMechanism) -> None:
    new = store.make(scope=("role:producer",))
    result = login(store, new.token_id, new.secret, mechanism)
    assert isinstance(result, Authenticated)
    assert str(result.principal) == "User:alice"
    assert (result.credential.kind, result.credential.id) == ("token", new.token_id)
    assert (result.expires_at_ms, result.scope) == (NOW + 1000, ("role:producer",))


def test_both_secrets_of_a_rotation_with_overlap(store: Store) -> None:
    new = store.make()
    current = store.tokens[new.token_id].secret
    later = b"l" * 32
    store.change(new, secret=stored(later), version=2, previous=current, previous_until_ms=NOW + 10)
    old, fresh = login(store, new.token_id, new.secret), login(store, new.token_id, later)
    assert isinstance(old, Authenticated)
    assert isinstance(fresh, Authenticated)
    assert (old.credential.version, old.expires_at_ms) == (1, NOW + 10)
    assert (fresh.credential.version, fresh.expires_at_ms) == (2, NOW + 1000)
    store.change(new, previous_until_ms=NOW)
    assert isinstance(login(store, new.token_id, new.secret), Rejected)


def test_what_is_wrong_is_told_to_the_operator_only(store: Store) -> None:
    new, ended = store.make(), store.make(revoked_at_ms=NOW)
    reasons = []
    for name, secret in [
        (new.token_id, b"w" * 32),
        (ended.token_id, ended.secret),
        ("abcdefghijkl2345", b"w" * 32),
        ("alice", b"w" * 32),
    ]:
        result = login(store, name, secret)
        assert isinstance(result, Rejected)
        assert (result.token, result.text) == (b"", "")
        reasons.append(result.reason)
    assert reasons[0] == f"client-final: wrong proof (API token '{new.token_id}')"
    assert reasons[1] == f"client-final: wrong proof (unknown API token '{ended.token_id}')"
    assert store.uses == []


def test_a_token_taken_away_during_the_login_does_not_get_in(store: Store) -> None:
    new = store.make()

    def rotate() -> None:
        store.change(new, secret=stored(b"n" * 32), version=2)

    rotated = login(store, new.token_id, new.secret, meanwhile=rotate)
    assert isinstance(rotated, Rejected)
    other = store.make()
    revoked = login(
        store, other.token_id, other.secret, meanwhile=lambda: store.change(other, revoked_at_ms=NOW)
    )
    assert isinstance(revoked, Rejected)
    assert "is revoked" in revoked.reason


def test_without_tokens_they_are_refused() -> None:
    result = login(None, "abcdefghijkl2345", b"w" * 32)
    assert isinstance(result, Rejected)
    assert result.reason == "client-first: tokens are not accepted here"
