"""A file of access rules holds what `rivven acl list -o json` prints, and nothing else is accepted."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from rivven.security.authz import acl_file
from rivven.security.authz.acl_file import AclFileProblem, parse_rules
from rivven.types import AclBinding, Operation, PatternType, Permission, ResourceType
from rivven_client.security import Rule

RULE = {
    "principal": "User:alice",
    "host": "*",
    "resource_type": "topic",
    "resource": "orders-",
    "pattern": "prefixed",
    "operation": "describe-configs",
    "permission": "allow",
}


def parsed(*rules: Any) -> tuple[AclBinding, ...]:
    return parse_rules(json.dumps(rules).encode(), "acl.json")


def test_what_the_command_prints_is_read() -> None:
    printed = asdict(Rule("Group:staff", "10.0.0.1", "transactional-id", "*", "literal", "all", "deny"))
    assert parsed(RULE, printed, RULE) == (
        AclBinding(
            ResourceType.TOPIC,
            "orders-",
            PatternType.PREFIXED,
            "User:alice",
            "*",
            Operation.DESCRIBE_CONFIGS,
            Permission.ALLOW,
        ),
        AclBinding(
            ResourceType.TRANSACTIONAL_ID,
            "*",
            PatternType.LITERAL,
            "Group:staff",
            "10.0.0.1",
            Operation.ALL,
            Permission.DENY,
        ),
    )
    assert parsed() == ()


def test_types_the_command_cannot_name_are_both_of_them() -> None:
    kinds = [rule.resource_type for rule in parsed({**RULE, "resource_type": "unknown"})]
    assert kinds == [ResourceType.USER, ResourceType.DELEGATION_TOKEN]
    assert parsed({**RULE, "resource_type": "delegation-token"})[0].resource_type is kinds[1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"extra": "x"}, "rule 2: must have the keys principal, host"),
        ({"host": 7}, "rule 2: host: must be a text"),
        ({"resource": ""}, "rule 2: resource: must be a text"),
        ({"resource_type": "table"}, "resource_type: there are topic"),
        ({"pattern": "match"}, "pattern: there are literal, prefixed"),
        ({"operation": "any"}, "operation: there are all, read"),
        ({"permission": "maybe"}, "permission: there are allow, deny"),
        ({"principal": "alice"}, "'alice' is not of the form Type:name"),
        ({"principal": "user:alice"}, "principal: is written User:NAME"),
    ],
)
def test_mistakes_are_named_with_their_rule(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(AclFileProblem, match=r"acl\.json") as refused:
        parsed(RULE, {**RULE, **change})
    assert reason in str(refused.value)


@pytest.mark.parametrize("text", [b"", b"{}", b"[" * 100_000, b"\xff", b'"x"', b"[1]"])
def test_what_holds_no_rules(text: bytes) -> None:
    with pytest.raises(AclFileProblem):
        parse_rules(text, "acl.json")


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acl_file, "RULES_MAX", 1)
    with pytest.raises(AclFileProblem, match="more than 1 rules"):
        parsed(RULE, RULE)
    monkeypatch.setattr(acl_file, "FILE_BYTES_MAX", 10)
    with pytest.raises(AclFileProblem, match="larger than 10 bytes"):
        parsed(RULE)
