"""Cedar policies as an `Authorizer`.

A matching forbid denies, a policy that fails while it is evaluated denies, else a matching permit allows;
where nothing matches there is no opinion. A permit for Read, Write, Delete or Alter carries Describe with it
(AlterConfigs DescribeConfigs), as in Kafka, for whoever may in fact do it.

Answers are kept per (user, groups, scope, the attributes of the context that policies mention; operation;
resource) until policies, roles or - where policies mention time - the hour change.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Protocol

from rivven.security.authz.authorizer import NAME_CHARACTERS_KEPT, Action, Decision, Subject, Verdict
from rivven.security.authz.cedar import binding
from rivven.security.authz.cedar.book import Policy, PolicyBook
from rivven.security.authz.cedar.evaluation import Asker, Evaluator, Outcome
from rivven.security.authz.cedar.expressions import Json, without_resource
from rivven.security.authz.cedar.vocabulary import ENGINE, IMPLYING, OF_TIME, RESOURCES, USER, is_valid
from rivven.types import Operation, ResourceType

ANSWERS_MAX = 65_536
"""Remembered answers, the least recently used forgotten first; about 500 bytes each."""

HOUR_MS = 3_600_000

_OF_SESSION = {
    "address": "host",
    "listener": "listener",
    "mechanism": "mechanism",
    "tls": "tls",
    "client_id": "client_id",
}
"""Attribute of the context -> attribute of the `Subject`."""

_SILENT = Decision.no_opinion("no policy permits it", engine=ENGINE)
_NOT_A_USER = Decision.no_opinion("policies are about users", engine=ENGINE)
_NO_WORD = Decision.no_opinion("policies have no word for it", engine=ENGINE)


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


class Rules:
    """A book made ready to answer. Compiling takes 0.1 ms per policy: not on the loop while it serves."""

    def __init__(self, book: PolicyBook) -> None:
        actions = binding.action_entities(book.schema)
        self.book = book
        self.timed = bool(book.context & OF_TIME)
        """Whether an answer may be another in another hour."""
        self.exact = Evaluator({name: policy.json for name, policy in book.policies.items()}, actions)
        blind = {name: without_resource(policy.json) for name, policy in book.policies.items()}
        self.blind = Evaluator({name: rule for name, rule in blind.items() if rule is not None}, actions)
        """The same policies asked about *some* resource (KIP-679)."""

    def exactly(self, asker: Asker, operation: Operation, resource_type: ResourceType, name: str) -> Decision:
        """The decision about one named resource."""
        outcome = self.exact.evaluate(asker, operation, resource_type, name)
        if outcome.errors:
            return self._failed(outcome)
        if outcome.forbids:
            return self._forbidden(outcome)
        if outcome.permits:
            return self._permitted(outcome)
        asked = {self.exact.reached(asker, operation, resource_type, name)}
        for other in implying(operation, resource_type):
            reached = self.exact.reached(asker, other, resource_type, name)
            if reached in asked and not self.exact.reads_action:
                continue  # these very policies permit nothing, whichever action it is
            asked.add(reached)
            outcome = self.exact.evaluate(asker, other, resource_type, name)
            if outcome.permitted:
                return self._permitted(outcome)
        return _SILENT

    def on_some(self, asker: Asker, operation: Operation, resource_type: ResourceType) -> Decision:
        """Whether scopes leave some resource of the type on which it is permitted; no resource is tried.

        Says yes too often rather than too seldom: a condition on the resource counts as fulfilled.
        """
        outcome = self._blindly(asker, operation, resource_type)
        if outcome.errors:
            return self._failed(outcome)
        if outcome.forbids:
            return self._forbidden(outcome)
        if outcome.permitted:
            return self._permitted(outcome)
        for other in implying(operation, resource_type):
            candidate = self._blindly(asker, other, resource_type)
            if candidate.permitted:
                return self._permitted(candidate)
        return _SILENT

    def _blindly(self, asker: Asker, operation: Operation, resource_type: ResourceType) -> Outcome:
        outcome = self.blind.evaluate(asker, operation, resource_type, "")
        # The resource used in the end may be out of reach of a permit that fails, never of a forbid in here.
        policies = self.book.policies
        outcome.errors = [
            (name, reason)
            for name, reason in outcome.errors
            if name not in policies or not policies[name].permits
        ]
        return outcome

    def refusals(
        self, asker: Asker, operation: Operation, resource_type: ResourceType, name: str
    ) -> list[Decision]:
        """What `exactly` finds first, and everything else that refuses: what failed, and every forbid."""
        outcome = self.exact.evaluate(asker, operation, resource_type, name)
        failed = [self._failed(Outcome(errors=[one])) for one in sorted(outcome.errors)]
        return [*failed, *(self._forbidden(Outcome(forbids=[one])) for one in sorted(outcome.forbids))]

    def _failed(self, outcome: Outcome) -> Decision:
        name, reason = min(outcome.errors)
        rule = self._rule(name) if name else ""
        return Decision.deny(f"policy {rule or 'unknown'} failed: {reason}", engine=ENGINE, rule=rule)

    def _forbidden(self, outcome: Outcome) -> Decision:
        rule = self._rule(min(outcome.forbids))
        return Decision.deny(f"policy {rule} forbids it", engine=ENGINE, rule=rule)

    def _permitted(self, outcome: Outcome) -> Decision:
        rule = self._rule(min(outcome.permits))
        return Decision.allow(f"policy {rule} permits it", engine=ENGINE, rule=rule)

    def _rule(self, name: str) -> str:
        policy = self.book.policies.get(name)
        return policy.rule if policy is not None else name


def implying(operation: Operation, resource_type: ResourceType) -> list[Operation]:
    """The operations whose permission carries this one with it on the type."""
    return [other for other in IMPLYING.get(operation, ()) if is_valid(other, resource_type)]


class _Memory:
    """Answers of one state of policies, roles and hour."""

    def __init__(self, rules: Rules, memberships: Memberships, now_ms: int) -> None:
        self.rules = rules
        self.version = memberships.version
        self.hour = now_ms // HOUR_MS
        self._memberships = memberships
        self._mentioned = [name for name in _OF_SESSION if name in rules.book.context]
        told = [_OF_SESSION[name] for name in self._mentioned]
        # attrgetter builds the whole key in C; a tuple written out would cost twice as much.
        self.key: Callable[[Subject], tuple[Any, ...]] = attrgetter(
            "principal.kind", "principal.name", "groups", "scope", *told
        )
        self._kept = lru_cache(ANSWERS_MAX)(self._exactly)
        """(key, resource type << 8 | operation, name): one number, as members of an Enum are hashed by Python
        code, which would take a third of the time."""
        self.on_some = lru_cache(ANSWERS_MAX)(self._on_some)

    def exactly(self, key: tuple[Any, ...], question: int, name: str) -> Decision:
        """The decision about one name, remembered unless the name is very long."""
        return (self._kept if len(name) <= NAME_CHARACTERS_KEPT else self._exactly)(key, question, name)

    def _exactly(self, key: tuple[Any, ...], question: int, name: str) -> Decision:
        operation, resource_type = Operation(question & 0xFF), ResourceType(question >> 8)
        return self._answer(
            key,
            operation,
            resource_type,
            lambda asker: self.rules.exactly(asker, operation, resource_type, name),
        )

    def _on_some(self, key: tuple[Any, ...], operation: Operation, resource_type: ResourceType) -> Decision:
        return self._answer(
            key, operation, resource_type, lambda asker: self.rules.on_some(asker, operation, resource_type)
        )

    def _answer(
        self,
        key: tuple[Any, ...],
        operation: Operation,
        resource_type: ResourceType,
        decide: Callable[[Asker], Decision],
    ) -> Decision:
        if key[0] != USER:
            return _NOT_A_USER
        if resource_type not in RESOURCES or not is_valid(operation, resource_type):
            return _NO_WORD
        try:
            return decide(self.asker(key))
        except ValueError:
            # Names that are no text (lone surrogates) cannot be asked about, so nothing permits them.
            return Decision.deny("the policy engine cannot take these names", engine=ENGINE)

    def asker(self, key: tuple[Any, ...]) -> Asker:
        """Who asks, from what `key` makes of a subject."""
        _kind, user, groups, scope, *values = key
        told = dict(zip(self._mentioned, values, strict=True))
        context = context_of({**told, **time_of(self.hour)})
        return Asker(user, groups, self._memberships.roles_of(user, groups), scope, context)


def context_of(known: Mapping[str, Any]) -> Json:
    """The context in Cedar's JSON, from the attributes that are known; an address that is none is not."""
    context = dict(known)
    if "address" in context:
        address = context.pop("address")
        if _is_address(address):
            context["address"] = {"__extn": {"fn": "ip", "arg": address}}
    return context


