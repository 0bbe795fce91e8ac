"""What Cedar accepts and nobody can have meant."""

from pathlib import Path

import pytest

from rivven.security.authz.cedar.linter import Finding, lint
from rivven.security.authz.cedar.vocabulary import ACTIONS
from rivven.security.authz.operations import VALID_OPERATIONS
from tests.unit.security.authz.cedar.policy_world import book


def findings(directory: Path, text: str, **known: tuple[str, ...]) -> list[Finding]:
    return lint(book(directory, text).policies.values(), known)


@pytest.mark.parametrize(
    ("scope", "refused"),
    [
        ("principal, action, resource", True),
        ("principal is User, action, resource", True),
        ("principal, action, resource is Topic", True),
        ('principal == User::"u", action, resource', False),
        ('principal, action == Action::"Delete", resource', False),
        ('principal, action, resource == Topic::"t"', False),
    ],
)
def test_a_forbid_of_everything_is_refused(tmp_path: Path, scope: str, refused: bool) -> None:
    found = findings(tmp_path, f'@id("x") forbid({scope});')
    assert [finding.level for finding in found] == ["error"] * refused


def test_every_action_by_name_is_every_action(tmp_path: Path) -> None:
    every = sorted(f'Action::"{ACTIONS[one]}"' for valid in VALID_OPERATIONS.values() for one in valid)
    text = '@id("x") forbid(principal, action in [{}], resource);'
    assert [one.level for one in findings(tmp_path, text.format(", ".join(every)))] == ["error"]
    assert not findings(tmp_path, text.format(", ".join(one for one in every if "Read" not in one)))


def test_a_condition_that_is_none_does_not_help(tmp_path: Path) -> None:
    scope = "principal, action, resource"
    assert findings(tmp_path, f'@id("x") forbid({scope}) when {{ true }};')
    assert not findings(tmp_path, f'@id("x") forbid({scope}) unless {{ context.tls }};')
    assert not findings(tmp_path, f'@id("x") permit({scope});')


def test_a_permit_by_client_id_is_warned_about(tmp_path: Path) -> None:
    (found,) = findings(
        tmp_path, '@id("x") permit(principal, action, resource) when { context.client_id == "a" };'
    )
    assert found.level == "warning"
    assert str(found) == f"{tmp_path}/a.cedar:1: x: {found.reason}"
    assert "client id" in found.reason
    text = '@id("x") forbid(principal, action, resource) when { context.client_id == "a" };'
    assert not findings(tmp_path, text)


def test_unknown_ids_are_warned_about_where_ids_are_known(tmp_path: Path) -> None:
    text = """@id("x") permit(principal in Group::"g", action, resource) when { principal in Role::"r" };
    @id("y") permit(principal, action, resource == Cluster::"mine");"""
    assert [str(f).split(": ", 2)[2] for f in findings(tmp_path, text)] == ['Cluster::"mine" is not known']
    told = [f.reason for f in findings(tmp_path, text, Group=("g",), Role=("s",))]
    assert told == ['Role::"r" is not known', 'Cluster::"mine" is not known']
