"""Roles as an engine: what they grant, to whom, at what cost; scopes as ceilings."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from rivven.actions import Permit, WordError
from rivven.security.authz import rbac
from rivven.security.authz.authorizer import Action, Subject, Verdict
from rivven.security.authz.chain import AuthorizerChain
from rivven.security.authz.rbac import RbacAuthorizer, ScopeCeiling, parse_scope
from rivven.security.authz.roles import RoleBinding, RoleDirectory
from rivven.security.authz.roles_file import parse_roles
from rivven.types import CLUSTER_NAME, Operation, Principal, ResourceType
from tests.unit.security.authz.role_sources import Store, UserFile, directory_of

TOPIC, GROUP, CLUSTER = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.CLUSTER
READ, WRITE, DESCRIBE = Operation.READ, Operation.WRITE, Operation.DESCRIBE


def subject(name: str = "ann", groups: tuple[str, ...] = ()) -> Subject:
    return Subject(Principal("User", name), "10.0.0.1", "main", groups)


def may(engine: RbacAuthorizer, who: Subject, operation: Operation, kind: ResourceType, name: str) -> bool:
    return engine.authorize(who, [Action(operation, kind, name)])[0].allowed


@pytest.mark.parametrize(
    ("role", "allowed", "refused"),
    [
        (
            "producer",
            [(WRITE, TOPIC, "x"), (DESCRIBE, TOPIC, "x"), (WRITE, ResourceType.TRANSACTIONAL_ID, "t")],
            [
                (READ, TOPIC, "x"),
                (READ, GROUP, "g"),
                (Operation.CREATE, TOPIC, "x"),
                (Operation.ALTER, CLUSTER, CLUSTER_NAME),
                (Operation.IDEMPOTENT_WRITE, CLUSTER, CLUSTER_NAME),
            ],
        ),
        (
            "consumer",
            [(READ, TOPIC, "x"), (READ, GROUP, "g"), (DESCRIBE, GROUP, "g"), (DESCRIBE, TOPIC, "x")],
            [(WRITE, TOPIC, "x"), (Operation.DELETE, GROUP, "g"), (DESCRIBE, CLUSTER, CLUSTER_NAME)],
        ),
        (
            "readonly",
            [
                (DESCRIBE, TOPIC, "x"),
                (DESCRIBE, CLUSTER, CLUSTER_NAME),
                (Operation.DESCRIBE_CONFIGS, TOPIC, "x"),
            ],
            [(READ, TOPIC, "x"), (WRITE, TOPIC, "x"), (Operation.ALTER, CLUSTER, CLUSTER_NAME)],
        ),
        (
            "admin",
            [
                (operation, kind, "x")
                for operation in (READ, WRITE, Operation.DELETE, Operation.ALTER_CONFIGS)
                for kind in (TOPIC, GROUP)
            ]
            + [
                (Operation.CREATE_TOKENS, ResourceType.USER, "bob"),
                (Operation.CLUSTER_ACTION, CLUSTER, CLUSTER_NAME),
            ],
            [],
        ),
    ],
)
def test_the_built_in_roles(role, allowed, refused) -> None:
    engine = RbacAuthorizer(directory_of(users={"ann": (role,)}))
    for action in allowed:
        assert may(engine, subject(), *action), action
    for action in refused:
        (decision,) = engine.authorize(subject(), [Action(*action)])
        assert decision.verdict is Verdict.NO_OPINION, action
    assert not may(engine, subject("bob"), *allowed[0])
    assert not may(engine, replace(subject(), principal=Principal("Group", "ann")), *allowed[0])


def test_a_producer_may_write_some_topic() -> None:
    """KIP-679: this is what lets an idempotent producer in without any right on the cluster."""
    engine = RbacAuthorizer(directory_of(users={"ann": ("producer",), "bob": ("consumer",)}))
    assert engine.authorize_any(subject("ann"), WRITE, TOPIC).allowed
    assert not engine.authorize_any(subject("bob"), WRITE, TOPIC).allowed
    assert not engine.authorize_any(subject("eve"), WRITE, TOPIC).allowed


def test_reasons_name_the_role_and_its_line() -> None:
    text = b"roles:\n  shipping:\n    permissions:\n      - {resource: topic:orders-*, actions: [consume]}\n"
    directory = directory_of(users={"ann": ("shipping", "consumer")})
    directory.replace_file(parse_roles(text, "rbac.yaml"))
    (decision,) = RbacAuthorizer(directory).authorize(subject(), [Action(READ, TOPIC, "orders-1")])
    assert (decision.engine, decision.rule) in [
        ("rbac", "role:shipping (rbac.yaml:4)"),
        ("rbac", "role:consumer (built-in)"),
    ]
    only = directory_of(users={"ann": ("shipping",)})
    only.replace_file(parse_roles(text, "rbac.yaml"))
    (decision,) = RbacAuthorizer(only).authorize(subject(), [Action(READ, TOPIC, "orders-1")])
    assert decision.reason == "role shipping allows READ on topic:orders-* (rbac.yaml:4)"
    assert decision.rule == "role:shipping (rbac.yaml:4)"


def test_every_way_to_have_a_role() -> None:
    store = Store()
    directory = RoleDirectory(lambda: store, UserFile({"filed": ("producer",)}))
    directory.replace_file(parse_roles(b"bindings: {producer: {users: [bound], groups: [g1]}}", "r"))
    store.bind("producer", "User:dynamic", "Group:g2")
    engine = RbacAuthorizer(directory)
    for name, groups in (("filed", ()), ("bound", ()), ("dynamic", ()), ("x", ("g1",)), ("x", ("a", "g2"))):
        assert may(engine, subject(name, groups), WRITE, TOPIC, "t"), name
    assert not may(engine, subject("x", ("g3",)), WRITE, TOPIC, "t")
    assert [(one.role, one.member, one.source) for one in directory.bindings()] == [
        ("producer", "User:bound", "file"),
        ("producer", "Group:g1", "file"),
        ("producer", "User:dynamic", "metadata"),
        ("producer", "Group:g2", "metadata"),
        ("producer", "User:filed", "users-file"),
    ]


def test_changes_take_effect_at_once() -> None:
    store, users = Store(), UserFile({})
    directory = RoleDirectory(lambda: store, users)
    engine = RbacAuthorizer(directory)
    question = (subject(), WRITE, TOPIC, "t")
    assert not may(engine, *question)
    users.give("ann", "producer")
    assert may(engine, *question)
    users.give("ann")
    assert not may(engine, *question)
    store.bind("custom", "User:ann")
    assert not may(engine, *question)
    store.put("custom", Permit("topic:t", ("produce",)))
    assert may(engine, *question)
    store.put("custom", Permit("topic:u", ("produce",)))
    assert not may(engine, *question)
    directory.replace_file(parse_roles(b"bindings: {admin: {users: [ann]}}", "r"))
    assert may(engine, *question)
    directory.replace_file(parse_roles(b"", "r"))
    assert not may(engine, *question)


def test_a_rebuilt_image_that_counts_anew_is_noticed() -> None:
    stores = [Store(), Store()]
    stores[0].bind("producer", "User:ann")
    stores[1].version = stores[0].version
    current = [stores[0]]
    engine = RbacAuthorizer(RoleDirectory(lambda: current[0]))
    assert may(engine, subject(), WRITE, TOPIC, "t")
    current[0] = stores[1]
    assert not may(engine, subject(), WRITE, TOPIC, "t")


def test_a_role_of_the_file_replaces_a_built_in_one() -> None:
    directory = directory_of(users={"ann": ("producer",)})
    text = b"roles: {producer: {permissions: [{resource: topic:events-*, actions: [produce]}]}}"
    directory.replace_file(parse_roles(text, "r.yaml"))
    engine = RbacAuthorizer(directory)
    assert may(engine, subject(), WRITE, TOPIC, "events-1")
    assert not may(engine, subject(), WRITE, TOPIC, "orders")


def test_a_name_in_the_file_and_the_metadata_is_refused() -> None:
    store = Store()
    store.put("shipping", Permit("topic:t", ("produce",)))
    directory = RoleDirectory(lambda: store)
    with pytest.raises(ValueError, match="at once: shipping"):
        directory.replace_file(parse_roles(b"roles: {shipping: {}}", "r"))
    assert not directory.in_file("shipping")
    found = directory.find("shipping")
    assert found is not None
    assert found.source == "metadata"


def test_a_role_nobody_defined_is_had_and_grants_nothing() -> None:
    directory = directory_of(users={"ann": ("ghost",)})
    assert directory.roles_of("ann", ()) == ("ghost",)
    assert not may(RbacAuthorizer(directory), subject(), WRITE, TOPIC, "t")


def test_remembered_roles_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rivven.security.authz.roles.REMEMBERED_MAX", 10)
    directory = directory_of(users={"u25": ("admin",)})
    for i in range(30):
        assert directory.roles_of(f"u{i}", ()) == (("admin",) if i == 25 else ())
        assert len(directory._compiled.of_user) <= 10


def _cold_calls(roles: int) -> int:
    store = Store()
    for i in range(roles):
        store.put(f"r{i}", Permit(f"topic:t{i}-*", ("produce",)), Permit("group:*", ("join",)))
        store.bind(f"r{i}", f"User:u{i}")
    engine = RbacAuthorizer(RoleDirectory(lambda: store))
    may(engine, subject("u1"), WRITE, TOPIC, "first")
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        for i in range(100):
            assert may(engine, subject("u1"), WRITE, TOPIC, f"t1-{i}")
    finally:
        sys.setprofile(None)
    return calls


def test_the_roles_of_others_cost_nothing() -> None:
    assert _cold_calls(3_000) < _cold_calls(10) * 1.2


# -- scopes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entries",
    [
        ["topic:orders"],
        ["orders:produce"],
        ["topic:orders:eat"],
        ["role:"],
        ["role:a b"],
        [":produce"],
        [""],
        ["topic:x:"],
        ["group:g:produce"],
        [f"topic:t{i}:produce" for i in range(101)],
    ],
)
def test_scopes_that_mean_nothing_are_refused(entries: list[str]) -> None:
    with pytest.raises(WordError):
        parse_scope(entries)


def test_scopes_are_kept_as_written_without_repetition() -> None:
    entries = ("topic:orders-*:produce,describe", "role:producer", "cluster:describe", "*:list")
    assert parse_scope([*entries, entries[0]]) == entries


def test_a_scope_cuts_what_a_user_may() -> None:
    directory = directory_of(users={"ann": ("admin",)})
    chain = AuthorizerChain({"rbac": RbacAuthorizer(directory)}, ["User:root"], ScopeCeiling(directory))

    def permitted(scope: tuple[str, ...], operation: Operation, kind: ResourceType, name: str) -> bool:
        answers = {
            chain.decide(replace(subject(who), scope=scope), Action(operation, kind, name)).allowed
            for who in ("ann", "root")
        }
        assert len(answers) == 1, "super users have the same ceiling"
        return answers.pop()

    orders = ("topic:orders-*:produce",)
    assert permitted(orders, WRITE, TOPIC, "orders-1")
    assert permitted(orders, DESCRIBE, TOPIC, "orders-1"), "write implies describe"
    assert not permitted(orders, WRITE, TOPIC, "invoices")
    assert not permitted(orders, READ, TOPIC, "orders-1")
    assert not permitted(orders, Operation.ALTER, CLUSTER, CLUSTER_NAME)
    assert permitted(("role:consumer",), READ, GROUP, "g")
    assert not permitted(("role:consumer",), WRITE, TOPIC, "t")
    assert not permitted(("role:ghost",), READ, TOPIC, "t")
    assert not permitted((), READ, TOPIC, "t")
    assert not permitted(("no scope at all",), READ, TOPIC, "t")
    assert permitted(("group:a:b:join", "*:describe"), READ, GROUP, "a:b")


def test_a_scope_about_some_resource() -> None:
    ceiling = ScopeCeiling(directory_of())
    assert ceiling.permits_any(("topic:orders-*:produce",), WRITE, TOPIC).allowed
    assert ceiling.permits_any(("role:producer",), WRITE, TOPIC).allowed
    assert not ceiling.permits_any(("topic:orders-*:consume",), WRITE, TOPIC).allowed
    assert not ceiling.permits_any((), WRITE, TOPIC).allowed
    assert not ceiling.permits_any(("nonsense",), WRITE, TOPIC).allowed


def test_a_scope_follows_the_roles_it_names() -> None:
    store = Store()
    ceiling = ScopeCeiling(RoleDirectory(lambda: store))
    action = Action(WRITE, TOPIC, "t")
    assert not ceiling.permits(("role:r",), action).allowed
    store.put("r", Permit("topic:t", ("produce",)))
    assert ceiling.permits(("role:r",), action).allowed
    store.put("r", Permit("topic:u", ("produce",)))
    assert not ceiling.permits(("role:r",), action).allowed


def test_compiled_scopes_and_their_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rbac, "SCOPES_MAX", 3)
    monkeypatch.setattr("rivven.security.authz.rule_book.ANSWERS_MAX", 50)
    ceiling = ScopeCeiling(directory_of())
    for i in range(10):
        scope = (f"topic:t{i}:produce",)
        assert ceiling.permits(scope, Action(WRITE, TOPIC, f"t{i}")).allowed
        assert len(ceiling._scopes) <= 3
    for i in range(200):
        ceiling.permits(("topic:*:produce",), Action(WRITE, TOPIC, f"n{i}"))
    book = ceiling._scopes["topic:*:produce",].book
    assert sum(len(view._answers) for view in book.views.values()) <= 50


def test_a_binding_names_its_source() -> None:
    assert RoleBinding("r", "User:a", "metadata").where == ""
