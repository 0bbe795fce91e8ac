"""What a decision costs: with ten rules and with ten thousand, known and new, by rules, by roles, by both.

Known answers must stay at or below 2 µs on the reference machine (two shared x86-64 cores, Python 3.11), and
ten thousand rules must cost what ten cost. Run with ``pytest benches/authorization --benchmark-enable``.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from rivven.actions import Permit
from rivven.metadata.roles import DynamicRole, Roles
from rivven.security.authz.access import Access
from rivven.security.authz.acl import AclAuthorizer
from rivven.security.authz.authorizer import Action, Subject
from rivven.security.authz.chain import AuthorizerChain
from rivven.security.authz.rbac import RbacAuthorizer, ScopeCeiling
from rivven.security.authz.roles import RoleDirectory
from rivven.types import AclBinding, Operation, PatternType, Permission, Principal, ResourceType

SIZES = (10, 10_000)
KNOWN_SECONDS_MAX = 2e-6

TOPIC, WRITE = ResourceType.TOPIC, Operation.WRITE
SUBJECT = Subject(Principal("User", "u1"), "10.0.0.1", groups=("staff",))


def rules(size: int) -> tuple[AclBinding, ...]:
    """`size` rules of a hundred users, half of them prefixes."""
    return tuple(
        AclBinding(
            TOPIC,
            f"t{number}-",
            PatternType.PREFIXED if number % 2 else PatternType.LITERAL,
            f"User:u{number % 100}",
            "*",
            WRITE,
            Permission.ALLOW,
        )
        for number in range(size)
    )


def roles(size: int) -> RoleDirectory:
    """`size` roles, one of which is ours."""
    made = Roles()
    for number in range(size):
        made.roles[f"r{number}"] = DynamicRole(f"r{number}", (Permit(f"topic:t{number}-*", ("produce",)),))
    made._members = {"r1": {"User:u1": None}}
    made.version = 1
    return RoleDirectory(lambda: made)


def chain(size: int, engines: tuple[str, ...]) -> AuthorizerChain:
    directory = roles(size if "rbac" in engines else 0)
    stored = (1, rules(size))
    made: dict[str, Any] = {
        "acl": AclAuthorizer(lambda: stored, directory),
        "rbac": RbacAuthorizer(directory),
    }
    return AuthorizerChain(
        {name: made[name] for name in engines},
        ["User:root"],
        ScopeCeiling(directory),
        stamp=lambda: (directory, stored[0], directory.version),
    )


@pytest.mark.parametrize("engines", [("acl",), ("rbac",), ("acl", "rbac")], ids="+".join)
@pytest.mark.parametrize("size", SIZES)
def test_a_known_decision(benchmark: Any, size: int, engines: tuple[str, ...]) -> None:
    decide = chain(size, engines).decide
    action = Action(WRITE, TOPIC, "t1-orders")
    assert decide(SUBJECT, action).allowed
    benchmark(decide, SUBJECT, action)
    if benchmark.enabled:
        assert benchmark.stats.stats.min <= KNOWN_SECONDS_MAX


@pytest.mark.parametrize("size", SIZES)
def test_a_new_decision(benchmark: Any, size: int) -> None:
    """Names nobody asked about yet, by both engines."""
    decide = chain(size, ("acl", "rbac")).decide
    numbers = count()

    def ask() -> None:
        decide(SUBJECT, Action(WRITE, TOPIC, f"t1-{next(numbers)}"))

    ask()
    benchmark(ask)


@pytest.mark.parametrize("size", SIZES)
def test_a_known_decision_of_a_request(benchmark: Any, size: int) -> None:
    """As dispatch asks: through `Access`, observer included."""
    access = Access(SUBJECT, chain(size, ("acl", "rbac")))
    assert access.allowed(WRITE, TOPIC, "t1-orders")
    benchmark(access.allowed, WRITE, TOPIC, "t1-orders")


@pytest.mark.parametrize("size", SIZES)
def test_rules_arranged_anew(benchmark: Any, size: int) -> None:
    """The first question after a change."""
    source = [(1, rules(size))]
    engine = AclAuthorizer(lambda: source[0])
    version = count(2)

    def ask() -> None:
        source[0] = (next(version), source[0][1])
        engine.authorize(SUBJECT, (Action(WRITE, TOPIC, "t1-orders"),))

    benchmark(ask)
