"""What a token proves, to whom, from where and how long; and that all refusals are one to the peer."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import pytest

from rivven.metadata.token_records import Token, TokenOrigin, TokenSecret
from rivven.protocol.scram import ScramMechanism
from rivven.security.authn.authenticator import Authenticated, Credential, Rejected
from rivven.security.authn.token_text import NewToken, TokenHashKey, TokenHashKeys, new_token, token_verifiers
from rivven.security.authn.tokens import TokenAuthentication, canonical_range, in_ranges
from rivven.types import Principal

NOW = 1_700_000_000_000
KEY = TokenHashKey(b"k" * 32)
SALT = b"s" * 32
SHA_256 = ScramMechanism.SCRAM_SHA_256


@dataclass
class User:
    enabled: bool = True
    groups: tuple[str, ...] = ("staff",)


class Store:
    """Tokens and users; also notes uses."""

    def __init__(self) -> None:
        self.tokens: dict[str, Token] = {}
        self.users: dict[str, User] = {"alice": User()}
        self.uses: list[tuple[str, int, str]] = []
        self.keys = TokenHashKeys(b"k" * 32)
        self.authentication = TokenAuthentication(
            lambda: self, _Users(self.users), self.keys, lambda *use: self.uses.append(use)
        )

    def find(self, token_id: str) -> Token | None:
        return self.tokens.get(token_id)

    def make(self, *, key: TokenHashKey = KEY, **changes: Any) -> NewToken:
        new = new_token(os.urandom)
        values: dict[str, Any] = {
            "owner": Principal("User", "alice"),
            "creator": Principal("User", "alice"),
            "label": "",
            "issued_at_ms": NOW,
            "expires_at_ms": NOW + 1000,
            "max_expires_at_ms": NOW + 1000,
            "local_owner": True,
        }
        secret = stored(new.secret, key)
        self.tokens[new.token_id] = Token(new.token_id, secret=secret, **(values | changes))
        return new

    def change(self, new: NewToken, **changes: Any) -> None:
        self.tokens[new.token_id] = replace(self.tokens[new.token_id], **changes)

    def verify(self, text: str, host: str = "10.1.2.3", now_ms: int = NOW) -> Authenticated | Rejected:
        return self.authentication.verify(text, host=host, now_ms=now_ms)

    def accepted(self, text: str, **where: Any) -> Authenticated:
        result = self.verify(text, **where)
        assert isinstance(result, Authenticated), result
        return result

    def refused(self, text: str, **where: Any) -> str:
        result = self.verify(text, **where)
        assert isinstance(result, Rejected)
        assert (result.token, result.text) == (b"", ""), "the peer hears what everybody hears"
        return result.reason


class _Users:
    def __init__(self, users: dict[str, User]) -> None:
        self._users = users

    def find(self, name: str) -> User | None:
        return self._users.get(name)


def stored(secret: bytes, key: TokenHashKey = KEY) -> TokenSecret:
    return TokenSecret(key.digest(secret), key.key_id, token_verifiers(secret, SALT))


@pytest.fixture
def store() -> Store:
    return Store()


def test_a_token_acts_as_its_owner(store: Store) -> None:
    new = store.make(scope=("topic:orders:produce",))
    assert store.accepted(new.text) == Authenticated(
        Principal("User", "alice"),
        expires_at_ms=NOW + 1000,
        groups=("staff",),
        credential=Credential("token", new.token_id, 1),
        scope=("topic:orders:produce",),
    )
    assert store.uses == [(new.token_id, NOW, "10.1.2.3")]


def test_an_owner_of_another_source_has_no_local_groups(store: Store) -> None:
    new = store.make(owner=Principal("User", "idp-bob"), local_owner=False)
    assert store.accepted(new.text).groups == ()


def test_refusals_are_precise_for_the_operator_and_leave_no_use(store: Store) -> None:
    new = store.make()
    other = new_token(os.urandom)
    assert store.refused("password").startswith("malformed API token: a token begins with rvn_")
    assert "checksum" in store.refused(new.text[:-1] + ("a" if new.text[-1] != "a" else "b"))
    assert store.refused(other.text) == f"unknown API token {other.token_id}"
    forged = NewToken(new.token_id, other.secret).text
    assert store.refused(forged) == f"wrong secret of API token {new.token_id}"
    what = f"API token {new.token_id} of User:alice"
    assert store.refused(new.text, now_ms=NOW + 1000) == f"{what} is expired"
    store.change(new, allowed_cidrs=("10.0.0.0/8",))
    assert store.refused(new.text, host="192.168.0.1") == f"{what} is not allowed from 192.168.0.1"
    store.users["alice"].enabled = False
    assert store.refused(new.text) == f"{what}: its owner was disabled"
    del store.users["alice"]
    assert store.refused(new.text) == f"{what}: its owner was deleted"
    store.change(new, revoked_at_ms=NOW)
    assert store.refused(new.text) == f"{what} is revoked"
    assert store.uses == []


def test_a_wrong_secret_learns_nothing_about_the_token(store: Store) -> None:
    """State and address are judged after the secret: else a stranger could probe them by the log's reader."""
    new = store.make(revoked_at_ms=NOW)
    forged = NewToken(new.token_id, b"f" * 32).text
    assert store.refused(forged).startswith("wrong secret")


