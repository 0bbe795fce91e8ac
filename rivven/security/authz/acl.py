"""Kafka's ACLs as an `Authorizer` (KIP-11, KIP-290; the answers of Kafka 4's own authorizer).

In this order: any matching DENY refuses; any matching ALLOW grants (read, write, delete and alter also grant
describe; alterConfigs also describeConfigs); a resource about which no rule exists follows
`allow_everyone_if_no_acl_found`; the rest has no opinion, which ends as a refusal. Super users are the
chain's business.

Answers are kept per (subject, resource) until the version of the rules changes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from rivven.security.authz.acl_index import AclIndex
from rivven.security.authz.authorizer import Action, Decision, Subject
from rivven.security.authz.operations import ALLOWED_BITS, DENIED_BITS
from rivven.types import WILDCARD, AclBinding, Operation, PatternType, Permission, ResourceType

ANSWERS_MAX = 65_536
"""Remembered (subject, resource) pairs. Names come from clients, so the memory must end somewhere; at about
400 bytes each this is 26 MB, reached only by peers that ask for names they may not even see."""

AclSource = Callable[[], tuple[int, Collection[AclBinding]]]
"""Where rules come from: (version, rules). Until they change both stay, the collection as the same object."""

ENGINE = "acl"

_NO_RULES = Decision.allow(
    "no rule about this resource, and allow_everyone_if_no_acl_found is true",
    engine=ENGINE,
    rule="allow_everyone_if_no_acl_found",
)
_NO_MATCH = Decision.no_opinion("no rule allows it", engine=ENGINE)


def describe_rule(rule: AclBinding) -> str:
    """One rule in words, for operators."""
    pattern = "prefixed " if rule.pattern_type is PatternType.PREFIXED else ""
    return (
        f"{rule.permission.name} {rule.operation.name} on {rule.resource_type.name} "
        f"{pattern}{rule.resource_name!r} for {rule.principal} from {rule.host}"
    )


class _Answers:
    """What the rules say about one subject and one resource: two bit fields and the rules behind them."""

    __slots__ = ("_decisions", "allowed", "denied", "nothing", "rules")

    def __init__(self, rules: Sequence[AclBinding], nothing: Decision) -> None:
        self.rules = rules
        self.nothing = nothing
        self.allowed = 0
        self.denied = 0
        for rule in rules:
            if rule.permission is Permission.DENY:
                self.denied |= DENIED_BITS[rule.operation]
            elif rule.permission is Permission.ALLOW:
                self.allowed |= ALLOWED_BITS[rule.operation]
        self._decisions: dict[Operation, Decision] = {}

    def decision(self, operation: Operation) -> Decision:
        made = self._decisions.get(operation)
        if made is None:
            made = self._decisions[operation] = self._decide(1 << operation)
        return made

    def _decide(self, bit: int) -> Decision:
        if self.denied & bit:
            return _denied_by(self._first(Permission.DENY, DENIED_BITS, bit))
        if self.allowed & bit:
            return _allowed_by(self._first(Permission.ALLOW, ALLOWED_BITS, bit))
        return self.nothing

    def _first(self, permission: Permission, table: Mapping[Operation, int], bit: int) -> AclBinding:
        """The first rule that decided."""
        return next(r for r in self.rules if r.permission is permission and table[r.operation] & bit)


class AclAuthorizer:
    """Decides by stored ACL rules."""

    def __init__(self, source: AclSource, *, allow_everyone_if_no_acl_found: bool = False) -> None:
        self._source = source
        self._allow_everyone = allow_everyone_if_no_acl_found
        self._version: int | None = None
        self._bindings: Collection[AclBinding] | None = None
        self._index = AclIndex(())
        self._answers: dict[tuple[tuple[str, ...], int, str], _Answers] = {}

    def authorize(self, subject: Subject, actions: Sequence[Action]) -> list[Decision]:
        """One decision per action, in order."""
        self._refresh()
        key = subject.key
        known = self._answers
        decisions = []
        for operation, resource_type, name in actions:
            answers = known.get((key, resource_type, name))
            if answers is None:
                answers = self._resolve(subject, resource_type, name)
            decisions.append(answers.decision(operation))
        return decisions

    def authorize_any(self, subject: Subject, operation: Operation, resource_type: ResourceType) -> Decision:
        """Whether some name of the type could be allowed (KIP-679).

        A DENY on ``*`` refuses outright. An ALLOW counts unless a DENY of the same literal name, or of a
        prefix that starts its name, covers all it grants.
        """
        self._refresh()
        bit = 1 << operation
        rules = self._index.of_type(_principals(subject), subject.host, resource_type)
        denials = [r for r in rules if r.permission is Permission.DENY and DENIED_BITS[r.operation] & bit]
        for rule in denials:
            if rule.pattern_type is PatternType.LITERAL and rule.resource_name == WILDCARD:
                return _denied_by(rule)
        literal = {r.resource_name for r in denials if r.pattern_type is PatternType.LITERAL}
        prefixes = {r.resource_name for r in denials if r.pattern_type is PatternType.PREFIXED}
        for rule in rules:
            if rule.permission is not Permission.ALLOW or not ALLOWED_BITS[rule.operation] & bit:
                continue
            if _grants_something(rule, literal, prefixes):
                return _allowed_by(rule)
        if self._allow_everyone and not self._index.covers_all(resource_type):
            return _NO_RULES
        return _NO_MATCH

    def _refresh(self) -> None:
        version, bindings = self._source()
        if version != self._version or bindings is not self._bindings:
            self._index = AclIndex(bindings)
            self._answers = {}
            self._version = version
            self._bindings = bindings

    def _resolve(self, subject: Subject, resource_type: ResourceType, name: str) -> _Answers:
        rules = self._index.matching(_principals(subject), subject.host, resource_type, name)
        nothing = _NO_MATCH
        if self._allow_everyone and not rules and not self._index.covers(resource_type, name):
            nothing = _NO_RULES
        answers = _Answers(rules, nothing)
        if len(self._answers) >= ANSWERS_MAX:
            self._answers = {}
        self._answers[subject.key, resource_type, name] = answers
        return answers


def _denied_by(rule: AclBinding) -> Decision:
    words = describe_rule(rule)
    return Decision.deny(words, engine=ENGINE, rule=words)


def _allowed_by(rule: AclBinding) -> Decision:
    words = describe_rule(rule)
    return Decision.allow(words, engine=ENGINE, rule=words)


def _principals(subject: Subject) -> tuple[str, ...]:
    """The names rules may use for a subject (``User:*`` is added by the index)."""
    return (subject.key[0], *(f"Group:{group}" for group in subject.groups))


def _grants_something(rule: AclBinding, literal: set[str], prefixes: set[str]) -> bool:
    """Whether an ALLOW leaves at least one name that no DENY covers."""
    name = rule.resource_name
    if rule.pattern_type is PatternType.LITERAL:
        if name == WILDCARD:
            return True
        if name in literal:
            return False
    return not any(name[:length] in prefixes for length in range(1, len(name) + 1))
