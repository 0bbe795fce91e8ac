"""A chain that remembers answers as one that asks every engine every time, whatever changes in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rivven.security.authz.acl import AclAuthorizer
from rivven.security.authz.authorizer import Action, Authorizer, Subject
from rivven.security.authz.cedar.engine import CedarAuthorizer
from rivven.security.authz.cedar.store import PolicyStore
from rivven.security.authz.chain import AuthorizerChain
from rivven.security.authz.rbac import RbacAuthorizer, ScopeCeiling
from rivven.security.authz.roles import RoleDirectory
from rivven.telemetry import Metrics
from rivven.types import AclBinding, Operation, PatternType, Permission, Principal, ResourceType
from tests.unit.security.authz.cedar.policy_world import Standing
from tests.unit.security.authz.role_sources import Store, UserFile

POLICIES = """
@id("group") permit(principal in Group::"g", action, resource is Topic) when { context.tls };
@id("role") permit(principal in Role::"writer", action == Action::"Write", resource is Topic);
@id("office") permit(principal, action, resource == Topic::"t") when { context.hour >= 9 };
@id("app") forbid(principal, action, resource is Topic) when { context.client_id like "bad*" };
@id("plain") forbid(principal, action, resource == Topic::"t") when { context.mechanism == "PLAIN" };
@id("inside") forbid(principal, action, resource is Topic)
when { context.listener == "outside" && resource.name like "t*" };
@id("near") forbid(principal, action, resource == Topic::"u")
unless { context.address.isInRange(ip("10.0.0.0/24")) };
@id("scope") permit(principal, action, resource == Topic::"u") when { principal has scope };
"""

subjects = st.builds(
    Subject,
    st.sampled_from([Principal("User", "x"), Principal("User", "y"), Principal("User", "root")]),
    st.sampled_from(["10.0.0.1", "10.0.1.1"]),
    st.sampled_from(["inside", "outside"]),
    st.sampled_from([(), ("g",)]),
    st.sampled_from(["PLAIN", "SCRAM-SHA-256"]),
    st.booleans(),
    st.sampled_from(["", "app", "bad"]),
    st.sampled_from([None, ("topic:t:produce",)]),
)
actions = st.builds(
    Action,
    st.sampled_from([Operation.READ, Operation.WRITE, Operation.DESCRIBE]),
    st.just(ResourceType.TOPIC),
    st.sampled_from(["t", "u"]),
)
rules = st.builds(
    AclBinding,
    st.just(ResourceType.TOPIC),
    st.sampled_from(["t", "u"]),
    st.just(PatternType.LITERAL),
    st.sampled_from(["User:x", "Group:g", "Role:writer"]),
    st.sampled_from(["*", "10.0.0.1"]),
    st.sampled_from([Operation.READ, Operation.WRITE]),
    st.sampled_from([Permission.ALLOW, Permission.DENY]),
)
changes = st.one_of(
    st.tuples(st.just("hour"), st.integers(0, 23)),
    st.tuples(st.just("roles"), st.sampled_from([(), ("writer",), ("producer",)])),
    st.tuples(st.just("rules"), st.lists(rules, max_size=3)),
)
steps = st.lists(st.one_of(st.tuples(subjects, actions), changes), max_size=60)


class World:
    """One state of everything decisions depend on, and two chains over it."""

    def __init__(self, policies: PolicyStore, clock: Standing) -> None:
        self.clock = clock
        self.users = UserFile({})
        self.rules: tuple[int, tuple[AclBinding, ...]] = (0, ())
        store = Store()
        self.roles = RoleDirectory(lambda: store, self.users)
        self._policies = policies
        self.remembering = self._chain(lambda: (self.rules[0], self.roles.version, policies.stamp))
        self.asking = self._chain(None)

    def _chain(self, stamp: Callable[[], Any] | None) -> AuthorizerChain:
        policies = self._policies
        engines: dict[str, Authorizer] = {
            "acl": AclAuthorizer(lambda: self.rules, self.roles),
            "rbac": RbacAuthorizer(self.roles),
            "cedar": CedarAuthorizer(lambda: policies.rules, self.roles, self.clock.now_ms),
        }
        return AuthorizerChain(engines, ["User:root"], ScopeCeiling(self.roles), stamp=stamp)

    def change(self, what: str, value: Any) -> None:
        if what == "hour":
            self.clock.hour = value
        elif what == "roles":
            self.users.give("x", *value)
        else:
            self.rules = (self.rules[0] + 1, tuple(value))


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> tuple[PolicyStore, Standing]:
    """Read once: compiling them takes longer than everything else here."""
    directory, clock = tmp_path_factory.mktemp("policies"), Standing()
    (directory / "all.cedar").write_text(POLICIES)
    return PolicyStore(directory, None, Metrics(), clock), clock


@settings(max_examples=150)
@given(taken=steps)
def test_what_is_remembered_is_what_would_be_answered(
    policies: tuple[PolicyStore, Standing], taken: list[tuple[Any, Any]]
) -> None:
    policies[1].hour = 0
    world = World(*policies)
    for first, second in taken:
        if isinstance(first, str):
            world.change(first, second)
            continue
        found, expected = (chain.decide(first, second) for chain in (world.remembering, world.asking))
        assert found == expected
