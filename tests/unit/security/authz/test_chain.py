"""How verdicts are joined: super users, deny over allow, failing engines, a token's scope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivven.security.authz import chain as chain_module
from rivven.security.authz.access import Access
from rivven.security.authz.authorizer import (
    NAME_CHARACTERS_KEPT,
    Action,
    Authorizer,
    Decision,
    Subject,
    Verdict,
)
from rivven.security.authz.chain import SCOPE, SUPER_USERS, AuthorizerChain, combine
from rivven.security.authz.operations import VALID_BITS
from rivven.testing.authorizers import AllowAll, DenyAll
from rivven.types import Operation, Principal, ResourceType
from tests.unit.security.authz.engines import Miscounting, Mute, Raising, Silent

TOPIC, READ, WRITE = ResourceType.TOPIC, Operation.READ, Operation.WRITE
ALICE = Subject(Principal("User", "alice"), "10.0.0.1", "main")
ORDERS = Action(READ, TOPIC, "orders")


class OneTopic:
    """A ceiling whose entries are topic names."""

    def permits(self, scope: tuple[str, ...], action: Action) -> Decision:
        if action.resource_name in scope:
            return Decision.allow("in scope", engine=SCOPE)
        return Decision.deny("out of scope", engine=SCOPE)

    def permits_any(
        self, scope: tuple[str, ...], operation: Operation, resource_type: ResourceType
    ) -> Decision:
        return Decision.allow("some", engine=SCOPE) if scope else Decision.deny("none", engine=SCOPE)


@pytest.mark.parametrize(
    ("engines", "allowed"),
    [
        ([], False),
        ([AllowAll()], True),
        ([DenyAll()], False),
        ([Silent()], False),
        ([Silent(), Silent()], False),
        ([Silent(), AllowAll()], True),
        ([AllowAll(), Silent()], True),
        ([AllowAll(), DenyAll()], False),
        ([DenyAll(), AllowAll()], False),
        ([AllowAll(), AllowAll()], True),
        ([Miscounting()], False),
        ([Miscounting(), AllowAll()], False),
        ([Raising()], False),
        ([Raising(), AllowAll()], False),
        ([AllowAll(), Raising()], False),
        ([AllowAll(), Mute()], False),
    ],
    ids=lambda value: "+".join(type(one).__name__ for one in value) if isinstance(value, list) else None,
)
def test_a_chain_allows_if_somebody_does_and_nobody_denies(engines: list[Authorizer], allowed: bool) -> None:
    access = Access(ALICE, AuthorizerChain({str(i): engine for i, engine in enumerate(engines)}))
    assert access.allowed(READ, TOPIC, "orders") is allowed
    assert access.probe(READ, TOPIC, "orders") is allowed
    assert access.filter(READ, TOPIC, ["orders", "invoices"]) == (
        {"orders", "invoices"} if allowed else set()
    )
    assert access.authorized_operations(TOPIC, "orders") == (VALID_BITS[TOPIC] if allowed else 0)
    assert access.allowed_cluster(Operation.CREATE) is allowed
    if not any(isinstance(one, Miscounting) for one in engines):
        assert access.allowed_any(WRITE, TOPIC) is allowed


def test_the_deciding_reason_is_kept() -> None:
    chain = AuthorizerChain({"silent": Silent(), "allow": AllowAll(), "deny": DenyAll()})
    assert chain.decide(ALICE, ORDERS) == Decision.deny("DenyAll")
    assert AuthorizerChain({"s": Silent(), "a": AllowAll()}).decide(ALICE, ORDERS).reason == "AllowAll"
    assert AuthorizerChain({}).decide(ALICE, ORDERS).reason == "no authorizer is configured"
    assert AuthorizerChain({"a": Silent(), "b": Silent()}).decide(ALICE, ORDERS).reason == "silent"


def test_an_engine_that_raises_denies_and_says_so_without_its_text() -> None:
    failures: list[tuple[str, Exception]] = []
    chain = AuthorizerChain(
        {"policy": Raising(), "allow": AllowAll()},
        engine_failed=lambda name, error: failures.append((name, error)),
    )
    decision = chain.decide(ALICE, ORDERS)
    assert decision == Decision.deny("policy failed: RuntimeError", engine="policy")
    assert not chain.authorize_any(ALICE, WRITE, TOPIC).allowed
    assert [name for name, _ in failures] == ["policy", "policy"]
    assert "hunter2" not in repr(decision)


def test_super_users_pass_first_and_are_named() -> None:
    chain = AuthorizerChain({"deny": DenyAll(), "broken": Raising()}, ["User:alice"])
    decision = chain.decide(ALICE, ORDERS)
    assert (decision.allowed, decision.engine) == (True, SUPER_USERS)
    assert chain.authorize(ALICE, [ORDERS, ORDERS]) == [decision] * 2
    assert chain.authorize_any(ALICE, WRITE, TOPIC) == decision
    assert not chain.decide(replace(ALICE, principal=Principal("User", "Alice")), ORDERS).allowed
    assert not chain.decide(replace(ALICE, principal=Principal("Group", "alice")), ORDERS).allowed


@pytest.mark.parametrize("super_users", [(), ("User:alice",)])
def test_a_scope_is_a_ceiling_for_everyone(super_users: tuple[str, ...]) -> None:
    chain = AuthorizerChain({"allow": AllowAll()}, super_users, OneTopic())
    scoped = replace(ALICE, scope=("orders",))
    other = ORDERS._replace(resource_name="invoices")
    assert chain.decide(scoped, ORDERS).allowed
    assert chain.decide(scoped, other) == Decision.deny("out of scope", engine=SCOPE)
    assert [one.allowed for one in chain.authorize(scoped, [ORDERS, other])] == [True, False]
    assert chain.authorize_any(scoped, READ, TOPIC).allowed
    nothing = replace(ALICE, scope=())
    assert not chain.decide(nothing, ORDERS).allowed
    assert not chain.authorize_any(nothing, READ, TOPIC).allowed


def test_a_scope_grants_nothing() -> None:
    chain = AuthorizerChain({"silent": Silent()}, (), OneTopic())
    scoped = replace(ALICE, scope=("orders",))
    assert chain.decide(scoped, ORDERS) == Decision.no_opinion("silent")
    assert not chain.authorize_any(scoped, READ, TOPIC).allowed


def test_a_scope_nobody_can_evaluate_lets_nothing_through() -> None:
    chain = AuthorizerChain({"allow": AllowAll()}, ["User:alice"])
    scoped = replace(ALICE, scope=("topic:orders:produce",))
    assert not chain.decide(scoped, ORDERS).allowed
    assert not chain.authorize_any(scoped, READ, TOPIC).allowed
    assert not any(one.allowed for one in chain.authorize(scoped, [ORDERS, ORDERS]))


def test_the_version_rises_with_every_other_stamp() -> None:
    stamp = [0]
    chain = AuthorizerChain({}, stamp=lambda: stamp[0])
    first = chain.version
    assert chain.version == first
    stamp[0] = 7
    second = chain.version
    assert second > first
    stamp[0] = 0
    assert chain.version > second, "an image that was rebuilt counts anew, the version does not"


def test_an_explanation_holds_every_verdict() -> None:
    chain = AuthorizerChain({"deny": DenyAll(), "allow": AllowAll()}, ["User:alice"], OneTopic())
    found = chain.explain(replace(ALICE, scope=("x",)), ORDERS)
    assert [name for name, _ in found.verdicts] == [SUPER_USERS, "deny", "allow", SCOPE]
    assert [one.verdict for _, one in found.verdicts] == [
        Verdict.ALLOW,
        Verdict.DENY,
        Verdict.ALLOW,
        Verdict.DENY,
    ]
    assert found.decision.engine == SCOPE


verdicts = st.sampled_from([Decision.allow("a"), Decision.deny("d"), Decision.no_opinion("n")])


@given(st.lists(verdicts, max_size=6).flatmap(lambda made: st.tuples(st.just(made), st.permutations(made))))
def test_order_never_matters(pair: tuple[list[Decision], list[Decision]]) -> None:
    made, permuted = pair
    decision = combine(made)
    assert combine(permuted).verdict is decision.verdict
    kinds = {one.verdict for one in made}
    assert decision.allowed is (Verdict.ALLOW in kinds and Verdict.DENY not in kinds)


class Steady(AllowAll):
    """Says so of itself."""

    steady = True


def test_joined_decisions_are_remembered_until_the_stamp_changes() -> None:
    engines, stamp = {"a": Steady(), "b": Steady()}, [0]
    chain = AuthorizerChain(engines, stamp=lambda: stamp[0])
    for _ in range(3):
        assert chain.decide(ALICE, ORDERS).allowed
    assert [len(engine.asked) for engine in engines.values()] == [1, 1]
    chain.decide(replace(ALICE, listener="another", client_id="app", tls=True), ORDERS)
    assert len(engines["a"].asked) == 1, "steady engines do not look at how somebody came in"
    chain.decide(replace(ALICE, host="10.0.0.2"), ORDERS)
    chain.decide(ALICE, ORDERS._replace(operation=WRITE))
    assert len(engines["a"].asked) == 3, "another address and another operation are other questions"
    stamp[0] = 1
    chain.decide(ALICE, ORDERS)
    assert len(engines["a"].asked) == 4


class Settled(AllowAll):
    """Says of itself that it answers by all of the subject."""

    settled = True


@pytest.mark.parametrize(
    "other",
    [
        {"principal": Principal("User", "bob")},
        {"host": "10.0.0.2"},
        {"listener": "another"},
        {"groups": ("g",)},
        {"mechanism": "PLAIN"},
        {"tls": True},
        {"client_id": "app"},
        {"scope": ("orders",)},
    ],
    ids=lambda value: next(iter(value)),
)
def test_settled_engines_are_asked_anew_about_whoever_differs(other: dict[str, object]) -> None:
    engines = {"settled": Settled(), "steady": Steady()}
    chain = AuthorizerChain(engines, (), OneTopic(), stamp=lambda: 0)
    for _ in range(3):
        assert chain.decide(ALICE, ORDERS).allowed
    assert [len(engine.asked) for engine in engines.values()] == [1, 1]
    another = replace(ALICE, **other)  # type: ignore[arg-type]
    for _ in range(3):
        assert chain.decide(another, ORDERS).allowed
    assert [len(engine.asked) for engine in engines.values()] == [2, 2]


def test_without_a_stamp_settled_engines_are_asked_each_time() -> None:
    engine = Settled()
    chain = AuthorizerChain({"it": engine})
    chain.decide(ALICE, ORDERS)
    chain.decide(ALICE, ORDERS)
    assert len(engine.asked) == 2


def test_what_settled_engines_say_is_remembered_and_the_others_are_asked_each_time() -> None:
    settled = Settled()
    turns = (Verdict.NO_OPINION, Verdict.DENY, Verdict.ALLOW)
    chain = AuthorizerChain({"turning": Turning(*turns), "settled": settled}, stamp=lambda: 0)
    assert [chain.decide(ALICE, ORDERS).allowed for _ in turns] == [True, False, True]
    assert len(settled.asked) == 1


def test_clients_that_change_their_ids_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nothing about them is worth remembering."""
    monkeypatch.setattr(chain_module, "KNOWN_MAX", 50)

    class Failing(Settled):
        def authorize(self, subject: Subject, actions: Sequence[Action]) -> list[Decision]:
            raise RuntimeError

    for engine in (Settled(), Failing()):
        chain = AuthorizerChain({"it": engine}, stamp=lambda: 0)
        for number in range(200):
            chain.decide(replace(ALICE, client_id=f"c{number}"), ORDERS)
            assert len(chain._known) + sum(map(len, chain._known.values())) <= 50


