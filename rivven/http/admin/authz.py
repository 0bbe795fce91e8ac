"""Routes that explain: why somebody may or may not do something, who may, and what somebody may.

Anybody may ask about himself; asking about others needs Describe on the cluster.
"""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field

from rivven.actions import WordError, parse_member
from rivven.http.admin.problems import Problem
from rivven.http.admin.routes import Asked, Call, Permission, Route
from rivven.security.authz.authorizer import Action, Decision, Subject, Verdict, canonical_host
from rivven.security.authz.explain import Account, Explainer, parse_question
from rivven.types import Operation, ResourceType

NAME_LENGTH_MAX = 2_048

CANDIDATES_MAX = 10_000
"""Principals one answer of who-can looks at; decisions take some microseconds each."""

CANDIDATES_PER_TURN = 100
"""About a millisecond; then others get their turn."""

EFFECTS_MAX = 10_000
"""Lines of one answer of show."""

GROUPS_MAX = 100


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ExplainQuery(_Query):
    """The question. Unknown parameters are refused."""

    action: str = Field(max_length=100, description="produce, consume, ... or an operation of Kafka.")
    resource: str = Field(max_length=NAME_LENGTH_MAX, description="topic:NAME, group:NAME, cluster, ...")
    principal: str = Field(
        default="", max_length=NAME_LENGTH_MAX, description="user:NAME or group:NAME; yourself by default."
    )
    groups: list[str] = Field(
        default=[], max_length=GROUPS_MAX, description="Groups the user would have from elsewhere."
    )
    address: str = Field(default="", max_length=100, description="Where the request would come from.")
    listener: str = Field(default="", max_length=300, description="Where it would arrive, for policies.")
    mechanism: str = Field(default="", max_length=100, description="How it logged in, for policies.")
    client_id: str = Field(default="", max_length=300, description="What the client says of itself.")


class WhoCanQuery(_Query):
    """The question. Unknown parameters are refused."""

    action: str = Field(max_length=100)
    resource: str = Field(max_length=NAME_LENGTH_MAX)
    address: str = Field(default="", max_length=100, description="Where the request would come from.")


class ShowQuery(_Query):
    """About whom. Unknown parameters are refused."""

    principal: str = Field(default="", max_length=NAME_LENGTH_MAX, description="Yourself by default.")


class VerdictInfo(BaseModel):
    """What one engine says."""

    engine: str
    verdict: str = Field(description="allow, deny or no opinion.")
    rule: str = Field(
        description="The rule, role or policy that decided, with file and line where it has one."
    )
    reason: str


class RemedyInfo(BaseModel):
    """One change that would allow it."""

    kind: str = Field(description="acl or role.")
    text: str
    command: str


class OperationInfo(BaseModel):
    """The decision about one of Kafka's operations."""

    operation: str
    allowed: bool
    decided_by: str = Field(description="The engine that decided; empty when nothing allows it.")
    rule: str
    reason: str
    verdicts: list[VerdictInfo]
    denials: list[VerdictInfo] = Field(description="Every denial that stands in the way.")
    remedies: list[RemedyInfo] = Field(description="Each alone would allow it; none while denials stand.")


class ExplainAnswer(BaseModel):
    """Whether somebody may do something, and why."""

    principal: str
    groups: list[str]
    roles: list[str]
    scope: list[str] | None
    address: str
    action: str
    resource: str
    allowed: bool = Field(description="Whether every operation the action means is allowed.")
    operations: list[OperationInfo]


class HolderInfo(BaseModel):
    """Somebody who may."""

    principal: str = Field(description="user:NAME, group:NAME, or user:* for everybody.")
    decided_by: str
    rule: str


class WhoCanAnswer(BaseModel):
    """Who may do something. Users known only to an identity provider stand under their groups."""

    action: str
    resource: str
    address: str
    holders: list[HolderInfo]
    complete: bool = Field(description="Whether every candidate was looked at.")


class EffectInfo(BaseModel):
    """One rule or permission."""

    effect: str = Field(description="allow or deny.")
    resource: str
    operation: str
    host: str
    via: str = Field(description="The rule, or the role with file and line.")


class ShowAnswer(BaseModel):
    """What rules and roles say about somebody."""

    principal: str
    groups: list[str]
    roles: list[str]
    scope: list[str] | None
    effects: list[EffectInfo]
    complete: bool = Field(description="Whether everything is listed.")
    not_listed: list[str] = Field(description="Engines that decide too but can only be asked.")


