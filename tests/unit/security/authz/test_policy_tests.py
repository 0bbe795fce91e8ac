"""Tests of policies: read strictly, run, and told apart by what came of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rivven.security.authz.policy_tests import Result, TestsRefused, parse_tests, run_tests
from rivven.security.authz.roles import FileRoles
from rivven.security.authz.trial import Candidate
from tests.unit.security.authz.cedar.policy_world import rules

POLICIES = """
@id("readers") permit(principal in Group::"staff", action == Action::"Read", resource is Topic)
when { context.hour < 12 };
@id("mine") permit(principal in Role::"owner", action, resource == Topic::"mine");
"""


def run(directory: Path, text: str) -> list[Result]:
    candidate = Candidate(rules(directory, POLICIES), FileRoles(), decides_by_roles=False)
    return list(run_tests(parse_tests(text.encode(), "tests.yaml"), candidate))


def entry(**changes: str) -> str:
    keys = {"principal": "user:u", "action": "consume", "resource": "topic:a", "expected": "deny"} | changes
    return "tests: [{" + ", ".join(f"{key}: {value}" for key, value in keys.items() if value) + "}]"


@pytest.mark.parametrize(
    ("changes", "passed", "actual"),
    [
        ({}, True, "deny"),
        ({"expected": "allow"}, False, "deny"),
        ({"groups": "[staff]", "context": "{hour: 9}", "expected": "allow"}, True, "allow"),
        ({"groups": "[staff]", "context": "{hour: 13}", "expected": "deny"}, True, "deny"),
        ({"groups": "[staff]"}, False, "open"),
        (
            {"roles": "[owner]", "resource": "'topic:mine'", "action": "'*'", "expected": "allow"},
            True,
            "allow",
        ),
        (
            {"roles": "[owner]", "resource": "'topic:mine'", "action": "describe", "expected": "allow"},
            True,
            "allow",
        ),
        (
            {"roles": "[owner]", "resource": "'topic:mine'", "action": "alter-configs", "expected": "allow"},
            True,
            "allow",
        ),
        (
            {
                "roles": "[owner]",
                "resource": "'topic:mine'",
                "scope": "['topic:mine:produce']",
                "action": "delete",
            },
            True,
            "deny",
        ),
    ],
)
def test_results(tmp_path: Path, changes: dict[str, str], passed: bool, actual: str) -> None:
    (result,) = run(tmp_path, entry(**changes))
    assert (result.passed, result.actual) == (passed, actual), result.reason
    assert result.reason
    if actual == "open":
        assert "context.hour" in result.reason


def test_an_action_of_several_operations_needs_all(tmp_path: Path) -> None:
    """describe on a topic is Describe and DescribeConfigs; reading carries only the first."""
    (result,) = run(
        tmp_path, entry(groups="[staff]", action="describe", context="{hour: 1}", expected="allow")
    )
    assert not result.passed


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tests: []", "1 to 10000"),
        ("tests: {}", "holds a list"),
        ("test: []", "one key, tests"),
        ("{", "tests.yaml: "),
        ("tests: [1]", "test 1: must be a mapping"),
        (entry(expected="maybe"), "expected: must be allow or deny"),
        (entry(principal="group:g"), "is written user:NAME"),
        (entry(principal=""), "principal: must be a text"),
        (entry(resource="'topic:a*'", action="fly"), "neither an action nor an operation"),
        (entry(resource="'topic:*'"), "names one resource"),
        (entry(resource="'*'"), "names one resource"),
        (entry(resource="planet:a"), "No such resource type"),
        (entry(resource="cluster", action="consume"), "no meaning on a cluster"),
        (entry(resource="cluster", action="read"), "no meaning on a cluster"),
        (entry(groups="staff"), "groups: must be a list"),
        (entry(context="[1]"), "context: must be a mapping"),
        (entry(context="{moon: 1}"), "context: unknown key 'moon'"),
        (entry(context="{hour: 24}"), "context.hour: 24 cannot be"),
        (entry(context="{hour: true}"), "context.hour: True cannot be"),
        (entry(context="{tls: 'yes'}"), "context.tls"),
        (entry(colour="red"), "unknown key 'colour'"),
    ],
)
def test_refusals(text: str, reason: str) -> None:
    with pytest.raises(TestsRefused) as refused:
        parse_tests(text.encode(), "tests.yaml")
    assert reason in str(refused.value)
    assert str(refused.value).startswith("tests.yaml: ")


def test_names_that_look_like_patterns_are_names(tmp_path: Path) -> None:
    (test,) = parse_tests(entry(resource="'topic:a*'").encode(), "t")
    assert test.questions[0].action.resource_name == "a*"
