"""ACL rules: what may be stored, what a filter matches."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rivven.config.broker_settings import broker_defaults
from rivven.errors import ErrorCode, RivvenError
from rivven.metadata import acl_changes
from rivven.metadata.acl_changes import doubt_about, matches
from rivven.metadata.broker_values import BrokerValues
from rivven.metadata.commands import CreateAcls, DeleteAcls
from rivven.metadata.controller import MetadataMachine
from rivven.types import AclBinding, AclFilter, Operation, PatternType, Permission, ResourceType

RULE = AclBinding(
    ResourceType.TOPIC, "orders", PatternType.LITERAL, "User:ann", "*", Operation.READ, Permission.ALLOW
)
PREFIXED = replace(RULE, resource_name="ord", pattern_type=PatternType.PREFIXED)
WILDCARD = replace(RULE, resource_name="*")
OTHER = replace(RULE, resource_name="ordinary")


@pytest.fixture
def machine() -> MetadataMachine:
    return MetadataMachine(BrokerValues(1, broker_defaults()), 1)


def do(machine: MetadataMachine, command: object) -> tuple[list[object], int]:
    outcome = machine.decide(command, 1, 0)
    for event in outcome.events:
        machine.apply(event)
    return outcome.replies[0][1], len(outcome.events)


def test_rules_are_added_once_and_change_the_version(machine: MetadataMachine) -> None:
    before = machine.image.acls[0]
    assert do(machine, CreateAcls((RULE, PREFIXED, RULE))) == ([None, None, None], 1)
    version, bindings = machine.image.acls
    assert version != before
    assert bindings == (RULE, PREFIXED)
    assert do(machine, CreateAcls((RULE,))) == ([None], 0)
    assert machine.image.acls[0] == version


@pytest.mark.parametrize(
    "change",
    [
        {"resource_type": ResourceType.UNKNOWN},
        {"resource_type": ResourceType.ANY},
        {"pattern_type": PatternType.ANY},
        {"pattern_type": PatternType.MATCH},
        {"pattern_type": PatternType.UNKNOWN},
        {"operation": Operation.UNKNOWN},
        {"operation": Operation.ANY},
        {"permission": Permission.ANY},
        {"permission": Permission.UNKNOWN},
        {"resource_name": ""},
        {"resource_name": "x" * 1025},
        {"resource_type": ResourceType.CLUSTER, "resource_name": "my-cluster"},
        {
            "resource_type": ResourceType.CLUSTER,
            "resource_name": "kafka",
            "pattern_type": PatternType.PREFIXED,
        },
        {"principal": "ann"},
        {"principal": "User:"},
        {"principal": "user:ann"},
        {"principal": "Host:staff"},
        {"principal": "group:staff"},
        {"principal": "Group:*"},
        {"principal": "Role:*"},
        {"host": ""},
        {"host": "example.com"},
        {"host": "10.0.0.0/8"},
    ],
)
def test_rules_that_cannot_be_or_could_never_match(
    machine: MetadataMachine, change: dict[str, object]
) -> None:
    replies, events = do(machine, CreateAcls((replace(RULE, **change), RULE)))  # type: ignore[arg-type]
    assert isinstance(replies[0], RivvenError)
    assert replies[0].code is ErrorCode.INVALID_REQUEST
    assert replies[1] is None
    assert events == 1


@pytest.mark.parametrize(
    "change",
    [
        {"resource_type": ResourceType.CLUSTER, "resource_name": "kafka-cluster"},
        {"resource_type": ResourceType.GROUP, "resource_name": "*"},
        {"principal": "User:*"},
        {"principal": "User:CN=ann,O=x:y"},
        {"host": "10.0.0.1"},
        {"host": "::1"},
        {"operation": Operation.ALL},
    ],
)
def test_rules_that_can(machine: MetadataMachine, change: dict[str, object]) -> None:
    assert do(machine, CreateAcls((replace(RULE, **change),))) == ([None], 1)  # type: ignore[arg-type]


def test_rules_are_bounded(machine: MetadataMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acl_changes, "RULES_MAX", 2)
    replies, _ = do(machine, CreateAcls((RULE, PREFIXED, WILDCARD)))
    assert replies[:2] == [None, None]
    assert isinstance(replies[2], RivvenError)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (AclFilter(), {RULE, PREFIXED, WILDCARD, OTHER}),
        (AclFilter(resource_name="orders"), {RULE}),
        (AclFilter(resource_name="orders", pattern_type=PatternType.MATCH), {RULE, PREFIXED, WILDCARD}),
        (AclFilter(resource_name="ord", pattern_type=PatternType.MATCH), {PREFIXED, WILDCARD}),
        (AclFilter(resource_name="zoo", pattern_type=PatternType.MATCH), {WILDCARD}),
        (AclFilter(pattern_type=PatternType.MATCH), {RULE, PREFIXED, WILDCARD, OTHER}),
        (AclFilter(pattern_type=PatternType.PREFIXED), {PREFIXED}),
        (AclFilter(resource_name="*", pattern_type=PatternType.LITERAL), {WILDCARD}),
        (AclFilter(resource_name="ord", pattern_type=PatternType.LITERAL), set()),
        (AclFilter(resource_type=ResourceType.GROUP), set()),
        (
            AclFilter(principal="User:ann", host="*", operation=Operation.READ),
            {RULE, PREFIXED, WILDCARD, OTHER},
        ),
        (AclFilter(principal="User:bob"), set()),
        (AclFilter(host="10.0.0.1"), set()),
        (AclFilter(operation=Operation.WRITE), set()),
        (AclFilter(permission=Permission.DENY), set()),
    ],
)
def test_filters(asked: AclFilter, expected: set[AclBinding]) -> None:
    assert {rule for rule in (RULE, PREFIXED, WILDCARD, OTHER) if matches(asked, rule)} == expected


def test_deletion_reports_what_each_filter_matched_and_removes_once(machine: MetadataMachine) -> None:
    do(machine, CreateAcls((RULE, PREFIXED, WILDCARD)))
    unknown = AclFilter(operation=Operation.UNKNOWN)
    filters = (AclFilter(resource_name="orders"), AclFilter(pattern_type=PatternType.LITERAL), unknown)
    replies, events = do(machine, DeleteAcls(filters))
    assert replies[:2] == [[RULE], [RULE, WILDCARD]]
    assert isinstance(replies[2], RivvenError)
    assert events == 1
    assert machine.image.acls[1] == (PREFIXED,)
    assert do(machine, DeleteAcls(filters[:2])) == ([[], []], 0)


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        ({"resource_name": "orders"}, ""),
        ({"resource_name": "*"}, ""),
        ({"resource_name": "orders-", "pattern_type": PatternType.PREFIXED}, ""),
        ({"resource_type": ResourceType.GROUP, "resource_name": "g*"}, ""),
        ({"resource_name": "orders-*"}, "pattern type prefixed"),
        ({"resource_name": "a b"}, "no topic's name"),
        ({"resource_name": "x" * 250}, "no topic's name"),
        ({"resource_name": "a*", "pattern_type": PatternType.PREFIXED}, "no topic's name"),
        ({"resource_name": "*", "pattern_type": PatternType.PREFIXED}, "the literal '*'"),
        (
            {
                "resource_type": ResourceType.GROUP,
                "resource_name": "*",
                "pattern_type": PatternType.PREFIXED,
            },
            "the literal '*'",
        ),
    ],
)
def test_rules_that_fit_nothing_are_doubted(
    machine: MetadataMachine, change: dict[str, object], doubt: str
) -> None:
    replies, _ = do(machine, CreateAcls((replace(RULE, **change),)))  # type: ignore[arg-type]
    assert replies == [None], "stored all the same, as Kafka does"
    found = doubt_about(replace(RULE, **change))  # type: ignore[arg-type]
    assert doubt in found
    assert bool(doubt) == bool(found)
