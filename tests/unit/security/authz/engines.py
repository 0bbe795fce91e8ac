"""Engines for tests of chains: without an opinion, miscounting, raising, mute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rivven.security.authz.authorizer import Action, Decision, Subject
from rivven.types import Operation, ResourceType


class Silent:
    """Has no opinion."""

    def authorize(self, subject: Subject, actions: Sequence[Action]) -> list[Decision]:
        return [Decision.no_opinion("silent")] * len(actions)

    def authorize_any(self, subject: Subject, operation: Operation, resource_type: ResourceType) -> Decision:
        return Decision.no_opinion("silent")


class Miscounting(Silent):
    """Answers another number of questions than it was asked."""

    def authorize(self, subject: Subject, actions: Sequence[Action]) -> list[Decision]:
        return [Decision.allow("miscounting")] * (len(actions) - 1)


class Raising(Silent):
    """Fails at every question, with a text nobody may repeat."""

    def authorize(self, subject: Subject, actions: Sequence[Action]) -> list[Decision]:
        raise RuntimeError("hunter2")

    def authorize_any(self, subject: Subject, operation: Operation, resource_type: ResourceType) -> Decision:
        raise RuntimeError("hunter2")


class Mute:
    """Somebody else's engine that forgot to answer."""

    def authorize(self, subject: Subject, actions: Sequence[Action]) -> Any:
        return None

    def authorize_any(self, subject: Subject, operation: Operation, resource_type: ResourceType) -> Any:
        return None


class Recorder:
    """A `DecisionObserver` that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[Subject, Action, Decision]] = []

    def decided(self, subject: Subject, action: Action, decision: Decision) -> None:
        self.seen.append((subject, action, decision))
