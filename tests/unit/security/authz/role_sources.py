"""Where a role directory gets roles from, in memory: the metadata and the users file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rivven.actions import Permit
from rivven.metadata.roles import DynamicRole
from rivven.security.authz.roles import RoleDirectory


class Store:
    """A `RoleStore`."""

    def __init__(self) -> None:
        self.version = 0
        self.roles: dict[str, DynamicRole] = {}
        self.bound: list[tuple[str, str]] = []

    def bindings(self) -> Iterator[tuple[str, str]]:
        return iter(self.bound)

    def put(self, name: str, *permits: Permit) -> None:
        self.roles[name] = DynamicRole(name, permits)
        self.version += 1

    def bind(self, role: str, *members: str) -> None:
        self.bound += [(role, member) for member in members]
        self.version += 1


class UserFile:
    """A `UserRoles`."""

    def __init__(self, roles: Mapping[str, tuple[str, ...]]) -> None:
        self.version = 0
        self._roles = dict(roles)

    def roles_of(self, name: str) -> tuple[str, ...]:
        return self._roles.get(name, ())

    def names(self) -> list[str]:
        return sorted(self._roles)

    def give(self, name: str, *roles: str) -> None:
        self._roles[name] = roles
        self.version += 1


def directory_of(users: Mapping[str, tuple[str, ...]] | None = None) -> RoleDirectory:
    """A directory in which these users have these roles."""
    store = Store()
    return RoleDirectory(lambda: store, UserFile(users or {}))