class Turning(Silent):
    """An engine without a stamp, whose verdict changes from one question to the next."""

    def __init__(self, *verdicts: Verdict) -> None:
        self.verdicts = list(verdicts)

    def authorize(self, subject: Subject, actions: Sequence[Action]) -> list[Decision]:
        verdict = self.verdicts.pop(0)
        return [Decision(verdict is Verdict.ALLOW, "turning", verdict, "turning")] * len(actions)


def test_what_steady_engines_say_is_remembered_and_the_others_are_asked_each_time() -> None:
    turns = (Verdict.NO_OPINION, Verdict.DENY, Verdict.ALLOW)
    steady = Steady()
    chain = AuthorizerChain({"turning": Turning(*turns), "steady": steady}, stamp=lambda: 0)
    assert [chain.decide(ALICE, ORDERS).allowed for _ in turns] == [True, False, True]
    assert len(steady.asked) == 1
    silent = Silent()
    silent.steady = True  # type: ignore[attr-defined]
    chain = AuthorizerChain({"silent": silent, "turning": Turning(*turns)}, stamp=lambda: 0)
    found = [chain.decide(ALICE, ORDERS) for _ in turns]
    assert [one.verdict for one in found] == list(turns)
    assert found[0].reason == "silent; turning"
    assert found[2].engine == "turning"


