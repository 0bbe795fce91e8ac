"""One directory over two sources: who exists, what they may log in with, and when a session must end."""

from __future__ import annotations

import pytest

from rivven.protocol.scram import ScramMechanism, ScramVerifier
from rivven.security.authn.authenticator import NO_CREDENTIAL, Credential
from rivven.security.authn.password_verifiers import Argon2Password, Argon2Shape, ScramPassword
from rivven.security.authn.users import FileUser, UserConflict, Users
from rivven.types import Principal
from tests.unit.security.authn.directory import Store, Stored

SHA_256, SHA_512 = ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512
ARGON2 = Argon2Password("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$8iKb1CBTCdLkWeFAYwtnkA")


def verifier(mechanism: ScramMechanism = SHA_256, mark: bytes = b"a") -> ScramVerifier:
    size = mechanism.key_bytes
    return ScramVerifier(mechanism, b"s" * 32, 4096, mark * size, b"b" * size)


@pytest.fixture
def store() -> Store:
    return Store(
        Stored("ann", groups=("dev",), verifiers=(verifier(), verifier(SHA_512))),
        Stored("old", enabled=False, verifiers=(verifier(),)),
    )


@pytest.fixture
def users(store: Store) -> Users:
    made = Users(store)
    made.replace_file_users(
        {
            "fred": FileUser("fred", groups=("ops",), roles=("producer",), verifiers=(verifier(),)),
            "gone": FileUser("gone", enabled=False, verifiers=(verifier(),)),
            "argon": FileUser("argon", verifiers=(verifier(),), passwords=(ARGON2,)),
            "tokens": FileUser("tokens"),
        }
    )
    return made


def test_both_sources_answer_alike(users: Users) -> None:
    fred, ann = users.find("fred"), users.find("ann")
    assert fred is not None
    assert ann is not None
    assert (fred.source, fred.groups, fred.roles, fred.enabled) == ("file", ("ops",), ("producer",), True)
    assert (ann.source, ann.groups, ann.roles, ann.enabled) == ("metadata", ("dev",), (), True)
    assert ann.mechanisms == ((SHA_256, 4096), (SHA_512, 4096))
    assert users.names() == ["ann", "argon", "fred", "gone", "old", "tokens"]
    assert users.known_groups() == {"dev", "ops"}
    assert users.groups_of("fred") == ("ops",)
    assert users.roles_of("fred") == ("producer",)
    assert users.in_file("fred")
    assert not users.in_file("ann")
    assert users.any


def test_nobody_is_nobody(users: Users) -> None:
    assert users.find("mallory") is None
    assert users.identity("mallory") is None
    assert users.groups_of("mallory") == users.roles_of("mallory") == ()
    assert not Users(Store()).any


@pytest.mark.parametrize("name", ["old", "gone", "mallory"])
def test_who_is_disabled_or_unknown_has_nothing_to_log_in_with(users: Users, name: str) -> None:
    assert users.scram_verifier(name, SHA_256) is None
    assert users.password_verifier(name) is None
    assert users.identity(name) is None


def test_verifiers_are_found_by_mechanism_and_argon2id_comes_first_for_passwords(users: Users) -> None:
    assert users.scram_verifier("ann", SHA_512) == verifier(SHA_512)
    assert users.scram_verifier("fred", SHA_512) is None
    assert users.password_verifier("fred") == ScramPassword(verifier())
    assert users.password_verifier("argon") == ARGON2
    assert users.password_verifier("tokens") is None
    assert users.argon2 == (Argon2Shape(64, 1, 1),)


def test_an_identity_carries_groups_and_the_credentials_version(users: Users) -> None:
    identity, user = users.identity("fred"), users.find("fred")
    assert identity is not None
    assert user is not None
    assert identity.principal == Principal("User", "fred")
    assert identity.groups == ("ops",)
    assert identity.credential == Credential("password", "fred", user.version)


