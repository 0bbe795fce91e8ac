"""Users in a dict, as the metadata would hold them, and the services over them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rivven.clock import SystemClock
from rivven.protocol.scram import ScramVerifier
from rivven.security.authn.credentials import DEFAULT_SHAPES, Decoys, Shape
from rivven.security.authn.services import AuthenticationServices
from rivven.security.authn.users import Users
from rivven.security.authn.verification import PasswordVerifications


@dataclass(frozen=True)
class Stored:
    name: str
    enabled: bool = True
    groups: tuple[str, ...] = ()
    version: int = 1
    verifiers: tuple[ScramVerifier, ...] = ()


class Store:
    """Satisfies `users.UserStore`; `change` is what a commit does."""

    def __init__(self, *users: Stored) -> None:
        self.version = 1
        self.users = {user.name: user for user in users}

    def find(self, name: str) -> Stored | None:
        return self.users.get(name)

    def names(self) -> list[str]:
        return sorted(self.users)

    def groups(self) -> frozenset[str]:
        return frozenset(group for user in self.users.values() for group in user.groups)

    def change(self, name: str, **fields: object) -> None:
        self.version += 1
        if "verifiers" in fields:
            fields["version"] = self.version
        self.users[name] = replace(self.users[name], **fields)  # type: ignore[arg-type]

    def delete(self, name: str) -> None:
        self.version += 1
        del self.users[name]


def services(
    store: Store, key: bytes = b"k" * 32, shapes: tuple[Shape, ...] = DEFAULT_SHAPES
) -> AuthenticationServices:
    users, decoys = Users(store), Decoys(key, shapes)
    passwords = PasswordVerifications(
        users, lambda user: decoys.password(user, users.argon2), SystemClock(), lambda size: b"p" * size
    )
    return AuthenticationServices(users, decoys, passwords)
