"""Whatever stands in a roles file or a scope: it is read, or refused by the error that says why."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from rivven.actions import ACTIONS, RESOURCE_TYPES, Permit, WordError, grants_of, parse_resource, pattern_text
from rivven.security.authz.authorizer import Action
from rivven.security.authz.rbac import ScopeCeiling, parse_scope
from rivven.security.authz.roles import RoleDirectory
from rivven.security.authz.roles_file import RolesFileProblem, parse_roles
from rivven.types import Operation, ResourceType

words = st.sampled_from(
    ["roles", "bindings", "permissions", "resource", "actions", "users", "groups", "admin", "topic:a-*", "*"]
)
yamlish = st.recursive(
    words | st.text(max_size=8) | st.none() | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=12,
)
resources = st.builds(
    "{}:{}{}".format,
    st.sampled_from([*RESOURCE_TYPES, "queue", ""]),
    st.text(max_size=6),
    st.sampled_from(["", "*"]),
) | st.sampled_from(["*", "cluster", ""])
permits = st.builds(
    Permit, resources, st.lists(st.sampled_from([*ACTIONS, "WRITE", "eat"]), max_size=3).map(tuple)
)


@given(st.binary(max_size=200))
def test_random_bytes(text: bytes) -> None:
    with contextlib.suppress(RolesFileProblem):
        parse_roles(text, "r.yaml")


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(words, yamlish, max_size=3))
def test_random_documents(document: dict[str, object]) -> None:
    with contextlib.suppress(RolesFileProblem):  # JSON is YAML
        RoleDirectory().replace_file(parse_roles(json.dumps(document).encode(), "r.yaml"))


@given(permits)
def test_a_permission_is_read_or_refused(permit: Permit) -> None:
    try:
        found = grants_of(permit)
    except WordError as error:
        assert "\n" not in str(error)
        return
    assert found
    for _, pattern in found:
        assert parse_resource(pattern_text(*pattern)) == [pattern]


@given(
    st.lists(
        st.text(max_size=20) | st.builds("{0[0]}:{0[1][0]}".format, permits.filter(lambda p: p.actions)),
        max_size=4,
    )
)
def test_a_scope_that_is_refused_lets_nothing_through(entries: list[str]) -> None:
    ceiling = ScopeCeiling(RoleDirectory())
    action = Action(Operation.WRITE, ResourceType.TOPIC, "a")
    try:
        parse_scope(entries)
    except WordError:
        assert not ceiling.permits(tuple(entries), action).allowed
        assert not ceiling.permits_any(tuple(entries), action.operation, action.resource_type).allowed
