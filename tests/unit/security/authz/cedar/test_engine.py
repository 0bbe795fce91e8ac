"""Verdicts, reasons, and answers that are forgotten when something changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from rivven.security.authz.authorizer import NAME_CHARACTERS_KEPT, Action, Subject, Verdict
from rivven.security.authz.cedar import binding
from rivven.security.authz.cedar import engine as engine_module
from rivven.security.authz.cedar.engine import CedarAuthorizer, NoRoles
from rivven.types import CLUSTER_NAME, Operation, Principal, ResourceType
from tests.unit.security.authz.cedar.policy_world import (
    Roles,
    Standing,
    authorizer,
    on_topic,
    rules,
    user,
)

TOPIC, READ, WRITE, DESCRIBE = ResourceType.TOPIC, Operation.READ, Operation.WRITE, Operation.DESCRIBE
MIDNIGHT_OVERFLOWS = "context.hour + 9223372036854775807 > 0"  # true at 0 o'clock, an overflow at any other
ORDERS = """
@id("orders-writers")
permit(principal in Group::"orders", action == Action::"Write", resource is Topic)
when { resource.name like "orders*" };
"""


def test_a_permit_allows_and_is_named_with_its_place(tmp_path: Path) -> None:
    decision = on_topic(authorizer(tmp_path, ORDERS), WRITE)(user("u", "orders"), "orders-1")
    assert decision.verdict is Verdict.ALLOW
    assert decision.engine == "cedar"
    assert decision.rule == f"orders-writers ({tmp_path}/a.cedar:2)"
    assert decision.rule in decision.reason


@pytest.mark.parametrize(
    ("subject", "topic"),
    [(user("u"), "orders-1"), (user("u", "orders"), "other"), (user("orders"), "orders-1")],
)
def test_nothing_that_matches_is_no_opinion(tmp_path: Path, subject: Subject, topic: str) -> None:
    assert on_topic(authorizer(tmp_path, ORDERS), WRITE)(subject, topic).verdict is Verdict.NO_OPINION


def test_a_forbid_denies_whatever_is_permitted(tmp_path: Path) -> None:
    text = ORDERS + '@id("not-u") forbid(principal == User::"u", action, resource is Topic);'
    decision = on_topic(authorizer(tmp_path, text), WRITE)(user("u", "orders"), "orders-1")
    assert decision.verdict is Verdict.DENY
    assert decision.rule.startswith("not-u ")


@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_a_policy_that_fails_denies(tmp_path: Path, effect: str) -> None:
    text = ORDERS + f'@id("sum") {effect}(principal, action, resource) when {{ {MIDNIGHT_OVERFLOWS} }};'
    decision = on_topic(authorizer(tmp_path, text, clock=Standing(1)), WRITE)(user("u", "orders"), "orders-1")
    assert decision.verdict is Verdict.DENY
    assert "sum" in decision.rule
    assert "failed: integer overflow" in decision.reason


def test_writing_carries_describing_as_in_kafka(tmp_path: Path) -> None:
    engine = authorizer(tmp_path, ORDERS)
    assert on_topic(engine, DESCRIBE)(user("u", "orders"), "orders-1").allowed
    assert not on_topic(engine, READ)(user("u", "orders"), "orders-1").allowed
    for operation in (DESCRIBE, WRITE):
        assert engine.authorize_any(user("u", "orders"), operation, TOPIC).allowed
    assert engine.authorize_any(user("u", "orders"), READ, TOPIC).verdict is Verdict.NO_OPINION


def test_describing_may_be_forbidden_for_itself_and_falls_with_writing(tmp_path: Path) -> None:
    forbid = '@id("no") forbid(principal, action == Action::"{}", resource is Topic);'
    blind = authorizer(tmp_path, ORDERS + forbid.format("Describe"))
    assert on_topic(blind, WRITE)(user("u", "orders"), "orders-1").allowed
    assert on_topic(blind, DESCRIBE)(user("u", "orders"), "orders-1").verdict is Verdict.DENY
    mute = authorizer(tmp_path, ORDERS + forbid.format("Write"))
    assert on_topic(mute, DESCRIBE)(user("u", "orders"), "orders-1").verdict is Verdict.NO_OPINION


def test_the_same_policies_are_not_asked_again_for_what_implies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Describe follows from four operations; policies about every action have answered for all of them."""
    asked: list[object] = []
    ask = binding.ask
    monkeypatch.setattr(binding, "ask", lambda *question: asked.append(question) or ask(*question))
    engine = authorizer(tmp_path, '@id("x") permit(principal, action, resource) when { context.tls };')
    assert not on_topic(engine, DESCRIBE)(user("u", tls=False), "t").allowed
    assert len(asked) == 1
    by_action = '@id("x") permit(principal, action, resource) when { action == Action::"Alter" };'
    engine = authorizer(tmp_path, by_action)
    assert on_topic(engine, DESCRIBE)(user("u"), "t").allowed
    assert not on_topic(engine, READ)(user("u"), "t").allowed