def time_of(hour: int) -> dict[str, int]:
    """The attributes of the context about time, from the hours since the epoch, which was a Thursday."""
    return {"hour": hour % 24, "weekday": (hour // 24 + 3) % 7 + 1}


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class CedarAuthorizer:
    """Decides by the rules `source` has at the moment. Belongs to the event loop."""

    settled = True
    """For a chain whose stamp covers the hour where policies ask for it (`PolicyStore.stamp`)."""

    def __init__(
        self, source: Callable[[], Rules], memberships: Memberships, now_ms: Callable[[], int]
    ) -> None:
        self._source = source
        self._memberships = memberships
        self._now_ms = now_ms
        self._memory = _Memory(source(), memberships, now_ms())

    @property
    def policies(self) -> list[Policy]:
        """The policies in force."""
        return list(self._source().book.policies.values())

    def authorize(self, subject: Subject, actions: Sequence[Action]) -> list[Decision]:
        """One decision per action, in order."""
        memory = self._current()
        key, exactly = memory.key(subject), memory.exactly
        return [exactly(key, kind << 8 | operation, name) for operation, kind, name in actions]

    def authorize_any(self, subject: Subject, operation: Operation, resource_type: ResourceType) -> Decision:
        """Whether policies leave some resource of the type on which the operation is permitted (KIP-679)."""
        memory = self._current()
        return memory.on_some(memory.key(subject), operation, resource_type)

    def denials(self, subject: Subject, action: Action) -> list[Decision]:
        """Everything that refuses the action, as decisions; the one of `authorize` is the first."""
        decision = self.authorize(subject, [action])[0]
        if decision.verdict is not Verdict.DENY or not decision.rule:
            return [decision] if decision.verdict is Verdict.DENY else []
        memory = self._current()
        return memory.rules.refusals(memory.asker(memory.key(subject)), *action)

    def about(self, subject: Subject) -> list[Policy]:
        """The policies whose scope lets them speak about a subject."""
        if subject.principal.kind != USER:
            return []
        memory = self._current()
        uids = {None, *memory.asker(memory.key(subject)).uids}
        return [policy for policy in self.policies if policy.principal.uid in uids]

    def _current(self) -> _Memory:
        memory = self._memory
        if (
            memory.rules is not self._source()
            or memory.version != self._memberships.version
            or (memory.rules.timed and memory.hour != self._now_ms() // HOUR_MS)
        ):
            memory = self._memory = _Memory(self._source(), self._memberships, self._now_ms())
        return memory
