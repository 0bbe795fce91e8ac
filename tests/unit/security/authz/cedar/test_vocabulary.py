"""The schema says what the table of operations says."""

from pathlib import Path

import pytest

from rivven.security.authz.cedar.book import PoliciesRefused
from rivven.security.authz.cedar.policies import load_policies, load_schema
from rivven.security.authz.cedar.vocabulary import ACTIONS, CONTEXT, RESOURCES, is_valid, schema_text
from rivven.security.authz.operations import VALID_OPERATIONS
from rivven.types import Operation, ResourceType
from tests.unit.security.authz.cedar.policy_world import write

TYPES = ("User", "Role", "Group", "Token", "Topic", "ConsumerGroup", "Cluster", "TransactionalId", "Tenant")
PAIRS = [(operation, kind) for operation in ACTIONS for kind in RESOURCES]


def test_every_type_and_attribute_is_declared() -> None:
    text = schema_text()
    for name in TYPES:
        assert f"entity {name}" in text
    for name, kind in CONTEXT.items():
        assert f"  {name}: {kind}," in text


def test_every_resource_type_with_operations_has_an_entity_type() -> None:
    assert set(VALID_OPERATIONS) == set(RESOURCES)
    assert ACTIONS[Operation.DESCRIBE_CONFIGS] == "DescribeConfigs"


@pytest.mark.parametrize(("operation", "kind"), PAIRS, ids=lambda value: value.name)
def test_the_schema_allows_what_can_be_asked(
    tmp_path: Path, operation: Operation, kind: ResourceType
) -> None:
    scope = f'principal, action == Action::"{ACTIONS[operation]}", resource is {RESOURCES[kind]}'
    write(tmp_path, f'@id("x") permit({scope});')
    accepted = True
    try:
        load_policies(tmp_path, load_schema())
    except PoliciesRefused:
        accepted = False
    assert accepted is is_valid(operation, kind)