# --- some resource (KIP-679) --------------------------------------------------------------------------------


def some(engine: CedarAuthorizer, subject: Subject) -> Verdict:
    return engine.authorize_any(subject, WRITE, TOPIC).verdict


def test_some_resource_is_answered_from_scopes(tmp_path: Path) -> None:
    text = '@id("x") permit(principal == User::"u", action == Action::"Write", resource == Topic::"t");'
    engine = authorizer(tmp_path, text)
    assert some(engine, user("u")) is Verdict.ALLOW
    assert some(engine, user("v")) is Verdict.NO_OPINION
    assert engine.authorize_any(user("u"), WRITE, ResourceType.TRANSACTIONAL_ID).verdict is Verdict.NO_OPINION


@pytest.mark.parametrize(
    ("forbid", "expected"),
    [
        ('principal == User::"u", action, resource is Topic', Verdict.DENY),
        ('principal, action == Action::"Write", resource', Verdict.DENY),
        ('principal == User::"u", action, resource == Topic::"secret"', Verdict.ALLOW),
        ('principal == User::"v", action, resource is Topic', Verdict.ALLOW),
    ],
)
def test_only_a_forbid_of_every_resource_closes_them_all(
    tmp_path: Path, forbid: str, expected: Verdict
) -> None:
    engine = authorizer(tmp_path, ORDERS + f'@id("no") forbid({forbid});')
    assert some(engine, user("u", "orders")) is expected


def test_conditions_that_need_no_resource_count_for_some_resource(tmp_path: Path) -> None:
    text = '@id("x") permit(principal, action, resource is Topic) when { context.tls && context.hour < 9 };'
    clock = Standing(3)
    engine = authorizer(tmp_path, text, clock=clock)
    assert some(engine, user()) is Verdict.ALLOW
    assert some(engine, user(tls=False)) is Verdict.NO_OPINION
    clock.hour = 10
    assert some(engine, user()) is Verdict.NO_OPINION


def test_a_failing_permit_closes_nothing_else_but_a_failing_forbid_does(tmp_path: Path) -> None:
    failing = '@id("sum") {}(principal, action, {}) when {{ ' + MIDNIGHT_OVERFLOWS + " }};"
    elsewhere = authorizer(
        tmp_path, ORDERS + failing.format("permit", 'resource == Topic::"t"'), clock=Standing(1)
    )
    assert some(elsewhere, user("u", "orders")) is Verdict.ALLOW
    assert on_topic(elsewhere, WRITE)(user("u", "orders"), "orders-1").allowed
    everywhere = authorizer(tmp_path, ORDERS + failing.format("forbid", "resource"), clock=Standing(1))
    assert some(everywhere, user("u", "orders")) is Verdict.DENY


# --- who asks, and how --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "fits", "fails"),
    [
        ('context.address.isInRange(ip("10.0.0.0/8"))', {"host": "::ffff:10.9.9.9"}, {"host": "192.168.0.1"}),
        ('context.address == ip("::1")', {"host": "0:0:0:0:0:0:0:1"}, {"host": "::2"}),
        ('context.listener == "main"', {}, {"listener": "other"}),
        ('context.mechanism == "mtls"', {"mechanism": "mtls"}, {}),
        ("context.tls", {}, {"tls": False}),
        ('context.client_id like "app-*"', {"client_id": "app-1"}, {"client_id": "other"}),
        ('principal has scope && principal.scope.contains("s")', {"scope": ("s",)}, {"scope": None}),
        ('principal.name == "u"', {}, None),
    ],
)
def test_conditions_see_the_session(
    tmp_path: Path, condition: str, fits: dict[str, object], fails: dict[str, object] | None
) -> None:
    ask = on_topic(
        authorizer(tmp_path, f'@id("x") permit(principal, action, resource) when {{ {condition} }};'), READ
    )
    assert ask(user(**fits), "t").allowed
    assert not ask(user("other") if fails is None else user(**fails), "t").allowed


def test_a_peer_without_an_address_fails_what_asks_for_it(tmp_path: Path) -> None:
    text = '@id("x") permit(principal, action, resource) when { context.address == ip("10.0.0.1") };'
    decision = on_topic(authorizer(tmp_path, text), READ)(user(host="nowhere"), "t")
    assert decision.verdict is Verdict.DENY
    assert "address" in decision.reason


