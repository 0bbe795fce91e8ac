"""Policies that belong together: parsed once, validated strictly, each known by its ``@id`` and the line it
stands on.

Pure: texts in, a `PolicyBook` out. It must not read files: see `policies`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rivven.security.authz.cedar import binding
from rivven.security.authz.cedar.expressions import (
    Constraint,
    Json,
    Mentions,
    Uid,
    actions_of,
    constraint_of,
    mentions_of,
    unconditional,
)
from rivven.security.authz.cedar.statements import split_statements
from rivven.security.authz.cedar.vocabulary import CONTEXT

POLICIES_MAX = 10_000
"""Policies of one directory: parsing them takes seconds and tens of megabytes."""

PROBLEMS_MAX = 20
"""Problems told at once; more would bury the first."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
"""What an @id may be: it appears in logs, reasons and audit events, so it is one plain word."""


@dataclass(frozen=True, slots=True)
class PolicyProblem:
    """Why policies were refused, where (file and line; line 0: the file as a whole), and the @id if known."""

    file: str
    line: int
    reason: str
    id: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.id}: {self.reason}" if self.id else f"{place}: {self.reason}"


class PoliciesRefused(Exception):
    """Policies that cannot be used, with every problem found (at most PROBLEMS_MAX)."""

    def __init__(self, problems: Sequence[PolicyProblem]) -> None:
        super().__init__("; ".join(map(str, problems[:PROBLEMS_MAX])))
        self.problems = tuple(problems[:PROBLEMS_MAX])


@dataclass(frozen=True)
class Policy:
    """One policy. `json` is Cedar's JSON form of it, `file` its path as the operator knows it."""

    id: str
    file: str
    line: int
    text: str
    json: Json

    @property
    def permits(self) -> bool:
        return bool(self.json["effect"] == "permit")

    @property
    def place(self) -> str:
        """Where it stands, as ``file:line``."""
        return f"{self.file}:{self.line}"

    @property
    def rule(self) -> str:
        """How a decision names it: its id and where it stands."""
        return f"{self.id} ({self.place})"

    @cached_property
    def principal(self) -> Constraint:
        return constraint_of(self.json["principal"])

    @cached_property
    def resource(self) -> Constraint:
        return constraint_of(self.json["resource"])

    @cached_property
    def actions(self) -> tuple[Uid, ...] | None:
        return actions_of(self.json["action"])

    @cached_property
    def mentions(self) -> Mentions:
        return mentions_of(self.json)

    @property
    def unconditional(self) -> bool:
        return unconditional(self.json)


class PolicyBook:
    """Policies that belong together, by id, and the schema they were validated against."""

    def __init__(self, policies: Iterable[Policy], schema: Any) -> None:
        self.policies = {policy.id: policy for policy in policies}
        self.schema = schema

    @cached_property
    def context(self) -> frozenset[str]:
        """The attributes of the context some policy speaks about."""
        found = frozenset[str]().union(*(policy.mentions.context for policy in self.policies.values()))
        return frozenset(CONTEXT) if "*" in found else found


def parse_book(texts: Mapping[str, str], source: str, schema: Any) -> PolicyBook:
    """The policies of files (text by file name) validated against a schema handle.

    `source` names all of them together. Raises PoliciesRefused with every problem.
    """
    problems: list[PolicyProblem] = []
    policies: dict[str, Policy] = {}
    for file, text in texts.items():
        for policy in _parse(file, text, problems):
            earlier = policies.setdefault(policy.id, policy)
            if earlier is not policy:
                reason = f"the @id is used twice, first in {earlier.place}"
                problems.append(PolicyProblem(policy.file, policy.line, reason, policy.id))
        if len(policies) > POLICIES_MAX:
            raise PoliciesRefused([PolicyProblem(source, 0, f"more than {POLICIES_MAX} policies")])
    problems = problems or _validate(policies, source, schema)
    if problems:
        raise PoliciesRefused(problems)
    return PolicyBook(policies.values(), schema)


def _parse(file: str, content: str, problems: list[PolicyProblem]) -> list[Policy]:
    found: list[Policy] = []
    statements = split_statements(content)
    for text, line in statements:
        try:
            parsed = binding.parse_policy(text)
        except binding.CedarRefused as error:
            problems.append(PolicyProblem(file, line, str(error)))
            continue
        name = (parsed.get("annotations") or {}).get("id")
        if name is None or not _ID.fullmatch(name):
            reason = (
                "needs an @id" if name is None else f"{name!r} cannot be an @id: letters, digits and ._:/@+-"
            )
            problems.append(PolicyProblem(file, line, reason))
            continue
        found.append(Policy(name, file, line, text, parsed))
    if len(found) == len(statements):
        _same_number(file, content, len(found), problems)
    return found


def _same_number(file: str, content: str, number: int, problems: list[PolicyProblem]) -> None:
    """Cedar must find as many policies in the whole file: one that were lost here could be a forbid."""
    try:
        whole = binding.count_policies(content)
    except binding.CedarRefused as error:
        problems.append(PolicyProblem(file, 0, str(error)))
        return
    if whole != number:
        problems.append(PolicyProblem(file, 0, f"read as {number} policies here and as {whole} by Cedar"))


def _validate(policies: Mapping[str, Policy], source: str, schema: Any) -> list[PolicyProblem]:
    problems = []
    for name, reason in binding.validate((policy.text for policy in policies.values()), schema):
        policy = policies.get(name)
        place = (policy.file, policy.line) if policy else (source, 0)
        problems.append(PolicyProblem(*place, reason, name))
    for policy in policies.values():
        for attribute in sorted(policy.mentions.context - set(CONTEXT) - {"*"}):
            reason = f"context.{attribute} is known to the schema but not to the broker"
            problems.append(PolicyProblem(policy.file, policy.line, reason, policy.id))
    return problems
