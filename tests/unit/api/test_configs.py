"""DescribeConfigs, AlterConfigs, IncrementalAlterConfigs, ListConfigResources at both ends of each range."""

from __future__ import annotations

from typing import Any

import pytest

from rivven.config.broker_settings import BROKER_SETTINGS
from rivven.config.topic_settings import TOPIC_SETTINGS
from rivven.errors import ErrorCode
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.tasks import Tasks
from rivven.types import Operation, ResourceType
from tests.unit.api.administration import World

DESCRIBE, ALTER, INCREMENT = (
    ApiKey.DESCRIBE_CONFIGS,
    ApiKey.ALTER_CONFIGS,
    ApiKey.INCREMENTAL_ALTER_CONFIGS,
)
TOPIC, BROKER, LOGGER, METRICS, GROUP = 2, 4, 8, 16, 32
SET, DELETE, APPEND, SUBTRACT = range(4)


def describing(*resources: tuple[int, str], keys: list[str] | None = None, **more: bool) -> Any:
    resource = m.DescribeConfigsRequest.DescribeConfigsResource
    return m.DescribeConfigsRequest(
        resources=[
            resource(resource_type=kind, resource_name=name, configuration_keys=keys)
            for kind, name in resources
        ],
        **more,
    )


def replacing(name: str, kind: int = TOPIC, validate_only: bool = False, **settings: str | None) -> Any:
    request = m.AlterConfigsRequest
    configs = [
        request.AlterableConfig(name=key.replace("_", "."), value=value) for key, value in settings.items()
    ]
    resource = request.AlterConfigsResource(resource_type=kind, resource_name=name, configs=configs)
    return m.AlterConfigsRequest(resources=[resource], validate_only=validate_only)


def changing(
    name: str, *changes: tuple[str, int, str | None], kind: int = TOPIC, validate_only: bool = False
) -> Any:
    request = m.IncrementalAlterConfigsRequest
    configs = [
        request.AlterableConfig(name=key, config_operation=operation, value=value)
        for key, operation, value in changes
    ]
    resource = request.AlterConfigsResource(resource_type=kind, resource_name=name, configs=configs)
    return m.IncrementalAlterConfigsRequest(resources=[resource], validate_only=validate_only)


async def entries(world: World, kind: int, name: str, version: int = 4, **more: Any) -> dict[str, Any]:
    (result,) = (await world.call(DESCRIBE, version, describing((kind, name), **more))).results
    assert (result.error_code, result.error_message) == (0, None)
    assert (result.resource_type, result.resource_name) == (kind, name)
    return {entry.name: entry for entry in result.configs}


# -- describing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2, 3, 4])
async def test_every_setting_of_a_topic_is_described_with_value_and_source(
    world: World, version: int
) -> None:
    await world.topic("orders", retention_ms="5000")
    found = await entries(world, TOPIC, "orders", version)
    assert list(found) == sorted(TOPIC_SETTINGS)
    assert (found["retention.ms"].value, found["retention.ms"].config_source) == ("5000", 1)
    assert (found["cleanup.policy"].value, found["cleanup.policy"].config_source) == ("delete", 5)
    assert not any(entry.read_only or entry.is_sensitive for entry in found.values())
    assert all(entry.synonyms == [] and not entry.documentation for entry in found.values())
    types = {found[name].config_type for name in ("retention.ms", "cleanup.policy", "preallocate")}
    assert types == ({5, 7, 1} if version >= 3 else {0})


async def test_synonyms_and_documentation_come_when_asked_for(world: World) -> None:
    await world.topic("orders", retention_ms="5000")
    found = await entries(world, TOPIC, "orders", include_synonyms=True, include_documentation=True)
    retention = found["retention.ms"]
    assert [(one.name, one.value, one.source) for one in retention.synonyms] == [
        ("retention.ms", "5000", 1),
        ("log.retention.hours", "168", 5),
    ]
    assert all(entry.documentation for entry in found.values())


async def test_sources_follow_the_layers(world: World) -> None:
    world = await World(Tasks(), **{"log.segment.bytes": 4096}).start()
    await world.topic("orders")
    segment = (await entries(world, TOPIC, "orders", keys=["segment.bytes"]))["segment.bytes"]
    assert (segment.value, segment.config_source) == ("4096", 4)
    await world.call(INCREMENT, 1, changing("", ("log.segment.bytes", SET, "8192"), kind=BROKER))
    segment = (await entries(world, TOPIC, "orders", keys=["segment.bytes"]))["segment.bytes"]
    assert (segment.value, segment.config_source) == ("8192", 3)
    await world.call(INCREMENT, 1, changing("1", ("log.segment.bytes", SET, "9000"), kind=BROKER))
    found = await entries(world, BROKER, "1", keys=["log.segment.bytes"], include_synonyms=True)
    places = [(one.value, one.source) for one in found["log.segment.bytes"].synonyms]
    assert places == [("9000", 2), ("8192", 3), ("4096", 4), ("1073741824", 5)]