def test_another_hash_key_is_told_from_a_wrong_secret(store: Store) -> None:
    new = store.make(key=TokenHashKey(b"o" * 32))
    assert "token-hash.key" in store.refused(new.text)


def test_a_token_of_an_older_key_counts_while_that_is_kept(store: Store) -> None:
    new = store.make()
    unknown = store.authentication.decoy_verifier("unknownid", ScramMechanism.SCRAM_SHA_256)
    store.keys.replace(b"n" * 32 + b"k" * 32)
    assert isinstance(store.authentication.verify(new.text, host="10.0.0.1", now_ms=NOW), Authenticated)
    assert store.authentication.decoy_verifier("unknownid", ScramMechanism.SCRAM_SHA_256) == unknown
    forged = NewToken(new.token_id, b"f" * 32).text
    assert store.refused(forged).startswith("wrong secret")
    store.keys.replace(b"n" * 32)
    assert "token-hash.key" in store.refused(new.text)


def test_a_refusal_never_repeats_the_secret(store: Store) -> None:
    new = store.make(expires_at_ms=NOW)
    for text in (new.text, new.text[:-1], new.text + "x"):
        assert new.text[20:60] not in store.refused(text)


def test_the_secret_before_a_rotation_ends_with_the_overlap(store: Store) -> None:
    new = store.make()
    later = new_token(os.urandom)
    secret = store.tokens[new.token_id].secret
    store.change(new, secret=stored(later.secret), version=2, previous=secret, previous_until_ms=NOW + 500)
    old = store.accepted(new.text)
    assert (old.credential.version, old.expires_at_ms) == (1, NOW + 500)
    fresh = store.accepted(NewToken(new.token_id, later.secret).text)
    assert (fresh.credential.version, fresh.expires_at_ms) == (2, NOW + 1000)
    assert store.refused(new.text, now_ms=NOW + 500).startswith("wrong secret")


# -- SCRAM with tokenauth=true -------------------------------------------------------------------------------


def test_scram_offers_the_verifiers_of_a_valid_token_only(store: Store) -> None:
    new = store.make()
    verifiers = store.authentication.scram_verifiers(new.token_id, SHA_256, NOW)
    assert verifiers == [store.tokens[new.token_id].secret.verifier(SHA_256)]
    assert store.authentication.scram_verifiers(new.token_id, SHA_256, NOW + 1000) == []
    assert store.authentication.scram_verifiers("no-such", SHA_256, NOW) == []


def test_an_unknown_id_looks_like_a_known_one(store: Store) -> None:
    new = store.make()
    (known,) = store.authentication.scram_verifiers(new.token_id, SHA_256, NOW)
    decoy = store.authentication.decoy_verifier("abcdefghijkl2345", SHA_256)
    assert decoy == store.authentication.decoy_verifier("abcdefghijkl2345", SHA_256)
    assert decoy != store.authentication.decoy_verifier("abcdefghijkl2346", SHA_256)
    assert (decoy.iterations, len(decoy.salt)) == (known.iterations, len(known.salt))


def test_what_was_proved_is_judged_as_of_now(store: Store) -> None:
    new = store.make(allowed_cidrs=("10.0.0.0/8",))
    (verifier,) = store.authentication.scram_verifiers(new.token_id, SHA_256, NOW)

    def proved(host: str = "10.0.0.1") -> Authenticated | Rejected:
        return store.authentication.proved(new.token_id, verifier, host=host, now_ms=NOW)

    assert isinstance(proved(), Authenticated)
    assert isinstance(proved("11.0.0.1"), Rejected)
    store.change(new, secret=stored(b"n" * 32), version=2)
    rotated = proved()
    assert isinstance(rotated, Rejected)
    assert "rotated during the login" in rotated.reason
    store.tokens.clear()
    assert isinstance(proved(), Rejected)


# -- live sessions -------------------------------------------------------------------------------------------


