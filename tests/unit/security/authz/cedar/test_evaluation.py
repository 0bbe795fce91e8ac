"""Asking only the policies that can matter answers as asking all of them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rivven.security.authz.cedar import binding
from rivven.security.authz.cedar.evaluation import Asker, Evaluator
from rivven.types import Operation, ResourceType
from tests.unit.security.authz.cedar.policy_world import book

PRINCIPALS = (
    "principal",
    'principal == User::"u"',
    'principal in Group::"g"',
    'principal in Role::"r"',
    "principal is User",
)
ACTIONS = (
    "action",
    'action == Action::"Read"',
    'action in [Action::"Read", Action::"Write"]',
    'action in [Action::"Read", Action::"Describe"]',
)
RESOURCES = (
    "resource",
    'resource == Topic::"t"',
    "resource is Topic",
    'resource in Topic::"s"',
    "resource is ConsumerGroup",
)
CONDITIONS = (
    "",
    "when { context.tls }",
    'unless { resource == Topic::"t" }',
    'when { action == Action::"Read" }',
    "when { context.hour + 9223372036854775807 > 0 }",
)

policies = st.tuples(
    st.sampled_from(["permit", "forbid"]),
    st.sampled_from(PRINCIPALS),
    st.sampled_from(ACTIONS),
    st.sampled_from(RESOURCES),
    st.sampled_from(CONDITIONS),
)
askers = st.builds(
    Asker,
    st.sampled_from(["u", "v"]),
    st.sampled_from([(), ("g",)]),
    st.sampled_from([(), ("r",)]),
    st.just(None),
    st.builds(lambda tls, hour: {"tls": tls, "hour": hour}, st.booleans(), st.sampled_from([0, 3])),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    chosen=st.lists(policies, max_size=6),
    asker=askers,
    name=st.sampled_from(["t", "s", "other"]),
    operation=st.sampled_from([Operation.READ, Operation.WRITE]),
)
def test_files_of_policies_answer_as_all_policies(
    tmp_path: Path, chosen: list[tuple[str, ...]], asker: Asker, name: str, operation: Operation
) -> None:
    text = "\n".join(
        f'@id("p{i}") {effect}({principal}, {action}, {resource}) {condition};'
        for i, (effect, principal, action, resource, condition) in enumerate(chosen)
    )
    found = book(tmp_path, text).policies
    outcome = Evaluator({key: one.json for key, one in found.items()}).evaluate(
        asker, operation, ResourceType.TOPIC, name
    )
    allowed, reasons, errors = everything_at_once(text, asker, operation.name.capitalize(), name)
    assert len(outcome.errors) == len(errors)
    if outcome.forbids:
        assert not allowed
        assert {f"p{reason.removeprefix('policy')}" for reason in reasons} == set(outcome.forbids)
    else:
        assert allowed is bool(outcome.permits)
        assert {f"p{reason.removeprefix('policy')}" for reason in reasons} == set(outcome.permits)


def everything_at_once(text: str, asker: Asker, action: str, topic: str) -> tuple[bool, list[str], list[str]]:
    uid = {"type": "User", "id": asker.user}
    parents = [{"type": "Group", "id": one} for one in asker.groups]
    parents += [{"type": "Role", "id": one} for one in asker.roles]
    entities = [
        {"uid": uid, "attrs": {"name": asker.user}, "parents": parents},
        {"uid": {"type": "Topic", "id": topic}, "attrs": {"name": topic}, "parents": []},
    ]
    request = {
        "principal": uid,
        "action": {"type": "Action", "id": action},
        "resource": {"type": "Topic", "id": topic},
        "context": asker.context,
    }
    return binding.ask(text, request, entities)


def test_nobody_is_asked_where_no_policy_can_speak(tmp_path: Path) -> None:
    found = book(
        tmp_path, '@id("x") permit(principal == User::"u", action == Action::"Read", resource);'
    ).policies
    evaluator = Evaluator({key: one.json for key, one in found.items()})
    asker = Asker("\ud800", (), (), None, {})  # Cedar cannot even take the name
    assert not evaluator.evaluate(asker, Operation.READ, ResourceType.TOPIC, "t").permits


def test_errors_name_the_policy(tmp_path: Path) -> None:
    found = book(tmp_path, '@id("x") permit(principal, action, resource) when { context.tls };').policies
    outcome = Evaluator({key: one.json for key, one in found.items()}).evaluate(
        Asker("u", (), (), None, {}), Operation.READ, ResourceType.TOPIC, "t"
    )
    assert outcome.errors == [("x", "record does not have the attribute `tls`")]
    assert not outcome.permitted


def test_a_user_may_be_the_resource_of_its_own_question(tmp_path: Path) -> None:
    found = book(
        tmp_path, '@id("x") permit(principal, action, resource) when { resource == principal };'
    ).policies
    evaluator = Evaluator({key: one.json for key, one in found.items()})
    for name, expected in (("u", ["x"]), ("v", [])):
        asker = Asker("u", ("g",), (), ("topic:a:produce",), {})
        assert (
            evaluator.evaluate(asker, Operation.DESCRIBE_TOKENS, ResourceType.USER, name).permits == expected
        )