@pytest.mark.parametrize("engine", [AllowAll(), Steady()])
def test_nothing_is_remembered_that_nobody_would_forget(engine: AllowAll) -> None:
    stamp = None if engine.__class__ is Steady else lambda: 0
    chain = AuthorizerChain({"it": engine}, stamp=stamp)
    chain.decide(ALICE, ORDERS)
    chain.decide(ALICE, ORDERS)
    assert len(engine.asked) == 2


def test_a_failure_is_not_remembered() -> None:
    class Flaky(Steady):
        def authorize(self, subject: Subject, actions: Sequence[Action]) -> list[Decision]:
            if not self.asked:
                self.asked.append(("", READ, TOPIC, ""))
                raise RuntimeError
            return super().authorize(subject, actions)

    chain = AuthorizerChain({"it": Flaky()}, stamp=lambda: 0)
    assert not chain.decide(ALICE, ORDERS).allowed
    assert chain.decide(ALICE, ORDERS).allowed


def test_remembered_decisions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_module, "KNOWN_MAX", 50)
    chain = AuthorizerChain({"it": Steady()}, stamp=lambda: 0)
    for number in range(200):
        chain.decide(ALICE, ORDERS._replace(resource_name=f"t{number}"))
        assert sum(map(len, chain._known.values())) <= 50


@pytest.mark.parametrize("more", [0, 1])
def test_very_long_names_are_decided_each_time(more: int) -> None:
    engine = Steady()
    chain = AuthorizerChain({"it": engine}, stamp=lambda: 0)
    for _ in range(3):
        assert chain.decide(ALICE, ORDERS._replace(resource_name="t" * (NAME_CHARACTERS_KEPT + more))).allowed
    assert len(engine.asked) == (3 if more else 1)


@pytest.mark.parametrize("scope", [None, ("orders",), ("invoices",)])
def test_a_scope_holds_for_remembered_decisions(scope: tuple[str, ...] | None) -> None:
    chain = AuthorizerChain({"it": Steady()}, (), OneTopic(), stamp=lambda: 0)
    assert chain.decide(ALICE, ORDERS).allowed
    assert chain.decide(replace(ALICE, scope=scope), ORDERS).allowed is (scope != ("invoices",))