async def test_only_the_wanted_settings(world: World) -> None:
    await world.topic("orders")
    assert list(await entries(world, TOPIC, "orders", keys=["retention.ms", "nonsense"])) == ["retention.ms"]
    assert len(await entries(world, TOPIC, "orders", keys=[])) == len(TOPIC_SETTINGS)


async def test_the_broker_and_the_cluster_default(world: World) -> None:
    found = await entries(world, BROKER, "1")
    assert list(found) == sorted(BROKER_SETTINGS)
    assert found["num.partitions"].read_only
    assert not found["log.retention.ms"].read_only
    assert found["log.retention.ms"].value is None
    assert await entries(world, BROKER, "") == {}
    await world.call(INCREMENT, 1, changing("", ("log.retention.ms", SET, "7"), kind=BROKER))
    found = await entries(world, BROKER, "")
    assert [(one.name, one.value, one.config_source) for one in found.values()] == [
        ("log.retention.ms", "7", 3)
    ]


async def test_what_cannot_be_described(world: World) -> None:
    asked = [
        (TOPIC, "nothing"),
        (TOPIC, "a/b"),
        (BROKER, "2"),
        (LOGGER, "1"),
        (METRICS, "x"),
        (GROUP, "g"),
        (9, ""),
    ]
    answer = await world.call(DESCRIBE, 4, describing(*asked))
    assert [result.error_code for result in answer.results] == [3, 17, 42, 42, 42, 42, 42]
    assert all(result.error_message and result.configs == [] for result in answer.results)


async def test_each_resource_is_authorised_by_its_type(world: World) -> None:
    await world.topic("orders")
    request = describing((TOPIC, "orders"), (TOPIC, "nothing"), (BROKER, "1"), (GROUP, "g"), (METRICS, "m"))
    answer = await world.call(DESCRIBE, 4, request, user="ann")
    assert [result.error_code for result in answer.results] == [29, 29, 31, 30, 31]
    await world.allow("ann", Operation.ALTER_CONFIGS, ResourceType.TOPIC, "orders")  # implies describing
    await world.allow("ann", Operation.DESCRIBE_CONFIGS)
    answer = await world.call(DESCRIBE, 4, request, user="ann")
    assert [result.error_code for result in answer.results] == [0, 29, 0, 30, 42]


# -- altering ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1, 2])
async def test_alter_replaces_everything_and_the_log_works_by_it(world: World, version: int) -> None:
    await world.topic("orders", retention_ms="5000")
    answer = await world.call(ALTER, version, replacing("orders", segment_bytes="4096"))
    assert [one.error_code for one in answer.responses] == [0]
    assert world.metadata.image.topics["orders"].configs == {"segment.bytes": "4096"}
    assert world.replicas.partition("orders", 0).log.config.segment_bytes == 4096
    assert world.replicas.partition("orders", 0).log.config.retention_ms == 604_800_000


@pytest.mark.parametrize("version", [0, 1])
async def test_incremental_changes(world: World, version: int) -> None:
    await world.topic("orders", retention_ms="5000")
    request = changing(
        "orders",
        ("segment.bytes", SET, "4096"),
        ("cleanup.policy", APPEND, "compact"),
        ("retention.ms", DELETE, None),
    )
    answer = await world.call(INCREMENT, version, request)
    assert [one.error_code for one in answer.responses] == [0]
    assert world.metadata.image.topics["orders"].configs == {
        "segment.bytes": "4096",
        "cleanup.policy": "delete,compact",
    }
    await world.call(INCREMENT, version, changing("orders", ("cleanup.policy", SUBTRACT, "delete")))
    assert world.replicas.partition("orders", 0).log.config.cleanup_policy == {"compact"}


@pytest.mark.parametrize("key", [ALTER, INCREMENT])
async def test_validate_only_changes_nothing(world: World, key: ApiKey) -> None:
    await world.topic("orders")
    request = (
        replacing("orders", validate_only=True, retention_ms="1")
        if key == ALTER
        else changing("orders", ("retention.ms", SET, "1"), validate_only=True)
    )
    assert [one.error_code for one in (await world.call(key, 1, request)).responses] == [0]
    assert not world.metadata.image.topics["orders"].configs


