"""What is wrong with policies that Cedar itself accepts: errors are refused, warnings told.

Pure. Error: a forbid that nothing narrows; it overrides every permit there is or will be. Warnings: an entity
nobody knows, which no request will ever match; a permit that reads the client id, which every client chooses
for itself.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from rivven.security.authz.cedar.book import Policy, PolicyProblem
from rivven.security.authz.cedar.vocabulary import ACTIONS, RESOURCES, USER
from rivven.security.authz.operations import VALID_OPERATIONS
from rivven.types import CLUSTER_NAME, ResourceType

_CLUSTER = RESOURCES[ResourceType.CLUSTER]

_EVERY_ACTION = {ACTIONS[operation] for operations in VALID_OPERATIONS.values() for operation in operations}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the linter has to say about a policy."""

    level: Literal["error", "warning"]
    policy: Policy
    reason: str

    @property
    def problem(self) -> PolicyProblem:
        """The same as a reason for refusal."""
        return PolicyProblem(self.policy.file, self.policy.line, self.reason, self.policy.id)

    def __str__(self) -> str:
        return str(self.problem)


def lint(policies: Iterable[Policy], known: Mapping[str, Container[str]] | None = None) -> list[Finding]:
    """Everything found, policy by policy.

    `known` maps entity types (User, Group, Role) to the ids there are; types it leaves out are not checked.
    """
    ids: dict[str, Container[str]] = {**(known or {}), _CLUSTER: (CLUSTER_NAME,)}
    findings: list[Finding] = []
    for policy in policies:
        if not policy.permits and _covers_everything(policy):
            findings.append(Finding("error", policy, "an unconditional forbid overrides every permit"))
        if policy.permits and policy.mentions.context & {"client_id", "*"}:
            findings.append(
                Finding(
                    "warning", policy, "the permit relies on the client id, which the client chooses itself"
                )
            )
        for kind, name in sorted(policy.mentions.entities):
            if kind in ids and name not in ids[kind]:
                findings.append(Finding("warning", policy, f'{kind}::"{name}" is not known'))
    return findings


def _covers_everything(policy: Policy) -> bool:
    """Whether it applies to every action of everybody on every resource, or on every one of a type."""
    named = policy.actions
    return (
        policy.unconditional
        and (named is None or {name for _type, name in named} >= _EVERY_ACTION)
        and policy.principal.covers_type(USER)
        and policy.resource.uid is None
    )
