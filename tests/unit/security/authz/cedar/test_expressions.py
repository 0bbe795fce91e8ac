"""What a policy is about, read from its scope and conditions."""

from pathlib import Path

import pytest

from rivven.security.authz.cedar.expressions import Constraint, mentions_of, unconditional, without_resource
from tests.unit.security.authz.cedar.policy_world import policy


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("principal", Constraint()),
        ('principal == User::"u"', Constraint(uid=("User", "u"))),
        ('principal in Group::"g"', Constraint(uid=("Group", "g"))),
        ("principal is User", Constraint("User")),
        ('principal is User in Role::"r"', Constraint("User", ("Role", "r"))),
    ],
)
def test_constraints(tmp_path: Path, scope: str, expected: Constraint) -> None:
    assert policy(tmp_path, f'@id("x") permit({scope}, action, resource);').principal == expected


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("action", None),
        ('action == Action::"Read"', {"Read"}),
        ('action in Action::"Read"', {"Read"}),
        ('action in [Action::"Read", Action::"Write"]', {"Read", "Write"}),
    ],
)
def test_actions(tmp_path: Path, scope: str, expected: set[str] | None) -> None:
    actions = policy(tmp_path, f'@id("x") permit(principal, {scope}, resource);').actions
    assert expected == (None if actions is None else {name for _type, name in actions})


def test_mentions(tmp_path: Path) -> None:
    found = policy(
        tmp_path,
        """@id("x") permit(principal in Group::"g", action, resource is Topic)
        when { context.hour > 1 && context["tls"] && context has listener && resource.name like "a*" }
        unless { principal in Role::"r" || principal in Group::"h" };""",
    ).mentions
    assert found.context == {"hour", "tls", "listener"}
    assert found.probed == {"listener"}
    assert found.resource
    assert found.entities == {("Group", "g"), ("Role", "r"), ("Group", "h")}


def test_the_context_as_a_whole_is_everything_in_it(tmp_path: Path) -> None:
    text = '@id("x") permit(principal, action, resource) when { {a: context}.a.hour == 1 };'
    assert "*" in policy(tmp_path, text).mentions.context


def test_keys_of_records_are_no_operators() -> None:
    record = {
        "Record": {"Var": {"Value": 1}, ".": {"Value": 2}, "__entity": {"Value": 3}, "has": {"Value": 4}}
    }
    scope = {"op": "All"}
    found = mentions_of(
        {"principal": scope, "resource": scope, "conditions": [{"kind": "when", "body": record}]}
    )
    assert found.context == found.entities == frozenset()
    assert not found.resource


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ("", True),
        ("when { true } unless { false }", True),
        ("when { context.tls }", False),
        ("unless { true }", False),
    ],
)
def test_unconditional(tmp_path: Path, conditions: str, expected: bool) -> None:
    found = policy(tmp_path, f'@id("x") permit(principal, action, resource) {conditions};')
    assert unconditional(found.json) is expected


def test_a_permit_without_its_resource_reaches_as_far_as_its_scope(tmp_path: Path) -> None:
    text = """@id("x") permit(principal, action, resource == Topic::"t")
    when { resource.name == "t" } when { context.tls };"""
    found = without_resource(policy(tmp_path, text).json)
    assert found is not None
    assert found["resource"] == {"op": "is", "entity_type": "Topic"}
    assert len(found["conditions"]) == 1


@pytest.mark.parametrize(
    ("resource", "condition", "kept"),
    [
        ("resource", "when { context.tls }", True),
        ("resource is Topic", "", True),
        ('resource == Topic::"t"', "", False),
        ("resource is Topic", 'when { resource.name like "a*" }', False),
    ],
)
def test_a_forbid_without_its_resource_stays_only_if_it_covers_all(
    tmp_path: Path, resource: str, condition: str, kept: bool
) -> None:
    text = f'@id("x") forbid(principal == User::"u", action, {resource}) {condition};'
    assert (without_resource(policy(tmp_path, text).json) is not None) is kept
