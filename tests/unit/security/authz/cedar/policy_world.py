"""Policies for tests: a directory, the rules in it, a clock that stands, users and questions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rivven.security.authz.authorizer import Action, Decision, Subject
from rivven.security.authz.cedar.book import Policy, PolicyBook
from rivven.security.authz.cedar.engine import CedarAuthorizer, Memberships, NoRoles, Rules
from rivven.security.authz.cedar.policies import load_policies, load_schema
from rivven.security.authz.cedar.store import read_rules
from rivven.types import Operation, Principal, ResourceType

HOUR_MS = 3_600_000


class Standing:
    """A clock that only moves when told; hour 0 is Thursday, 1 January 1970, midnight UTC."""

    def __init__(self, hour: int = 0) -> None:
        self.hour = hour

    def now_ms(self) -> int:
        return self.hour * HOUR_MS

    def monotonic(self) -> float:
        return self.hour * 3600.0


class Roles:
    """Roles of users, changed by tests."""

    def __init__(self, **roles: tuple[str, ...]) -> None:
        self.roles = roles
        self.version = 1
        self.asked = 0

    def roles_of(self, user: str, groups: tuple[str, ...]) -> tuple[str, ...]:
        self.asked += 1
        return self.roles.get(user, ())

    def change(self, user: str, *roles: str) -> None:
        self.roles[user] = roles
        self.version += 1


def write(directory: Path, text: str, name: str = "a.cedar") -> Path:
    """A policy file in a directory."""
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(text)
    return path


def book(directory: Path, text: str) -> PolicyBook:
    """The policies of a text, validated against the shipped schema."""
    write(directory, text)
    return load_policies(directory, load_schema())


def policy(directory: Path, text: str) -> Policy:
    """The only policy of a text."""
    (one,) = book(directory, text).policies.values()
    return one


def rules(directory: Path, text: str) -> Rules:
    """The policies of a text, ready to answer."""
    write(directory, text)
    return read_rules(directory)


def authorizer(
    directory: Path, text: str, memberships: Memberships | None = None, clock: Standing | None = None
) -> CedarAuthorizer:
    """An authorizer over the policies of a text."""
    source = rules(directory, text)
    return CedarAuthorizer(lambda: source, memberships or NoRoles(), (clock or Standing()).now_ms)


def user(name: str = "u", *groups: str, **others: object) -> Subject:
    """A subject on the listener `main`, from 10.0.0.1, over TLS with SCRAM unless said otherwise."""
    facts: dict[str, object] = {
        "host": "10.0.0.1",
        "listener": "main",
        "mechanism": "SCRAM-SHA-256",
        "tls": True,
    }
    return Subject(Principal("User", name), groups=groups, **{**facts, **others})  # type: ignore[arg-type]


def on_topic(engine: CedarAuthorizer, operation: Operation) -> Callable[[Subject, str], Decision]:
    """Asks about one topic."""

    def ask(subject: Subject, name: str) -> Decision:
        return engine.authorize(subject, [Action(operation, ResourceType.TOPIC, name)])[0]

    return ask
