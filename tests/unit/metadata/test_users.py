"""Settings of users: only users that exist have them, and they go when the user does."""

from __future__ import annotations

from typing import Any

import pytest

from rivven.config.broker_settings import broker_defaults
from rivven.errors import ErrorCode, RivvenError
from rivven.machine.state_machine import JournalRecord
from rivven.metadata import records, users
from rivven.metadata.broker_values import BrokerValues
from rivven.metadata.commands import AlterScram, ScramDeletion, ScramUpsertion, StoreScram
from rivven.metadata.controller import MetadataMachine
from rivven.metadata.tokens import Tokens
from rivven.metadata.users import (
    AlterUser,
    DynamicUsers,
    UserForgotten,
    UserSettings,
    UserSettingsChanged,
    UserSettingsFamily,
)
from rivven.protocol.scram import ScramMechanism, derive_verifier
from rivven.types import Principal
from tests.unit.metadata.token_world import issue

SHA_256, SHA_512 = ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512
ANN = (derive_verifier(SHA_256, "pw", b"salt" * 4, 4096), derive_verifier(SHA_512, "pw", b"salt" * 4, 4096))


@pytest.fixture
def machine() -> MetadataMachine:
    made = MetadataMachine(BrokerValues(1, broker_defaults()), 1)
    do(made, StoreScram("ann", ANN))
    return made


def do(machine: MetadataMachine, command: Any) -> Any:
    outcome = machine.decide(command, 1, 0)
    for event in outcome.events:
        machine.apply(machine.decode(machine.encode(event)))
    return outcome.replies[0][1]


def settings(machine: MetadataMachine, user: str = "ann") -> UserSettings:
    return machine.image.of(UserSettingsFamily).settings(user)


def test_a_new_user_is_enabled_and_in_no_group(machine: MetadataMachine) -> None:
    assert settings(machine) == UserSettings(True, ())


def test_a_user_may_be_made_in_groups_in_one_step_and_only_once(machine: MetadataMachine) -> None:
    do(machine, StoreScram("bob", ANN, new=True, groups=("ops", "dev", "ops")))
    assert settings(machine, "bob").groups == ("dev", "ops")
    with pytest.raises(RivvenError) as caught:
        do(machine, StoreScram("bob", ANN, new=True))
    assert caught.value.code is ErrorCode.DUPLICATE_RESOURCE
    too_many = tuple(f"g{number}" for number in range(users.GROUPS_PER_USER_MAX + 1))
    with pytest.raises(RivvenError):
        do(machine, StoreScram("carl", ANN, new=True, groups=too_many))
    assert machine.image.scram_users() == ["ann", "bob"]


def test_with_the_last_credential_of_a_user_its_tokens_end_in_the_same_step(machine: MetadataMachine) -> None:
    of_ann, of_bob = Principal("User", "ann"), Principal("User", "bob")
    for number, owner in enumerate((of_ann, of_ann, of_bob)):
        do(machine, issue(f"token{number}", number=number, owner=owner, creator=owner))
    tokens = machine.image.of(Tokens)
    do(machine, AlterScram(deletions=(ScramDeletion("ann", SHA_256.code),)))
    assert [one.state(1) for one in tokens] == ["active", "active", "active"]
    do(machine, AlterScram(deletions=(ScramDeletion("ann", SHA_512.code),)))
    assert [one.state(1) for one in tokens] == ["revoked", "revoked", "active"]
    do(machine, StoreScram("ann", ANN, new=True))
    assert [one.state(1) for one in tokens] == ["revoked", "revoked", "active"]


def test_groups_are_added_and_removed_one_by_one_and_kept_sorted(machine: MetadataMachine) -> None:
    assert do(machine, AlterUser("ann", add_groups=("ops", "dev"))).groups == ("dev", "ops")
    assert do(machine, AlterUser("ann", add_groups=("qa",), remove_groups=("ops", "none"))).groups == (
        "dev",
        "qa",
    )
    assert settings(machine).groups == ("dev", "qa")
    assert machine.image.of(UserSettingsFamily).groups() == {"dev", "qa"}


def test_disabling_keeps_the_groups_and_enabling_restores(machine: MetadataMachine) -> None:
    do(machine, AlterUser("ann", add_groups=("dev",)))
    assert do(machine, AlterUser("ann", enabled=False)) == UserSettings(False, ("dev",))
    assert do(machine, AlterUser("ann", enabled=True)) == UserSettings(True, ("dev",))


