"""A request's door to the authorizers: chains, the `used` flag, filters and bit fields."""

from __future__ import annotations

import pytest

from rivven.security.authz.access import Access
from rivven.security.authz.acl import AclAuthorizer
from rivven.security.authz.authorizer import Decision, Subject, Verdict
from rivven.security.authz.chain import AuthorizerChain
from rivven.security.authz.operations import VALID_BITS, VALID_OPERATIONS
from rivven.testing.authorizers import AllowAll, DenyAll
from rivven.types import AclBinding, Operation, PatternType, Permission, Principal, ResourceType
from tests.unit.security.authz.engines import Recorder

TOPIC, READ, WRITE = ResourceType.TOPIC, Operation.READ, Operation.WRITE
ALICE = Subject(Principal("User", "alice"), "10.0.0.1", "main")


def test_without_a_subject_nothing_is_allowed() -> None:
    access = Access(None, AuthorizerChain({"allow": AllowAll()}))
    assert not access.allowed(READ, TOPIC, "orders")
    assert not access.probe(READ, TOPIC, "orders")
    assert not access.allowed_any(READ, TOPIC)
    assert not access.allowed_cluster(Operation.DESCRIBE)
    assert access.filter(READ, TOPIC, ["orders"]) == set()
    assert access.authorized_operations(TOPIC, "orders") == 0
    assert access.decide(READ, TOPIC, "orders").reason == "not authenticated"


def test_used_tells_whether_anything_was_asked() -> None:
    questions = [
        lambda access: access.allowed(READ, TOPIC, "x"),
        lambda access: access.decide(READ, TOPIC, "x"),
        lambda access: access.probe(READ, TOPIC, "x"),
        lambda access: access.allowed_cluster(READ),
        lambda access: access.allowed_any(READ, TOPIC),
        lambda access: access.filter(READ, TOPIC, []),
        lambda access: access.authorized_operations(TOPIC, "x"),
    ]
    for subject in (ALICE, None):
        for ask in questions:
            access = Access(subject, AuthorizerChain({"allow": AllowAll()}))
            assert access.used is False
            ask(access)
            assert access.used is True


def test_the_observer_hears_what_answers_a_request_and_no_listing() -> None:
    heard = Recorder()
    access = Access(ALICE, AuthorizerChain({"deny": DenyAll()}, observer=heard))
    access.allowed(READ, TOPIC, "x")
    access.decide(READ, TOPIC, "y")
    access.allowed_any(WRITE, TOPIC)
    access.allowed_cluster(Operation.CREATE)
    assert [action.resource_name for _, action, _ in heard.seen] == ["x", "y", "*", "kafka-cluster"]
    assert all(subject is ALICE and not decision.allowed for subject, _, decision in heard.seen)
    heard.seen.clear()
    access.filter(READ, TOPIC, ["a", "b"])
    access.authorized_operations(TOPIC, "a")
    assert heard.seen == []


def test_a_probe_that_is_refused_is_no_denial() -> None:
    heard = Recorder()
    assert not Access(ALICE, AuthorizerChain({"deny": DenyAll()}, observer=heard)).probe(READ, TOPIC, "x")
    assert heard.seen == []
    assert Access(ALICE, AuthorizerChain({"allow": AllowAll()}, observer=heard)).probe_cluster(READ)
    assert [(action.resource_name, decision.allowed) for _, action, decision in heard.seen] == [
        ("kafka-cluster", True)
    ]


def test_filter_asks_once_for_each_name_in_one_question() -> None:
    authorizer = AllowAll()
    Access(ALICE, AuthorizerChain({"it": authorizer})).filter(READ, TOPIC, ["a", "b", "a"])
    assert authorizer.asked == [("User:alice", READ, TOPIC, "a"), ("User:alice", READ, TOPIC, "b")]


def test_authorized_operations_of_an_acl() -> None:
    rules = (AclBinding(TOPIC, "orders", PatternType.LITERAL, "User:alice", "*", WRITE, Permission.ALLOW),)
    access = Access(ALICE, AuthorizerChain({"acl": AclAuthorizer(lambda: (1, rules))}))
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
