"""Every role of this broker and who has it: built-in roles, those of the roles file, those of the metadata,
the roles the users file gives, and those that groups of identity providers have.

It answers from memory and belongs to the event loop. A role of the file replaces a built-in one of its name;
a name in both the file and the metadata is refused when it is written, and should it be in both all the same,
the file counts: it is the operator's. It must not read files or submit changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from rivven.actions import BUILT_IN_ROLES, Permit, grants_of
from rivven.security.authz.authorizer import Subject
from rivven.types import WILDCARD, AclBinding, Permission

REMEMBERED_MAX = 10_000
"""Users whose roles are remembered; beyond it they are looked up anew."""


@dataclass(frozen=True, slots=True)
class Role:
    """One role. `where` says where it is written: ``file:line``, empty elsewhere."""

    name: str
    permits: tuple[Permit, ...]
    source: Literal["built-in", "file", "metadata"]
    where: str = ""
    permit_lines: tuple[str, ...] = ()
    """Where each permission is written, for roles of a file."""
    description: str = ""

    def place(self, number: int) -> str:
        """Where permission `number` is written, as far as it is known."""
        return self.permit_lines[number] if number < len(self.permit_lines) else self.where


@dataclass(frozen=True, slots=True)
class RoleBinding:
    """A member (``User:alice``, ``Group:staff``) has a role."""

    role: str
    member: str
    source: Literal["file", "metadata", "users-file", "issuer"]
    where: str = ""


@dataclass(frozen=True, slots=True)
class FileRoles:
    """What a roles file says."""

    roles: tuple[Role, ...] = ()
    bindings: tuple[RoleBinding, ...] = ()


class StoredRole(Protocol):
    """A role of the metadata."""

    @property
    def name(self) -> str: ...
    @property
    def permits(self) -> tuple[Permit, ...]: ...
    @property
    def description(self) -> str: ...


class RoleStore(Protocol):
    """The roles and bindings of the metadata; `version` rises with every change of them."""

    @property
    def version(self) -> int: ...
    @property
    def roles(self) -> Mapping[str, StoredRole]: ...
    def bindings(self) -> Iterator[tuple[str, str]]: ...


class UserRoles(Protocol):
    """The roles the users file gives its users."""

    @property
    def version(self) -> int: ...
    def roles_of(self, name: str) -> tuple[str, ...]: ...
    def names(self) -> list[str]: ...


@dataclass(slots=True)
class _Compiled:
    """Everything derived from one state of all sources."""

    roles: dict[str, Role] = field(default_factory=dict)
    members: dict[str, dict[str, None]] = field(default_factory=dict)
    rules: dict[AclBinding, str] = field(default_factory=dict)
    of_user: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = field(default_factory=dict)


class Memberships(Protocol):
    """The roles of users, directly and through groups; `version` rises when an answer may have changed."""

    @property
    def version(self) -> int: ...
    def roles_of(self, user: str, groups: tuple[str, ...]) -> tuple[str, ...]: ...


class NoRoles:
    """`Memberships` where roles do not exist."""

    version = 0

    def roles_of(self, user: str, groups: tuple[str, ...]) -> tuple[str, ...]:
        return ()


def roles_of_subject(memberships: Memberships, subject: Subject) -> tuple[str, ...]:
    """The roles of a subject; only users have any."""
    principal = subject.principal
    return memberships.roles_of(principal.name, subject.groups) if principal.kind == "User" else ()


class RoleConflict(ValueError):
    """Role names that are in the roles file and in the metadata at once."""


class RoleDirectory:
    """Implements `Memberships`. `store` gives the metadata's roles as committed."""

    def __init__(self, store: Callable[[], RoleStore | None] = lambda: None, users: UserRoles | None = None):
        self._store = store
        self._users = users
        self._file = FileRoles()
        self._of_issuers: tuple[RoleBinding, ...] = ()
        self._generation = 0
        self._version = 0
        self._rules_version = 0
        self._seen: RoleStore | None = None
        self._seen_stored = self._seen_users = -1
        self._seen_generation = -1
        self._compiled = _Compiled()
        self._rules: tuple[AclBinding, ...] = ()

    def without_file(self) -> RoleDirectory:
        """Another directory of the same metadata and users, for a roles file of its own."""
        return RoleDirectory(self._store, self._users)

    # -- reading ---------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Rises whenever a role, a binding or a user has changed."""
        # Asked twice for each decision, so what `_refresh` would find unchanged is compared here.
        store, users = self._store(), self._users
        if (
            store is None
            or store is not self._seen
            or store.version != self._seen_stored
            or self._generation != self._seen_generation
            or (users is not None and users.version != self._seen_users)
        ):
            self._refresh()
        return self._version

    def roles_of(self, user: str, groups: tuple[str, ...]) -> tuple[str, ...]:
        """The names of the roles a user has, itself and through its groups, sorted.

        A role nobody defined is among them: rules and policies may name it.
        """
        self._refresh()
        known, key = self._compiled.of_user, (user, groups)
        found = known.get(key)
        if found is None:
            if len(known) >= REMEMBERED_MAX:
                known.clear()
            found = known[key] = self._resolve(user, groups)
        return found

    def roles(self) -> list[Role]:
        """Every role, by name."""
        self._refresh()
        return [self._compiled.roles[name] for name in sorted(self._compiled.roles)]

    def find(self, name: str) -> Role | None:
        """The role of that name."""
        self._refresh()
        return self._compiled.roles.get(name)

    def stored_names(self) -> frozenset[str]:
        """The names of the metadata's roles."""
        store = self._store()
        return frozenset() if store is None else frozenset(store.roles)

    def in_file(self, name: str) -> bool:
        """Whether the roles file defines the role, so that nothing else may change it."""
        return any(role.name == name for role in self._file.roles)

    def bindings(self) -> list[RoleBinding]:
        """Every binding: of the file, of identity providers, of the metadata, of the users file."""
        found = [*self._file.bindings, *self._of_issuers]
        store = self._store()
        if store is not None:
            found += [RoleBinding(role, member, "metadata") for role, member in store.bindings()]
        if self._users is not None:
            for name in self._users.names():
                found += [
                    RoleBinding(role, f"User:{name}", "users-file") for role in self._users.roles_of(name)
                ]
        return found

    def rules(self) -> tuple[int, tuple[AclBinding, ...]]:
        """What roles permit as rules whose principal is ``Role:name`` (a `rule_book.RuleSource`)."""
        self._refresh()
        return self._rules_version, self._rules

    def place(self, rule: AclBinding) -> str:
        """Where a rule of `rules` is written."""
        return self._compiled.rules.get(rule, "")

    # -- changing --------------------------------------------------------------------------------------------

    def replace_file(self, file: FileRoles) -> None:
        """Take these as the roles of the file. Raises RoleConflict when the metadata has one of them."""
        store = self._store()
        both = sorted(role.name for role in file.roles if store is not None and role.name in store.roles)
        if both:
            raise RoleConflict(f"in the roles file and in the metadata at once: {', '.join(both[:10])}")
        self._file = file
        self._generation += 1

    def replace_issuer_bindings(self, bindings: tuple[RoleBinding, ...]) -> None:
        """Take these as what the configuration of identity providers binds."""
        self._of_issuers = bindings
        self._generation += 1

    # -- deriving --------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        store, users = self._store(), self._users
        stored = -1 if store is None else store.version
        of_users = -1 if users is None else users.version
        # An image that was rebuilt counts its versions anew: the object is compared as well.
        rules_stand = (
            store is self._seen and stored == self._seen_stored and self._generation == self._seen_generation
        )
        if rules_stand and of_users == self._seen_users:
            return
        if not rules_stand:
            self._compile(store)
        self._compiled.of_user = {}
        self._version += 1
        self._seen, self._seen_stored, self._seen_users = store, stored, of_users
        self._seen_generation = self._generation

    def _compile(self, store: RoleStore | None) -> None:
        made = _Compiled()
        for name, permits in BUILT_IN_ROLES.items():
            made.roles[name] = Role(name, permits, "built-in", "built-in")
        if store is not None:
            for name, stored in store.roles.items():
                made.roles[name] = Role(name, stored.permits, "metadata", description=stored.description)
            for role, member in store.bindings():
                made.members.setdefault(member, {})[role] = None
        made.roles.update((role.name, role) for role in self._file.roles)
        for binding in (*self._file.bindings, *self._of_issuers):
            made.members.setdefault(binding.member, {})[binding.role] = None
        for one in made.roles.values():
            for rule, place in rules_of(f"Role:{one.name}", one.permits, one.place):
                made.rules.setdefault(rule, place)
        self._compiled = made
        self._rules = tuple(made.rules)
        self._rules_version += 1

    def _resolve(self, user: str, groups: tuple[str, ...]) -> tuple[str, ...]:
        members = self._compiled.members
        found = dict(members.get(f"User:{user}", {}))
        for group in groups:
            found.update(members.get(f"Group:{group}", {}))
        if self._users is not None:
            found.update(dict.fromkeys(self._users.roles_of(user)))
        return tuple(sorted(found))


def rules_of(
    principal: str, permits: Iterable[Permit], place: Callable[[int], str] = lambda _number: ""
) -> Iterator[tuple[AclBinding, str]]:
    """Permissions as rules for one principal, each with where it is written. Raises WordError."""
    for number, permit in enumerate(permits):
        for operation, pattern in grants_of(permit):
            kind, name, pattern_type = pattern
            rule = AclBinding(kind, name, pattern_type, principal, WILDCARD, operation, Permission.ALLOW)
            yield rule, place(number)
