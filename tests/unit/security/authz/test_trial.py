"""A candidate answers what it can and names what it would have to know."""

from __future__ import annotations

from pathlib import Path

import pytest

from rivven.security.authz.authorizer import Action, Verdict
from rivven.security.authz.cedar.engine import time_of
from rivven.security.authz.roles import FileRoles
from rivven.security.authz.roles_file import parse_roles
from rivven.security.authz.trial import Answer, Candidate, Question
from rivven.types import (
    WILDCARD,
    AclBinding,
    Operation,
    PatternType,
    Permission,
    Principal,
    ResourceType,
)
from tests.unit.security.authz.cedar.policy_world import rules

U = Principal("User", "u")
WRITE = Action(Operation.WRITE, ResourceType.TOPIC, "t")
ALL_OF_THE_CONTEXT = {
    "address": "10.0.0.1",
    "listener": "main",
    "mechanism": "SCRAM-SHA-256",
    "tls": True,
    "client_id": "c",
    **time_of(9),
}
ROLES = b"""
roles:
  writer:
    permissions:
      - {resource: "topic:t*", actions: [produce]}
bindings:
  writer: {users: [u], groups: [g]}
"""


def candidate(
    directory: Path, text: str, roles: bytes | None = b"roles: {}", *, rbac: bool = False
) -> Candidate:
    file = None if roles is None else parse_roles(roles, "rbac.yaml")
    return Candidate(rules(directory, text), file, decides_by_roles=rbac)


def verdict(answer: Answer) -> Verdict | tuple[str, ...]:
    return answer.missing if answer.decision is None else answer.decision.verdict


@pytest.mark.parametrize(
    ("text", "lacks", "expected"),
    [
        ("permit(principal, action, resource)", {}, Verdict.ALLOW),
        ("permit(principal, action, resource) when { context.tls }", {}, ("context.tls",)),
        ("permit(principal, action, resource) when { context has tls }", {}, ("context.tls",)),
        (
            "permit(principal, action, resource) when { {a: context}.a.tls }",
            {},
            tuple(f"context.{name}" for name in sorted(ALL_OF_THE_CONTEXT)),
        ),
        # Not read, because what comes before decides.
        (
            'permit(principal == User::"u", action, resource) when { principal.name == "v" && context.tls }',
            {},
            Verdict.NO_OPINION,
        ),
        # About others, another action, another resource.
        ('permit(principal == User::"v", action, resource) when { context.tls }', {}, Verdict.NO_OPINION),
        (
            'permit(principal, action == Action::"Read", resource) when { context has tls }',
            {},
            Verdict.NO_OPINION,
        ),
        (
            'permit(principal, action, resource == Topic::"s") when { context has tls }',
            {},
            Verdict.NO_OPINION,
        ),
        ("permit(principal, action, resource is Cluster) when { context has tls }", {}, Verdict.NO_OPINION),
        ('permit(principal in Group::"g", action, resource)', {"groups": None}, ("groups",)),
        ('permit(principal in Group::"g", action, resource)', {"groups": ("g",)}, Verdict.ALLOW),
        (
            "permit(principal, action, resource) when { principal has scope }",
            {"scope_known": False},
            ("scope",),
        ),
        ("permit(principal, action, resource) when { principal has scope }", {}, Verdict.NO_OPINION),
    ],
)
def test_what_is_not_known_is_named_where_it_matters(
    tmp_path: Path, text: str, lacks: dict[str, object], expected: object
) -> None:
    question = Question(U, WRITE, **lacks)  # type: ignore[arg-type]
    assert verdict(candidate(tmp_path, f'@id("x") {text};').ask(question)) == expected


def test_a_forbid_that_applies_needs_nothing_else(tmp_path: Path) -> None:
    text = """@id("no") forbid(principal == User::"u", action, resource);
    @id("maybe") permit(principal in Group::"g", action, resource) when { context.tls };"""
    assert verdict(candidate(tmp_path, text).ask(Question(U, WRITE, groups=None))) is Verdict.DENY


def test_describing_depends_on_what_implies_it(tmp_path: Path) -> None:
    describe = Action(Operation.DESCRIBE, ResourceType.TOPIC, "t")
    text = '@id("x") {}(principal, action == Action::"Write", resource) when {{ context.tls }};'
    assert verdict(candidate(tmp_path, text.format("permit")).ask(Question(U, describe))) == ("context.tls",)
    assert (
        verdict(candidate(tmp_path, text.format("forbid")).ask(Question(U, describe))) is Verdict.NO_OPINION
    )
    known = Question(U, describe, context=ALL_OF_THE_CONTEXT)
    assert verdict(candidate(tmp_path, text.format("permit")).ask(known)) is Verdict.ALLOW


def test_some_resource(tmp_path: Path) -> None:
    some = Action(Operation.WRITE, ResourceType.TOPIC, WILDCARD)
    text = '@id("x") permit(principal, action, resource == Topic::"t") when { context.hour == 9 };'
    assert verdict(candidate(tmp_path, text).ask(Question(U, some))) == ("context.hour",)
    assert verdict(candidate(tmp_path, text).ask(Question(U, some, context=time_of(9)))) is Verdict.ALLOW
    assert verdict(candidate(tmp_path, text).ask(Question(U, some, context=time_of(8)))) is Verdict.NO_OPINION
    roles = Candidate(None, parse_roles(ROLES, "r"), decides_by_roles=True)
    assert verdict(roles.ask(Question(U, some))) is Verdict.ALLOW
    assert verdict(roles.ask(Question(Principal("User", "v"), some))) is Verdict.NO_OPINION


