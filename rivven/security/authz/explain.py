"""Why somebody may or may not do something, what would change it, and who else may.

Asks the chain that decides requests, so an explanation is what would happen now. Pure; nothing here reports
to the observer: explaining is no use of a right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from rivven.actions import (
    ACTIONS,
    CLUSTER,
    RESOURCE_TYPES,
    TYPE_WORDS,
    WordError,
    operations_for,
    parse_member,
    parse_resource,
    pattern_text,
)
from rivven.security.authz.acl import ENGINE as ACL
from rivven.security.authz.acl import AclAuthorizer, AclSource, describe_rule
from rivven.security.authz.authorizer import Action, Decision, Subject, Verdict
from rivven.security.authz.cedar.book import Policy
from rivven.security.authz.cedar.engine import CedarAuthorizer
from rivven.security.authz.cedar.vocabulary import ACTIONS as POLICY_ACTIONS
from rivven.security.authz.cedar.vocabulary import GROUP, RESOURCES, USER
from rivven.security.authz.chain import SCOPE, AuthorizerChain, Explanation
from rivven.security.authz.operations import ALLOWED_BITS, VALID_OPERATIONS
from rivven.security.authz.rbac import ENGINE as RBAC
from rivven.security.authz.roles import RoleDirectory, roles_of_subject, rules_of
from rivven.types import WILDCARD, AclBinding, Operation, PatternType, Permission, Principal

ACL_RESOURCES = frozenset({"topic", "group", "cluster", "transactional-id"})
"""Resources `rivven acl add` takes; for others only a role is advised."""

ANY_ADDRESS = "127.0.0.1"
"""Where a question comes from that names no address."""

_NOBODY = ""
"""The name of a user who has no right of its own; no user can have it."""


class LocalUsers(Protocol):
    """The users this broker knows."""

    def names(self) -> list[str]: ...
    def groups_of(self, name: str) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Remedy:
    """One change that would allow what is denied; `command` makes it, empty where no command can."""

    kind: str
    text: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """The explanation of one operation. `denials` are all denials in the way, `remedies` only without any."""

    explanation: Explanation
    denials: tuple[Decision, ...]
    remedies: tuple[Remedy, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """One line of what somebody may or may not do."""

    verdict: Verdict
    resource: str
    operation: str
    host: str
    via: str


def parse_question(action: str, resource: str) -> list[Action]:
    """The operations an action on one resource means; Kafka's own names of operations are actions too.

    ``*`` and ``admin`` mean everything that can be asked about the resource. Raises WordError.
    """
    if resource == WILDCARD:
        raise WordError("Name one resource: topic:NAME, group:NAME, cluster, ...")
    (pattern,) = parse_resource(resource, "literal")
    kind = pattern.resource_type
    name = action.upper().replace("-", "_")
    operations: tuple[Operation, ...]
    if action not in ACTIONS and name in Operation.__members__ and Operation[name] in VALID_OPERATIONS[kind]:
        operations = (Operation[name],)
    else:
        operations = operations_for(action, TYPE_WORDS[kind])
    if Operation.ALL in operations:
        operations = tuple(sorted(VALID_OPERATIONS[kind]))
    return [Action(operation, kind, pattern.name) for operation in operations]


class Explainer:
    """Answers about the chain in force."""

    def __init__(
        self, chain: AuthorizerChain, roles: RoleDirectory, users: LocalUsers, rules: AclSource
    ) -> None:
        self._chain = chain
        self._roles = roles
        self._users = users
        self._rules = rules

    def subject(self, member: str, host: str = "", groups: tuple[str, ...] = ()) -> Subject:
        """``user:x`` with the groups it has here and `groups`, or some member of ``group:g``, as it would
        come in over TLS. Raises WordError.
        """
        principal = Principal.parse(parse_member(member))
        if principal.kind == "Group":
            return Subject(
                Principal("User", _NOBODY), host or ANY_ADDRESS, groups=(principal.name,), tls=True
            )
        known = (*self._users.groups_of(principal.name), *groups)
        return Subject(principal, host or ANY_ADDRESS, groups=tuple(dict.fromkeys(known)), tls=True)

    def roles_of(self, subject: Subject) -> tuple[str, ...]:
        """The roles of a subject."""
        return roles_of_subject(self._roles, subject)

    # -- one question ----------------------------------------------------------------------------------------

    def explain(self, subject: Subject, action: Action) -> Account:
        """The decision, every verdict, and what stands in the way or is missing."""
        found = self._chain.explain(subject, action)
        if found.decision.allowed:
            return Account(found, (), ())
        denials = tuple(self._denials(found))
        return Account(found, denials, () if denials else tuple(self._remedies(subject, action)))

    def _denials(self, found: Explanation) -> Iterator[Decision]:
        passes = found.subject.key[0] in self._chain.super_users
        for name, decision in found.verdicts:
            if decision.verdict is not Verdict.DENY or (passes and name != SCOPE):
                continue
            engine = self._chain.engines.get(name)
            told: list[Decision] = []
            if isinstance(engine, AclAuthorizer | CedarAuthorizer):
                told = engine.denials(found.subject, found.action)
            yield from told or [decision]

    def _remedies(self, subject: Subject, action: Action) -> Iterator[Remedy]:
        member = _member(subject)
        word = TYPE_WORDS.get(action.resource_type, "")
        resource = pattern_text(action.resource_type, action.resource_name, PatternType.LITERAL)
        verb = _shortest_action(action)
        if ACL in self._chain.engines and word in ACL_RESOURCES and verb is not None:
            command = f"rivven acl add --principal {_quoted(member)} --resource {_quoted(resource)}"
            literal = " --pattern literal" if resource.endswith(WILDCARD) else ""
            yield Remedy(
                "acl",
                f"an access rule that allows {action.operation.name} on {resource} to {member}",
                f"{command} --action {_quoted(verb)} --allow{literal}",
            )
        if RBAC in self._chain.engines:
            role = self._smallest_role(action)
            if role is not None:
                yield Remedy(
                    "role",
                    f"the role {role}, which allows {action.operation.name} on {resource}",
                    f"rivven role grant {role} {_quoted(member)}",
                )

    def _smallest_role(self, action: Action) -> str | None:
        """The role that allows the action and the fewest other things."""
        found = []
        for role in self._roles.roles():
            rules = [rule for rule, _ in rules_of(f"Role:{role.name}", role.permits)]
            if any(_covers(rule, action) for rule in rules):
                found.append((sum(_breadth(rule) for rule in rules), role.name))
        return min(found)[1] if found else None

    # -- everybody -------------------------------------------------------------------------------------------

    def candidates(self) -> list[str]:
        """Whom to ask about for `holds`: users, and whom rules, bindings and policies name, in order.
        ``user:*`` stands for everybody.
        """
        found = {f"user:{name}": None for name in self._users.names()}
        found |= {_word(principal): None for principal in self._chain.super_users}
        found |= {_word(binding.member): None for binding in self._roles.bindings()}
        for principal in {rule.principal for rule in self._rules()[1]}:
            if principal.startswith(("User:", "Group:")):
                found[_word(principal)] = None
        for engine in self._policies():
            for policy in engine.policies:
                named = policy.mentions.entities
                found |= {f"{kind.lower()}:{name}": None for kind, name in named if kind in (USER, GROUP)}
        found.pop("user:*", None)
        return ["user:*", *sorted(found)]

    def holds(self, member: str, action: Action, host: str = "") -> Decision:
        """The decision about a candidate; ``user:*`` is somebody without any right of his own."""
        if member == "user:*":
            subject = Subject(Principal("User", _NOBODY), host or ANY_ADDRESS, tls=True)
        else:
            subject = self.subject(member, host)
        return self._chain.decide(subject, action)

    def effects(self, subject: Subject) -> Iterator[Effect]:
        """What rules, roles and scopes of policies say about a subject, from whatever address."""
        if subject.key[0] in self._chain.super_users:
            yield Effect(Verdict.ALLOW, WILDCARD, WILDCARD, WILDCARD, "super user")
        roles = self.roles_of(subject)
        if ACL in self._chain.engines:
            groups = [f"Group:{group}" for group in subject.groups]
            named = {subject.key[0], "User:*", *groups, *(f"Role:{role}" for role in roles)}
            for rule in self._rules()[1]:
                if rule.principal in named:
                    yield _effect(rule, f"acl: {describe_rule(rule)}")
        if RBAC in self._chain.engines:
            for role in roles:
                found = self._roles.find(role)
                if found is None:
                    continue
                for rule, place in rules_of(f"Role:{role}", found.permits, found.place):
                    yield _effect(rule, f"role:{role}" + (f" ({place})" if place else ""))

        for engine in self._policies():
            for policy in engine.about(subject):
                yield from policy_effects(policy)

    def unlisted(self) -> list[str]:
        """Engines whose permissions cannot be listed, only asked about."""
        engines = self._chain.engines.items()
        return [
            name
            for name, engine in engines
            if name not in (ACL, RBAC) and not isinstance(engine, CedarAuthorizer)
        ]

    def _policies(self) -> list[CedarAuthorizer]:
        return [engine for engine in self._chain.engines.values() if isinstance(engine, CedarAuthorizer)]


def _effect(rule: AclBinding, via: str) -> Effect:
    verdict = Verdict.ALLOW if rule.permission is Permission.ALLOW else Verdict.DENY
    resource = pattern_text(rule.resource_type, rule.resource_name, rule.pattern_type)
    return Effect(verdict, resource, rule.operation.name, rule.host, via)


def policy_effects(policy: Policy) -> Iterator[Effect]:
    """What a policy says by its scope, a line for each action; `via` tells whether conditions narrow it."""
    verdict = Verdict.ALLOW if policy.permits else Verdict.DENY
    words = {RESOURCES[kind]: word for kind, word in TYPE_WORDS.items()}
    where = policy.resource
    kind, name = where.uid or (where.kind, WILDCARD)
    word = WILDCARD if kind is None else words.get(kind, kind)
    resource = word if kind is None or word == CLUSTER else f"{word}:{name}"
    via = f"policy {policy.rule}" + ("" if policy.unconditional else ", under conditions")
    operations = {action: operation.name for operation, action in POLICY_ACTIONS.items()}
    for _type, action in policy.actions or ((None, WILDCARD),):
        yield Effect(verdict, resource, operations.get(action, action), WILDCARD, via)


def _covers(rule: AclBinding, action: Action) -> bool:
    if (
        rule.resource_type is not action.resource_type
        or not ALLOWED_BITS[rule.operation] >> action.operation & 1
    ):
        return False
    if rule.pattern_type is PatternType.PREFIXED:
        return action.resource_name.startswith(rule.resource_name)
    return rule.resource_name in (action.resource_name, WILDCARD)


def _breadth(rule: AclBinding) -> int:
    """How much a rule allows, roughly: names times operations."""
    wide = rule.resource_name == WILDCARD
    names = 100 if wide else 10 if rule.pattern_type is PatternType.PREFIXED else 1
    operations = len(VALID_OPERATIONS.get(rule.resource_type, ())) if rule.operation is Operation.ALL else 1
    return names * operations


def _shortest_action(action: Action) -> str | None:
    """The word that grants the operation on the type and the least beside it."""
    word = TYPE_WORDS.get(action.resource_type, "")
    found = [
        (len(by_type[word]), verb)
        for verb, by_type in ACTIONS.items()
        if word in by_type
        and Operation.ALL not in by_type[word]
        and any(ALLOWED_BITS[operation] >> action.operation & 1 for operation in by_type[word])
    ]
    exact = [(size, verb) for size, verb in found if action.operation in ACTIONS[verb][word]]
    if exact or found:
        return min(exact or found)[1]
    return WILDCARD if word in RESOURCE_TYPES and word in ACTIONS[WILDCARD] else None


def _member(subject: Subject) -> str:
    """The subject as rules are given to it."""
    if subject.principal.name == _NOBODY and subject.groups:
        return f"group:{subject.groups[0]}"
    return f"user:{subject.principal.name}"


def _word(principal: str) -> str:
    kind, _, name = principal.partition(":")
    return f"{kind.lower()}:{name}"


def _quoted(text: str) -> str:
    """The text as one word of a shell."""
    safe = text.isascii() and all(c.isalnum() or c in "._-:/@%+=," for c in text)
    return text if safe else "'" + text.replace("'", "'\\''") + "'"
