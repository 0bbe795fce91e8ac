"""Explanations: what decided, what stands in the way, and advice that is true when it is followed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rivven.actions import Permit, WordError, parse_resource
from rivven.security.authz.acl import AclAuthorizer
from rivven.security.authz.authorizer import Action, Authorizer, Decision, Subject, Verdict
from rivven.security.authz.cedar.engine import CedarAuthorizer
from rivven.security.authz.chain import SCOPE, SUPER_USERS, AuthorizerChain
from rivven.security.authz.explain import Explainer, parse_question
from rivven.security.authz.operations import VALID_OPERATIONS
from rivven.security.authz.rbac import RbacAuthorizer, ScopeCeiling
from rivven.security.authz.roles import RoleDirectory
from rivven.testing.authorizers import DenyAll
from rivven.types import (
    CLUSTER_NAME,
    AclBinding,
    Operation,
    PatternType,
    Permission,
    Principal,
    ResourceType,
)
from rivven_cli.actions import operations_for, parse_principal
from tests.unit.security.authz.cedar.policy_world import rules
from tests.unit.security.authz.role_sources import Store, UserFile

TOPIC, CLUSTER = ResourceType.TOPIC, ResourceType.CLUSTER
READ, WRITE = Operation.READ, Operation.WRITE
PRODUCE = Action(WRITE, TOPIC, "orders")


def rule(
    principal: str,
    name: str = "orders",
    operation: Operation = WRITE,
    permission: Permission = Permission.ALLOW,
    pattern: PatternType = PatternType.LITERAL,
) -> AclBinding:
    return AclBinding(TOPIC, name, pattern, principal, "*", operation, permission)


class Users(UserFile):
    """Users with groups."""

    def groups_of(self, name: str) -> tuple[str, ...]:
        return {"ann": ("staff",)}.get(name, ())


class World:
    """Both engines over rules and roles a test changes."""

    def __init__(self, *rules: AclBinding, **others: Authorizer) -> None:
        self.rules = list(rules)
        self.store = Store()
        self.users = Users({"ann": (), "bob": ("consumer",)})
        roles = RoleDirectory(lambda: self.store, self.users)
        source = lambda: (len(self.rules), tuple(self.rules))  # noqa: E731
        self.chain = AuthorizerChain(
            {"acl": AclAuthorizer(source, roles), "rbac": RbacAuthorizer(roles), **others},
            ["User:root"],
            ScopeCeiling(roles),
        )
        self.explainer = Explainer(self.chain, roles, self.users, source)

    def about(self, member: str, action: Action = PRODUCE):
        return self.explainer.explain(self.explainer.subject(member), action)


def test_what_allows_is_named() -> None:
    world = World(rule("Group:staff"))
    found = world.about("user:ann")
    assert found.explanation.decision.rule == "ALLOW WRITE on TOPIC 'orders' for Group:staff from *"
    assert [(name, one.verdict) for name, one in found.explanation.verdicts] == [
        ("acl", Verdict.ALLOW),
        ("rbac", Verdict.NO_OPINION),
    ]
    assert (found.denials, found.remedies) == ((), ())


def test_the_advice_is_a_rule_and_the_narrowest_role() -> None:
    world = World()
    world.store.put("orders-writer", Permit("topic:orders", ("produce",)))
    found = world.about("user:ann")
    assert {one.kind: one.command for one in found.remedies} == {
        "acl": "rivven acl add --principal user:ann --resource topic:orders --action produce --allow",
        "role": "rivven role grant orders-writer user:ann",
    }
    assert world.about("group:staff").remedies[1].command == "rivven role grant orders-writer group:staff"


def test_every_denial_in_the_way_is_named_and_nothing_advised() -> None:
    world = World(
        rule("User:ann"),
        rule("Group:staff", permission=Permission.DENY),
        rule("User:*", "ord", Operation.ALL, Permission.DENY, PatternType.PREFIXED),
        rule("User:bob", permission=Permission.DENY),
        other=DenyAll(),
    )
    found = world.about("user:ann")
    assert [one.reason for one in found.denials] == [
        "DENY WRITE on TOPIC 'orders' for Group:staff from *",
        "DENY ALL on TOPIC prefixed 'ord' for User:* from *",
        "DenyAll",
    ]
    assert found.remedies == ()


def test_super_users_are_limited_by_a_scope_only() -> None:
    world = World(rule("User:root", permission=Permission.DENY))
    subject = world.explainer.subject("user:root")
    allowed = world.explainer.explain(subject, PRODUCE)
    assert allowed.explanation.decision.engine == SUPER_USERS
    scoped = Subject(Principal("User", "root"), "10.0.0.1", scope=("topic:invoices:produce",))
    refused = world.explainer.explain(scoped, PRODUCE)
    assert [one.engine for one in refused.denials] == [SCOPE]


def test_who_can() -> None:
    world = World(rule("User:eve"), rule("Group:writers"), rule("User:bob", permission=Permission.DENY))
    world.store.bind("producer", "Group:ingest", "User:bob", "User:zoe")
    may = {member: world.explainer.holds(member, PRODUCE).allowed for member in world.explainer.candidates()}
    assert may == {
        "user:*": False,
        "user:ann": False,
        "user:bob": False,
        "user:eve": True,
        "user:root": True,
        "user:zoe": True,
        "group:ingest": True,
        "group:writers": True,
    }
    world.rules.append(rule("User:*"))
    assert world.explainer.holds("user:*", PRODUCE).allowed


def test_effects() -> None:
    world = World(rule("Group:staff"), rule("User:bob"), rule("Role:consumer", permission=Permission.DENY))
    shown = [
        (one.verdict, one.operation, one.resource, one.via)
        for one in world.explainer.effects(world.explainer.subject("user:bob"))
    ]
    assert shown[:2] == [
        (Verdict.ALLOW, "WRITE", "topic:orders", "acl: ALLOW WRITE on TOPIC 'orders' for User:bob from *"),
        (Verdict.DENY, "WRITE", "topic:orders", "acl: DENY WRITE on TOPIC 'orders' for Role:consumer from *"),
    ]
    assert (Verdict.ALLOW, "READ", "topic:*", "role:consumer (built-in)") in shown
    assert [one.via for one in world.explainer.effects(world.explainer.subject("user:root"))] == [
        "super user"
    ]
    assert world.explainer.unlisted() == []
    assert World(policies=DenyAll()).explainer.unlisted() == ["policies"]


POLICIES = """
@id("staff-writes") permit(principal in Group::"staff", action == Action::"Write", resource is Topic)
when { resource.name like "ord*" };
@id("eve-writes") permit(principal == User::"eve", action in [Action::"Read", Action::"Write"],
resource == Topic::"orders");
@id("closed") forbid(principal, action == Action::"Write", resource is Topic) when { context.hour < 24 };
@id("broken") forbid(principal, action, resource) when { context.weekday + 9223372036854775807 < 0 };
@id("consumers") permit(principal in Role::"consumer", action, resource == Cluster::"kafka-cluster");
"""


def world_of_policies(directory: Path, text: str) -> World:
    world = World()
    source = rules(directory, text)
    roles = RoleDirectory(lambda: world.store, world.users)
    world.chain.engines["cedar"] = CedarAuthorizer(lambda: source, roles, lambda: 0)
    world.chain = AuthorizerChain(world.chain.engines, ["User:root"], ScopeCeiling(roles))
    world.explainer = Explainer(world.chain, roles, world.users, lambda: (0, ()))
    return world


def test_every_policy_in_the_way_is_named(tmp_path: Path) -> None:
    found = world_of_policies(tmp_path, POLICIES).about("user:ann")
    place = f"{tmp_path}/a.cedar"
    assert found.denials[0] == found.explanation.decision
    assert [one.rule for one in found.denials] == [f"broken ({place}:7)", f"closed ({place}:6)"]
    assert "failed: integer overflow" in found.denials[0].reason
    assert found.remedies == ()


def test_names_no_policy_can_take_are_one_denial(tmp_path: Path) -> None:
    world = world_of_policies(tmp_path, POLICIES)
    found = world.about("user:ann", Action(WRITE, TOPIC, "\ud800"))
    assert [one.reason for one in found.denials] == ["the policy engine cannot take these names"]


def test_whom_policies_name_is_asked_about(tmp_path: Path) -> None:
    permits = POLICIES.partition('@id("closed")')[0]
    world = world_of_policies(tmp_path, permits)
    may = {member: world.explainer.holds(member, PRODUCE).rule for member in world.explainer.candidates()}
    assert {member: rule.partition(" ")[0] for member, rule in may.items() if rule} == {
        "group:staff": "staff-writes",
        "user:ann": "staff-writes",
        "user:eve": "eve-writes",
        "user:root": "authorization.super_users",
    }


def test_effects_of_policies(tmp_path: Path) -> None:
    explainer = world_of_policies(tmp_path, POLICIES).explainer
    place = f"{tmp_path}/a.cedar"
    closed = (Verdict.DENY, "WRITE", "topic:*", f"policy closed ({place}:6), under conditions")
    broken = (Verdict.DENY, "*", "*", f"policy broken ({place}:7), under conditions")

    def effects(member: str) -> list[tuple[Verdict, str, str, str]]:
        found = explainer.effects(explainer.subject(member))
        return [(one.verdict, one.operation, one.resource, one.via) for one in found if "policy" in one.via]

    assert effects("user:ann") == [
        (Verdict.ALLOW, "WRITE", "topic:*", f"policy staff-writes ({place}:2), under conditions"),
        closed,
        broken,
    ]
    eve = f"policy eve-writes ({place}:4)"
    assert effects("user:eve") == [
        (Verdict.ALLOW, "READ", "topic:orders", eve),
        (Verdict.ALLOW, "WRITE", "topic:orders", eve),
        closed,
        broken,
    ]
    assert effects("user:bob")[-1] == (Verdict.ALLOW, "*", "cluster", f"policy consumers ({place}:8)")
    assert explainer.unlisted() == []


@pytest.mark.parametrize(
    ("action", "resource", "operations"),
    [
        ("produce", "topic:orders", [WRITE]),
        ("describe", "topic:orders", [Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS]),
        ("write", "topic:orders", [WRITE]),
        ("alter-configs", "cluster", [Operation.ALTER_CONFIGS]),
        ("create", "cluster", [Operation.CREATE]),
        ("*", "group:g", sorted(VALID_OPERATIONS[ResourceType.GROUP])),
    ],
)
def test_questions(action: str, resource: str, operations: list[Operation]) -> None:
    assert [one.operation for one in parse_question(action, resource)] == operations


@pytest.mark.parametrize(
    ("action", "resource"), [("produce", "*"), ("eat", "topic:x"), ("join", "topic:x"), ("produce", "x")]
)
def test_questions_that_mean_nothing(action: str, resource: str) -> None:
    with pytest.raises(WordError):
        parse_question(action, resource)


def test_a_star_in_a_question_is_part_of_the_name() -> None:
    assert parse_question("produce", "topic:orders-*")[0].resource_name == "orders-*"
    assert parse_question("describe", "cluster")[0].resource_name == CLUSTER_NAME


every_question = st.sampled_from(
    [
        Action(operation, kind, CLUSTER_NAME if kind is CLUSTER else "n")
        for kind, valid in VALID_OPERATIONS.items()
        for operation in sorted(valid)
    ]
)


@settings(max_examples=100, deadline=None)
@given(every_question)
def test_advice_is_true(action: Action) -> None:
    """Whatever is denied for want of a grant is allowed once any one piece of advice is followed."""
    advice = World().about("user:ann", action).remedies
    for remedy in advice:
        world = World()
        words = remedy.command.split()
        if remedy.kind == "role":
            world.store.bind(words[3], "User:ann")
        else:
            options = dict(zip(words[3:-1:2], words[4:-1:2], strict=True))
            ((kind, name, pattern),) = parse_resource(options["--resource"])
            word = options["--resource"].partition(":")[0]
            for operation in operations_for(options["--action"].strip("'"), word):
                world.rules.append(
                    AclBinding(
                        kind,
                        name,
                        pattern,
                        parse_principal(options["--principal"]),
                        "*",
                        Operation[operation.upper().replace("-", "_")],
                        Permission.ALLOW,
                    )
                )
        assert world.about("user:ann", action).explanation.decision.allowed, remedy
    assert advice, "something can always be advised"


def test_explaining_reports_nothing() -> None:
    """It is no use of a right, so the audit trail hears nothing."""
    heard: list[Decision] = []

    class Ear:
        def decided(self, subject: Subject, action: Action, decision: Decision) -> None:
            heard.append(decision)

    world = World()
    world.chain.observer = Ear()
    world.about("user:ann")
    world.explainer.holds("user:ann", PRODUCE)
    assert heard == []
