"""The ACL authorizer beyond its answers: reasons, caching, cost, order."""

from __future__ import annotations

import sys

import pytest

from rivven.security.authz import rule_book
from rivven.security.authz.acl import AclAuthorizer
from rivven.security.authz.authorizer import (
    NAME_CHARACTERS_KEPT,
    Action,
    Subject,
    Verdict,
    canonical_host,
)
from rivven.types import AclBinding, Operation, PatternType, Permission, Principal, ResourceType

TOPIC, GROUP = ResourceType.TOPIC, ResourceType.GROUP
READ, WRITE = Operation.READ, Operation.WRITE


def rule(
    name: str,
    principal: str = "User:alice",
    operation: Operation = READ,
    permission: Permission = Permission.ALLOW,
    pattern: PatternType = PatternType.LITERAL,
    host: str = "*",
) -> AclBinding:
    return AclBinding(TOPIC, name, pattern, principal, host, operation, permission)


def subject(name: str = "alice", host: str = "10.0.0.1", groups: tuple[str, ...] = ()) -> Subject:
    return Subject(Principal("User", name), host, "main", groups)


def test_reasons_name_the_rule_that_decided() -> None:
    rules = (
        rule("orders"),
        rule(
            "ord", operation=WRITE, permission=Permission.DENY, pattern=PatternType.PREFIXED, host="10.0.0.1"
        ),
    )
    authorizer = AclAuthorizer(lambda: (1, rules))
    allowed, implied, denied, none = authorizer.authorize(
        subject(),
        [
            Action(READ, TOPIC, "orders"),
            Action(Operation.DESCRIBE, TOPIC, "orders"),
            Action(WRITE, TOPIC, "orders"),
            Action(READ, GROUP, "orders"),
        ],
    )
    assert allowed.reason == "ALLOW READ on TOPIC 'orders' for User:alice from *"
    assert implied.reason == allowed.reason
    assert denied.reason == "DENY WRITE on TOPIC prefixed 'ord' for User:alice from 10.0.0.1"
    assert denied.verdict is Verdict.DENY
    assert none.reason == "no acl rule allows it"
    assert none.verdict is Verdict.NO_OPINION


def test_a_change_of_the_rules_takes_effect_at_once() -> None:
    stored = [(1, (rule("orders"),))]
    authorizer = AclAuthorizer(lambda: stored[0])
    action = [Action(READ, TOPIC, "orders")]
    assert authorizer.authorize(subject(), action)[0].allowed
    stored[0] = (2, ())
    assert not authorizer.authorize(subject(), action)[0].allowed
    assert not authorizer.authorize_any(subject(), READ, TOPIC).allowed


def test_other_rules_under_the_same_version_are_noticed() -> None:
    """A rebuilt image may count its versions anew."""
    stored = [(1, (rule("orders"),))]
    authorizer = AclAuthorizer(lambda: stored[0])
    assert authorizer.authorize(subject(), [Action(READ, TOPIC, "orders")])[0].allowed
    stored[0] = (1, ())
    assert not authorizer.authorize(subject(), [Action(READ, TOPIC, "orders")])[0].allowed


def test_groups_of_a_subject_are_principals_of_their_own() -> None:
    rules = (rule("a", "Group:staff"), rule("b"), rule("b", "Group:banned", permission=Permission.DENY))
    authorizer = AclAuthorizer(lambda: (1, rules))

    def may(groups: tuple[str, ...], name: str) -> bool:
        return authorizer.authorize(subject(groups=groups), [Action(READ, TOPIC, name)])[0].allowed

    assert not may((), "a")
    assert may(("staff",), "a")
    assert may((), "b")
    assert not may(("staff", "banned"), "b")
    assert may((), "b"), "a cached answer is for the groups it was made for"


def test_answers_do_not_leak_between_subjects() -> None:
    authorizer = AclAuthorizer(lambda: (1, (rule("orders", host="10.0.0.1"),)))
    action = [Action(READ, TOPIC, "orders")]
    assert authorizer.authorize(subject(), action)[0].allowed
    assert not authorizer.authorize(subject(host="10.0.0.2"), action)[0].allowed
    assert not authorizer.authorize(subject("bob"), action)[0].allowed
    # The key is a tuple of parts: no name can be built that reads as another subject.
    assert not authorizer.authorize(subject("alice', '10.0.0.1"), action)[0].allowed


def test_remembered_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_book, "ANSWERS_MAX", 100)
    authorizer = AclAuthorizer(lambda: (1, (rule("t1"),)))
    for i in range(250):
        authorizer.authorize(subject(), [Action(READ, TOPIC, f"t{i}")])
        assert sum(len(view._answers) for view in authorizer.book.views.values()) <= 100
    assert authorizer.authorize(subject(), [Action(READ, TOPIC, "t1")])[0].allowed


def test_answers_about_very_long_names_are_right_and_not_remembered() -> None:
    long = "t" * NAME_CHARACTERS_KEPT
    rules = (rule("t", pattern=PatternType.PREFIXED),)
    authorizer = AclAuthorizer(lambda: (1, rules))
    for name in (long, long + "t"):
        for operation, allowed in ((READ, True), (Operation.DELETE, False)):
            assert authorizer.authorize(subject(), [Action(operation, TOPIC, name)])[0].allowed is allowed
        assert [len(view._answers) for view in authorizer.book.views.values()] == [2], "those of the first"


def many_rules(count: int) -> tuple[AclBinding, ...]:
    """Literal and prefixed rules of 100 users; the same few concern alice's topics whatever the count."""
    ours = tuple(rule(f"t{i}") for i in range(5)) + tuple(
        rule(f"p{i}-", pattern=PatternType.PREFIXED) for i in range(5)
    )
    others = tuple(
        rule(f"x{i}", f"User:u{i % 100}", pattern=PatternType.PREFIXED if i % 2 else PatternType.LITERAL)
        for i in range(count - len(ours))
    )
    return ours + others


def _calls_of_cold_answers(rules: list[AclBinding]) -> int:
    """Python calls behind 100 answers that nothing remembers: work, counted instead of timed."""
    authorizer = AclAuthorizer(lambda: (1, rules))
    authorizer.authorize(subject(), [Action(READ, TOPIC, "first")])
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        for i in range(100):
            authorizer.authorize(subject(), [Action(READ, TOPIC, f"p1-{i}")])
    finally:
        sys.setprofile(None)
    return calls


def test_ten_thousand_rules_cost_what_ten_cost() -> None:
    few, many = _calls_of_cold_answers(many_rules(10)), _calls_of_cold_answers(many_rules(10_000))
    assert many < few * 2


def test_canonical_host() -> None:
    assert canonical_host("0:0:0:0:0:0:0:1") == "::1"
    assert canonical_host("::FFFF:10.1.2.3") == "10.1.2.3"
    assert canonical_host("2001:DB8:0::A") == "2001:db8::a"
    assert canonical_host("fe80::1%eth0") == "fe80::1"
    assert canonical_host("10.0.0.1") == "10.0.0.1"
    assert canonical_host("*") == "*"
    assert canonical_host("broker.example") == "broker.example"
    assert canonical_host("010.0.0.1") == "010.0.0.1", "not an address: never taken for 10.0.0.1 or 8.0.0.1"
