"""Recorded decisions are the same, change, or cannot be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from rivven.security.authz import replay as replay_module
from rivven.security.authz.authorizer import Action
from rivven.security.authz.replay import CANNOT_TELL, CHANGES, SAME, Recorded, Replay
from rivven.security.authz.trial import Candidate, Question
from rivven.types import Operation, Principal, ResourceType
from tests.unit.security.authz.cedar.policy_world import rules

POLICIES = '@id("t") permit(principal, action, resource == Topic::"t") unless { context.tls };'


def question(topic: str = "t", **context: object) -> Question:
    return Question(
        Principal("User", "u"), Action(Operation.READ, ResourceType.TOPIC, topic), context=context
    )


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    return Replay(Candidate(rules(tmp_path, POLICIES), None, decides_by_roles=False))


@pytest.mark.parametrize(
    ("recorded", "outcome"),
    [
        (Recorded(question(tls=False), True), SAME),
        (Recorded(question(tls=True), False), SAME),
        (Recorded(question("s"), False), SAME),
        (Recorded(question(tls=False), False), CHANGES),
        (Recorded(question("s"), True), CHANGES),
        (Recorded(question(), True), CANNOT_TELL),
        (Recorded(question("s"), True, engine="super-users"), SAME),
        (Recorded(question(tls=False), False, engine="scope"), SAME),
    ],
)
def test_outcomes(replay: Replay, recorded: Recorded, outcome: str) -> None:
    assert replay.take(recorded) == outcome
    assert replay.totals == {outcome: 1}
    assert [row.outcome for row in replay.rows] == ([] if outcome == SAME else [outcome])


def test_counts_and_what_was_missing(replay: Replay) -> None:
    for _ in range(2):
        replay.take(Recorded(question(), True, count=10))
    replay.take(Recorded(question("s"), True, count=5))
    assert replay.totals == {CANNOT_TELL: 20, CHANGES: 5}
    assert replay.missing == {"context.tls": 20}
    (unknown, times), (change, _) = replay.rows.most_common()
    assert times == 20
    assert unknown.reason == "not recorded: context.tls"
    assert (unknown.recorded, unknown.candidate) == ("allowed", "unknown")
    assert (change.resource, change.recorded, change.candidate) == ("topic:s", "allowed", "denied")


def test_rows_are_bounded_but_counting_is_not(replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "ROWS_MAX", 2)
    for number in range(5):
        replay.take(Recorded(question(f"other-{number}"), True))
    assert len(replay.rows) == 2
    assert replay.totals == {CHANGES: 5}