def test_sessions_end_with_what_they_rest_on(store: Store) -> None:
    new = store.make()
    credential = store.accepted(new.text).credential

    def problem(groups: tuple[str, ...] = ("staff",), now_ms: int = NOW) -> str | None:
        return store.authentication.no_longer_valid(credential, groups, now_ms)

    assert problem() is None
    assert problem(groups=("staff", "admins")) == "the API token's owner was taken out of a group"
    assert problem(now_ms=NOW + 1000) == "the API token is expired"
    store.users["alice"].enabled = False
    assert problem() == "the API token: its owner was disabled"
    store.users["alice"].enabled = True
    secret = store.tokens[new.token_id].secret
    store.change(new, secret=stored(b"n" * 32), version=2, previous=secret, previous_until_ms=NOW + 10)
    assert problem() is None
    assert problem(now_ms=NOW + 10) == "the API token was rotated"
    store.change(new, revoked_at_ms=NOW)
    assert problem() == "the API token is revoked"
    store.tokens.clear()
    assert problem() == "the API token is no more"


CAROL = Principal("User", "idp-carol")
ORIGINS = [
    TokenOrigin("jwt", "id-1", "https://issuer", "carol", issued_at_ms=5),
    TokenOrigin("certificate", "ab" * 32, "CN=CA", serial="a3f"),
]


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_token_counts_while_the_identity_it_was_made_under_does(store: Store, origin: TokenOrigin) -> None:
    new = store.make(owner=CAROL, creator=CAROL, local_owner=False, origin=origin)
    asked: list[Credential] = []
    problem: list[str] = []

    def judge(credential: Credential) -> str | None:
        asked.append(credential)
        return problem[0] if problem else None

    store.authentication.origins[origin.kind] = judge
    session = store.accepted(new.text).credential
    assert store.authentication.no_longer_valid(session, (), NOW) is None
    expected = Credential(
        origin.kind,
        origin.id,
        issuer=origin.issuer,
        subject=origin.subject,
        issued_at_ms=origin.issued_at_ms,
        serial=origin.serial,
    )
    assert asked == [expected] * 2
    problem.append("revoked: it")
    why = f"made with a {origin.kind}: revoked: it"
    assert store.refused(new.text) == f"API token {new.token_id} of {CAROL}: {why}"
    assert store.authentication.no_longer_valid(session, (), NOW) == f"the API token: {why}"
    [verifier] = store.authentication.scram_verifiers(new.token_id, SHA_256, NOW)
    proved = store.authentication.proved(new.token_id, verifier, host="10.1.2.3", now_ms=NOW)
    assert isinstance(proved, Rejected)


def test_an_origin_that_nobody_can_judge_is_refused(store: Store) -> None:
    new = store.make(owner=CAROL, creator=CAROL, local_owner=False, origin=ORIGINS[1])
    assert store.refused(new.text).endswith("made with a certificate, and none is accepted here")


def test_a_local_user_does_not_inherit_the_token_of_an_outsider(store: Store) -> None:
    """Made by somebody else for that name, it is meant for whoever has it."""
    store.authentication.origins["jwt"] = lambda _credential: None
    own = store.make(owner=CAROL, creator=CAROL, local_owner=False, origin=ORIGINS[0])
    given = store.make(
        owner=CAROL, creator=Principal("User", "kc-admin"), local_owner=False, origin=ORIGINS[0]
    )
    session = store.accepted(own.text).credential
    store.users["idp-carol"] = User()
    assert store.refused(own.text).endswith("its owner's name became a local user's")
    assert store.authentication.no_longer_valid(session, (), NOW) is not None
    store.accepted(given.text)


def test_other_credentials_are_not_judged(store: Store) -> None:
    password = Credential("password", "alice", 1)
    assert store.authentication.no_longer_valid(password, ("x",), NOW) is None


# -- addresses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "ranges", "inside"),
    [
        ("10.1.2.3", (), True),
        ("10.1.2.3", ("10.0.0.0/8",), True),
        ("::ffff:10.1.2.3", ("10.0.0.0/8",), True),
        ("11.1.2.3", ("10.0.0.0/8",), False),
        ("11.1.2.3", ("10.0.0.0/8", "11.1.2.3/32"), True),
        ("2001:db8::1", ("2001:db8::/32",), True),
        ("2001:db8::1%eth0", ("2001:db8::/32",), True),
        ("10.1.2.3", ("2001:db8::/32",), False),
        ("not an address", ("0.0.0.0/0",), False),
        ("not an address", (), True),
    ],
)
def test_ranges(host: str, ranges: tuple[str, ...], inside: bool) -> None:
    assert in_ranges(host, ranges) is inside


def test_ranges_have_one_spelling() -> None:
    assert canonical_range(" 10.0.0.0/255.0.0.0 ") == "10.0.0.0/8"
    assert canonical_range("10.0.0.1") == "10.0.0.1/32"
    assert canonical_range("2001:DB8::/32") == "2001:db8::/32"
    for wrong in ("10.0.0.1/8", "localhost", "", "10.0.0.0/33"):
        with pytest.raises(ValueError, match="is not an address range"):
            canonical_range(wrong)
