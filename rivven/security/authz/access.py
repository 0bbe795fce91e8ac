"""One request's door to the authorizers: the subject is fixed, the questions are asked.

A chain of engines answers together: any DENY refuses, else any ALLOW grants, else it is refused. Without a
subject or without engines everything is refused. `used` tells dispatch whether a handler of mode `filter`
asked at all. It must not remember answers: engines do, and know when theirs become stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rivven.security.authz.authorizer import Action, Authorizer, Decision, Subject, Verdict
from rivven.security.authz.operations import VALID_OPERATIONS
from rivven.types import CLUSTER_NAME, Operation, ResourceType

_NOBODY = Decision.deny("not authenticated")
_NO_ENGINE = Decision.deny("no authorizer is configured")
_UNANSWERED = Decision.deny("an authorizer gave no answer")


class Access:
    """What `subject` may do, according to a chain of authorizers."""

    __slots__ = ("_authorizers", "subject", "used")

    def __init__(self, subject: Subject | None, authorizers: Sequence[Authorizer]) -> None:
        self.subject = subject
        self._authorizers = authorizers
        self.used = False

    def allowed(self, operation: Operation, resource_type: ResourceType, name: str) -> bool:
        """Whether the subject may perform `operation` on the named resource."""
        return self.decide(operation, resource_type, name).allowed

    def allowed_cluster(self, operation: Operation) -> bool:
        """Whether the subject may perform `operation` on the cluster."""
        return self.decide(operation, ResourceType.CLUSTER, CLUSTER_NAME).allowed

    def allowed_any(self, operation: Operation, resource_type: ResourceType) -> bool:
        """Whether the subject may perform `operation` on some resource of the type (KIP-679)."""
        self.used = True
        subject = self.subject
        if subject is None:
            return False
        return _combine(
            [engine.authorize_any(subject, operation, resource_type) for engine in self._authorizers]
        ).allowed

    def decide(self, operation: Operation, resource_type: ResourceType, name: str) -> Decision:
        """The decision with its reason."""
        self.used = True
        subject = self.subject
        if subject is None:
            return _NOBODY
        engines = self._authorizers
        actions = (Action(operation, resource_type, name),)
        if len(engines) == 1:
            answer = engines[0].authorize(subject, actions)
            return answer[0] if len(answer) == 1 else _UNANSWERED
        return _combine([_only(engine.authorize(subject, actions)) for engine in engines])

    def filter(self, operation: Operation, resource_type: ResourceType, names: Iterable[str]) -> set[str]:
        """The names on which the subject may perform `operation`."""
        wanted = list(dict.fromkeys(names))
        decisions = self._decide_all([Action(operation, resource_type, name) for name in wanted])
        return {name for name, decision in zip(wanted, decisions, strict=True) if decision.allowed}

    def authorized_operations(self, resource_type: ResourceType, name: str) -> int:
        """The bit field (``1 << code``) of the valid operations the subject may perform (KIP-430)."""
        valid = VALID_OPERATIONS[resource_type]
        actions = [Action(operation, resource_type, name) for operation in valid]
        field = 0
        for action, decision in zip(actions, self._decide_all(actions), strict=True):
            if decision.allowed:
                field |= 1 << action.operation
        return field

    def _decide_all(self, actions: list[Action]) -> list[Decision]:
        self.used = True
        subject = self.subject
        if subject is None:
            return [_NOBODY] * len(actions)
        answers = [engine.authorize(subject, actions) for engine in self._authorizers]
        if any(len(answer) != len(actions) for answer in answers):
            return [_UNANSWERED] * len(actions)
        if len(answers) == 1:
            return answers[0]
        return [_combine([answer[i] for answer in answers]) for i in range(len(actions))]


def _only(answer: list[Decision]) -> Decision:
    return answer[0] if len(answer) == 1 else _UNANSWERED


def _combine(decisions: list[Decision]) -> Decision:
    """Any DENY wins, else the first ALLOW, else a refusal."""
    if not decisions:
        return _NO_ENGINE
    granted = None
    for decision in decisions:
        if decision.verdict is Verdict.DENY:
            return decision
        if granted is None and decision.allowed and decision.verdict is Verdict.ALLOW:
            granted = decision
    return granted or decisions[0]
