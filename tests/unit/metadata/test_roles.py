"""Roles and bindings in the metadata: decided, stored, snapshotted."""

from __future__ import annotations

from typing import Any

import pytest

from rivven.actions import Permit
from rivven.errors import ErrorCode, RivvenError
from rivven.metadata import records, roles
from rivven.metadata.broker_values import BrokerValues
from rivven.metadata.controller import MetadataMachine
from rivven.metadata.roles import DeleteRole, DynamicRole, GrantRole, PutRole, RevokeRole, Roles

SHIPPING = DynamicRole("shipping", (Permit("topic:orders-*", ("consume",)),), "reads orders")


@pytest.fixture
def machine() -> MetadataMachine:
    return MetadataMachine(BrokerValues(1, {}), 1)


def do(machine: MetadataMachine, command: Any) -> Any:
    outcome = machine.decide(command, 1, 0)
    for event in outcome.events:
        record = machine.encode(event)
        machine.apply(machine.decode(record))
    return outcome.replies[0][1]


def code(machine: MetadataMachine, command: Any) -> ErrorCode:
    with pytest.raises(RivvenError) as caught:
        do(machine, command)
    return caught.value.code


def test_a_role_is_created_changed_and_deleted(machine: MetadataMachine) -> None:
    part = machine.image.of(Roles)
    assert do(machine, PutRole(SHIPPING)) == SHIPPING
    assert part.roles == {"shipping": SHIPPING}
    assert code(machine, PutRole(SHIPPING)) is ErrorCode.DUPLICATE_RESOURCE
    changed = DynamicRole("shipping", (Permit("topic:x", ("consume",)),))
    before = part.version
    assert do(machine, PutRole(changed, replace=True)) == changed
    assert part.version > before
    assert do(machine, DeleteRole("shipping")) == ()
    assert part.roles == {}
    assert code(machine, DeleteRole("shipping")) is ErrorCode.RESOURCE_NOT_FOUND


def test_members_are_granted_and_revoked(machine: MetadataMachine) -> None:
    part = machine.image.of(Roles)
    assert do(machine, GrantRole("producer", ("user:a", "Group:g", "user:a"))) == ("User:a", "Group:g")
    assert do(machine, GrantRole("producer", ("user:a", "user:b"))) == ("User:b",)
    assert list(part.bindings()) == [
        ("producer", "User:a"),
        ("producer", "Group:g"),
        ("producer", "User:b"),
    ]
    assert do(machine, RevokeRole("producer", ("user:a", "user:z"))) == ("User:a",)
    assert do(machine, RevokeRole("nobody-has-it", ("user:a",))) == ()
    assert part.members_of("producer") == ("Group:g", "User:b")


def test_deleting_a_role_ends_its_bindings(machine: MetadataMachine) -> None:
    do(machine, PutRole(SHIPPING))
    do(machine, GrantRole("shipping", ("user:a", "user:b")))
    assert do(machine, DeleteRole("shipping")) == ("User:a", "User:b")
    do(machine, PutRole(SHIPPING))
    assert list(machine.image.of(Roles).bindings()) == []


@pytest.mark.parametrize(
    "command",
    [
        PutRole(DynamicRole("admin", ())),
        PutRole(DynamicRole("a b", ())),
        PutRole(DynamicRole("x", (Permit("topic:x", ("eat",)),))),
        PutRole(DynamicRole("x", (Permit("topic:x", ("produce",)),) * 1001)),
        PutRole(DynamicRole("x", (), "y" * 2000)),
        GrantRole("x y", ("user:a",)),
        GrantRole("x", ()),
        GrantRole("x", ("alice",)),
        GrantRole("x", ("role:y",)),
        GrantRole("x", ("user:a",) * 1001),
        RevokeRole("x", ("alice",)),
    ],
)
def test_words_that_mean_nothing_are_refused(machine: MetadataMachine, command: Any) -> None:
    assert code(machine, command) is ErrorCode.INVALID_REQUEST
    assert list(machine.image.of(Roles).events()) == []


def test_roles_and_members_are_bounded(machine: MetadataMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "ROLES_MAX", 1)
    monkeypatch.setattr(roles, "BINDINGS_MAX", 2)
    do(machine, PutRole(SHIPPING))
    assert code(machine, PutRole(DynamicRole("other", ()))) is ErrorCode.POLICY_VIOLATION
    do(machine, PutRole(DynamicRole("shipping", ()), replace=True))
    do(machine, GrantRole("shipping", ("user:a", "user:b")))
    assert code(machine, GrantRole("producer", ("user:c",))) is ErrorCode.POLICY_VIOLATION
    do(machine, RevokeRole("shipping", ("user:a",)))
    do(machine, GrantRole("producer", ("user:c",)))


def test_a_snapshot_makes_an_equal_image(machine: MetadataMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "MEMBERS_PER_COMMAND_MAX", 2)
    do(machine, PutRole(SHIPPING))
    for name in "abcde":
        do(machine, GrantRole("shipping", (f"user:{name}",)))
    other = MetadataMachine(BrokerValues(1, {}), 1)
    for event in machine.snapshot():
        other.apply(records.decode(records.encode(event)))
    ours, theirs = machine.image.of(Roles), other.image.of(Roles)
    assert theirs.roles == ours.roles
    assert list(theirs.bindings()) == list(ours.bindings())


def test_records_of_version_one_are_read() -> None:
    """The bytes on disk since roles exist."""
    text = b'\x01{"kind":"role","name":"r","permissions":[["topic:a-*",["produce","describe"]]]}'
    event = records.decode(records.JournalRecord(b"role/r", text))
    assert event == roles.RolePut(DynamicRole("r", (Permit("topic:a-*", ("produce", "describe")),)))
    assert records.encode(event).value == text
    granted = b'\x01{"kind":"role-granted","role":"r","members":["User:a","Group:b"]}'
    assert records.encode(records.decode(records.JournalRecord(b"", granted))).value == granted