class AuthzRoutes:
    """The handlers."""

    def __init__(self, explainer: Explainer) -> None:
        self._explainer = explainer

    async def explain(self, call: Call) -> ExplainAnswer:
        query: ExplainQuery = call.query
        _check_address(query.address)
        subject = self._subject(call, query.principal, query.address, tuple(query.groups))
        changed = {
            name: value for name in ("listener", "mechanism", "client_id") if (value := getattr(query, name))
        }
        if query.address:
            changed["host"] = query.address
        subject = replace(subject, **changed) if changed else subject
        accounts = [self._explainer.explain(subject, one) for one in _question(query.action, query.resource)]
        return ExplainAnswer(
            principal=_name(subject),
            groups=list(subject.groups),
            roles=list(self._explainer.roles_of(subject)),
            scope=None if subject.scope is None else list(subject.scope),
            address=subject.host,
            action=query.action,
            resource=query.resource,
            allowed=all(one.explanation.decision.allowed for one in accounts),
            operations=[_operation(one) for one in accounts],
        )

    async def who_can(self, call: Call) -> WhoCanAnswer:
        query: WhoCanQuery = call.query
        _check_address(query.address)
        actions = _question(query.action, query.resource)
        candidates = self._explainer.candidates()
        holders = []
        for number, member in enumerate(candidates[:CANDIDATES_MAX], start=1):
            try:
                decisions = [self._explainer.holds(member, one, query.address) for one in actions]
            except WordError:
                continue  # a rule may name a principal no session can have
            if all(decision.allowed for decision in decisions):
                first = decisions[0]
                holders.append(HolderInfo(principal=member, decided_by=first.engine, rule=first.rule))
            if number % CANDIDATES_PER_TURN == 0:
                await asyncio.sleep(0)
        return WhoCanAnswer(
            action=query.action,
            resource=query.resource,
            address=query.address,
            holders=holders,
            complete=len(candidates) <= CANDIDATES_MAX,
        )

    async def show(self, call: Call) -> ShowAnswer:
        query: ShowQuery = call.query
        subject = self._subject(call, query.principal)
        effects: list[EffectInfo] = []
        complete = True
        for one in self._explainer.effects(subject):
            if len(effects) >= EFFECTS_MAX:
                complete = False
                break
            effects.append(
                EffectInfo(
                    effect=one.verdict.value,
                    resource=one.resource,
                    operation=one.operation,
                    host=one.host,
                    via=one.via,
                )
            )
        return ShowAnswer(
            principal=_name(subject),
            groups=list(subject.groups),
            roles=list(self._explainer.roles_of(subject)),
            scope=None if subject.scope is None else list(subject.scope),
            effects=effects,
            complete=complete,
            not_listed=self._explainer.unlisted(),
        )

    def _subject(self, call: Call, member: str, address: str = "", groups: tuple[str, ...] = ()) -> Subject:
        """Whom the question is about: the caller as he is, or anybody else as he would come in."""
        own = call.subject
        try:
            about_self = not member or parse_member(member) == str(own.principal)
            if about_self and not groups:
                call.access.used = True  # anybody may ask about himself
                return own
            call.require(Operation.DESCRIBE, ResourceType.CLUSTER)
            return self._explainer.subject(member or f"user:{own.principal.name}", address, groups)
        except WordError as error:
            call.require(Operation.DESCRIBE, ResourceType.CLUSTER)
            raise Problem(422, str(error)) from None


def routes(explainer: Explainer) -> list[Route]:
    """The rows of this module."""
    on = AuthzRoutes(explainer)
    others = Asked("any user about himself, describe on the cluster about others")
    return [
        Route(
            "GET",
            "/v1/authz/explain",
            others,
            on.explain,
            "Why somebody may or may not do something",
            ExplainAnswer,
            query=ExplainQuery,
        ),
        Route(
            "GET",
            "/v1/authz/who-can",
            Permission(Operation.DESCRIBE),
            on.who_can,
            "Who may do something",
            WhoCanAnswer,
            query=WhoCanQuery,
        ),
        Route(
            "GET",
            "/v1/authz/permissions",
            others,
            on.show,
            "What somebody may do",
            ShowAnswer,
            query=ShowQuery,
        ),
    ]


def _check_address(address: str) -> None:
    """No request comes from anything else, so an answer about it would be about nothing."""
    if not address:
        return
    try:
        ipaddress.ip_address(canonical_host(address))
    except ValueError:
        raise Problem(422, "address: must be an IP address") from None


def _question(action: str, resource: str) -> list[Action]:
    try:
        return parse_question(action, resource)
    except WordError as error:
        raise Problem(422, str(error)) from None


def _operation(account: Account) -> OperationInfo:
    found = account.explanation
    decision = found.decision
    return OperationInfo(
        operation=found.action.operation.name,
        allowed=decision.allowed,
        decided_by=decision.engine if decision.verdict is not Verdict.NO_OPINION else "",
        rule=decision.rule,
        reason=decision.reason,
        verdicts=[_verdict(name, one) for name, one in found.verdicts],
        denials=[_verdict(one.engine, one) for one in account.denials],
        remedies=[RemedyInfo(kind=one.kind, text=one.text, command=one.command) for one in account.remedies],
    )


def _verdict(engine: str, decision: Decision) -> VerdictInfo:
    return VerdictInfo(
        engine=engine, verdict=decision.verdict.value, rule=decision.rule, reason=decision.reason
    )


def _name(subject: Subject) -> str:
    if not subject.principal.name:
        return f"group:{subject.groups[0]}" if subject.groups else "user:*"
    return f"{subject.principal.kind.lower()}:{subject.principal.name}"
