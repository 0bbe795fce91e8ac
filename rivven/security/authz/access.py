"""One request's door to the authorizers: the subject is fixed, the questions are asked.

Without a subject everything is refused. What a request was answered by is reported to the chain's observer;
what only shapes a listing (`filter`, `authorized_operations`) is not: a listing would flood an audit trail
with denials nobody asked for. `used` tells dispatch whether a handler of mode `filter` asked at all. It must
not remember answers: engines do, and know when theirs become stale.
"""

from __future__ import annotations

from collections.abc import Iterable

from rivven.security.authz.authorizer import Action, Decision, Subject
from rivven.security.authz.chain import AuthorizerChain, any_of
from rivven.security.authz.operations import VALID_OPERATIONS
from rivven.types import CLUSTER_NAME, Operation, ResourceType

_NOBODY = Decision.deny("not authenticated")


class Access:
    """What `subject` may do, according to a chain of authorizers."""

    __slots__ = ("_chain", "subject", "used")

    def __init__(self, subject: Subject | None, chain: AuthorizerChain) -> None:
        self.subject = subject
        self._chain = chain
        self.used = False

    @property
    def version(self) -> int:
        """Rises whenever an answer given earlier may have become another."""
        return self._chain.version

    def allowed(self, operation: Operation, resource_type: ResourceType, name: str) -> bool:
        """Whether the subject may perform `operation` on the named resource."""
        return self.decide(operation, resource_type, name).allowed

    def probe(self, operation: Operation, resource_type: ResourceType, name: str) -> bool:
        """Like `allowed`, for a question that is one way of several: not being allowed is no denial."""
        self.used = True
        subject = self.subject
        if subject is None:
            return False
        chain, action = self._chain, Action(operation, resource_type, name)
        decision = chain.decide(subject, action)
        if decision.allowed:
            chain.observer.decided(subject, action, decision)
        return decision.allowed

    def probe_cluster(self, operation: Operation) -> bool:
        """`probe` about the cluster."""
        return self.probe(operation, ResourceType.CLUSTER, CLUSTER_NAME)

    def allowed_cluster(self, operation: Operation) -> bool:
        """Whether the subject may perform `operation` on the cluster."""
        return self.decide(operation, ResourceType.CLUSTER, CLUSTER_NAME).allowed

    def allowed_any(self, operation: Operation, resource_type: ResourceType) -> bool:
        """Whether the subject may perform `operation` on some resource of the type (KIP-679)."""
        self.used = True
        subject = self.subject
        if subject is None:
            return False
        decision = self._chain.authorize_any(subject, operation, resource_type)
        self._chain.observer.decided(subject, any_of(resource_type, operation), decision)
        return decision.allowed

    def decide(self, operation: Operation, resource_type: ResourceType, name: str) -> Decision:
        """The decision with its reason."""
        self.used = True
        subject = self.subject
        if subject is None:
            return _NOBODY
        chain, action = self._chain, Action(operation, resource_type, name)
        decision = chain.decide(subject, action)
        chain.observer.decided(subject, action, decision)
        return decision

    def about_oneself(self) -> None:
        """The request is about the subject itself, which needs no permission; the handler sees to that."""
        self.used = True

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
        if self.subject is None:
            return [_NOBODY] * len(actions)
        return self._chain.authorize(self.subject, actions)
