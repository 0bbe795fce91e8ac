"""Reading a roles file: what it may say, and that every mistake is named with its line."""

from __future__ import annotations

import pytest

from rivven.actions import Permit
from rivven.security.authz.roles_file import FILE_BYTES_MAX, RolesFileProblem, parse_roles

THE_DOCUMENT = b"""
roles:
  admin:
    permissions:
      - resource: "*"
        actions: ["*"]

  producer:
    permissions:
      - resource: "topic:events-*"
        actions: [produce]
      - resource: "topic:logs-*"
        actions: [produce]

  consumer:
    permissions:
      - resource: "topic:events-*"
        actions: [consume]
      - resource: "group:*"
        actions: [join, describe]

  readonly:
    permissions:
      - resource: "*"
        actions: [describe, list]
"""
"""The example of the Rivven security document."""


def test_the_example_of_the_security_document() -> None:
    file = parse_roles(THE_DOCUMENT, "rbac.yaml")
    roles = {role.name: role for role in file.roles}
    assert list(roles) == ["admin", "producer", "consumer", "readonly"]
    assert roles["producer"].permits == (
        Permit("topic:events-*", ("produce",)),
        Permit("topic:logs-*", ("produce",)),
    )
    assert roles["producer"].where == "rbac.yaml:8"
    assert roles["producer"].permit_lines == ("rbac.yaml:10", "rbac.yaml:12")
    assert roles["producer"].source == "file"
    assert file.bindings == ()


def test_bindings() -> None:
    text = b"""
roles:
  shipping: {description: ships, permissions: [{resource: topic:a, actions: [produce]}]}
bindings:
  shipping:
    users: [ann, "CN=x:y"]
    groups: [warehouse]
  producer: {users: [bob]}
  dynamic: {groups: [g]}
"""
    file = parse_roles(text, "r.yaml", known=["dynamic"])
    assert file.roles[0].description == "ships"
    assert [(one.role, one.member, one.where) for one in file.bindings] == [
        ("shipping", "User:ann", "r.yaml:6"),
        ("shipping", "User:CN=x:y", "r.yaml:6"),
        ("shipping", "Group:warehouse", "r.yaml:7"),
        ("producer", "User:bob", "r.yaml:8"),
        ("dynamic", "Group:g", "r.yaml:9"),
    ]


@pytest.mark.parametrize("text", [b"", b"roles:\n", b"roles: {}\nbindings:\n", b"# nothing\n"])
def test_a_file_may_say_nothing(text: bytes) -> None:
    file = parse_roles(text, "r.yaml")
    assert (file.roles, file.bindings) == ((), ())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"role: {}", "r.yaml:1: unknown key 'role'"),
        (b"roles:\n  a:\n    permission: []", "r.yaml:3: unknown key 'permission'"),
        (b"roles:\n  a: []", "r.yaml:2: must be a mapping"),
        (b"roles:\n  'a b': {}", "r.yaml:2: A role's name"),
        (b"roles:\n  a:\n    permissions: {}\n  b:\n    permissions: x", "r.yaml:5: must be a list"),
        (b"roles:\n  a:\n    permissions:\n      - topic:x", "r.yaml:4: must be a mapping"),
        (
            b"roles:\n  a:\n    permissions:\n      - actions: [produce]",
            "r.yaml:4: a permission needs",
        ),
        (b"roles:\n  a:\n    permissions:\n      - resource: topic:x", "r.yaml:4: must be a list of texts"),
        (
            b"roles:\n  a:\n    permissions:\n      - resource: topic:x\n        actions: produce",
            "r.yaml:4: must be a list of texts",
        ),
        (
            b"roles:\n  a:\n    permissions:\n      - {resource: topic:x, actions: [eat]}",
            "r.yaml:4: No such action 'eat'",
        ),
        (b"roles:\n  a: {description: 7}", "r.yaml:2: must be a text"),
        (b"roles:\n  a: {}\n  a: {}", "r.yaml: line 3 column 3: the key 'a' is given twice"),
        (b"bindings:\n  ghost: {users: [a]}", "r.yaml:2: there is no role 'ghost'"),
        (b"bindings:\n  admin: {user: [a]}", "r.yaml:2: unknown key 'user'"),
        (b"bindings:\n  admin: {users: a}", "r.yaml:2: must be a list of texts"),
        (b"bindings:\n  admin:\n    users:\n      - ''", "r.yaml:4: a name has"),
        (b"- a", "r.yaml: the file: must hold a mapping"),
        (b"roles: [", "r.yaml: line "),
        (b"a: &a 1\nb: *a", "aliases are not accepted"),
        (b"roles: \xff", "is not a YAML text"),
        (b" " * (FILE_BYTES_MAX + 1), "larger than"),
    ],
)
def test_mistakes_are_named_with_their_line(text: bytes, problem: str) -> None:
    with pytest.raises(RolesFileProblem) as caught:
        parse_roles(text, "r.yaml")
    assert problem in str(caught.value)