def test_a_change_that_changes_nothing_is_not_journaled(machine: MetadataMachine) -> None:
    version = machine.image.version
    assert do(machine, AlterUser("ann", enabled=True)) == UserSettings()
    assert machine.image.version == version


def test_there_are_no_settings_of_a_user_that_does_not_exist(machine: MetadataMachine) -> None:
    with pytest.raises(RivvenError) as refused:
        do(machine, AlterUser("bob", enabled=False))
    assert refused.value.code is ErrorCode.RESOURCE_NOT_FOUND


@pytest.mark.parametrize("group", ["", " x", "x ", "*", "a\nb", "x" * 257])
def test_texts_that_cannot_name_a_group(machine: MetadataMachine, group: str) -> None:
    with pytest.raises(RivvenError) as refused:
        do(machine, AlterUser("ann", add_groups=(group,)))
    assert refused.value.code is ErrorCode.INVALID_REQUEST


def test_groups_of_a_user_are_bounded(machine: MetadataMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "GROUPS_PER_USER_MAX", 2)
    do(machine, AlterUser("ann", add_groups=("a", "b")))
    with pytest.raises(RivvenError, match="at most 2"):
        do(machine, AlterUser("ann", add_groups=("c",)))
    assert do(machine, AlterUser("ann", add_groups=("c",), remove_groups=("a",))).groups == ("b", "c")


def test_a_name_used_again_inherits_nothing(machine: MetadataMachine) -> None:
    do(machine, AlterUser("ann", enabled=False, add_groups=("admins",)))
    do(machine, AlterScram(deletions=(ScramDeletion("ann", 1),)))
    assert settings(machine).enabled is False  # one credential is left, and so is the user
    do(machine, AlterScram(deletions=(ScramDeletion("ann", 2),)))
    assert DynamicUsers(lambda: machine.image).find("ann") is None
    do(machine, StoreScram("ann", ANN))
    assert settings(machine) == UserSettings()


def test_replacing_a_credential_in_one_request_keeps_the_settings(machine: MetadataMachine) -> None:
    do(machine, AlterUser("ann", add_groups=("dev",)))
    do(machine, AlterScram(deletions=(ScramDeletion("ann", 2),)))
    swap = AlterScram((ScramDeletion("ann", 1),), (ScramUpsertion("ann", 2, 4096, b"salt", b"x" * 64),))
    assert do(machine, swap) == {"ann": None}
    assert settings(machine).groups == ("dev",)


def test_the_snapshot_holds_the_settings(machine: MetadataMachine) -> None:
    do(machine, AlterUser("ann", enabled=False, add_groups=("dev",)))
    copy = MetadataMachine(BrokerValues(1, broker_defaults()), 1)
    for event in machine.snapshot():
        copy.apply(copy.decode(copy.encode(event)))
    assert settings(copy) == settings(machine) == UserSettings(False, ("dev",))


@pytest.mark.parametrize(
    ("event", "key", "value"),
    [
        (
            UserSettingsChanged("ann", UserSettings(False, ("dev", "ops"))),
            b"user/ann",
            b'\x01{"kind":"user","user":"ann","enabled":false,"groups":["dev","ops"]}',
        ),
        (UserForgotten("ann"), b"user-forgotten/ann", b'\x01{"kind":"user-forgotten","user":"ann"}'),
    ],
    ids=["user", "user-forgotten"],
)
def test_the_bytes_of_version_1_never_change(event: Any, key: bytes, value: bytes) -> None:
    assert records.encode(event) == JournalRecord(key, value)
    assert records.decode(JournalRecord(key, value)) == event


def test_every_change_raises_the_version_and_only_credentials_raise_the_users(
    machine: MetadataMachine,
) -> None:
    directory = DynamicUsers(lambda: machine.image)
    first = directory.find("ann")
    assert first is not None
    assert first.verifiers == ANN
    before = directory.version
    do(machine, AlterUser("ann", add_groups=("dev",)))
    grouped = directory.find("ann")
    assert grouped is not None
    assert (grouped.version, grouped.groups) == (first.version, ("dev",))
    assert directory.version > before
    before = directory.version
    do(machine, AlterScram(upsertions=(ScramUpsertion("ann", 1, 4096, b"salt", b"x" * 32),)))
    changed = directory.find("ann")
    assert changed is not None
    assert changed.version > first.version
    assert directory.version > before
    assert directory.names() == ["ann"]