@pytest.mark.parametrize(
    ("hour", "allowed"),
    [(9, True), (8, False), (17, False), (24 + 9, True), (48 + 9, False), (72 + 9, False), (96 + 9, True)],
)
def test_who_may_produce_by_hour_and_weekday(tmp_path: Path, hour: int, allowed: bool) -> None:
    """Hour 0 was a Thursday; hours 48 to 95 a weekend."""
    text = """@id("office") permit(principal, action == Action::"Write", resource is Topic)
    when { context.weekday <= 5 && context.hour >= 9 && context.hour < 17 };"""
    assert on_topic(authorizer(tmp_path, text, clock=Standing(hour)), WRITE)(user(), "t").allowed is allowed


def test_answers_about_time_end_at_the_hour(tmp_path: Path) -> None:
    clock = Standing(8)
    text = '@id("office") permit(principal, action, resource) when { context.hour >= 9 };'
    ask = on_topic(authorizer(tmp_path, text, clock=clock), WRITE)
    assert not ask(user(), "t").allowed
    clock.hour = 9
    assert ask(user(), "t").allowed


def test_roles_are_those_of_now(tmp_path: Path) -> None:
    roles = Roles(u=("writer",))
    engine = authorizer(tmp_path, '@id("x") permit(principal in Role::"writer", action, resource);', roles)
    ask = on_topic(engine, WRITE)
    assert ask(user(), "t").allowed
    assert ask(user(), "t").allowed
    assert roles.asked == 1, "the second answer was remembered"
    roles.change("u")
    assert not ask(user(), "t").allowed


def test_answers_about_very_long_names_are_right_and_not_remembered(tmp_path: Path) -> None:
    roles = Roles(u=("writer",))
    engine = authorizer(tmp_path, '@id("x") permit(principal in Role::"writer", action, resource);', roles)
    for more, asked in ((0, 1), (1, 4)):
        for _ in range(3):
            assert on_topic(engine, WRITE)(user(), "t" * (NAME_CHARACTERS_KEPT + more)).allowed
        assert roles.asked == asked


def test_other_policies_are_other_answers(tmp_path: Path) -> None:
    now = [rules(tmp_path, ORDERS)]
    ask = on_topic(CedarAuthorizer(lambda: now[0], NoRoles(), Standing().now_ms), WRITE)
    assert ask(user("u", "orders"), "orders-1").allowed
    now[0] = rules(tmp_path, ORDERS.replace("permit", "forbid"))
    assert ask(user("u", "orders"), "orders-1").verdict is Verdict.DENY


def test_what_no_policy_mentions_does_not_make_another_answer(tmp_path: Path) -> None:
    roles = Roles()
    ask = on_topic(authorizer(tmp_path, ORDERS, roles), WRITE)
    for number in range(10):
        ask(user("u", "orders", host=f"10.0.0.{number}", client_id=str(number)), "orders-1")
    assert roles.asked == 1


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "ANSWERS_MAX", 2)
    roles = Roles()
    ask = on_topic(authorizer(tmp_path, ORDERS, roles), WRITE)
    for name in ("orders-1", "orders-2", "orders-3", "orders-1"):
        assert ask(user("u", "orders"), name).allowed
    assert roles.asked == 4


# --- what policies have no word for -------------------------------------------------------------------------


def test_only_users_and_known_operations_are_asked_about(tmp_path: Path) -> None:
    engine = authorizer(tmp_path, '@id("x") permit(principal, action, resource);')
    service = Subject(Principal("Service", "u"), "10.0.0.1")
    assert on_topic(engine, WRITE)(service, "t").verdict is Verdict.NO_OPINION
    assert on_topic(engine, Operation.CLUSTER_ACTION)(user(), "t").verdict is Verdict.NO_OPINION
    assert engine.authorize(user(), [Action(Operation.CLUSTER_ACTION, ResourceType.CLUSTER, CLUSTER_NAME)])[
        0
    ].allowed
    assert engine.authorize_any(user(), WRITE, ResourceType.ANY).verdict is Verdict.NO_OPINION


def test_names_that_are_no_text_are_denied(tmp_path: Path) -> None:
    ask = on_topic(authorizer(tmp_path, '@id("x") permit(principal, action, resource);'), WRITE)
    assert ask(user("\ud800"), "t").verdict is Verdict.DENY
    assert ask(user("u"), "\ud800").verdict is Verdict.DENY
    assert ask(user('"', "\n"), '\0"\\').allowed
