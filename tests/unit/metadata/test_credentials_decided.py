"""SCRAM credentials as KIP-554 alters them, and as the broker stores its own."""

from __future__ import annotations

import pytest

from rivven.config.broker_settings import broker_defaults
from rivven.errors import ErrorCode, RivvenError
from rivven.metadata import credential_changes
from rivven.metadata.broker_values import BrokerValues
from rivven.metadata.commands import AlterScram, ScramDeletion, ScramUpsertion, StoreScram
from rivven.metadata.controller import MetadataMachine
from rivven.protocol.scram import ScramMechanism, derive_verifier, salted_password

SALT = b"0123456789abcdef"
SHA_256, SHA_512 = ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512


@pytest.fixture
def machine() -> MetadataMachine:
    return MetadataMachine(BrokerValues(1, broker_defaults()), 1)


def do(machine: MetadataMachine, command: AlterScram) -> dict[str, int | None]:
    outcome = machine.decide(command, 1, 0)
    for event in outcome.events:
        machine.apply(event)
    reply: dict[str, RivvenError | None] = outcome.replies[0][1]
    return {user: None if error is None else int(error.code) for user, error in reply.items()}


def upsertion(user: str = "ann", mechanism: int = 1, iterations: int = 4096) -> ScramUpsertion:
    kind = ScramMechanism.from_code(mechanism) or SHA_256
    return ScramUpsertion(user, mechanism, iterations, SALT, salted_password(kind, "pw", SALT, 4096))


def test_the_stored_verifier_is_the_one_of_the_password(machine: MetadataMachine) -> None:
    assert do(machine, AlterScram(upsertions=(upsertion(), upsertion(mechanism=2)))) == {"ann": None}
    image = machine.image
    assert image.scram_verifier("ann", SHA_256) == derive_verifier(SHA_256, "pw", SALT, 4096)
    assert image.scram_verifier("ann", SHA_512) == derive_verifier(SHA_512, "pw", SALT, 4096)
    assert image.scram_users() == ["ann"]
    assert [one.mechanism for one in image.scram_credentials("ann")] == [SHA_256, SHA_512]


def test_after_deletion_there_is_no_credential_left_to_log_in_with(machine: MetadataMachine) -> None:
    do(machine, AlterScram(upsertions=(upsertion(), upsertion(mechanism=2))))
    assert do(machine, AlterScram(deletions=(ScramDeletion("ann", 1),))) == {"ann": None}
    assert machine.image.scram_verifier("ann", SHA_256) is None
    assert do(machine, AlterScram(deletions=(ScramDeletion("ann", 2),))) == {"ann": None}
    assert machine.image.scram_users() == []
    assert not machine.image.has_credentials
    assert do(machine, AlterScram(deletions=(ScramDeletion("ann", 2),))) == {"ann": 91}


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (AlterScram(upsertions=(upsertion(mechanism=3),)), ErrorCode.UNSUPPORTED_SASL_MECHANISM),
        (AlterScram(upsertions=(upsertion(user=""),)), ErrorCode.UNACCEPTABLE_CREDENTIAL),
        (AlterScram(upsertions=(upsertion(user="x" * 257),)), ErrorCode.UNACCEPTABLE_CREDENTIAL),
        (AlterScram(upsertions=(upsertion(iterations=4095),)), ErrorCode.UNACCEPTABLE_CREDENTIAL),
        (AlterScram(upsertions=(upsertion(iterations=1_000_001),)), ErrorCode.UNACCEPTABLE_CREDENTIAL),
        (
            AlterScram(upsertions=(ScramUpsertion("ann", 1, 4096, b"", b"x" * 32),)),
            ErrorCode.UNACCEPTABLE_CREDENTIAL,
        ),
        (
            AlterScram(upsertions=(ScramUpsertion("ann", 2, 4096, SALT, b"x" * 32),)),
            ErrorCode.UNACCEPTABLE_CREDENTIAL,
        ),
        (AlterScram(deletions=(ScramDeletion("ann", 1),)), ErrorCode.RESOURCE_NOT_FOUND),
        (AlterScram(deletions=(ScramDeletion("ann", 0),)), ErrorCode.UNSUPPORTED_SASL_MECHANISM),
        (AlterScram(deletions=(ScramDeletion("", 1),)), ErrorCode.UNACCEPTABLE_CREDENTIAL),
        (AlterScram(upsertions=(upsertion(), upsertion())), ErrorCode.DUPLICATE_RESOURCE),
        (AlterScram((ScramDeletion("ann", 1),), (upsertion(),)), ErrorCode.DUPLICATE_RESOURCE),
    ],
)
def test_refusals(machine: MetadataMachine, command: AlterScram, code: ErrorCode) -> None:
    assert list(do(machine, command).values()) == [code]
    assert not machine.image.has_credentials


@pytest.mark.parametrize("iterations", [4096, 1_000_000])
def test_both_ends_of_the_iterations(machine: MetadataMachine, iterations: int) -> None:
    assert do(machine, AlterScram(upsertions=(upsertion(iterations=iterations),))) == {"ann": None}


def test_a_user_changes_wholly_or_not_at_all_and_others_are_not_touched_by_it(
    machine: MetadataMachine,
) -> None:
    command = AlterScram(upsertions=(upsertion("ann"), upsertion("ann", 9), upsertion("bob")))
    assert do(machine, command) == {"ann": ErrorCode.UNSUPPORTED_SASL_MECHANISM, "bob": None}
    assert machine.image.scram_users() == ["bob"]


def test_users_are_bounded_but_existing_ones_may_change(
    machine: MetadataMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credential_changes, "USERS_MAX", 2)
    command = AlterScram(upsertions=tuple(upsertion(user) for user in ("a", "b", "c")))
    assert do(machine, command) == {"a": None, "b": None, "c": ErrorCode.POLICY_VIOLATION}
    assert do(machine, AlterScram(upsertions=(upsertion("a", 2),))) == {"a": None}


def test_the_brokers_own_verifiers_may_cost_more_rounds(machine: MetadataMachine) -> None:
    verifier = derive_verifier(SHA_256, "pw", SALT, 20_000)
    for event in machine.decide(StoreScram("admin", (verifier,)), 1, 0).events:
        machine.apply(event)
    assert machine.image.scram_verifier("admin", SHA_256) == verifier


def test_no_secret_in_the_repr_of_a_command() -> None:
    text = repr(upsertion())
    assert SALT.decode() not in text
    assert "salted_password" not in text
