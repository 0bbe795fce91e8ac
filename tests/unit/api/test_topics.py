"""CreateTopics, DeleteTopics, CreatePartitions, DeleteRecords at both ends of their ranges."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from rivven.errors import ErrorCode, StorageFailed
from rivven.metadata.commands import DeleteTopic
from rivven.metadata.service import NULL_UUID
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.tasks import Tasks
from rivven.types import Operation, PatternType, ResourceType
from tests.unit.api.administration import World

CREATE, DELETE = ApiKey.CREATE_TOPICS, ApiKey.DELETE_TOPICS
GROW, SHRINK = ApiKey.CREATE_PARTITIONS, ApiKey.DELETE_RECORDS


def new(name: str, partitions: int = 1, factor: int = 1, **settings: str | None) -> Any:
    request = m.CreateTopicsRequest
    return request.CreatableTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=factor,
        configs=[
            request.CreatableTopicConfig(name=key.replace("_", "."), value=value)
            for key, value in settings.items()
        ],
    )


def creation(*topics: Any, validate_only: bool = False) -> Any:
    return m.CreateTopicsRequest(topics=list(topics), validate_only=validate_only)


def codes(results: list[Any]) -> dict[str, int]:
    return {result.name: result.error_code for result in results}


def deletion(version: int, *names: str) -> Any:
    if version < 6:
        return m.DeleteTopicsRequest(topic_names=list(names))
    state = m.DeleteTopicsRequest.DeleteTopicState
    return m.DeleteTopicsRequest(topics=[state(name=name) for name in names])


# -- creating ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 4, 5, 7])
async def test_a_created_topic_is_hosted_when_the_answer_arrives(world: World, version: int) -> None:
    answer = await world.call(CREATE, version, creation(new("orders", 3, retention_ms="5000")))
    (result,) = answer.topics
    assert (result.name, result.error_code, result.error_message) == ("orders", 0, None)
    assert world.replicas.partition("orders", 2).log.config.retention_ms == 5000
    topic = world.metadata.image.topics["orders"]
    assert result.topic_id == (topic.topic_id if version >= 7 else NULL_UUID)
    if version >= 5:
        assert (result.num_partitions, result.replication_factor) == (3, 1)
        settings = {one.name: (one.value, one.config_source) for one in result.configs}
        assert settings["retention.ms"] == ("5000", 1)
        assert settings["cleanup.policy"] == ("delete", 5)


async def test_each_topic_has_its_own_answer(world: World) -> None:
    await world.topic("there")
    request = creation(
        new("fine"),
        new("there"),
        new("a/b"),
        new("none", 0),
        new("three", 1, 3),
        new("odd", retention_ms="x"),
    )
    answer = await world.call(CREATE, 7, request)
    assert codes(answer.topics) == {
        "fine": 0,
        "there": ErrorCode.TOPIC_ALREADY_EXISTS,
        "a/b": ErrorCode.INVALID_TOPIC_EXCEPTION,
        "none": ErrorCode.INVALID_PARTITIONS,
        "three": ErrorCode.INVALID_REPLICATION_FACTOR,
        "odd": ErrorCode.INVALID_CONFIG,
    }
    assert all(result.error_message for result in answer.topics if result.error_code)


async def test_a_name_that_occurs_twice_is_refused_once_and_the_others_are_created(world: World) -> None:
    answer = await world.call(CREATE, 7, creation(new("twice"), new("once"), new("twice")))
    assert codes(answer.topics) == {"twice": ErrorCode.INVALID_REQUEST, "once": 0}
    assert list(world.metadata.image.topics) == ["once"]


@pytest.mark.parametrize("version", [2, 7])
async def test_validate_only_creates_nothing_and_reports_errors(world: World, version: int) -> None:
    request = creation(new("good", 4), new("bad", 0), validate_only=True)
    answer = await world.call(CREATE, version, request)
    assert codes(answer.topics) == {"good": 0, "bad": ErrorCode.INVALID_PARTITIONS}
    assert not world.metadata.image.topics
    assert not world.replicas.hosted
    assert answer.topics[0].topic_id == NULL_UUID


async def test_manual_assignment_and_default_counts(world: World) -> None:
    assigned = new("assigned", -1, -1)
    assigned.assignments = [
        m.CreateTopicsRequest.CreatableReplicaAssignment(partition_index=index, broker_ids=[1])
        for index in range(2)
    ]
    answer = await world.call(CREATE, 4, creation(assigned, new("default", -1, -1)))
    assert codes(answer.topics) == {"assigned": 0, "default": 0}
    assert {name: topic.partitions for name, topic in world.metadata.image.topics.items()} == {
        "assigned": 2,
        "default": 1,
    }


async def test_creation_needs_create_on_the_topic_or_the_cluster(world: World) -> None:
    await world.allow("ann", Operation.CREATE, ResourceType.TOPIC, "ann-", PatternType.PREFIXED)
    answer = await world.call(CREATE, 7, creation(new("ann-1"), new("bob-1")), user="ann")
    assert codes(answer.topics) == {"ann-1": 0, "bob-1": ErrorCode.TOPIC_AUTHORIZATION_FAILED}
    await world.allow("bob", Operation.CREATE)
    answer = await world.call(CREATE, 7, creation(new("bob-1")), user="bob")
    assert codes(answer.topics) == {"bob-1": 0}


async def test_settings_are_answered_only_to_those_who_may_describe_them(world: World) -> None:
    await world.allow("ann", Operation.CREATE)
    (hidden,) = (await world.call(CREATE, 5, creation(new("a")), user="ann")).topics
    assert (hidden.error_code, hidden.num_partitions, hidden.configs) == (0, -1, [])
    assert hidden.topic_config_error_code == ErrorCode.TOPIC_AUTHORIZATION_FAILED
    await world.allow("ann", Operation.DESCRIBE_CONFIGS, ResourceType.TOPIC, "*")
    (shown,) = (await world.call(CREATE, 5, creation(new("b")), user="ann")).topics
    assert shown.topic_config_error_code == 0
    assert shown.configs


async def test_a_disk_that_cannot_hold_the_topic_is_reported(world: World) -> None:
    world.replicas.disk_error = StorageFailed("the log directory is offline")
    answer = await world.call(CREATE, 7, creation(new("orders")))
    assert codes(answer.topics) == {"orders": ErrorCode.KAFKA_STORAGE_ERROR}


async def test_a_topic_deleted_while_it_is_hosted_leaves_nothing_behind(world: World) -> None:
    world.replicas.while_hosting = lambda topic: world.metadata.submit(DeleteTopic(topic.topic_id))
    answer = await world.call(CREATE, 7, creation(new("orders")))
    assert codes(answer.topics) == {"orders": ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}
    assert not world.replicas.hosted


# -- deleting ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 4, 5, 6])
async def test_deletion_by_name(world: World, version: int) -> None:
    topic = await world.topic("orders")
    answer = await world.call(DELETE, version, deletion(version, "orders", "nothing"))
    assert codes(answer.responses) == {"orders": 0, "nothing": ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}
    deleted = next(one for one in answer.responses if one.error_code == 0)
    assert deleted.topic_id == (topic.topic_id if version >= 6 else NULL_UUID)
    assert not world.metadata.image.topics


async def test_deletion_by_id(world: World) -> None:
    topic = await world.topic("orders")
    state = m.DeleteTopicsRequest.DeleteTopicState
    stranger = UUID(int=99)
    request = m.DeleteTopicsRequest(topics=[state(topic_id=topic.topic_id), state(topic_id=stranger)])
    answer = await world.call(DELETE, 6, request)
    assert {(one.topic_id, one.name, one.error_code) for one in answer.responses} == {
        (topic.topic_id, "orders", 0),
        (stranger, None, ErrorCode.UNKNOWN_TOPIC_ID),
    }


async def test_contradictory_and_repeated_deletions(world: World) -> None:
    topic = await world.topic("orders")
    other = await world.topic("other")
    state = m.DeleteTopicsRequest.DeleteTopicState
    request = m.DeleteTopicsRequest(
        topics=[
            state(name="orders", topic_id=topic.topic_id),
            state(),
            state(name="other"),
            state(topic_id=other.topic_id),
            state(name="orders"),
            state(name="orders"),
        ]
    )
    answer = await world.call(DELETE, 6, request)
    assert [one.error_code for one in answer.responses].count(ErrorCode.INVALID_REQUEST) == 4
    assert list(world.metadata.image.topics) == ["orders"]


async def test_an_id_one_may_not_describe_looks_like_one_that_does_not_exist(world: World) -> None:
    topic = await world.topic("secret")
    state = m.DeleteTopicsRequest.DeleteTopicState
    request = m.DeleteTopicsRequest(topics=[state(topic_id=topic.topic_id), state(name="secret")])
    answer = await world.call(DELETE, 6, request, user="ann")
    by_id, by_name = answer.responses
    assert (by_id.name, by_id.error_code) == (None, ErrorCode.UNKNOWN_TOPIC_ID)
    assert (by_name.topic_id, by_name.error_code) == (NULL_UUID, ErrorCode.TOPIC_AUTHORIZATION_FAILED)
    assert "secret" not in (by_id.error_message or "")
    await world.allow("ann", Operation.DESCRIBE, ResourceType.TOPIC, "secret")
    answer = await world.call(DELETE, 6, request, user="ann")
    assert [one.error_code for one in answer.responses] == [ErrorCode.TOPIC_AUTHORIZATION_FAILED] * 2
    await world.allow("ann", Operation.DELETE)  # on the cluster
    answer = await world.call(DELETE, 6, deletion(6, "secret"), user="ann")
    assert codes(answer.responses) == {"secret": 0}


async def test_the_brokers_own_topic_stays(world: World) -> None:
    await world.metadata.create_internal_topic("__consumer_offsets", 2, {"cleanup.policy": "compact"})
    answer = await world.call(DELETE, 6, deletion(6, "__consumer_offsets"))
    assert codes(answer.responses) == {"__consumer_offsets": ErrorCode.INVALID_TOPIC_EXCEPTION}


@pytest.mark.parametrize(("version", "code"), [(1, 42), (2, 42), (3, 73), (6, 73)])
async def test_deletion_can_be_disabled(version: int, code: int) -> None:
    world = await World(Tasks(), **{"delete.topic.enable": False}).start()
    await world.topic("orders")
    answer = await world.call(DELETE, version, deletion(version, "orders"))
    assert codes(answer.responses) == {"orders": code}


# -- growing -------------------------------------------------------------------------------------------------


def growth(name: str, count: int, assignments: list[list[int]] | None = None) -> Any:
    request = m.CreatePartitionsRequest
    return request.CreatePartitionsTopic(
        name=name,
        count=count,
        assignments=None
        if assignments is None
        else [request.CreatePartitionsAssignment(broker_ids=ids) for ids in assignments],
    )


@pytest.mark.parametrize("version", [0, 3])
async def test_growth_is_hosted_when_the_answer_arrives(world: World, version: int) -> None:
    await world.topic("orders")
    request = m.CreatePartitionsRequest(topics=[growth("orders", 4), growth("nothing", 2)])
    answer = await world.call(GROW, version, request)
    assert codes(answer.results) == {"orders": 0, "nothing": ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}
    assert world.replicas.partition("orders", 3) is not None


async def test_growth_that_is_refused_or_only_validated(world: World) -> None:
    for name in ("less", "twice", "tried", "assigned"):
        await world.topic(name, 2)
    topics = [growth("less", 1), growth("twice", 3), growth("twice", 4), growth("assigned", 3, [[2]])]
    answer = await world.call(GROW, 3, m.CreatePartitionsRequest(topics=topics))
    assert codes(answer.results) == {
        "less": ErrorCode.INVALID_PARTITIONS,
        "twice": ErrorCode.INVALID_REQUEST,
        "assigned": ErrorCode.INVALID_REPLICA_ASSIGNMENT,
    }
    request = m.CreatePartitionsRequest(topics=[growth("tried", 3, [[1]])], validate_only=True)
    assert codes((await world.call(GROW, 3, request)).results) == {"tried": 0}
    assert world.metadata.image.topics["tried"].partitions == 2


async def test_growth_needs_alter(world: World) -> None:
    await world.topic("orders")
    request = m.CreatePartitionsRequest(topics=[growth("orders", 2)])
    answer = await world.call(GROW, 3, request, user="ann")
    assert codes(answer.results) == {"orders": ErrorCode.TOPIC_AUTHORIZATION_FAILED}


# -- deleting records ----------------------------------------------------------------------------------------


def shrinking(name: str, *offsets: tuple[int, int]) -> Any:
    request = m.DeleteRecordsRequest
    partitions = [request.DeleteRecordsPartition(partition_index=i, offset=offset) for i, offset in offsets]
    return m.DeleteRecordsRequest(
        topics=[request.DeleteRecordsTopic(name=name, partitions=partitions)], timeout_ms=1000
    )


@pytest.mark.parametrize("version", [0, 2])
async def test_records_are_deleted_up_to_an_offset_or_the_high_watermark(world: World, version: int) -> None:
    await world.topic("orders", 5)
    for index in range(5):
        world.replicas.partition("orders", index).high_watermark = 10
    request = shrinking("orders", (0, 4), (1, -1), (2, 11), (3, -2), (9, 1))
    (topic,) = (await world.call(SHRINK, version, request)).topics
    assert [(one.low_watermark, one.error_code) for one in topic.partitions] == [
        (4, 0),
        (10, 0),
        (-1, ErrorCode.OFFSET_OUT_OF_RANGE),
        (-1, ErrorCode.OFFSET_OUT_OF_RANGE),
        (-1, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
    ]
    (topic,) = (await world.call(SHRINK, version, shrinking("orders", (0, 2)))).topics
    assert topic.partitions[0].low_watermark == 4  # never back


async def test_records_that_may_not_be_deleted(world: World) -> None:
    await world.topic("compacted", cleanup_policy="compact")
    await world.topic("offline")
    world.replicas.partition("offline", 0).online = False
    internal = await world.metadata.create_internal_topic("__consumer_offsets", 1, {})
    await world.replicas.ensure(internal)
    for name, code in {
        "compacted": ErrorCode.POLICY_VIOLATION,
        "offline": ErrorCode.KAFKA_STORAGE_ERROR,
        "__consumer_offsets": ErrorCode.INVALID_TOPIC_EXCEPTION,
    }.items():
        (topic,) = (await world.call(SHRINK, 2, shrinking(name, (0, 0)))).topics
        assert topic.partitions[0].error_code == code
    (topic,) = (await world.call(SHRINK, 2, shrinking("compacted", (0, 0)), user="ann")).topics
    assert topic.partitions[0].error_code == ErrorCode.TOPIC_AUTHORIZATION_FAILED
