"""Names that others give: an identity provider's or an authority's users and groups beside our own. Pure.

Whoever runs an external source can name its users as it likes. So a name from outside never becomes one of
ours: not that of a local user, a super user or a local group, and none that means something to rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rivven.security.authn.jwt_format import shown
from rivven.types import ANONYMOUS

NAME_CHARACTERS_MAX = 255
"""Of a user or group with its prefix: rules and the audit log hold them."""

GROUPS_MAX = 200
"""Groups of one login; every decision may look at each of them."""

RESERVED = frozenset({"*", ANONYMOUS.name})
"""Everybody and nobody, as rules spell them."""


class LocalNames(Protocol):
    """The names that are ours."""

    def is_user(self, name: str) -> bool:
        """Whether a local user is called so, enabled or not."""
        ...

    def is_super_user(self, name: str) -> bool:
        """Whether `authorization.super_users` names a principal of any type so."""
        ...

    def is_group(self, name: str) -> bool:
        """Whether a local user belongs to a group called so."""
        ...


class KnownUsers(Protocol):
    """The local users."""

    def find(self, name: str) -> object | None: ...
    def known_groups(self) -> frozenset[str]: ...


@dataclass(frozen=True, slots=True)
class OwnNames:
    """Implements `LocalNames` over the users and the names of super users."""

    users: KnownUsers
    super_users: frozenset[str]

    def is_user(self, name: str) -> bool:
        return self.users.find(name) is not None

    def is_super_user(self, name: str) -> bool:
        return name in self.super_users

    def is_group(self, name: str) -> bool:
        return name in self.users.known_groups()


@dataclass(frozen=True, slots=True)
class ExternalNames:
    """The one judgement about names from outside, for every external source."""

    local: LocalNames

    def problem(self, user: str, groups: tuple[str, ...] = ()) -> str | None:
        """Why these names (prefixes included) must not be used here, for the operator; None when they may."""
        if len(groups) > GROUPS_MAX:
            return f"member of more than {GROUPS_MAX} groups"
        problem = self._problem_of("user", user)
        return problem or next(filter(None, (self._problem_of("group", name) for name in groups)), None)

    def _problem_of(self, what: str, name: str) -> str | None:
        if not name or len(name) > NAME_CHARACTERS_MAX:
            return f"the {what} name {shown(name)} is not 1 to {NAME_CHARACTERS_MAX} characters long"
        if name in RESERVED or not name.isprintable() or name != name.strip():
            return f"the {what} name {shown(name)} means something else here"
        if self.local.is_user(name):
            return f"the {what} name {shown(name)} is that of a local user"
        if self.local.is_super_user(name):
            return f"the {what} name {shown(name)} is that of a super user"
        if self.local.is_group(name):
            return f"the {what} name {shown(name)} is that of a local group"
        return None
