"""The policies shipped in config/policies: they load as one set, lint without a word and do what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from rivven.security.authz.authorizer import Action, Verdict
from rivven.security.authz.cedar.engine import CedarAuthorizer
from rivven.security.authz.cedar.linter import lint
from rivven.security.authz.cedar.policies import load_policies, load_schema
from rivven.security.authz.cedar.store import read_rules
from rivven.types import CLUSTER_NAME, Operation, ResourceType
from tests.unit.security.authz.cedar.policy_world import Roles, Standing, user

TEMPLATES = Path(__file__).parents[5] / "config" / "policies"
MONDAY_NOON = 96 + 12
SATURDAY_NOON = 48 + 12

ALLOW, DENY, NOTHING = Verdict.ALLOW, Verdict.DENY, Verdict.NO_OPINION
READ, WRITE, ALTER = Operation.READ, Operation.WRITE, Operation.ALTER
TOPIC, GROUP, CLUSTER = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.CLUSTER


def test_the_linter_has_nothing_to_say() -> None:
    found = load_policies(TEMPLATES, load_schema()).policies.values()
    assert len(found) >= 10
    assert not lint(found, {"Role": ("admin", "producer", "consumer")})


@pytest.mark.parametrize(
    ("role", "groups", "facts", "action", "hour", "verdict"),
    [
        ("producer", (), {}, (WRITE, TOPIC, "orders"), 0, ALLOW),
        ("producer", (), {}, (READ, TOPIC, "orders"), 0, NOTHING),
        ("producer", (), {}, (WRITE, TOPIC, "__consumer_offsets"), 0, DENY),
        ("consumer", (), {}, (READ, TOPIC, "orders"), 0, ALLOW),
        ("consumer", (), {}, (READ, GROUP, "u"), 0, ALLOW),
        ("consumer", (), {}, (READ, GROUP, "other"), 0, NOTHING),
        ("admin", (), {}, (ALTER, CLUSTER, CLUSTER_NAME), 0, ALLOW),
        ("admin", (), {"host": "203.0.113.7"}, (ALTER, CLUSTER, CLUSTER_NAME), 0, DENY),
        ("admin", (), {"tls": False}, (ALTER, CLUSTER, CLUSTER_NAME), 0, DENY),
        ("admin", (), {"scope": ("role:admin",)}, (ALTER, CLUSTER, CLUSTER_NAME), 0, DENY),
        ("producer", ("contractors",), {}, (WRITE, TOPIC, "orders"), MONDAY_NOON, ALLOW),
        ("producer", ("contractors",), {}, (WRITE, TOPIC, "orders"), SATURDAY_NOON, DENY),
        ("producer", (), {}, (WRITE, TOPIC, "payments.in"), 0, DENY),
        ("none", ("payments",), {}, (WRITE, TOPIC, "payments.in"), 0, ALLOW),
    ],
)
def test_they_do_what_they_say(
    role: str,
    groups: tuple[str, ...],
    facts: dict[str, object],
    action: tuple[Operation, ResourceType, str],
    hour: int,
    verdict: Verdict,
) -> None:
    rules = read_rules(TEMPLATES)
    engine = CedarAuthorizer(lambda: rules, Roles(u=(role,)), Standing(hour).now_ms)
    assert engine.authorize(user("u", *groups, **facts), [Action(*action)])[0].verdict is verdict
