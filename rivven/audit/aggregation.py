"""Decisions as events: each denial (up to a rate), the first use of each permission, and counts per minute.

Pure apart from its own counters; the trail calls it on the loop and says what time it is. Counts are kept by
every attribute that a decision can depend on, so that a count says as much as the single events would.
The hot path, an allowed decision that was counted before, is two look-ups and an increment.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from rivven.audit.events import (
    ALLOWED,
    AUTHORIZATION,
    DENIED,
    TEXT_CHARS_MAX,
    Asked,
    Asking,
    AuditEvent,
    Decided,
    action_word,
    principal_text,
    resource_text,
    subject_details,
)
from rivven.types import Operation, ResourceType

DENIALS_PER_PERIOD: Final = 60
"""Single events of one kind of denial per minute; more are counted: a client in a retry loop must not fill
the disk, and its sixty-first refusal says nothing new."""

SUBJECTS_MAX: Final = 10_000
"""Subjects counted at a time (about one per connection); when there are more, the period ends early."""

KEYS_MAX: Final = 50_000
"""Different uses counted in one period; when there are more, the period ends early."""

SEEN_MAX: Final = 100_000
"""Permissions remembered as used before; forgetting one only repeats its first-use event."""

Key = tuple[object, ...]


class _Shortened(NamedTuple):
    """An action whose name is longer than a line shows."""

    operation: Operation
    resource_type: ResourceType
    resource_name: str


class _Count:
    """How often one kind of decision was taken in this period."""

    __slots__ = ("action", "count", "decision", "reported", "subject")

    def __init__(self, subject: Asking, action: Asked, decision: Decided) -> None:
        self.subject = subject
        self.action = action
        self.decision = decision
        self.count = 0
        self.reported = 0
        """How many of them had an event of their own."""


class Decisions:
    """The counters of one period; `each` makes an event of every allowed decision as well."""

    def __init__(self, *, each: bool) -> None:
        self._each = each
        self._by_subject: dict[int, tuple[Asking, dict[Asked, _Count]]] = {}
        """By identity: the subject is held, so its id stays its own."""
        self._counts: dict[Key, _Count] = {}
        self._seen: OrderedDict[Key, None] = OrderedDict()

    @property
    def full(self) -> bool:
        """Whether the period must end now."""
        return len(self._by_subject) >= SUBJECTS_MAX or len(self._counts) >= KEYS_MAX

    def decided(
        self,
        subject: Asking,
        action: Asked,
        decision: Decided,
        request_id: Callable[[], str] = str,
    ) -> AuditEvent | None:
        """Count a decision; returns the event it needs at once, if it does."""
        mine = self._by_subject.get(id(subject))
        if mine is not None:
            found = mine[1].get(action)
            if found is not None and (found.decision is decision or _same(found.decision, decision)):
                found.count += 1
                if decision.allowed and not self._each:
                    return None
                return self._repeated(found, request_id)
        return self._first(subject, action, decision, request_id)

    def counts(self) -> Iterator[AuditEvent]:
        """End the period: what was counted beyond single events."""
        counts, self._counts, self._by_subject = self._counts, {}, {}
        for count in counts.values():
            unreported = count.count - count.reported
            if unreported:
                yield _event(count, unreported, first_use=False)

    def _first(
        self, subject: Asking, action: Asked, decision: Decided, request_id: Callable[[], str]
    ) -> AuditEvent | None:
        """A kind of decision that this subject object had not met in this period.

        No line shows more of a name than TEXT_CHARS_MAX, so no more of it is kept.
        """
        name = action.resource_name
        if len(name) > TEXT_CHARS_MAX:
            action = _Shortened(action.operation, action.resource_type, name[:TEXT_CHARS_MAX])
        key = _key(subject, action, decision)
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = _Count(subject, action, decision)
        count.count += 1
        self._by_subject.setdefault(id(subject), (subject, {}))[1][action] = count
        if not decision.allowed or self._each:
            return self._repeated(count, request_id)
        if key in self._seen:
            self._seen.move_to_end(key)
            return None
        self._seen[key] = None
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        count.reported += 1
        return _event(count, 1, first_use=True, request_id=request_id())

    def _repeated(self, count: _Count, request_id: Callable[[], str]) -> AuditEvent | None:
        if not count.decision.allowed and count.reported >= DENIALS_PER_PERIOD:
            return None
        count.reported += 1
        return _event(count, 1, first_use=False, request_id=request_id())


def _same(one: Decided, other: Decided) -> bool:
    return one.allowed is other.allowed and one.reason == other.reason and one.rule == other.rule


def _key(subject: Asking, action: Asked, decision: Decided) -> Key:
    return (
        subject.principal,
        subject.host,
        subject.listener,
        subject.groups,
        subject.mechanism,
        subject.tls,
        subject.client_id,
        subject.scope,
        action.operation,
        action.resource_type,
        action.resource_name,
        decision.allowed,
        decision.reason,
        decision.engine,
        decision.rule,
    )


def _event(count: _Count, number: int, *, first_use: bool, request_id: str = "") -> AuditEvent:
    subject, action, decision = count.subject, count.action, count.decision
    return AuditEvent(
        AUTHORIZATION,
        action_word(action.operation, action.resource_type),
        resource_text(action.resource_type, action.resource_name),
        ALLOWED if decision.allowed else DENIED,
        principal_text(subject.principal),
        decision.reason,
        subject.host,
        subject.listener,
        subject.mechanism,
        request_id=request_id,
        details={
            "count": number,
            "first_use": first_use,
            "engine": decision.engine,
            "rule": decision.rule,
            **subject_details(subject),
        },
    )
