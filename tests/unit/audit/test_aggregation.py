"""Counting decisions: first use, denials up to a rate, and counts that lose no attribute."""

from dataclasses import fields, replace

import pytest

from rivven.audit.aggregation import DENIALS_PER_PERIOD, Decisions
from rivven.audit.events import TEXT_CHARS_MAX
from rivven.security.authz.authorizer import Decision, Subject
from rivven.types import Principal
from tests.unit.audit.world import ALICE, ALLOW, DENY, WRITE


def total(events) -> int:
    return sum(event.details["count"] for event in events)


def test_the_first_use_is_an_event_and_the_rest_a_count() -> None:
    decisions = Decisions(each=False)
    events = [decisions.decided(ALICE, WRITE, ALLOW) for _ in range(1000)]
    assert events[0] is not None and events[1:] == [None] * 999
    assert events[0].details["first_use"] is True and events[0].reason == "rule 7"
    (count,) = decisions.counts()
    assert (count.details["count"], count.details["first_use"]) == (999, False)
    assert (count.principal, count.action, count.resource) == ("user:alice", "produce", "topic:orders")
    assert list(decisions.counts()) == []


def test_the_next_period_has_no_first_use_again() -> None:
    decisions = Decisions(each=False)
    decisions.decided(ALICE, WRITE, ALLOW)
    list(decisions.counts())
    assert decisions.decided(ALICE, WRITE, ALLOW) is None
    assert total(decisions.counts()) == 1


def test_denials_are_single_events_up_to_a_rate_and_counted_beyond() -> None:
    decisions = Decisions(each=False)
    events = [decisions.decided(ALICE, WRITE, DENY) for _ in range(DENIALS_PER_PERIOD + 40)]
    assert sum(event is not None for event in events) == DENIALS_PER_PERIOD
    (rest,) = decisions.counts()
    assert (rest.result, rest.details["count"]) == ("denied", 40)


def test_no_more_of_a_name_is_kept_than_a_line_shows() -> None:
    decisions, name = Decisions(each=False), "n" * TEXT_CHARS_MAX
    for end in ("", "a", "b"):
        for _ in range(2):
            decisions.decided(ALICE, WRITE._replace(resource_name=name + end * 30_000), ALLOW)
    assert all(
        len(part) <= TEXT_CHARS_MAX for key in decisions._seen for part in key if isinstance(part, str)
    )
    (count,) = decisions.counts()
    assert (count.resource, count.details["count"]) == (f"topic:{name}", 5), "one was the first use"


def test_each_makes_an_event_of_everything() -> None:
    decisions = Decisions(each=True)
    events = [decisions.decided(ALICE, WRITE, ALLOW) for _ in range(200)]
    assert None not in events and total(events) == 200
    assert list(decisions.counts()) == []


OTHERS = {
    "principal": Principal("User", "bob"),
    "host": "10.0.0.2",
    "listener": "other",
    "groups": ("g",),
    "mechanism": "SCRAM-SHA-256",
    "tls": False,
    "client_id": "x",
    "scope": ("role:reader",),
}


@pytest.mark.parametrize("attribute", OTHERS)
def test_counts_are_apart_for_every_attribute_a_rule_can_use(attribute: str) -> None:
    decisions = Decisions(each=False)
    other = replace(ALICE, **{attribute: OTHERS[attribute]})
    for subject in (ALICE, other, ALICE, other):
        decisions.decided(subject, WRITE, ALLOW)
    assert [event.details["count"] for event in decisions.counts()] == [1, 1]


def test_no_attribute_of_a_subject_is_forgotten_here() -> None:
    assert {field.name for field in fields(Subject) if field.init} == set(OTHERS)


def test_another_reason_is_another_count_and_equal_subjects_share_one() -> None:
    decisions = Decisions(each=False)
    for reason in ("a", "b", "a"):
        decisions.decided(ALICE, WRITE, Decision.allow(reason))
    twin = replace(ALICE)
    assert twin is not ALICE
    assert decisions.decided(twin, WRITE, Decision.allow("a")) is None
    assert sorted(event.details["count"] for event in decisions.counts()) == [2]


def test_the_request_is_named_where_one_event_stands_for_one_decision() -> None:
    event = Decisions(each=False).decided(ALICE, WRITE, DENY, lambda: "req-1")
    assert event is not None and event.request_id == "req-1"