async def test_librdkafka_reads_modifies_and_writes_back_all_settings(world: World) -> None:
    await world.topic("orders", retention_ms="5000")
    found = await entries(world, TOPIC, "orders", 1)
    settings = {name.replace(".", "_"): entry.value for name, entry in found.items()}
    answer = await world.call(ALTER, 1, replacing("orders", **{**settings, "retention_ms": "6000"}))
    assert [one.error_code for one in answer.responses] == [0]
    assert world.metadata.image.topics["orders"].configs["retention.ms"] == "6000"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (changing("nothing", ("retention.ms", SET, "1")), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (changing("orders", ("retention.ms", SET, "x")), ErrorCode.INVALID_CONFIG),
        (changing("orders", ("no.such", SET, "1")), ErrorCode.INVALID_CONFIG),
        (changing("orders", ("unclean.leader.election.enable", SET, "true")), ErrorCode.INVALID_CONFIG),
        (changing("orders", ("retention.ms", SET, None)), ErrorCode.INVALID_REQUEST),
        (changing("orders", ("retention.ms", 7, "1")), ErrorCode.INVALID_REQUEST),
        (changing("2", ("log.retention.ms", SET, "1"), kind=BROKER), ErrorCode.INVALID_REQUEST),
        (changing("1", ("num.partitions", SET, "2"), kind=BROKER), ErrorCode.INVALID_CONFIG),
        (changing("1", ("x", SET, "2"), kind=LOGGER), ErrorCode.INVALID_REQUEST),
        (changing("g", ("x", SET, "2"), kind=GROUP), ErrorCode.INVALID_REQUEST),
    ],
)
async def test_changes_that_are_refused(world: World, request_: Any, code: ErrorCode) -> None:
    await world.topic("orders")
    (result,) = (await world.call(INCREMENT, 1, request_)).responses
    assert result.error_code == code
    assert result.error_message


@pytest.mark.parametrize("key", [ALTER, INCREMENT])
async def test_a_resource_named_twice_is_refused_once(world: World, key: ApiKey) -> None:
    await world.topic("orders")
    request = (
        replacing("orders", retention_ms="1")
        if key == ALTER
        else changing("orders", ("retention.ms", SET, "1"))
    )
    request.resources *= 2
    (result,) = (await world.call(key, 1, request)).responses
    assert result.error_code == ErrorCode.INVALID_REQUEST


async def test_altering_is_authorised_by_resource(world: World) -> None:
    await world.topic("orders")
    await world.allow("ann", Operation.DESCRIBE_CONFIGS, ResourceType.TOPIC, "orders")
    request = changing("orders", ("retention.ms", SET, "1"))
    request.resources += changing("1", ("log.retention.ms", SET, "1"), kind=BROKER).resources
    answer = await world.call(INCREMENT, 1, request, user="ann")
    assert [one.error_code for one in answer.responses] == [29, 31]
    await world.allow("ann", Operation.ALTER_CONFIGS, ResourceType.TOPIC, "orders")
    await world.allow("ann", Operation.ALTER_CONFIGS)
    answer = await world.call(INCREMENT, 1, request, user="ann")
    assert [one.error_code for one in answer.responses] == [0, 0]


# -- listing -------------------------------------------------------------------------------------------------


async def test_what_has_settings_is_listed(world: World) -> None:
    await world.topic("orders")
    key = ApiKey.LIST_CONFIG_RESOURCES
    answer = await world.call(key, 0, m.ListConfigResourcesRequest())
    assert (answer.error_code, answer.config_resources) == (0, [])  # v0 asks for client metrics
    answer = await world.call(key, 1, m.ListConfigResourcesRequest())
    assert {(one.resource_type, one.resource_name) for one in answer.config_resources} == {
        (TOPIC, "orders"),
        (BROKER, "1"),
    }
    answer = await world.call(key, 1, m.ListConfigResourcesRequest(resource_types=[TOPIC, METRICS]))
    assert [one.resource_name for one in answer.config_resources] == ["orders"]
    answer = await world.call(key, 1, m.ListConfigResourcesRequest(resource_types=[3]))
    assert answer.error_code == ErrorCode.UNSUPPORTED_VERSION
    answer = await world.call(key, 1, m.ListConfigResourcesRequest(), user="ann")
    assert answer.error_code == ErrorCode.CLUSTER_AUTHORIZATION_FAILED
