"""A candidate set of rules asked about decisions as far as they are known: recorded ones, or those of a test.

Pure apart from what the engines remember. Where an answer depends on something that is not known, it says
what, instead of guessing. It must not read files or logs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rivven.security.authz.acl import AclAuthorizer
from rivven.security.authz.authorizer import Action, Authorizer, Decision, Subject, Verdict
from rivven.security.authz.cedar.book import Policy
from rivven.security.authz.cedar.engine import Rules, context_of, implying
from rivven.security.authz.cedar.evaluation import Asker, Outcome
from rivven.security.authz.cedar.vocabulary import ACTIONS, CONTEXT, GROUP, RESOURCES, ROLE, USER, is_valid
from rivven.security.authz.chain import combine
from rivven.security.authz.rbac import RbacAuthorizer, ScopeCeiling
from rivven.security.authz.roles import FileRoles, RoleDirectory
from rivven.types import WILDCARD, AclBinding, Operation, Principal, ResourceType

_LACKING = re.compile(r"record does not have the attribute `(\w+)`")

_NO_WORD = Decision.no_opinion("policies have no word for it")


@dataclass(frozen=True, slots=True)
class Question:
    """One decision, as far as it is known.

    `groups` None: unknown. `roles` are had beside those of the candidate. `scope` is the token's, None
    without one. `context` holds plain values of the attributes in `vocabulary.CONTEXT` that are known. A
    resource of the name ``*`` stands for some resource of its type (see `chain.any_of`).
    """

    principal: Principal
    action: Action
    groups: tuple[str, ...] | None = ()
    roles: tuple[str, ...] = ()
    scope: tuple[str, ...] | None = None
    scope_known: bool = True
    context: Mapping[str, Any] = field(default_factory=dict)

    @property
    def subject(self) -> Subject:
        """Who asks, as engines know it."""
        return Subject(self.principal, str(self.context.get("address", "")), groups=self.groups or ())

    @property
    def about_some(self) -> bool:
        return self.action.resource_name == WILDCARD


@dataclass(frozen=True, slots=True)
class Answer:
    """`decision` is None where it depends on what is not known: the names in `missing`."""

    decision: Decision | None
    missing: tuple[str, ...] = ()


class _GivenRoles:
    """The roles a question brings with it; a `roles.UserRoles`."""

    def __init__(self) -> None:
        self.version = 0
        self._roles: dict[str, tuple[str, ...]] = {}

    def roles_of(self, name: str) -> tuple[str, ...]:
        return self._roles.get(name, ())

    def names(self) -> list[str]:
        return list(self._roles)

    def replace(self, name: str, roles: tuple[str, ...]) -> None:
        given = {name: roles} if roles else {}
        if given != self._roles:
            self._roles = given
            self.version += 1


class Candidate:
    """Policies, roles, access rules, or several of them; roles decide only if `decides_by_roles`, else
    policies and rules look them up.

    `roles` None: who has which role is not known.
    """

    def __init__(
        self,
        policies: Rules | None,
        roles: FileRoles | None,
        *,
        decides_by_roles: bool,
        acls: tuple[AclBinding, ...] | None = None,
    ) -> None:
        self._policies = policies
        self._given = _GivenRoles()
        self._roles = RoleDirectory(users=self._given)
        self._roles_known = roles is not None
        if roles is not None:
            self._roles.replace_file(roles)
        self._by_group = any(binding.member.startswith("Group:") for binding in self._roles.bindings())
        self._rbac = RbacAuthorizer(self._roles) if decides_by_roles else None
        self._acl = None if acls is None else AclAuthorizer(lambda: (1, acls), self._roles)
        self._looked_at = _looked_at(acls or ())

    def ask(self, question: Question) -> Answer:
        """The candidate's decision, or what it would have to know."""
        self._given.replace(question.principal.name, question.roles)
        answers = []
        if self._acl is not None:
            answers.append(self._ask_acls(self._acl, question))
        if self._rbac is not None:
            answers.append(self._ask_roles(self._rbac, question))
        if self._policies is not None:
            answers.append(self._ask_policies(self._policies, question))
        decisions = [answer.decision for answer in answers if answer.decision is not None]
        denied = any(decision.verdict is Verdict.DENY for decision in decisions)
        if denied or len(decisions) == len(answers):
            return Answer(combine(decisions))
        return Answer(None, tuple(dict.fromkeys(name for answer in answers for name in answer.missing)))

    def within_scope(self, question: Question) -> Decision:
        """Whether the scope of the question's token lets the action through at all."""
        assert question.scope is not None
        operation, resource_type, _name = question.action
        ceiling = ScopeCeiling(self._roles)
        if question.about_some:
            return ceiling.permits_any(question.scope, operation, resource_type)
        return ceiling.permits(question.scope, question.action)

    def _ask_acls(self, engine: AclAuthorizer, question: Question) -> Answer:
        decision = _put(engine, question)
        # What is not known can only add rules that apply, and no rule undoes a denial.
        if decision.verdict is Verdict.DENY:
            return Answer(decision)
        looked_at = self._looked_at.get(question.action.resource_type, ())
        by_role = "Role" in looked_at
        missing = []
        if question.groups is None and ("Group" in looked_at or (by_role and self._by_group)):
            missing.append("groups")
        if by_role and not self._roles_known:
            missing.append("roles")
        if "address" in looked_at and "address" not in question.context:
            missing.append("context.address")
        return Answer(None, tuple(missing)) if missing else Answer(decision)

    def _ask_roles(self, engine: RbacAuthorizer, question: Question) -> Answer:
        decision = _put(engine, question)
        # Roles only allow: what is allowed without the groups is allowed with them.
        if question.groups is None and self._by_group and not decision.allowed:
            return Answer(None, ("groups",))
        return Answer(decision)

    def _ask_policies(self, rules: Rules, question: Question) -> Answer:
        operation, resource_type, name = question.action
        if question.principal.kind != USER or not is_valid(operation, resource_type):
            return Answer(_NO_WORD)
        user, groups = question.principal.name, question.groups or ()
        roles = self._roles.roles_of(user, groups)
        asker = Asker(user, groups, roles, question.scope, context_of(question.context))
        for asked in (operation, *implying(operation, resource_type)):
            if question.about_some:
                outcome = rules.blind.evaluate(asker, asked, resource_type, "")
            else:
                outcome = rules.exact.evaluate(asker, asked, resource_type, name)
            if outcome.forbids:
                # An implying operation that is forbidden gives nothing; the one asked for decides.
                if asked is operation:
                    break
                continue
            unsure, missing = self._missing(rules, question, asked, outcome)
            may_grant = bool(outcome.permits) or any(policy.permits for policy in unsure)
            if missing and (asked is operation or may_grant):
                return Answer(None, missing)
            if outcome.permitted or (asked is operation and outcome.errors):
                break
        if question.about_some:
            return Answer(rules.on_some(asker, operation, resource_type))
        return Answer(rules.exactly(asker, operation, resource_type, name))

    def _missing(
        self, rules: Rules, question: Question, asked: Operation, outcome: Outcome
    ) -> tuple[list[Policy], tuple[str, ...]]:
        """Policies whose answer depends on what is not known, and what that is."""
        unknown = set(CONTEXT) - set(question.context)
        lacking: dict[str, set[str]] = {}
        for name, reason in outcome.errors:
            read = _LACKING.search(reason)
            if read and read[1] in unknown:
                lacking.setdefault(name, set()).add(f"context.{read[1]}")
        unsure, names = [], dict[str, None]()
        for policy in _reaching(rules, question, asked):
            found = lacking.get(policy.id, set()) | self._silently(policy, question, unknown)
            if found:
                unsure.append(policy)
                names.update(dict.fromkeys(sorted(found)))
        return unsure, tuple(names)

    def _silently(self, policy: Policy, question: Question, unknown: set[str]) -> set[str]:
        """What a policy needs to know and would not fail without."""
        mentions = policy.mentions
        kinds = {kind for kind, _name in mentions.entities}
        found = {f"context.{name}" for name in mentions.probed & unknown}
        if "*" in mentions.context:
            found |= {f"context.{name}" for name in unknown}
        if question.groups is None and (GROUP in kinds or (ROLE in kinds and self._by_group)):
            found.add("groups")
        if not self._roles_known and ROLE in kinds:
            found.add("roles")
        if not question.scope_known and "scope" in mentions.principal:
            found.add("scope")
        return found


