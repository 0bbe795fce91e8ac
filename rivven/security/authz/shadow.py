"""A candidate set of rules evaluated beside the one in force, to see what it would change before it does.

A driver: an observer of the live chain that only appends to a bounded queue, and a task that asks the
candidate later, a little at a time. It must not change, fail or delay an answer: what does not fit the queue
is dropped and counted, and the task takes at most a tenth of the loop's time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rivven.clock import Clock
from rivven.security.authz.authorizer import NAME_CHARACTERS_KEPT, Action, Decision, Subject
from rivven.security.authz.chain import AuthorizerChain
from rivven.types import WILDCARD

QUEUE_MAX = 8_192
"""Decisions waiting to be compared, about 200 bytes each; a burst beyond it is dropped and counted."""

SLICE_S, PAUSE_S = 0.002, 0.02
"""How long the task compares before it lets others on the loop, and then rests."""

KNOWN_MAX = 10_000
"""Differences remembered as recorded; one that was forgotten is recorded again."""

RECORDS_PER_MINUTE = 60
"""Records of new differences; names come from clients, so their number must end somewhere. Counts go on."""

_log = logging.getLogger("rivven.shadow")

SAME, WOULD_DENY, WOULD_ALLOW, OUTDATED = "same", "would_deny", "would_allow", "outdated"


class ShadowObserver(Protocol):
    """What the shadow tells the metrics."""

    def shadow_compared(self, outcome: str) -> None: ...
    def shadow_dropped(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Difference:
    """One decision the candidate would take otherwise; `outcome` is would_deny or would_allow."""

    subject: Subject
    action: Action
    outcome: str
    live: Decision
    candidate: Decision

    @property
    def key(self) -> tuple[object, ...]:
        """What makes it the same difference as another."""
        subject = self.subject
        return (subject.key[0], self.action, self.outcome, self.live.rule, self.candidate.reason)


class Shadow:
    """A `DecisionObserver` in front of the live chain's own one. Belongs to the event loop."""

    def __init__(
        self,
        live: AuthorizerChain,
        candidate: AuthorizerChain,
        record: Callable[[Difference], None],
        observer: ShadowObserver,
        clock: Clock,
    ) -> None:
        self._live = live
        self._inner = live.observer
        self._candidate = candidate
        self._record = record
        self._observer = observer
        self._clock = clock
        self._queue: deque[tuple[Subject, Action, Decision]] = deque()
        self._known: OrderedDict[tuple[object, ...], None] = OrderedDict()
        self._candidate_version = candidate.version
        self._minute = 0
        self._records = 0
        live.observer = self

    def decided(self, subject: Subject, action: Action, decision: Decision) -> None:
        """Pass a decision on, and keep it for the candidate if there is room."""
        self._inner.decided(subject, action, decision)
        if len(self._queue) < QUEUE_MAX and len(action.resource_name) <= NAME_CHARACTERS_KEPT:
            self._queue.append((subject, action, decision))
        else:
            self._observer.shadow_dropped()

    async def run(self) -> None:
        """Compare until cancelled."""
        while True:
            await asyncio.sleep(PAUSE_S)
            self.compare_some()

    def compare_some(self) -> None:
        """Compare what waits, for SLICE_S at most."""
        queue, clock = self._queue, self._clock
        if not queue:
            return
        if self._candidate.version != self._candidate_version:
            self._candidate_version = self._candidate.version
            self._known.clear()
        end = clock.monotonic() + SLICE_S
        while queue:
            self._compare(*queue.popleft())
            if clock.monotonic() >= end:
                return

    def _compare(self, subject: Subject, action: Action, decision: Decision) -> None:
        candidate = _ask(self._candidate, subject, action)
        if candidate.allowed is decision.allowed:
            self._observer.shadow_compared(SAME)
            return
        # Rules may have changed since the answer was given; then the comparison says nothing.
        if _ask(self._live, subject, action).allowed is not decision.allowed:
            self._observer.shadow_compared(OUTDATED)
            return
        outcome = WOULD_ALLOW if candidate.allowed else WOULD_DENY
        self._observer.shadow_compared(outcome)
        self._tell(Difference(subject, action, outcome, decision, candidate))

    def _tell(self, difference: Difference) -> None:
        key = difference.key
        if key in self._known:
            self._known.move_to_end(key)
            return
        minute = self._clock.now_ms() // 60_000
        if minute != self._minute:
            self._minute, self._records = minute, 0
        if self._records >= RECORDS_PER_MINUTE:
            return
        self._records += 1
        self._known[key] = None
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        action = difference.action
        _log.warning(
            "the candidate %s %s on %s %r for %s: %s (in force: %s)",
            difference.outcome.replace("_", " "),
            action.operation.name.lower(),
            action.resource_type.name.lower(),
            action.resource_name,
            difference.subject.principal,
            difference.candidate.reason,
            difference.live.reason,
        )
        self._record(difference)


def _ask(chain: AuthorizerChain, subject: Subject, action: Action) -> Decision:
    """The same question again; a resource of the name ``*`` stands for some resource (see `chain.any_of`)."""
    if action.resource_name == WILDCARD:
        return chain.authorize_any(subject, action.operation, action.resource_type)
    return chain.decide(subject, action)
