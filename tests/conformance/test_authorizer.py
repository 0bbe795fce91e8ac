"""What every authorizer must keep to, whatever it knows. A new engine adds a row to IMPLEMENTATIONS."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivven.security.authz.access import Access
from rivven.security.authz.acl import AclAuthorizer
from rivven.security.authz.authorizer import Action, Authorizer, Decision, Subject, Verdict
from rivven.security.authz.cedar.engine import Rules
from rivven.security.authz.cedar.store import read_rules
from rivven.security.authz.chain import AuthorizerChain
from rivven.security.authz.roles import RoleDirectory
from rivven.security.authz.roles_file import parse_roles
from rivven.security.authz.sources import AuthorizerSettings, load_authorizers
from rivven.testing.authorizers import AllowAll, DenyAll
from rivven.types import AclBinding, Operation, PatternType, Permission, Principal, ResourceType

RULES = (
    AclBinding(ResourceType.TOPIC, "*", PatternType.LITERAL, "User:*", "*", Operation.READ, Permission.ALLOW),
    AclBinding(ResourceType.TOPIC, "a", PatternType.PREFIXED, "User:x", "*", Operation.ALL, Permission.DENY),
    AclBinding(ResourceType.GROUP, "g", PatternType.LITERAL, "User:x", "*", Operation.READ, Permission.ALLOW),
)
POLICIES = """
@id("everybody-reads") permit(principal, action == Action::"Read", resource is Topic);
@id("not-x-on-a") forbid(principal == User::"x", action, resource is Topic) when { resource.name like "a*" };
@id("x-in-g") permit(principal == User::"x", action == Action::"Read", resource == ConsumerGroup::"g");
@id("inside") permit(principal, action, resource) when { context.address.isInRange(ip("10.0.0.0/8")) };
@id("not-from-localhost") forbid(principal in Group::"a", action, resource is Topic)
when { context.address.isLoopback() };
"""


@cache
def policies() -> Rules:
    with TemporaryDirectory() as directory:
        Path(directory, "all.cedar").write_text(POLICIES)
        return read_rules(Path(directory))


ROLES = b"""
roles:
  reader: {permissions: [{resource: "topic:*", actions: [consume]}, {resource: "group:g", actions: [join]}]}
  a: {permissions: [{resource: "topic:a*", actions: ["*"]}, {resource: cluster, actions: [describe]}]}
bindings:
  reader: {users: [x, "*"], groups: [a]}
  a: {groups: ["*", abc]}
"""


def roles() -> RoleDirectory:
    directory = RoleDirectory()
    directory.replace_file(parse_roles(ROLES, "rbac.yaml"))
    return directory


IMPLEMENTATIONS: dict[str, Callable[[], Authorizer]] = {
    "acl": lambda: load_authorizers(["acl"], AuthorizerSettings(), lambda: (1, RULES))["acl"],
    "acl, open by default": lambda: AclAuthorizer(lambda: (1, RULES), allow_everyone_if_no_acl_found=True),
    "cedar": lambda: load_authorizers(
        ["cedar"], AuthorizerSettings(policies=policies, now_ms=lambda: 0), lambda: (1, ())
    )["cedar"],
    "rbac": lambda: load_authorizers(["rbac"], AuthorizerSettings(roles=roles()), lambda: (1, ()))["rbac"],
    "deny all": DenyAll,
    "allow all": AllowAll,
}

names = st.text(max_size=20) | st.sampled_from(["*", "a", "abc", "g", "", "\ud800"])
subjects = st.builds(
    Subject,
    st.builds(Principal, st.sampled_from(["User", "", "\0"]), names),
    st.sampled_from(["10.0.0.1", "::1", "", "not an address", "*", "::ffff:999"]),
    st.sampled_from(["main", ""]),
    st.lists(names, max_size=3).map(tuple),
)
actions = st.builds(Action, st.sampled_from(Operation), st.sampled_from(ResourceType), names)

every = pytest.mark.parametrize("make", IMPLEMENTATIONS.values(), ids=IMPLEMENTATIONS.keys())


@every
@given(subject=subjects, questions=st.lists(actions, max_size=8))
def test_one_decision_per_action_in_order_and_the_same_each_time(
    make: Callable[[], Authorizer], subject: Subject, questions: list[Action]
) -> None:
    authorizer = make()
    together = authorizer.authorize(subject, questions)
    assert len(together) == len(questions)
    assert together == [authorizer.authorize(subject, [one])[0] for one in questions]
    assert together[::-1] == authorizer.authorize(subject, questions[::-1])
    assert together == make().authorize(subject, questions), "a fresh one decides alike"


@every
@given(subject=subjects, question=actions)
def test_decisions_are_whole(make: Callable[[], Authorizer], subject: Subject, question: Action) -> None:
    for decision in (
        make().authorize(subject, [question])[0],
        make().authorize_any(subject, question.operation, question.resource_type),
    ):
        assert isinstance(decision, Decision)
        assert decision.allowed is (decision.verdict is Verdict.ALLOW)
        assert decision.reason
        assert "\n" not in decision.reason


@every
@given(subject=subjects, question=actions)
def test_what_is_allowed_on_one_resource_is_allowed_on_some(
    make: Callable[[], Authorizer], subject: Subject, question: Action
) -> None:
    authorizer = make()
    if authorizer.authorize(subject, [question])[0].allowed:
        assert authorizer.authorize_any(subject, question.operation, question.resource_type).allowed


@every
@given(subject=subjects, questions=st.lists(actions, min_size=1, max_size=4))
def test_a_denier_in_the_chain_denies_whoever_else_allows(
    make: Callable[[], Authorizer], subject: Subject, questions: list[Action]
) -> None:
    for engines in ({"it": make(), "deny": DenyAll()}, {"deny": DenyAll(), "it": make()}):
        access = Access(subject, AuthorizerChain(engines))
        for operation, kind, name in questions:
            assert not access.allowed(operation, kind, name)
            assert not access.allowed_any(operation, kind)