def _put(engine: Authorizer, question: Question) -> Decision:
    operation, resource_type, _name = question.action
    if question.about_some:
        return engine.authorize_any(question.subject, operation, resource_type)
    return engine.authorize(question.subject, [question.action])[0]


def _looked_at(acls: Iterable[AclBinding]) -> dict[ResourceType, set[str]]:
    """Per resource type, the kinds of principals its rules name, and ``address`` if one names a host."""
    found: dict[ResourceType, set[str]] = {}
    for rule in acls:
        kinds = found.setdefault(rule.resource_type, set())
        kinds.add(rule.principal.partition(":")[0])
        if rule.host != WILDCARD:
            kinds.add("address")
    return found


def _reaching(rules: Rules, question: Question, asked: Operation) -> Iterator[Policy]:
    """The policies whose scope lets them speak about a question."""
    action, kind = ACTIONS[asked], RESOURCES[question.action.resource_type]
    plain = set(ACTIONS.values())
    for policy in rules.book.policies.values():
        named = policy.actions
        if named is not None and not any(name == action or name not in plain for _type, name in named):
            continue
        who, target = policy.principal.uid, policy.resource
        if who is not None and who[0] == USER and who[1] != question.principal.name:
            continue
        if not target.reaches_type(kind):
            continue
        if target.uid in (None, (kind, question.action.resource_name)) or (
            question.about_some and policy.permits
        ):
            yield policy
