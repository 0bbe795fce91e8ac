"""The shadow compares beside the live chain and leaves its answers alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from rivven.security.authz import shadow as shadow_module
from rivven.security.authz.access import Access
from rivven.security.authz.authorizer import NAME_CHARACTERS_KEPT, Action, Authorizer, Decision, Subject
from rivven.security.authz.chain import AuthorizerChain
from rivven.security.authz.shadow import Difference, Shadow
from rivven.testing.authorizers import AllowAll, DenyAll
from rivven.types import Operation, Principal, ResourceType
from tests.unit.security.authz.engines import Raising, Recorder

READ, TOPIC = Operation.READ, ResourceType.TOPIC
USER = Subject(Principal("User", "u"), "10.0.0.1")


class Ticking:
    """A clock whose monotonic time moves `step` at every look."""

    def __init__(self, step: float = 0.0) -> None:
        self.step = step
        self.at = 0.0
        self.ms = 0

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        self.at += self.step
        return self.at


class Switching:
    """An engine whose rules change."""

    def __init__(self) -> None:
        self.engine: Authorizer = AllowAll()

    def authorize(self, subject: Subject, actions: Sequence[Action]) -> list[Decision]:
        return self.engine.authorize(subject, actions)

    def authorize_any(self, subject: Subject, operation: Operation, resource_type: ResourceType) -> Decision:
        return self.engine.authorize_any(subject, operation, resource_type)


class World:
    def __init__(self, live: Authorizer, candidate: Authorizer, clock: Ticking | None = None) -> None:
        self.clock = clock or Ticking()
        self.heard = Recorder()
        self.live = AuthorizerChain({"live": live}, observer=self.heard)
        self.stamp = 0
        self.candidate = AuthorizerChain({"candidate": candidate}, stamp=lambda: self.stamp)
        self.records: list[Difference] = []
        self.outcomes: Counter[str] = Counter()
        self.dropped = 0
        self.shadow = Shadow(self.live, self.candidate, self.records.append, self, self.clock)
        self.access = Access(USER, self.live)

    def shadow_compared(self, outcome: str) -> None:
        self.outcomes[outcome] += 1

    def shadow_dropped(self) -> None:
        self.dropped += 1


@pytest.mark.parametrize(
    ("live", "candidate", "outcome"),
    [
        (AllowAll, AllowAll, "same"),
        (DenyAll, DenyAll, "same"),
        (AllowAll, DenyAll, "would_deny"),
        (DenyAll, AllowAll, "would_allow"),
        (AllowAll, Raising, "would_deny"),
    ],
)
def test_differences_are_counted_and_recorded_and_answers_stay(
    live: type[Authorizer], candidate: type[Authorizer], outcome: str
) -> None:
    world = World(live(), candidate())
    allowed = live is AllowAll
    assert world.access.allowed(READ, TOPIC, "t") is allowed
    assert world.access.allowed_any(READ, TOPIC) is allowed
    assert not world.outcomes, "nothing is compared while a request waits"
    world.shadow.compare_some()
    assert world.outcomes == {outcome: 2}
    assert [difference.outcome for difference in world.records] == (
        [] if outcome == "same" else [outcome] * 2
    )
    assert len(world.heard.seen) == 2, "the observer from before hears everything"


def test_a_difference_is_recorded_once_and_again_for_another_candidate() -> None:
    world = World(AllowAll(), DenyAll())
    for _ in range(3):
        world.access.allowed(READ, TOPIC, "t")
    world.shadow.compare_some()
    assert world.outcomes == {"would_deny": 3}
    assert len(world.records) == 1
    world.stamp += 1
    world.access.allowed(READ, TOPIC, "t")
    world.shadow.compare_some()
    assert len(world.records) == 2


def test_records_are_bounded_per_minute() -> None:
    world = World(AllowAll(), DenyAll())
    for number in range(200):
        world.access.allowed(READ, TOPIC, f"t{number}")
    world.shadow.compare_some()
    assert world.outcomes == {"would_deny": 200}
    assert len(world.records) == shadow_module.RECORDS_PER_MINUTE
    world.clock.ms = 60_000
    world.access.allowed(READ, TOPIC, "t199")
    world.shadow.compare_some()
    assert len(world.records) == shadow_module.RECORDS_PER_MINUTE + 1


def test_rules_that_changed_since_the_answer_are_no_difference() -> None:
    now = Switching()
    world = World(now, DenyAll())
    world.access.allowed(READ, TOPIC, "t")
    now.engine = DenyAll()
    world.shadow.compare_some()
    assert world.outcomes == {"outdated": 1}
    assert not world.records


def test_what_does_not_fit_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_module, "QUEUE_MAX", 3)
    world = World(AllowAll(), DenyAll())
    assert all(world.access.allowed(READ, TOPIC, "t") for _ in range(5))
    assert world.dropped == 2
    world.shadow.compare_some()
    assert world.outcomes == {"would_deny": 3}
    assert world.access.allowed(READ, TOPIC, "t" * (NAME_CHARACTERS_KEPT + 1))
    assert world.dropped == 3, "very long names would fill the memory"


def test_comparing_ends_with_its_slice_of_time() -> None:
    world = World(AllowAll(), DenyAll(), Ticking(step=shadow_module.SLICE_S / 2))
    for _ in range(10):
        world.access.allowed(READ, TOPIC, "t")
    world.shadow.compare_some()
    assert sum(world.outcomes.values()) == 2
    for _ in range(4):
        world.shadow.compare_some()
    assert sum(world.outcomes.values()) == 10
