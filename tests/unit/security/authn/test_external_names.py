"""Names from outside: none may be one of ours."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rivven.security.authn.external_names import (
    GROUPS_MAX,
    NAME_CHARACTERS_MAX,
    ExternalNames,
    OwnNames,
)


@dataclass
class Directory:
    users: frozenset[str] = frozenset({"alice"})
    groups: frozenset[str] = frozenset({"staff"})

    def find(self, name: str) -> object | None:
        return name if name in self.users else None

    def known_groups(self) -> frozenset[str]:
        return self.groups


NAMES = ExternalNames(OwnNames(Directory(), frozenset({"root"})))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("alice", "that of a local user"),
        ("root", "that of a super user"),
        ("staff", "that of a local group"),
        ("*", "means something else"),
        ("ANONYMOUS", "means something else"),
        ("", "characters long"),
        ("x" * (NAME_CHARACTERS_MAX + 1), "characters long"),
        ("bob\n", "means something else"),
        (" bob", "means something else"),
        ("bob\u202e", "means something else"),
    ],
)
def test_a_name_that_is_ours_or_none(name: str, reason: str) -> None:
    as_user, as_group = NAMES.problem(name), NAMES.problem("bob", ("crowd", name))
    assert as_user is not None and reason in as_user and as_user.startswith("the user name")
    assert as_group is not None and reason in as_group and as_group.startswith("the group name")


@pytest.mark.parametrize("name", ["bob", "Alice", "kc:alice", "b\u00f6b", "CN=bob, O=Example", "a" * 255])
def test_a_name_that_is_free(name: str) -> None:
    assert NAMES.problem(name, (name,)) is None


def test_the_number_of_groups_is_bounded() -> None:
    groups = tuple(f"g{index}" for index in range(GROUPS_MAX + 1))
    assert NAMES.problem("bob", groups[1:]) is None
    assert NAMES.problem("bob", groups) == f"member of more than {GROUPS_MAX} groups"
