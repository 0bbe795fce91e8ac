"""Who the users of this broker are: those of the users file and those of the metadata, as one directory.

It answers from memory and belongs to the event loop. It must not read files or submit changes: the file's
users are handed in by `replace_file_users`, and whoever commits metadata calls `changed`. Should a name be in
both places all the same (a file and a command changed at once), the file counts: it is the operator's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from rivven.protocol.scram import ScramMechanism, ScramVerifier
from rivven.security.authn.authenticator import Authenticated, Credential
from rivven.security.authn.password_verifiers import (
    Argon2Password,
    Argon2Shape,
    PasswordVerifier,
    ScramPassword,
)
from rivven.types import WILDCARD, Principal

USER_NAME_LENGTH_MAX = 255
"""Characters; a user name travels in principals, rules and log lines."""


def check_user_name(name: str) -> None:
    """Raises ValueError for an empty, overlong or unprintable name, or the wildcard."""
    if not name or len(name) > USER_NAME_LENGTH_MAX:
        raise ValueError(f"a user name has 1 to {USER_NAME_LENGTH_MAX} characters")
    if not name.isprintable() or name != name.strip():
        raise ValueError("a user name has no control characters and no space at its ends")
    if name == WILDCARD:
        raise ValueError("a user cannot be called *: rules for User:* mean everybody")


class StoredUser(Protocol):
    """A user of the metadata. `version` changes whenever one of its credentials does."""

    @property
    def name(self) -> str: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def groups(self) -> tuple[str, ...]: ...
    @property
    def version(self) -> int: ...
    @property
    def verifiers(self) -> tuple[ScramVerifier, ...]: ...


class UserStore(Protocol):
    """The users of the metadata; `version` rises with every change of any of them."""

    @property
    def version(self) -> int: ...
    def find(self, name: str) -> StoredUser | None: ...
    def names(self) -> Sequence[str]: ...
    def groups(self) -> frozenset[str]: ...


@dataclass(frozen=True, slots=True)
class FileUser:
    """A user of the users file."""

    name: str
    enabled: bool = True
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    verifiers: tuple[ScramVerifier, ...] = field(default=(), repr=False)
    passwords: tuple[Argon2Password, ...] = field(default=(), repr=False)
    """Ways to check a password that arrives in the clear, other than the SCRAM verifiers."""

    @property
    def secrets(self) -> tuple[object, ...]:
        """What a login is checked against; another value is another credential."""
        return (self.verifiers, self.passwords)


@dataclass(frozen=True, slots=True)
class User:
    """One user as of now. `version` is another one whenever a credential of it has changed."""

    name: str
    enabled: bool
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    source: Literal["file", "metadata"]
    version: int
    mechanisms: tuple[tuple[ScramMechanism, int], ...] = ()
    """SCRAM mechanisms with their iterations."""


class Users:
    """Implements what mechanisms, tokens and the authorisation ask about local users."""

    def __init__(self, store: UserStore) -> None:
        self._store = store
        self._file: dict[str, FileUser] = {}
        self._file_versions: dict[str, int] = {}
        self._generation = 0
        self._groups: tuple[int, frozenset[str]] | None = None
        self.argon2: tuple[Argon2Shape, ...] = ()
        """What the Argon2id hashes of the file cost, each cost once."""
        self.on_change: list[Callable[[], None]] = []
        """Called after any user may have changed."""

    # -- reading ---------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Rises with any change of any user."""
        return self._generation + self._store.version

    def find(self, name: str) -> User | None:
        """The user of that name, enabled or not."""
        known = self._file.get(name)
        if known is not None:
            # Odd versions are the file's, even ones the metadata's: a name that moves has another version.
            version = 2 * self._file_versions[name] + 1
            shapes = _shapes(known.verifiers)
            return User(name, known.enabled, known.groups, known.roles, "file", version, shapes)
        stored = self._store.find(name)
        if stored is None:
            return None
        shapes = _shapes(stored.verifiers)
        return User(name, stored.enabled, stored.groups, (), "metadata", 2 * stored.version, shapes)

    def names(self) -> list[str]:
        """Every user's name, sorted."""
        return sorted({*self._file, *self._store.names()})

    def in_file(self, name: str) -> bool:
        """Whether the users file holds the user, so that nothing else may change it."""
        return name in self._file

    @property
    def any(self) -> bool:
        """Whether there is a user at all."""
        return bool(self._file) or bool(self._store.names())

    def scram_verifier(self, name: str, mechanism: ScramMechanism) -> ScramVerifier | None:
        """What a SCRAM login is checked against; None also for a disabled user."""
        known = self._file.get(name) or self._store.find(name)
        if known is None or not known.enabled:
            return None
        return next((one for one in known.verifiers if one.mechanism is mechanism), None)

    def scram_shape(self, name: str) -> tuple[int, int] | None:
        """Iterations and salt length of a user's first SCRAM verifier; None also for a disabled user."""
        known = self._file.get(name) or self._store.find(name)
        if known is None or not known.enabled or not known.verifiers:
            return None
        return known.verifiers[0].iterations, len(known.verifiers[0].salt)

    def password_verifier(self, name: str) -> PasswordVerifier | None:
        """What a password in the clear is checked against; None also for a disabled user."""
        file_user = self._file.get(name)
        known = file_user or self._store.find(name)
        if known is None or not known.enabled:
            return None
        if file_user is not None and file_user.passwords:
            return file_user.passwords[0]
        return ScramPassword(known.verifiers[0]) if known.verifiers else None

    def groups_of(self, name: str) -> tuple[str, ...]:
        """The local groups of a user; none for an unknown one."""
        user = self.find(name)
        return user.groups if user is not None else ()

    def roles_of(self, name: str) -> tuple[str, ...]:
        """The roles the users file gives a user; those of the metadata are bindings and kept there."""
        user = self._file.get(name)
        return user.roles if user is not None else ()

    def known_groups(self) -> frozenset[str]:
        """Every local group that has a member: external groups must not be called the same."""
        version = self.version
        if self._groups is None or self._groups[0] != version:
            of_file = frozenset(group for user in self._file.values() for group in user.groups)
            self._groups = (version, of_file | self._store.groups())
        return self._groups[1]

    def identity(self, name: str) -> Authenticated | None:
        """Who a user is after it has shown its password; None for an unknown or disabled one."""
        user = self.find(name)
        if user is None or not user.enabled:
            return None
        credential = Credential("password", name, user.version)
        return Authenticated(Principal("User", name), groups=user.groups, credential=credential)

    def no_longer_valid(self, credential: Credential, groups: Sequence[str]) -> str | None:
        """Why a session that was opened with this password and these groups must end, None if it may go on.

        Other kinds of credentials are not judged here.
        """
        if credential.kind != "password":
            return None
        user = self.find(credential.id)
        if user is None:
            return "the user was deleted"
        if not user.enabled:
            return "the user was disabled"
        if user.version != credential.version:
            return "the user's password was changed"
        if not set(groups) <= set(user.groups):
            return "the user was taken out of a group"
        return None

    # -- changing --------------------------------------------------------------------------------------------

    def replace_file_users(self, users: Mapping[str, FileUser]) -> None:
        """Take these as the users of the file. Raises UserConflict when the metadata has one of them."""
        both = sorted(name for name in users if self._store.find(name) is not None)
        if both:
            raise UserConflict(both)
        self._generation += 1
        versions = {}
        for name, user in users.items():
            before = self._file.get(name)
            same = before is not None and before.secrets == user.secrets
            versions[name] = self._file_versions[name] if same else self._generation
        self._file, self._file_versions = dict(users), versions
        self.argon2 = tuple(sorted({one.shape for user in users.values() for one in user.passwords}))
        self.changed()

    def changed(self) -> None:
        """Tell everybody who asked that users may have changed."""
        for listener in self.on_change:
            listener()


class UserConflict(Exception):
    """Names that are in the users file and in the metadata at once."""

    def __init__(self, names: Sequence[str]) -> None:
        shown = ", ".join(names[:_NAMES_SHOWN_MAX]) + (", ..." if len(names) > _NAMES_SHOWN_MAX else "")
        super().__init__(f"in the users file and in the metadata at once: {shown}")
        self.names = tuple(names)


_NAMES_SHOWN_MAX = 10
"""A message is read by a person."""


def _shapes(verifiers: Sequence[ScramVerifier]) -> tuple[tuple[ScramMechanism, int], ...]:
    return tuple((one.mechanism, one.iterations) for one in verifiers)
