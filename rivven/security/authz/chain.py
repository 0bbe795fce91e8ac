"""Every engine's verdict joined into one decision.

In this order: super users pass, as in Kafka; then every engine is asked: any DENY refuses, any ALLOW grants,
no opinion everywhere refuses, whatever the order of the engines. What would be allowed - to super users
too - must last fit the scope of the token that came with it. An engine that fails or answers another number
of questions than it was asked has denied.

Engines cache, and know when their answers become stale. The chain remembers what its `steady` and `settled`
engines say together, if a stamp tells it when anything has changed, and asks the others each time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from rivven.security.authz.authorizer import (
    NAME_CHARACTERS_KEPT,
    Action,
    Authorizer,
    Decision,
    Subject,
    Verdict,
)
from rivven.types import WILDCARD, Operation, ResourceType

SUPER_USERS = "super-users"
"""The name under which super users appear as an engine in decisions."""

SCOPE = "scope"
"""The name under which a token's scope appears as an engine in decisions."""

KNOWN_MAX = 65_536
"""Remembered decisions and whom they are about. Names come from clients, so the memory must end somewhere."""

_ALLOW, _DENY = Verdict.ALLOW, Verdict.DENY
"""Found by name once: members of an Enum are looked up by Python code."""

_SUPER_USER = Decision.allow("super user", engine=SUPER_USERS, rule="authorization.super_users")
_NO_ENGINE = Decision.deny("no authorizer is configured")
_NO_CEILING = Decision.deny("the scope of the token cannot be evaluated", engine=SCOPE)


class Ceiling(Protocol):
    """What a token's scope lets through; the entries of a scope are those of `rbac.parse_scope`."""

    def permits(self, scope: tuple[str, ...], action: Action) -> Decision: ...

    def permits_any(
        self, scope: tuple[str, ...], operation: Operation, resource_type: ResourceType
    ) -> Decision: ...


class DecisionObserver(Protocol):
    """Hears every decision a request was answered by (see `access`); called on the loop, must be O(1)."""

    def decided(self, subject: Subject, action: Action, decision: Decision) -> None: ...


class Unobserved:
    """A `DecisionObserver` for whom nothing is worth keeping."""

    def decided(self, subject: Subject, action: Action, decision: Decision) -> None:
        return


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and what every engine said, super users and a token's scope included where they speak."""

    subject: Subject
    action: Action
    decision: Decision
    verdicts: tuple[tuple[str, Decision], ...]


EngineFailed = Callable[[str, Exception], None]
"""Called with the name of an engine that raised and what it raised."""


