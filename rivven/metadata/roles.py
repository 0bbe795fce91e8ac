"""Roles and bindings made while the cluster runs. Pure; implements `metadata.family.Family`.

Built-in roles and those of the roles file are not here, but anybody can be bound to them: a binding names a
role, wherever it is defined. Deleting a role ends its bindings, so that a name used again gives nobody a
right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rivven.actions import BUILT_IN_ROLES, Permit, WordError, check_role_name, grants_of, parse_member
from rivven.errors import ErrorCode, InvalidRequest, RivvenError
from rivven.metadata.family import EventCodec

if TYPE_CHECKING:
    from rivven.metadata.image import MetadataImage

ROLES_MAX = 10_000
"""Roles live in memory and are indexed anew when one of them changes."""

PERMISSIONS_MAX = 1_000
"""Permissions of one role; one record of the journal holds them."""

BINDINGS_MAX = 100_000
"""Members of all roles together, at about 200 bytes each."""

MEMBERS_PER_COMMAND_MAX = 1_000

DESCRIPTION_LENGTH_MAX = 1_024


@dataclass(frozen=True, slots=True)
class DynamicRole:
    """A role of the metadata."""

    name: str
    permits: tuple[Permit, ...]
    description: str = ""


@dataclass(frozen=True, slots=True)
class RolePut:
    """A role came to be or has become another."""

    role: DynamicRole


@dataclass(frozen=True, slots=True)
class RoleDeleted:
    """A role ceased to be, and with it its bindings."""

    name: str


@dataclass(frozen=True, slots=True)
class RoleGranted:
    """Members (``User:alice``, ``Group:staff``) now have a role."""

    role: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoleRevoked:
    """Members no longer have a role."""

    role: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PutRole:
    """Create a role, or change the one there is if `replace`. Reply: the `DynamicRole`.

    Refused with DUPLICATE_RESOURCE when it exists, INVALID_REQUEST for words that mean nothing.
    """

    role: DynamicRole
    replace: bool = False


@dataclass(frozen=True, slots=True)
class DeleteRole:
    """Delete a role and its bindings. Reply: the members that had it. RESOURCE_NOT_FOUND without one."""

    name: str


@dataclass(frozen=True, slots=True)
class GrantRole:
    """Give members (``user:alice``, ``group:staff``) a role. Reply: those that did not have it yet.

    Whether the role exists is for the sender to know, who also sees the roles file.
    """

    role: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RevokeRole:
    """Take a role from members. Reply: those that had it."""

    role: str
    members: tuple[str, ...]


class Roles:
    """The roles of the metadata and who has which role."""

    codecs: ClassVar[tuple[EventCodec, ...]] = (
        EventCodec(
            RolePut,
            "role",
            lambda event: str(event.role.name),
            lambda event: _role_members(event.role),
            lambda document: RolePut(_role(document)),
        ),
        EventCodec(
            RoleDeleted,
            "role-deleted",
            lambda event: str(event.name),
            lambda event: {"name": event.name},
            lambda document: RoleDeleted(document["name"]),
        ),
        EventCodec(
            RoleGranted,
            "role-granted",
            lambda event: str(event.role),
            lambda event: {"role": event.role, "members": list(event.members)},
            lambda document: RoleGranted(document["role"], tuple(document["members"])),
        ),
        EventCodec(
            RoleRevoked,
            "role-revoked",
            lambda event: str(event.role),
            lambda event: {"role": event.role, "members": list(event.members)},
            lambda document: RoleRevoked(document["role"], tuple(document["members"])),
        ),
    )
    commands: ClassVar[tuple[type, ...]] = (PutRole, DeleteRole, GrantRole, RevokeRole)

    def __init__(self) -> None:
        self.version = 0
        self.roles: dict[str, DynamicRole] = {}
        self._members: dict[str, dict[str, None]] = {}
        self._bound = 0

    def bindings(self) -> Iterator[tuple[str, str]]:
        """Every (role, member)."""
        for role, members in self._members.items():
            for member in members:
                yield role, member

    def members_of(self, role: str) -> tuple[str, ...]:
        """Who has the role, in the order of granting."""
        return tuple(self._members.get(role, ()))

    def decide(self, command: Any, image: MetadataImage, now_ms: int) -> tuple[tuple[Any, ...], Any]:
        """See the commands."""
        match command:
            case PutRole(role, replace):
                return self._put(role, replace)
            case DeleteRole(name):
                if name not in self.roles:
                    raise RivvenError(f"there is no dynamic role {name!r}", ErrorCode.RESOURCE_NOT_FOUND)
                return (RoleDeleted(name),), self.members_of(name)
            case GrantRole(role, members):
                return self._grant(role, members)
            case RevokeRole(role, members):
                present = self._members.get(role, {})
                gone = tuple(one for one in _principals(members) if one in present)
                return ((RoleRevoked(role, gone),) if gone else ()), gone
            case _:
                raise TypeError(f"not a command about roles: {type(command).__name__}")

    def _put(self, role: DynamicRole, replace: bool) -> tuple[tuple[Any, ...], DynamicRole]:
        try:
            check_role_name(role.name)
            for permit in role.permits:
                grants_of(permit)
        except WordError as error:
            raise InvalidRequest(str(error)) from None
        if role.name in BUILT_IN_ROLES:
            raise InvalidRequest(f"{role.name} is a built-in role; the roles file can replace it")
        if len(role.permits) > PERMISSIONS_MAX:
            raise InvalidRequest(f"a role has at most {PERMISSIONS_MAX} permissions")
        if len(role.description) > DESCRIPTION_LENGTH_MAX:
            raise InvalidRequest(f"a description has at most {DESCRIPTION_LENGTH_MAX} characters")
        present = self.roles.get(role.name)
        if present is not None and not replace:
            raise RivvenError(f"there is a role {role.name!r} already", ErrorCode.DUPLICATE_RESOURCE)
        if present is None and len(self.roles) >= ROLES_MAX:
            raise RivvenError(f"there can be at most {ROLES_MAX} roles", ErrorCode.POLICY_VIOLATION)
        return ((RolePut(role),) if present != role else ()), role

    def _grant(self, role: str, members: tuple[str, ...]) -> tuple[tuple[Any, ...], tuple[str, ...]]:
        try:
            check_role_name(role)
        except WordError as error:
            raise InvalidRequest(str(error)) from None
        present = self._members.get(role, {})
        added = tuple(one for one in _principals(members) if one not in present)
        if self._bound + len(added) > BINDINGS_MAX:
            raise RivvenError(
                f"all roles together have at most {BINDINGS_MAX} members", ErrorCode.POLICY_VIOLATION
            )
        return ((RoleGranted(role, added),) if added else ()), added

    def apply(self, event: Any, version: int) -> None:
        """See `Family.apply`."""
        self.version = version
        match event:
            case RolePut(role):
                self.roles[role.name] = role
            case RoleDeleted(name):
                del self.roles[name]
                self._bound -= len(self._members.pop(name, ()))
            case RoleGranted(role, members):
                self._members.setdefault(role, {}).update(dict.fromkeys(members))
                self._bound += len(members)
            case RoleRevoked(role, members):
                present = self._members[role]
                for member in members:
                    del present[member]
                self._bound -= len(members)
                if not present:
                    del self._members[role]

    def events(self) -> Iterator[Any]:
        """See `Family.events`."""
        for role in self.roles.values():
            yield RolePut(role)
        for name, members in self._members.items():
            listed = tuple(members)
            for start in range(0, len(listed), MEMBERS_PER_COMMAND_MAX):
                yield RoleGranted(name, listed[start : start + MEMBERS_PER_COMMAND_MAX])


def _principals(members: tuple[str, ...]) -> tuple[str, ...]:
    """Members as principals, each once. Raises InvalidRequest."""
    if not 0 < len(members) <= MEMBERS_PER_COMMAND_MAX:
        raise InvalidRequest(f"name 1 to {MEMBERS_PER_COMMAND_MAX} members at a time")
    try:
        return tuple(dict.fromkeys(parse_member(member) for member in members))
    except WordError as error:
        raise InvalidRequest(str(error)) from None


def _role_members(role: DynamicRole) -> dict[str, Any]:
    members: dict[str, Any] = {
        "name": role.name,
        "permissions": [[permit.resource, list(permit.actions)] for permit in role.permits],
    }
    if role.description:
        members["description"] = role.description
    return members


def _role(document: dict[str, Any]) -> DynamicRole:
    permits = tuple(Permit(resource, tuple(actions)) for resource, actions in document["permissions"])
    return DynamicRole(document["name"], permits, document.get("description", ""))
