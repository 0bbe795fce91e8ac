"""Allow and deny rules arranged for look-up, with the answers already given; what ACLs and roles have in
common.

In this order: any matching DENY refuses; any matching ALLOW grants (read, write, delete and alter also grant
describe; alterConfigs also describeConfigs); the rest has no opinion. It must not know who a subject is: it
is asked for principals from an address.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from rivven.security.authz.acl_index import AclIndex
from rivven.security.authz.authorizer import NAME_CHARACTERS_KEPT, Action, Decision
from rivven.security.authz.operations import ALLOWED_BITS, DENIED_BITS
from rivven.types import WILDCARD, AclBinding, Operation, PatternType, Permission, ResourceType

ANSWERS_MAX = 65_536
"""Remembered (subject, operation, resource) answers. Names come from clients, so the memory must end
somewhere; at about 400 bytes each this is 26 MB, reached only by peers that ask for what they may not see."""

RuleSource = Callable[[], tuple[int, Collection[AclBinding]]]
"""Where rules come from: (version, rules). Until they change both stay, the collection as the same object."""

Words = Callable[[AclBinding], tuple[str, str]]
"""A rule as (reason, id) for operators; the id leads to where it is written."""


class View:
    """The rules as they concern some principals from one address, until the rules change."""

    __slots__ = ("_answers", "_book", "host", "principals")

    def __init__(self, book: RuleBook, principals: tuple[str, ...], host: str) -> None:
        self._book = book
        self.principals = principals
        self.host = host
        self._answers: dict[tuple[str, int], Decision] = {}

    def decide(self, action: Action) -> Decision:
        """The decision about one action."""
        operation, resource_type, name = action
        # One number for both: members of an Enum are hashed by Python code, which would take half the time.
        key = (name, resource_type << 8 | operation)
        decision = self._answers.get(key)
        if decision is None:
            decision = self._book.resolve(self, action)
            if len(name) <= NAME_CHARACTERS_KEPT:
                self._answers[key] = decision
        return decision


class RuleBook:
    """The rules of one engine. `views` are kept by the key the engine asks with."""

    def __init__(
        self, engine: str, source: RuleSource, words: Words, *, allow_everyone_if_no_acl_found: bool = False
    ) -> None:
        self.engine = engine
        self._source = source
        self._words = words
        self._no_rules = (
            Decision.allow(
                "no rule about this resource, and allow_everyone_if_no_acl_found is true",
                engine=engine,
                rule="allow_everyone_if_no_acl_found",
            )
            if allow_everyone_if_no_acl_found
            else None
        )
        self._no_match = Decision.no_opinion(f"no {engine} rule allows it", engine=engine)
        self._version: int | None = None
        self._bindings: Collection[AclBinding] | None = None
        self._remembered = 0
        self.index = AclIndex(())
        self.views: dict[object, View] = {}

    def refresh(self) -> None:
        """Take the rules as they are now; forgets every answer when they have changed."""
        version, bindings = self._source()
        if version != self._version or bindings is not self._bindings:
            self.index = AclIndex(bindings)
            self._version = version
            self._bindings = bindings
            self.forget()

    def forget(self) -> None:
        """Forget every answer."""
        self.views = {}
        self._remembered = 0

    def view(self, key: object, principals: tuple[str, ...], host: str) -> View:
        """A new view, kept as `views[key]`."""
        if len(self.views) >= ANSWERS_MAX:
            self.forget()
        made = self.views[key] = View(self, principals, host)
        return made

    def resolve(self, view: View, action: Action) -> Decision:
        """The decision about one action; remembered by the view."""
        self._remembered += 1
        if self._remembered > ANSWERS_MAX:
            self.forget()
        operation, resource_type, name = action
        rules = self.index.matching(view.principals, view.host, resource_type, name)
        if rules or self._no_rules is None or self.index.covers(resource_type, name):
            return self._decide(rules, 1 << operation)
        return self._no_rules

    def decide_any(self, view: View, operation: Operation, resource_type: ResourceType) -> Decision:
        """Whether some name of the type could be allowed (KIP-679).

        A DENY on ``*`` refuses outright. An ALLOW counts unless a DENY of the same literal name, or of a
        prefix that starts its name, covers all it grants.
        """
        bit = 1 << operation
        rules = self.index.of_type(view.principals, view.host, resource_type)
        denials = [r for r in rules if r.permission is Permission.DENY and DENIED_BITS[r.operation] & bit]
        for rule in denials:
            if rule.pattern_type is PatternType.LITERAL and rule.resource_name == WILDCARD:
                return self._denied_by(rule)
        literal = {r.resource_name for r in denials if r.pattern_type is PatternType.LITERAL}
        prefixes = {r.resource_name for r in denials if r.pattern_type is PatternType.PREFIXED}
        for rule in rules:
            if rule.permission is not Permission.ALLOW or not ALLOWED_BITS[rule.operation] & bit:
                continue
            if _grants_something(rule, literal, prefixes):
                return self._allowed_by(rule)
        if self._no_rules is not None and not self.index.covers_all(resource_type):
            return self._no_rules
        return self._no_match

    def denials(self, view: View, action: Action) -> list[Decision]:
        """Every rule that refuses the action, as its decision."""
        bit = 1 << action.operation
        matching = self.index.matching(view.principals, view.host, action.resource_type, action.resource_name)
        return [
            self._denied_by(rule)
            for rule in matching
            if rule.permission is Permission.DENY and DENIED_BITS[rule.operation] & bit
        ]

    def _decide(self, rules: Sequence[AclBinding], bit: int) -> Decision:
        rule = _first(rules, Permission.DENY, DENIED_BITS, bit)
        if rule is not None:
            return self._denied_by(rule)
        rule = _first(rules, Permission.ALLOW, ALLOWED_BITS, bit)
        return self._no_match if rule is None else self._allowed_by(rule)

    def _denied_by(self, rule: AclBinding) -> Decision:
        reason, name = self._words(rule)
        return Decision.deny(reason, engine=self.engine, rule=name)

    def _allowed_by(self, rule: AclBinding) -> Decision:
        reason, name = self._words(rule)
        return Decision.allow(reason, engine=self.engine, rule=name)


def _first(
    rules: Sequence[AclBinding], permission: Permission, table: Mapping[Operation, int], bit: int
) -> AclBinding | None:
    for rule in rules:
        if rule.permission is permission and table[rule.operation] & bit:
            return rule
    return None


def _grants_something(rule: AclBinding, literal: set[str], prefixes: set[str]) -> bool:
    """Whether an ALLOW leaves at least one name that no DENY covers."""
    name = rule.resource_name
    if rule.pattern_type is PatternType.LITERAL:
        if name == WILDCARD:
            return True
        if name in literal:
            return False
    return not any(name[:length] in prefixes for length in range(1, len(name) + 1))
