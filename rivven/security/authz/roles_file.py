"""The roles file: what ``authorization.rbac.file`` holds, as `FileRoles`.

    roles:
      shipping:
        description: the shipping service        # optional
        permissions:
          - resource: "topic:orders-*"
            actions: [consume, describe]
          - resource: "group:shipping"
            actions: [join]
    bindings:                                    # optional
      shipping:
        users: [shipper]
        groups: [warehouse]

Pure: bytes in, roles out; nothing else is accepted, and every problem names its line. Binding a role that
exists nowhere is a problem too, unless `known` says that somebody else defines it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from rivven.actions import (
    BUILT_IN_ROLES,
    NAME_LENGTH_MAX,
    Permit,
    WordError,
    check_role_name,
    grants_of,
)
from rivven.config.strict_yaml import YamlProblem, lines_of, parse_mapping
from rivven.security.authz.roles import FileRoles, Role, RoleBinding

FILE_BYTES_MAX = 4 << 20
"""A file is parsed on the loop while clients wait; this is some 40,000 permissions."""

ROLES_MAX = 10_000
PERMISSIONS_MAX = 1_000
"""Permissions of one role: they are looked through when its holders are explained."""

MEMBERS_MAX = 100_000

DESCRIPTION_LENGTH_MAX = 1_024

Path = tuple[str | int, ...]


class RolesFileProblem(ValueError):
    """What is wrong with a roles file, with its name and line."""


class _Reader:
    def __init__(self, text: bytes, name: str) -> None:
        self.name = name
        if len(text) > FILE_BYTES_MAX:
            raise RolesFileProblem(f"{name}: larger than {FILE_BYTES_MAX} bytes")
        try:
            self.document = parse_mapping(text)
            self.lines = lines_of(text)
        except YamlProblem as problem:
            raise RolesFileProblem(f"{name}: {problem.where or 'the file'}: {problem.reason}") from None

    def place(self, path: Path) -> str:
        return f"{self.name}:{self.lines.get(path, 1)}"

    def problem(self, path: Path, reason: str) -> RolesFileProblem:
        return RolesFileProblem(f"{self.place(path)}: {reason}")

    def mapping(self, value: Any, path: Path, keys: Collection[str] | None = None) -> Mapping[str, Any]:
        """`value` as a mapping with no keys but `keys`; nothing counts as an empty one."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.problem(path, "must be a mapping")
        for key in value:
            if not isinstance(key, str):
                raise self.problem((*path, str(key)), f"the key {key!r} must be a text")
            if keys is not None and key not in keys:
                raise self.problem((*path, key), f"unknown key {key!r}; there are: {', '.join(keys)}")
        return value

    def texts(self, value: Any, path: Path) -> tuple[str, ...]:
        """`value` as a list of texts."""
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self.problem(path, "must be a list of texts")
        return tuple(value)


def parse_roles(text: bytes, name: str, known: Collection[str] = ()) -> FileRoles:
    """The roles and bindings a file holds; `name` stands in messages and reasons. Raises RolesFileProblem."""
    reader = _Reader(text, name)
    top = reader.mapping(reader.document, (), ("roles", "bindings"))
    entries = reader.mapping(top.get("roles"), ("roles",))
    if len(entries) > ROLES_MAX:
        raise reader.problem(("roles",), f"more than {ROLES_MAX} roles")
    roles = tuple(_role(reader, role, value) for role, value in entries.items())
    defined = {*entries, *BUILT_IN_ROLES, *known}
    bindings = tuple(_bindings(reader, top.get("bindings"), defined))
    if len(bindings) > MEMBERS_MAX:
        raise reader.problem(("bindings",), f"more than {MEMBERS_MAX} members")
    return FileRoles(roles, bindings)


def _role(reader: _Reader, name: str, value: Any) -> Role:
    path: Path = ("roles", name)
    try:
        check_role_name(name)
    except WordError as error:
        raise reader.problem(path, str(error)) from None
    members = reader.mapping(value, path, ("description", "permissions"))
    description = members.get("description", "")
    if not isinstance(description, str) or len(description) > DESCRIPTION_LENGTH_MAX:
        raise reader.problem(
            (*path, "description"), f"must be a text of at most {DESCRIPTION_LENGTH_MAX} characters"
        )
    entries = members.get("permissions") or []
    path = (*path, "permissions")
    if not isinstance(entries, list):
        raise reader.problem(path, "must be a list")
    if len(entries) > PERMISSIONS_MAX:
        raise reader.problem(path, f"more than {PERMISSIONS_MAX} permissions")
    permits = tuple(_permit(reader, (*path, number), entry) for number, entry in enumerate(entries))
    places = tuple(reader.place((*path, number)) for number in range(len(entries)))
    return Role(name, permits, "file", reader.place(("roles", name)), places, description)


def _permit(reader: _Reader, path: Path, entry: Any) -> Permit:
    members = reader.mapping(entry, path, ("resource", "actions"))
    resource = members.get("resource")
    if not isinstance(resource, str):
        raise reader.problem(path, "a permission needs resource: a text such as topic:orders-*")
    permit = Permit(resource, reader.texts(members.get("actions"), path))
    try:
        grants_of(permit)
    except WordError as error:
        raise reader.problem(path, str(error)) from None
    return permit


def _bindings(reader: _Reader, value: Any, defined: Collection[str]) -> Iterator[RoleBinding]:
    for role, entry in reader.mapping(value, ("bindings",)).items():
        path: Path = ("bindings", role)
        if role not in defined:
            raise reader.problem(path, f"there is no role {role!r}")
        members = reader.mapping(entry, path, ("users", "groups"))
        for word, kind in (("users", "User"), ("groups", "Group")):
            if members.get(word) is None:
                continue
            for number, name in enumerate(reader.texts(members[word], (*path, word))):
                where = (*path, word, number)
                if not 0 < len(name) <= NAME_LENGTH_MAX:
                    raise reader.problem(where, f"a name has 1 to {NAME_LENGTH_MAX} characters")
                yield RoleBinding(role, f"{kind}:{name}", "file", reader.place(where))
