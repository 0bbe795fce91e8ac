"""DescribeAcls, CreateAcls, DeleteAcls at both ends of their ranges."""

from __future__ import annotations

from typing import Any

import pytest

from rivven.errors import ErrorCode
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.tasks import Tasks
from rivven.types import Operation
from tests.unit.api.administration import World

DESCRIBE, CREATE, DELETE = ApiKey.DESCRIBE_ACLS, ApiKey.CREATE_ACLS, ApiKey.DELETE_ACLS


def rule(name: str = "orders", **change: Any) -> Any:
    fields = {
        "resource_type": 2,
        "resource_pattern_type": 3,
        "principal": "User:ann",
        "host": "*",
        "operation": 3,
        "permission_type": 3,
    }
    return m.CreateAclsRequest.AclCreation(resource_name=name, **{**fields, **change})


def asked(kind: Any = m.DeleteAclsRequest.DeleteAclsFilter, **change: Any) -> Any:
    fields = {
        "resource_type_filter": 1,
        "resource_name_filter": None,
        "pattern_type_filter": 1,
        "principal_filter": None,
        "host_filter": None,
        "operation": 1,
        "permission_type": 1,
    }
    return kind(**{**fields, **change})


async def create(world: World, *rules: Any, version: int = 3) -> list[int]:
    answer = await world.call(CREATE, version, m.CreateAclsRequest(creations=list(rules)))
    return [result.error_code for result in answer.results]


async def described(world: World, version: int = 3, **change: Any) -> list[tuple[Any, ...]]:
    answer = await world.call(DESCRIBE, version, asked(m.DescribeAclsRequest, **change))
    assert (answer.error_code, answer.error_message) == (0, None)
    return [
        (resource.resource_type, resource.resource_name, resource.pattern_type, acl.principal, acl.operation)
        for resource in answer.resources
        for acl in resource.acls
    ]


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_rules_are_created_described_and_deleted(world: World, version: int) -> None:
    rules = (rule(), rule(operation=4), rule("ord", resource_pattern_type=4), rule("*"))
    assert await create(world, *rules, version=version) == [0, 0, 0, 0]
    assert await described(world, version) == [
        (2, "orders", 3, "User:ann", 3),
        (2, "orders", 3, "User:ann", 4),
        (2, "ord", 4, "User:ann", 3),
        (2, "*", 3, "User:ann", 3),
    ]
    request = m.DeleteAclsRequest(filters=[asked(operation=4), asked(resource_name_filter="ord")])
    answer = await world.call(DELETE, version, request)
    assert [[one.resource_name for one in result.matching_acls] for result in answer.filter_results] == [
        ["orders"],
        ["ord"],
    ]
    (first, _) = answer.filter_results
    (matched,) = first.matching_acls
    assert (matched.error_code, matched.principal, matched.host, matched.operation) == (0, "User:ann", "*", 4)
    assert len(await described(world, version)) == 2


async def test_a_match_filter_finds_all_that_applies_to_a_name(world: World) -> None:
    await create(world, rule(), rule("ord", resource_pattern_type=4), rule("*"), rule("other"))
    found = await described(world, resource_name_filter="orders", pattern_type_filter=2)
    assert {name for _, name, _, _, _ in found} == {"orders", "ord", "*"}


async def test_rules_of_users_and_tokens(world: World) -> None:
    assert await create(world, rule("bob", resource_type=7, operation=13)) == [0]
    assert await described(world, resource_type_filter=7) == [(7, "bob", 3, "User:ann", 13)]


@pytest.mark.parametrize(
    "change",
    [
        {"resource_type": 1},
        {"resource_type": 99},
        {"resource_pattern_type": 1},
        {"resource_pattern_type": 2},
        {"operation": 0},
        {"operation": 1},
        {"operation": 99},
        {"permission_type": 1},
        {"permission_type": 9},
        {"name": ""},
        {"principal": "nobody"},
        {"host": "somewhere"},
        {"resource_type": 4},
    ],
)
async def test_rules_that_are_refused_do_not_stop_the_others(world: World, change: dict[str, Any]) -> None:
    assert await create(world, rule(**change), rule()) == [ErrorCode.INVALID_REQUEST, 0]
    assert len(await described(world)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"resource_type_filter": 0},
        {"pattern_type_filter": 0},
        {"pattern_type_filter": 77},
        {"operation": 0},
        {"permission_type": 0},
    ],
)
async def test_filters_with_unknown_codes_are_refused(world: World, change: dict[str, int]) -> None:
    answer = await world.call(DESCRIBE, 3, asked(m.DescribeAclsRequest, **change))
    assert answer.error_code == ErrorCode.INVALID_REQUEST
    answer = await world.call(DELETE, 3, m.DeleteAclsRequest(filters=[asked(**change), asked()]))
    assert [one.error_code for one in answer.filter_results] == [ErrorCode.INVALID_REQUEST, 0]


async def test_a_rule_works_as_soon_as_its_creation_is_answered(world: World) -> None:
    request = asked(m.DescribeAclsRequest)
    assert (await world.call(DESCRIBE, 3, request, user="ann")).error_code == 31
    await world.allow("ann", Operation.DESCRIBE)
    assert (await world.call(DESCRIBE, 3, request, user="ann")).error_code == 0
    answer = await world.call(CREATE, 3, m.CreateAclsRequest(creations=[rule(), rule("b")]), user="ann")
    assert [one.error_code for one in answer.results] == [31, 31]
    answer = await world.call(DELETE, 3, m.DeleteAclsRequest(filters=[asked()]), user="ann")
    assert [one.error_code for one in answer.filter_results] == [31]
    await world.allow("ann", Operation.ALTER)
    answer = await world.call(DELETE, 3, m.DeleteAclsRequest(filters=[asked()]), user="ann")
    assert len(answer.filter_results[0].matching_acls) == 2
    assert (await world.call(DESCRIBE, 3, request, user="ann")).error_code == 31


async def test_without_an_authorizer_rules_are_not_promised() -> None:
    world = World(Tasks())
    world.acl_enabled = False
    await world.start()
    assert await create(world, rule()) == [ErrorCode.SECURITY_DISABLED]
    answer = await world.call(DESCRIBE, 3, asked(m.DescribeAclsRequest))
    assert answer.error_code == ErrorCode.SECURITY_DISABLED
    answer = await world.call(DELETE, 3, m.DeleteAclsRequest(filters=[asked()]))
    assert answer.filter_results[0].error_code == ErrorCode.SECURITY_DISABLED