def test_a_name_may_not_be_in_both_places(users: Users, store: Store) -> None:
    before = users.version
    with pytest.raises(UserConflict, match=r"at once: ann, old$") as refused:
        users.replace_file_users({name: FileUser(name) for name in ("old", "ann", "new")})
    assert refused.value.names == ("ann", "old")
    assert users.version == before
    assert users.in_file("fred")
    assert not users.in_file("new")


def test_a_long_conflict_is_told_in_one_line() -> None:
    store = Store(*(Stored(f"u{i:03}", verifiers=(verifier(),)) for i in range(200)))
    with pytest.raises(UserConflict) as refused:
        Users(store).replace_file_users({f"u{i:03}": FileUser(f"u{i:03}") for i in range(200)})
    assert str(refused.value).endswith("u009, ...")


def test_the_version_rises_with_every_change_and_everybody_hears(users: Users, store: Store) -> None:
    heard: list[int] = []
    users.on_change.append(lambda: heard.append(users.version))
    before = users.version
    users.replace_file_users({})
    store.change("ann", groups=())
    users.changed()
    assert before < heard[0] < heard[1]
    assert users.known_groups() == frozenset()


class TestSessions:
    """Which sessions survive a change."""

    def opened(self, users: Users, name: str) -> tuple[Credential, tuple[str, ...]]:
        identity = users.identity(name)
        assert identity is not None
        return identity.credential, identity.groups

    def test_a_session_goes_on_while_nothing_of_it_changes(self, users: Users, store: Store) -> None:
        for name in ("ann", "fred"):
            assert users.no_longer_valid(*self.opened(users, name)) is None
        session = self.opened(users, "ann")
        store.change("ann", groups=("dev", "more"))
        assert users.no_longer_valid(*session) is None

    def test_deleted_disabled_changed_and_out_of_a_group(self, users: Users, store: Store) -> None:
        session = self.opened(users, "ann")
        store.change("ann", groups=())
        assert users.no_longer_valid(*session) == "the user was taken out of a group"
        store.change("ann", groups=("dev",), enabled=False)
        assert users.no_longer_valid(*session) == "the user was disabled"
        store.change("ann", enabled=True, verifiers=(verifier(mark=b"z"),))
        assert users.no_longer_valid(*session) == "the user's password was changed"
        store.delete("ann")
        assert users.no_longer_valid(*session) == "the user was deleted"

    def test_file_users_keep_their_sessions_until_their_own_lines_change(self, users: Users) -> None:
        session = self.opened(users, "fred")
        fred = FileUser("fred", groups=("ops",), roles=("other",), verifiers=(verifier(),))
        users.replace_file_users({"fred": fred, "new": FileUser("new")})
        assert users.no_longer_valid(*session) is None
        users.replace_file_users(
            {"fred": FileUser("fred", groups=("ops",), verifiers=(verifier(mark=b"z"),))}
        )
        assert users.no_longer_valid(*session) == "the user's password was changed"
        users.replace_file_users({})
        assert users.no_longer_valid(*session) == "the user was deleted"

    def test_a_name_that_moves_from_the_file_to_the_metadata_is_another_user(
        self, users: Users, store: Store
    ) -> None:
        session = self.opened(users, "fred")
        users.replace_file_users({})
        for version in range(1, 6):
            store.users["fred"] = Stored("fred", groups=("ops",), version=version, verifiers=(verifier(),))
            assert users.no_longer_valid(*session) == "the user's password was changed"

    def test_a_user_deleted_and_made_again_does_not_keep_the_old_sessions(self, users: Users) -> None:
        fred = FileUser("fred", groups=("ops",), verifiers=(verifier(),))
        users.replace_file_users({"fred": fred})
        session = self.opened(users, "fred")
        users.replace_file_users({})
        users.replace_file_users({"fred": fred})
        assert users.no_longer_valid(*session) == "the user's password was changed"

    def test_other_credentials_are_not_judged(self, users: Users) -> None:
        assert users.no_longer_valid(NO_CREDENTIAL, ()) is None
        assert users.no_longer_valid(Credential("token", "mallory"), ("x",)) is None
