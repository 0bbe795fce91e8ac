"""Reads a directory of ``*.cedar`` files into a `PolicyBook`: parsed once, validated strictly, each policy
known by its ``@id`` and the line it stands on.

A driver of files, synchronous; it runs on a thread when a broker serves. It must not keep anything: see
`store` for the last good book.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
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
from rivven.security.authz.cedar.vocabulary import CONTEXT, schema_text

SUFFIX = ".cedar"

FILES_MAX = 1_000
"""Files of one directory; each is looked at four times a second."""

FILE_BYTES_MAX = 1 << 20
"""One file; a policy takes about 200 bytes."""

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


def policy_files(directory: Path) -> list[Path]:
    """The files of a policy directory in order of name. Raises PoliciesRefused when it cannot be listed."""
    try:
        found = sorted(path for path in directory.iterdir() if path.suffix == SUFFIX)
    except OSError as error:
        raise PoliciesRefused([PolicyProblem(str(directory), 0, error.strerror or str(error))]) from None
    if len(found) > FILES_MAX:
        raise PoliciesRefused([PolicyProblem(str(directory), 0, f"more than {FILES_MAX} {SUFFIX} files")])
    return found


def load_schema(path: Path | None = None) -> Any:
    """A schema handle: the shipped one, or the file that stands in for it. Raises PoliciesRefused."""
    source = "the shipped schema" if path is None else str(path)
    try:
        return binding.parse_schema(schema_text() if path is None else _read(path))
    except binding.CedarRefused as error:
        raise PoliciesRefused([PolicyProblem(source, 0, str(error))]) from None


def load_policies(directory: Path, schema: Any) -> PolicyBook:
    """Read, parse and validate a directory.

    Raises PoliciesRefused with every problem. A directory without any file is refused: a mount that has gone
    must not look like a decision to drop all policies (an empty file is such a decision).
    """
    files = policy_files(directory)
    if not files:
        raise PoliciesRefused(
            [PolicyProblem(str(directory), 0, f"holds no {SUFFIX} file (one may be empty)")]
        )
    problems: list[PolicyProblem] = []
    policies: dict[str, Policy] = {}
    for path in files:
        for policy in _parse_file(path, problems):
            earlier = policies.setdefault(policy.id, policy)
            if earlier is not policy:
                reason = f"the @id is used twice, first in {earlier.place}"
                problems.append(PolicyProblem(policy.file, policy.line, reason, policy.id))
        if len(policies) > POLICIES_MAX:
            raise PoliciesRefused([PolicyProblem(str(directory), 0, f"more than {POLICIES_MAX} policies")])
    if not problems:
        problems = _validate(policies, str(directory), schema)
    if problems:
        raise PoliciesRefused(problems)
    return PolicyBook(policies.values(), schema)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise PoliciesRefused([PolicyProblem(str(path), 0, error.strerror or str(error))]) from None
    if len(content) > FILE_BYTES_MAX:
        raise PoliciesRefused([PolicyProblem(str(path), 0, f"larger than {FILE_BYTES_MAX} bytes")])
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise PoliciesRefused([PolicyProblem(str(path), 0, "is not UTF-8 text")]) from None


def _parse_file(path: Path, problems: list[PolicyProblem]) -> list[Policy]:
    try:
        statements = split_statements(_read(path))
    except PoliciesRefused as refused:
        problems.extend(refused.problems)
        return []
    found = []
    for text, line in statements:
        try:
            parsed = binding.parse_policy(text)
        except binding.CedarRefused as error:
            problems.append(PolicyProblem(str(path), line, str(error)))
            continue
        name = (parsed.get("annotations") or {}).get("id")
        if name is None or not _ID.fullmatch(name):
            reason = (
                "needs an @id" if name is None else f"{name!r} cannot be an @id: letters, digits and ._:/@+-"
            )
            problems.append(PolicyProblem(str(path), line, reason))
            continue
        found.append(Policy(name, str(path), line, text, parsed))
    return found


def _validate(policies: dict[str, Policy], directory: str, schema: Any) -> list[PolicyProblem]:
    problems = []
    for name, reason in binding.validate((policy.text for policy in policies.values()), schema):
        policy = policies.get(name)
        place = (policy.file, policy.line) if policy else (directory, 0)
        problems.append(PolicyProblem(*place, reason, name))
    for policy in policies.values():
        for attribute in sorted(policy.mentions.context - set(CONTEXT) - {"*"}):
            reason = f"context.{attribute} is known to the schema but not to the broker"
            problems.append(PolicyProblem(policy.file, policy.line, reason, policy.id))
    return problems
