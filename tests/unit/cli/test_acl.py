"""The words of access rules: actions, principals and resources as Kafka's."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from rivven_cli.acl import _filters, _operation_names, _rules
from rivven_cli.actions import OPERATIONS, RESOURCE_TYPES, operations_for, parse_principal, parse_resource

DOCS = Path(__file__).resolve().parents[3] / "docs" / "cli.md"

# Kafka's valid operations per resource type (without "all", which is always valid).
VALID = {
    "topic": {"read", "write", "create", "describe", "delete", "alter", "describe-configs", "alter-configs"},
    "group": {"read", "describe", "delete", "describe-configs", "alter-configs"},
    "cluster": {
        "create",
        "cluster-action",
        "describe-configs",
        "alter-configs",
        "idempotent-write",
        "alter",
        "describe",
    },
    "transactional-id": {"describe", "write"},
}


def test_every_action_gives_operations_kafka_knows_for_the_resource() -> None:
    for by_type in OPERATIONS.values():
        for kind, operations in by_type.items():
            assert set(operations) <= VALID[kind] | {"all"}


@pytest.mark.parametrize(
    ("action", "kind", "operations"),
    [
        ("produce", "topic", ("write",)),
        ("consume", "topic", ("read",)),
        ("join", "group", ("read",)),
        ("*", "cluster", ("all",)),
        ("describe", "topic", ("describe", "describe-configs")),
    ],
)
def test_actions_as_operations(action: str, kind: str, operations: tuple[str, ...]) -> None:
    assert operations_for(action, kind) == operations


@pytest.mark.parametrize(
    ("action", "kind", "reason"), [("eat", "topic", "No such action"), ("join", "topic", "has no meaning")]
)
def test_actions_that_make_no_sense_are_refused(action: str, kind: str, reason: str) -> None:
    with pytest.raises(click.UsageError, match=reason):
        operations_for(action, kind)


def test_principals() -> None:
    assert parse_principal("user:alice") == "User:alice"
    assert parse_principal("User:CN=a:b") == "User:CN=a:b"
    assert parse_principal("user:*") == "User:*"
    assert parse_principal("group:analytics") == "Group:analytics"
    assert parse_principal("Role:producer") == "Role:producer"
    for text in ("alice", "user:", "host:x", "group:*", "role:*", "role:"):
        with pytest.raises(click.UsageError):
            parse_principal(text)


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("topic:orders", None, [("topic", "orders", "literal")]),
        ("topic:orders-*", None, [("topic", "orders-", "prefixed")]),
        ("topic:*", None, [("topic", "*", "literal")]),
        ("topic:*", "literal", [("topic", "*", "literal")]),
        ("topic:orders", "prefixed", [("topic", "orders", "prefixed")]),
        ("group:a*", "literal", [("group", "a*", "literal")]),
        ("transactional-id:t:1", None, [("transactional-id", "t:1", "literal")]),
        ("cluster", None, [("cluster", "kafka-cluster", "literal")]),
        ("cluster:*", None, [("cluster", "kafka-cluster", "literal")]),
    ],
)
def test_resources(text: str, pattern: str | None, expected: list[tuple[str, str, str]]) -> None:
    assert parse_resource(text, pattern) == expected


def test_a_star_alone_is_every_kind_of_resource() -> None:
    assert [kind for kind, _, _ in parse_resource("*")] == list(RESOURCE_TYPES)


@pytest.mark.parametrize("text", ["orders", "topic:", "topic:a*b", "tpic:x", "cluster:other", "", "user:x"])
def test_bad_resources_are_refused(text: str) -> None:
    with pytest.raises(click.UsageError):
        parse_resource(text)


def test_a_prefix_that_matches_nothing_is_refused() -> None:
    with pytest.raises(click.UsageError, match="matches nothing"):
        parse_resource("topic:*", "prefixed")


def test_rules_of_several_actions_and_of_everything() -> None:
    rules = _rules("User:a", "topic:t", ("produce", "describe", "produce"), True, None, "*")
    assert [rule.operation for rule in rules] == ["write", "describe", "describe-configs"]
    everything = _rules("User:a", "*", ("consume",), False, None, "10.0.0.1")
    assert [(rule.resource_type, rule.operation, rule.permission) for rule in everything] == [
        ("topic", "read", "deny"),
        ("group", "read", "deny"),
    ]
    with pytest.raises(click.UsageError, match="No such action"):
        _rules("User:a", "*", ("eat",), True, None, "*")


def test_filters() -> None:
    assert _filters(None, None, None) == [{}]
    assert _filters("user:a", "topic:x-*", None) == [
        {"principal": "User:a", "resource_type": "topic", "resource": "x-", "pattern": "prefixed"}
    ]
    assert _operation_names(("consume",), {}) == ["read"]
    assert _operation_names(("describe",), {"resource_type": "group"}) == ["describe", "describe-configs"]
    with pytest.raises(click.UsageError, match="No such action"):
        _operation_names(("eat",), {})


def test_the_manual_shows_the_table_of_actions() -> None:
    shown = {}
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 1 + len(RESOURCE_TYPES) and cells[0].strip("`") in OPERATIONS:
            shown[cells[0].strip("`")] = cells[1:]
    expected = {
        action: [", ".join(by_type.get(kind, ())) for kind in RESOURCE_TYPES]
        for action, by_type in OPERATIONS.items()
    }
    assert {action: [re.sub("`", "", cell) for cell in cells] for action, cells in shown.items()} == expected