class AuthorizerChain:
    """Itself an `Authorizer`. `engines` maps the name an engine has in the configuration to the engine.

    `stamp` gives a value that differs after any change of rules, roles, users, policies or topics, and in
    another hour where policies ask for the time; `version` rises when it does. An engine with a true
    attribute `steady` answers by nothing but the subject's key, the action and what the stamp covers; one
    with a true attribute `settled` by all of the subject, the action and what the stamp covers.
    """

    def __init__(
        self,
        engines: Mapping[str, Authorizer],
        super_users: Iterable[str] = (),
        ceiling: Ceiling | None = None,
        observer: DecisionObserver | None = None,
        *,
        stamp: Callable[[], Hashable] | None = None,
        engine_failed: EngineFailed = lambda _name, _error: None,
    ) -> None:
        self.engines = dict(engines)
        self.super_users = frozenset(super_users)
        self.observer: DecisionObserver = observer or Unobserved()
        settled = {name for name, engine in self.engines.items() if getattr(engine, "settled", False)}
        lasting = settled | {
            name for name, engine in self.engines.items() if getattr(engine, "steady", False)
        }
        self._pairs = tuple(sorted(self.engines.items(), key=lambda pair: pair[0] not in lasting))
        remembered = len(lasting) if stamp is not None else 0
        self._lasting, self._others = self._pairs[:remembered], self._pairs[remembered:]
        self._by_session = bool(settled)
        self._ceiling = ceiling
        self._stamp: Callable[[], Hashable] = stamp or tuple
        self._stamped: Hashable = self._stamp()
        self._version = 1
        self._known: dict[tuple[object, ...], dict[tuple[str, int], Decision]] = {}
        self._known_count = 0
        self._engine_failed = engine_failed

    @property
    def version(self) -> int:
        """Rises whenever an answer may have become another."""
        self._refresh()
        return self._version

    def _refresh(self) -> None:
        stamp = self._stamp()
        if stamp != self._stamped:
            self._stamped = stamp
            self._version += 1
            self._forget()

    def _forget(self) -> None:
        self._known = {}
        self._known_count = 0

    # -- deciding --------------------------------------------------------------------------------------------

    def authorize(self, subject: Subject, actions: Sequence[Action]) -> list[Decision]:
        """One decision per action, in order."""
        if len(actions) == 1:
            return [self.decide(subject, actions[0])]
        if subject.key[0] in self.super_users:
            decisions = [_SUPER_USER] * len(actions)
        else:
            answers = [self._ask(name, engine, subject, actions) for name, engine in self._pairs]
            decisions = [combine([answer[i] for answer in answers]) for i in range(len(actions))]
        if subject.scope is None:
            return decisions
        return [self._within(subject, *pair) for pair in zip(actions, decisions, strict=True)]

    def authorize_any(self, subject: Subject, operation: Operation, resource_type: ResourceType) -> Decision:
        """Whether the operation is allowed on some resource of the type (KIP-679).

        Engines are asked each for itself, so an ALLOW of one and a DENY of another about the same single name
        count as allowed here; the name itself is still denied when it is used.
        """
        if subject.key[0] in self.super_users:
            decision = _SUPER_USER
        else:
            decision = combine(
                [
                    self._ask_any(name, engine, subject, operation, resource_type)
                    for name, engine in self._pairs
                ]
            )
        if subject.scope is None or not decision.allowed:
            return decision
        if self._ceiling is None:
            return _NO_CEILING
        permitted = self._ceiling.permits_any(subject.scope, operation, resource_type)
        return decision if permitted.allowed else permitted

    def decide(self, subject: Subject, action: Action) -> Decision:
        """The decision about one action."""
        if subject.key[0] in self.super_users:
            decision = _SUPER_USER
        else:
            known = self._recalled(subject, action) if self._lasting else None
            if known is not None and (not self._others or known.verdict is _DENY):
                decision = known
            elif known is not None and known.verdict is _ALLOW:
                decision = self._unless_denied(subject, action, known)
            else:
                decision = self._combined(self._others, subject, action, known)
        return decision if subject.scope is None else self._within(subject, action, decision)

    def _recalled(self, subject: Subject, action: Action) -> Decision:
        if self._stamp() != self._stamped:
            self._refresh()
        who = subject.session_key if self._by_session else subject.key
        known = self._known.get(who)
        if known is None:
            known = self._of_another(who)
        operation, resource_type, name = action
        # One number for both: members of an Enum are hashed by Python code, which would take half the time.
        key = (name, resource_type << 8 | operation)
        decision = known.get(key)
        if decision is None:
            decision = self._combined(self._lasting, subject, action)
            # Not what an engine's failure denied.
            if (decision.verdict is not _DENY or decision.rule) and len(name) <= NAME_CHARACTERS_KEPT:
                self._count()
                known[key] = decision
        return decision

    def _of_another(self, who: tuple[object, ...]) -> dict[tuple[str, int], Decision]:
        """Where decisions about somebody new are remembered; counts as one, for clients choose their ids."""
        self._count()
        made = self._known[who] = {}
        return made

    def _count(self) -> None:
        if self._known_count >= KNOWN_MAX:
            self._forget()
        self._known_count += 1

    def _unless_denied(self, subject: Subject, action: Action, granted: Decision) -> Decision:
        """What is granted already, unless an engine that is asked each time denies it.

        The way of nearly every request where an engine of somebody else's is asked, so written out:
        `_combined` takes 1 µs more.
        """
        actions = (action,)
        for name, engine in self._others:
            try:
                answer = engine.authorize(subject, actions)
                if len(answer) != 1:
                    return _no_answer(name)
            except Exception as error:  # noqa: BLE001 - an engine, ours or theirs, must fail closed
                self._engine_failed(name, error)
                return _failed(name, error)
            decision = answer[0]
            if decision.verdict is _DENY:
                return decision
        return granted

    def _combined(
        self,
        pairs: Iterable[tuple[str, Authorizer]],
        subject: Subject,
        action: Action,
        known: Decision | None = None,
    ) -> Decision:
        """What `combine` says of `known` and what these engines say, without building what a single grant
        does not need.
        """
        actions = (action,)
        granted = known if known is not None and known.allowed else None
        asked = [known] if known is not None and granted is None else []
        for name, engine in pairs:
            decision = self._ask(name, engine, subject, actions)[0]
            verdict = decision.verdict
            if verdict is _DENY:
                return decision
            if verdict is _ALLOW:
                granted = granted or decision
            elif granted is None:
                asked.append(decision)
        return granted or combine(asked)

    def explain(self, subject: Subject, action: Action) -> Explanation:
        """The decision, and what every engine says even where super users or a denial cut the question
        short.
        """
        verdicts: list[tuple[str, Decision]] = []
        if subject.key[0] in self.super_users:
            verdicts.append((SUPER_USERS, _SUPER_USER))
        verdicts += [(name, self._ask(name, engine, subject, (action,))[0]) for name, engine in self._pairs]
        if subject.scope is not None:
            verdicts.append((SCOPE, self._permits(subject.scope, action)))
        return Explanation(subject, action, self.decide(subject, action), tuple(verdicts))

    # -- asking ----------------------------------------------------------------------------------------------

    def _ask(
        self, name: str, engine: Authorizer, subject: Subject, actions: Sequence[Action]
    ) -> list[Decision]:
        try:
            answer = engine.authorize(subject, actions)
            whole = len(answer) == len(actions)
        except Exception as error:  # noqa: BLE001 - an engine, ours or theirs, must fail closed
            self._engine_failed(name, error)
            return [_failed(name, error)] * len(actions)
        if not whole:
            return [_no_answer(name)] * len(actions)
        return answer

    def _ask_any(
        self,
        name: str,
        engine: Authorizer,
        subject: Subject,
        operation: Operation,
        resource_type: ResourceType,
    ) -> Decision:
        try:
            answer = engine.authorize_any(subject, operation, resource_type)
        except Exception as error:  # noqa: BLE001 - an engine, ours or theirs, must fail closed
            self._engine_failed(name, error)
            return _failed(name, error)
        # An engine of somebody else's may give anything, whatever its signature says.
        known: object = answer
        return answer if isinstance(known, Decision) else _no_answer(name)

    def _within(self, subject: Subject, action: Action, decision: Decision) -> Decision:
        if not decision.allowed:
            return decision
        assert subject.scope is not None
        permitted = self._permits(subject.scope, action)
        return decision if permitted.allowed else permitted

    def _permits(self, scope: tuple[str, ...], action: Action) -> Decision:
        return _NO_CEILING if self._ceiling is None else self._ceiling.permits(scope, action)


def combine(decisions: Sequence[Decision]) -> Decision:
    """Any DENY wins, else the first ALLOW, else a refusal that says why nobody allowed."""
    if not decisions:
        return _NO_ENGINE
    granted = None
    for decision in decisions:
        if decision.verdict is _DENY:
            return decision
        if granted is None and decision.verdict is _ALLOW:
            granted = decision
    if granted is not None:
        return granted
    if len(decisions) == 1:
        return decisions[0]
    reasons = "; ".join(dict.fromkeys(decision.reason for decision in decisions))
    return replace(decisions[0], reason=reasons, engine="", rule="")


def any_of(resource_type: ResourceType, operation: Operation) -> Action:
    """How a question about some resource of a type is reported."""
    return Action(operation, resource_type, WILDCARD)


def _no_answer(name: str) -> Decision:
    return Decision.deny(f"{name} gave no answer", engine=name)


def _failed(name: str, error: Exception) -> Decision:
    # The type only: an exception's text may repeat what it was given.
    return Decision.deny(f"{name} failed: {type(error).__name__}", engine=name)