def test_roles_come_from_the_file_and_from_the_question(tmp_path: Path) -> None:
    text = '@id("x") permit(principal in Role::"writer", action, resource);'
    asked = candidate(tmp_path, text, ROLES)
    assert verdict(asked.ask(Question(U, WRITE))) is Verdict.ALLOW
    v = Principal("User", "v")
    assert verdict(asked.ask(Question(v, WRITE))) is Verdict.NO_OPINION
    assert verdict(asked.ask(Question(v, WRITE, roles=("writer",)))) is Verdict.ALLOW
    assert verdict(asked.ask(Question(v, WRITE))) is Verdict.NO_OPINION, "roles of a question end with it"
    assert verdict(asked.ask(Question(v, WRITE, groups=("g",)))) is Verdict.ALLOW
    assert verdict(asked.ask(Question(v, WRITE, groups=None))) == ("groups",)
    assert verdict(candidate(tmp_path, text, None).ask(Question(U, WRITE))) == ("roles",)


def test_roles_decide_only_when_asked_to(tmp_path: Path) -> None:
    nothing = "// no policy\n"
    assert verdict(candidate(tmp_path, nothing, ROLES).ask(Question(U, WRITE))) is Verdict.NO_OPINION
    both = candidate(tmp_path, nothing, ROLES, rbac=True)
    assert verdict(both.ask(Question(U, WRITE))) is Verdict.ALLOW
    assert verdict(both.ask(Question(Principal("User", "v"), WRITE, groups=None))) == ("groups",)
    assert verdict(both.ask(Question(U, WRITE, groups=None))) is Verdict.ALLOW, "groups could only add"


def test_a_denial_of_one_engine_needs_nothing_of_the_other(tmp_path: Path) -> None:
    text = '@id("no") forbid(principal, action == Action::"Write", resource);'
    both = candidate(tmp_path, text, ROLES, rbac=True)
    assert verdict(both.ask(Question(Principal("User", "v"), WRITE, groups=None))) is Verdict.DENY


def test_scopes(tmp_path: Path) -> None:
    asked = Candidate(None, FileRoles(), decides_by_roles=True)
    assert asked.within_scope(Question(U, WRITE, scope=("topic:t:produce",))).allowed
    assert not asked.within_scope(Question(U, WRITE, scope=("topic:s:produce",))).allowed
    some = Action(Operation.WRITE, ResourceType.TOPIC, WILDCARD)
    assert asked.within_scope(Question(U, some, scope=("role:producer",))).allowed


def test_what_policies_have_no_word_for(tmp_path: Path) -> None:
    asked = candidate(tmp_path, '@id("x") permit(principal, action, resource);')
    assert verdict(asked.ask(Question(Principal("Service", "u"), WRITE))) is Verdict.NO_OPINION
    odd = Action(Operation.CLUSTER_ACTION, ResourceType.TOPIC, "t")
    assert verdict(asked.ask(Question(U, odd))) is Verdict.NO_OPINION


def rule(
    principal: str, permission: Permission = Permission.ALLOW, host: str = WILDCARD, topic: str = "t"
) -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC, topic, PatternType.LITERAL, principal, host, Operation.WRITE, permission
    )


@pytest.mark.parametrize(
    ("acls", "lacks", "expected"),
    [
        ((), {}, Verdict.NO_OPINION),
        ((rule("User:u"),), {}, Verdict.ALLOW),
        ((rule("User:u"), rule("Group:g", Permission.DENY)), {}, Verdict.ALLOW),
        ((rule("User:u"), rule("Group:g", Permission.DENY)), {"groups": ("g",)}, Verdict.DENY),
        ((rule("User:u"), rule("Group:g", Permission.DENY)), {"groups": None}, ("groups",)),
        ((rule("User:u", Permission.DENY), rule("Group:g")), {"groups": None}, Verdict.DENY),
        ((rule("Role:writer"),), {"roles": ("writer",)}, Verdict.ALLOW),
        ((rule("Role:writer"),), {"groups": None}, Verdict.NO_OPINION),
        ((rule("User:u", host="10.0.0.1"),), {}, ("context.address",)),
        ((rule("User:u", host="10.0.0.1"),), {"context": {"address": "10.0.0.1"}}, Verdict.ALLOW),
        ((rule("User:u", host="10.0.0.1"),), {"context": {"address": "10.0.0.2"}}, Verdict.NO_OPINION),
        ((rule("User:u"),), {"action": WRITE._replace(resource_name=WILDCARD)}, Verdict.ALLOW),
    ],
)
def test_access_rules(acls: tuple[AclBinding, ...], lacks: dict[str, object], expected: object) -> None:
    tried = Candidate(None, FileRoles(), decides_by_roles=False, acls=acls)
    question = Question(U, **{"action": WRITE, **lacks})  # type: ignore[arg-type]
    assert verdict(tried.ask(question)) == expected


def test_access_rules_for_roles_nobody_knows_the_members_of() -> None:
    tried = Candidate(None, None, decides_by_roles=False, acls=(rule("Role:writer"),))
    assert verdict(tried.ask(Question(U, WRITE))) == ("roles",)
    by_group = Candidate(
        None, parse_roles(ROLES, "rbac.yaml"), decides_by_roles=False, acls=(rule("Role:writer", topic="s"),)
    )
    assert verdict(by_group.ask(Question(Principal("User", "v"), WRITE, groups=None))) == ("groups",)


def test_a_denial_by_a_rule_wins_over_a_policy(tmp_path: Path) -> None:
    everything = rules(tmp_path, '@id("x") permit(principal, action, resource);')
    tried = Candidate(
        everything, FileRoles(), decides_by_roles=False, acls=(rule("User:u", Permission.DENY),)
    )
    assert verdict(tried.ask(Question(U, WRITE))) is Verdict.DENY
