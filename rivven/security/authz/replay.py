"""Recorded decisions put to a candidate: what would be the same, what would change, and what cannot be told.

Pure. It must not read audit logs (the command does); it is given what a line says.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rivven.security.authz.chain import SCOPE, SUPER_USERS
from rivven.security.authz.trial import Candidate, Question
from rivven.types import Principal

ROWS_MAX = 10_000
"""Different changes kept; what comes beyond is only counted."""

SAME, CHANGES, CANNOT_TELL = "same", "changes", "cannot tell"


@dataclass(frozen=True, slots=True)
class Recorded:
    """One audited decision: `count` times the same. `engine` is who decided."""

    question: Question
    allowed: bool
    engine: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of outcome that is not `same`: `reason` is the candidate's, or the missing attributes."""

    outcome: str
    principal: Principal
    operation: str
    resource: str
    recorded: str
    candidate: str
    reason: str


@dataclass(slots=True)
class Replay:
    """Totals by outcome, and how often each row occurred."""

    candidate: Candidate
    totals: Counter[str] = field(default_factory=Counter)
    rows: Counter[Row] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    """How often each attribute was missing."""

    def take(self, recorded: Recorded) -> str:
        """Put one recorded decision to the candidate; its outcome."""
        if recorded.engine in (SUPER_USERS, SCOPE):
            # Super users pass whatever rules say; what a scope cut off stays cut off.
            return self._count(recorded, SAME, None)
        answer = self.candidate.ask(recorded.question)
        if answer.decision is None:
            for name in answer.missing:
                self.missing[name] += recorded.count
            return self._count(
                recorded, CANNOT_TELL, ("unknown", f"not recorded: {', '.join(answer.missing)}")
            )
        if answer.decision.allowed is recorded.allowed:
            return self._count(recorded, SAME, None)
        return self._count(recorded, CHANGES, (_word(answer.decision.allowed), answer.decision.reason))

    def _count(self, recorded: Recorded, outcome: str, told: tuple[str, str] | None) -> str:
        self.totals[outcome] += recorded.count
        if told is not None:
            question = recorded.question
            operation, kind, name = question.action
            row = Row(
                outcome,
                question.principal,
                operation.name.lower().replace("_", "-"),
                f"{kind.name.lower().replace('_', '-')}:{name}",
                _word(recorded.allowed),
                *told,
            )
            if row in self.rows or len(self.rows) < ROWS_MAX:
                self.rows[row] += recorded.count
        return outcome


def _word(allowed: bool) -> str:
    return "allowed" if allowed else "denied"
