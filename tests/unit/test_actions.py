"""The words of permissions: actions, resources, members, role names."""

from __future__ import annotations

import pytest

from rivven.actions import (
    ACTIONS,
    BUILT_IN_ROLES,
    RESOURCE_TYPES,
    Grant,
    Pattern,
    Permit,
    WordError,
    check_role_name,
    grants_of,
    operations_for,
    parse_member,
    parse_resource,
    pattern_text,
    words_of,
)
from rivven.security.authz.operations import VALID_OPERATIONS
from rivven.types import CLUSTER_NAME, Operation, PatternType, ResourceType

TOPIC, LITERAL, PREFIXED = ResourceType.TOPIC, PatternType.LITERAL, PatternType.PREFIXED


def test_every_action_gives_operations_that_are_checked_on_the_resource() -> None:
    for by_type in ACTIONS.values():
        for word, operations in by_type.items():
            assert set(operations) <= VALID_OPERATIONS[RESOURCE_TYPES[word]] | {Operation.ALL}


def test_every_operation_can_be_granted_by_some_action() -> None:
    for kind, valid in VALID_OPERATIONS.items():
        word = next(name for name, one in RESOURCE_TYPES.items() if one is kind)
        named = {op for by_type in ACTIONS.values() for op in by_type.get(word, ())}
        beyond = {Operation.CLUSTER_ACTION, Operation.TWO_PHASE_COMMIT}  # for brokers and coordinators
        assert valid - named <= beyond


def test_grants_of_a_permission() -> None:
    assert grants_of(Permit("topic:events-*", ("produce", "describe", "produce"))) == [
        Grant(Operation.WRITE, Pattern(TOPIC, "events-", PREFIXED)),
        Grant(Operation.DESCRIBE, Pattern(TOPIC, "events-", PREFIXED)),
        Grant(Operation.DESCRIBE_CONFIGS, Pattern(TOPIC, "events-", PREFIXED)),
    ]
    assert grants_of(Permit("cluster", ("create",))) == [
        Grant(Operation.CREATE, Pattern(ResourceType.CLUSTER, CLUSTER_NAME, LITERAL))
    ]


def test_an_action_on_everything_means_every_type_it_is_for() -> None:
    assert {(g.operation, g.pattern.resource_type) for g in grants_of(Permit("*", ("consume",)))} == {
        (Operation.READ, TOPIC),
        (Operation.READ, ResourceType.GROUP),
    }
    everything = grants_of(Permit("*", ("*",)))
    assert {grant.pattern.resource_type for grant in everything} == set(RESOURCE_TYPES.values())
    assert {grant.operation for grant in everything} == {Operation.ALL}


@pytest.mark.parametrize(
    ("permit", "reason"),
    [
        (Permit("topic:x", ()), "names no action"),
        (Permit("topic:x", ("eat",)), "No such action"),
        (Permit("*", ("eat",)), "No such action"),
        (Permit("topic:x", ("join",)), "has no meaning"),
        (Permit("topic", ("produce",)), "TYPE:NAME"),
        (Permit("topic:a*b", ("produce",)), "end of a name"),
        (Permit("queue:x", ("produce",)), "No such resource type"),
        (Permit("cluster:mine", ("describe",)), "one cluster"),
        (Permit("topic:" + "x" * 2000, ("produce",)), "at most"),
        (Permit("topic:x", ("produce",) * 200), "at most"),
    ],
)
def test_permissions_that_mean_nothing_are_refused(permit: Permit, reason: str) -> None:
    with pytest.raises(WordError, match=reason):
        grants_of(permit)


def test_members() -> None:
    assert parse_member("user:alice") == "User:alice"
    assert parse_member("Group:a:b") == "Group:a:b"
    for text in ("alice", "user:", "role:x", "", "user:" + "x" * 2000):
        with pytest.raises(WordError, match="A member is written"):
            parse_member(text)


def test_role_names() -> None:
    assert check_role_name("team-a.reader_2") == "team-a.reader_2"
    for name in ("", "a b", "ä", "a:b", "x" * 101, "a/b", "\n"):
        with pytest.raises(WordError):
            check_role_name(name)


def test_the_built_in_roles_are_legal() -> None:
    assert set(BUILT_IN_ROLES) == {"admin", "producer", "consumer", "readonly"}
    for name, permits in BUILT_IN_ROLES.items():
        assert check_role_name(name) == name
        assert all(grants_of(permit) for permit in permits)


def test_words_of_operations_grant_exactly_them() -> None:
    for kind, valid in VALID_OPERATIONS.items():
        for wanted in ({op} for op in valid):
            words = words_of(wanted, kind)
            word = pattern_text(kind, "x", LITERAL).partition(":")[0]
            granted = {op for w in words if w in ACTIONS for op in operations_for(w, word)}
            named = {op for op in wanted if op.name in words}
            assert granted | named == wanted
    assert words_of({Operation.ALL}, TOPIC) == ["*"]
    assert words_of({Operation.READ, Operation.WRITE}, TOPIC) == ["produce", "consume"]


def test_patterns_are_written_as_they_are_read() -> None:
    for text in ("topic:a", "topic:a-*", "topic:*", "cluster", "group:x:y", "user:bob"):
        (pattern,) = parse_resource(text)
        assert pattern_text(*pattern) == text
