"""A request's door to the authorizers: chains, the `used` flag, filters and bit fields."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rivven.security.authz.access import Access
from rivven.security.authz.acl import AclAuthorizer
from rivven.security.authz.authorizer import Action, Authorizer, Decision, Subject, Verdict
from rivven.security.authz.operations import VALID_BITS, VALID_OPERATIONS
from rivven.testing.authorizers import AllowAll, DenyAll
from rivven.types import AclBinding, Operation, PatternType, Permission, Principal, ResourceType

TOPIC, READ, WRITE = ResourceType.TOPIC, Operation.READ, Operation.WRITE
ALICE = Subject(Principal("User", "alice"), "10.0.0.1", "main")


class Silent:
    """Has no opinion."""

    def authorize(self, subject: Subject, actions: Sequence[Action]) -> list[Decision]:
        return [Decision.no_opinion("silent")] * len(actions)

    def authorize_any(self, subject: Subject, operation: Operation, resource_type: ResourceType) -> Decision:
        return Decision.no_opinion("silent")


class Broken(Silent):
    """Answers another number of questions than it was asked."""

    def authorize(self, subject: Subject, actions: Sequence[Action]) -> list[Decision]:
        return [Decision.allow("broken")] * (len(actions) - 1)


@pytest.mark.parametrize(
    ("chain", "allowed"),
    [
        ([], False),
        ([AllowAll()], True),
        ([DenyAll()], False),
        ([Silent()], False),
        ([Silent(), Silent()], False),
        ([Silent(), AllowAll()], True),
        ([AllowAll(), Silent()], True),
        ([AllowAll(), DenyAll()], False),
        ([DenyAll(), AllowAll()], False),
        ([AllowAll(), AllowAll()], True),
        ([Broken()], False),
        ([Broken(), AllowAll()], False),
    ],
    ids=lambda value: "+".join(type(one).__name__ for one in value) if isinstance(value, list) else None,
)
def test_a_chain_allows_if_somebody_does_and_nobody_denies(chain: list[Authorizer], allowed: bool) -> None:
    access = Access(ALICE, chain)
    assert access.allowed(READ, TOPIC, "orders") is allowed
    assert access.decide(READ, TOPIC, "orders").allowed is allowed
    assert access.filter(READ, TOPIC, ["orders", "invoices"]) == (
        {"orders", "invoices"} if allowed else set()
    )
    assert access.authorized_operations(TOPIC, "orders") == (VALID_BITS[TOPIC] if allowed else 0)
    assert access.allowed_cluster(Operation.CREATE) is allowed
    if not any(isinstance(one, Broken) for one in chain):
        assert access.allowed_any(WRITE, TOPIC) is allowed


def test_without_a_subject_nothing_is_allowed() -> None:
    access = Access(None, [AllowAll()])
    assert not access.allowed(READ, TOPIC, "orders")
    assert not access.allowed_any(READ, TOPIC)
    assert not access.allowed_cluster(Operation.DESCRIBE)
    assert access.filter(READ, TOPIC, ["orders"]) == set()
    assert access.authorized_operations(TOPIC, "orders") == 0
    assert access.decide(READ, TOPIC, "orders").reason == "not authenticated"


def test_used_tells_whether_anything_was_asked() -> None:
    questions = [
        lambda access: access.allowed(READ, TOPIC, "x"),
        lambda access: access.decide(READ, TOPIC, "x"),
        lambda access: access.allowed_cluster(READ),
        lambda access: access.allowed_any(READ, TOPIC),
        lambda access: access.filter(READ, TOPIC, []),
        lambda access: access.authorized_operations(TOPIC, "x"),
    ]
    for subject in (ALICE, None):
        for ask in questions:
            access = Access(subject, [AllowAll()])
            assert access.used is False
            ask(access)
            assert access.used is True


def test_the_deciding_reason_is_kept() -> None:
    access = Access(ALICE, [Silent(), AllowAll(), DenyAll()])
    assert access.decide(READ, TOPIC, "x") == Decision.deny("DenyAll")
    assert Access(ALICE, [Silent(), AllowAll()]).decide(READ, TOPIC, "x").reason == "AllowAll"
    assert Access(ALICE, []).decide(READ, TOPIC, "x").reason == "no authorizer is configured"


def test_filter_asks_once_for_each_name_in_one_question() -> None:
    authorizer = AllowAll()
    Access(ALICE, [authorizer]).filter(READ, TOPIC, ["a", "b", "a"])
    assert authorizer.asked == [("User:alice", READ, TOPIC, "a"), ("User:alice", READ, TOPIC, "b")]


def test_authorized_operations_of_an_acl() -> None:
    rules = (AclBinding(TOPIC, "orders", PatternType.LITERAL, "User:alice", "*", WRITE, Permission.ALLOW),)
    access = Access(ALICE, [AclAuthorizer(lambda: (1, rules))])
    assert access.authorized_operations(TOPIC, "orders") == 1 << WRITE | 1 << Operation.DESCRIBE
    assert access.authorized_operations(TOPIC, "invoices") == 0


def test_bit_fields_hold_kafkas_valid_operations_only() -> None:
    """Kafka 4.3's tables; client libraries fail on bits they do not know."""
    assert VALID_BITS[ResourceType.TOPIC] == 0b1101_1111_1000
    assert VALID_BITS[ResourceType.GROUP] == 0b1101_0100_1000
    assert VALID_BITS[ResourceType.CLUSTER] == 0b1_1111_1010_0000
    assert VALID_BITS[ResourceType.DELEGATION_TOKEN] == 1 << 8
    assert VALID_BITS[ResourceType.USER] == 1 << 13 | 1 << 14
    assert VALID_BITS[ResourceType.TRANSACTIONAL_ID] == 1 << 4 | 1 << 8 | 1 << 15
    for kind, valid in VALID_OPERATIONS.items():
        assert Operation.ALL not in valid, kind
        assert Operation.ANY not in valid, kind


def test_a_decision_cannot_contradict_its_verdict() -> None:
    with pytest.raises(ValueError, match="contradicts"):
        Decision(True, "x", Verdict.DENY)
    with pytest.raises(ValueError, match="contradicts"):
        Decision(False, "x", Verdict.ALLOW)
