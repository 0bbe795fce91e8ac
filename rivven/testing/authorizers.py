"""Authorizers for tests: one refuses everything, one grants everything and remembers what was asked."""

from __future__ import annotations

from collections.abc import Sequence

from rivven.security.authz.authorizer import Action, Decision, Subject
from rivven.types import Operation, ResourceType


class DenyAll:
    """Refuses every action; a sweep over the API table runs under it."""

    def authorize(self, subject: Subject, actions: Sequence[Action]) -> list[Decision]:
        return [Decision.deny("DenyAll")] * len(actions)

    def authorize_any(self, subject: Subject, operation: Operation, resource_type: ResourceType) -> Decision:
        return Decision.deny("DenyAll")


class AllowAll:
    """Grants every action; `asked` lists them as (principal, operation, resource type, name)."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Operation, ResourceType, str]] = []

    def authorize(self, subject: Subject, actions: Sequence[Action]) -> list[Decision]:
        self.asked.extend((str(subject.principal), *action) for action in actions)
        return [Decision.allow("AllowAll")] * len(actions)

    def authorize_any(self, subject: Subject, operation: Operation, resource_type: ResourceType) -> Decision:
        self.asked.append((str(subject.principal), operation, resource_type, "*"))
        return Decision.allow("AllowAll")
