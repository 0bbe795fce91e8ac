"""DescribeCluster, DescribeLogDirs, elections, reassignments, producers, partitions by pages; deny-all."""

from __future__ import annotations

from typing import Any

import pytest

from rivven.errors import ErrorCode
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.types import Operation, ResourceType
from tests.unit.api.administration import World, producer

NOT_ASKED = -2147483648


# -- the cluster ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1])
async def test_the_cluster_is_this_node_at_the_address_of_the_listener(world: World, version: int) -> None:
    key = ApiKey.DESCRIBE_CLUSTER
    answer = await world.call(key, version, m.DescribeClusterRequest(), user="ann")
    assert (answer.error_code, answer.controller_id, answer.cluster_id) == (
        0,
        1,
        world.metadata.image.cluster_id,
    )
    (broker,) = answer.brokers
    assert (broker.broker_id, broker.host, broker.port) == (1, "broker.example", 9092)
    assert answer.cluster_authorized_operations == NOT_ASKED
    asking = m.DescribeClusterRequest(include_cluster_authorized_operations=True)
    assert (await world.call(key, version, asking, user="ann")).cluster_authorized_operations == 0
    await world.allow("ann", Operation.ALTER)
    field = (await world.call(key, version, asking, user="ann")).cluster_authorized_operations
    assert field == 1 << Operation.ALTER | 1 << Operation.DESCRIBE


@pytest.mark.parametrize(("endpoints", "code"), [(2, 114), (3, 115)])
async def test_other_endpoints_than_brokers(world: World, endpoints: int, code: int) -> None:
    request = m.DescribeClusterRequest(endpoint_type=endpoints)
    assert (await world.call(ApiKey.DESCRIBE_CLUSTER, 1, request)).error_code == code


# -- disks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2, 3, 4])
async def test_log_dirs(world: World, version: int) -> None:
    await world.topic("orders", 2)
    await world.topic("other")
    world.replicas.partition("orders", 1).log.size_bytes = 77
    key = ApiKey.DESCRIBE_LOG_DIRS
    (result,) = (await world.call(key, version, m.DescribeLogDirsRequest(topics=None))).results
    assert (result.error_code, result.log_dir) == (0, "/var/lib/rivven")
    sizes = {
        (topic.name, one.partition_index): one.partition_size
        for topic in result.topics
        for one in topic.partitions
    }
    assert sizes == {("orders", 0): 0, ("orders", 1): 77, ("other", 0): 0}
    assert (result.total_bytes, result.usable_bytes) == ((1000, 400) if version >= 4 else (-1, -1))
    topic = m.DescribeLogDirsRequest.DescribableLogDirTopic(topic="orders", partitions=[1, 9])
    (result,) = (await world.call(key, version, m.DescribeLogDirsRequest(topics=[topic]))).results
    assert [one.partition_index for one in result.topics[0].partitions] == [1]
    denied = await world.call(key, version, m.DescribeLogDirsRequest(topics=None), user="ann")
    assert denied.results == []
    assert denied.error_code == (31 if version >= 3 else 0)


async def test_an_offline_disk(world: World) -> None:
    world.disk.online = False
    request = m.DescribeLogDirsRequest(topics=None)
    (result,) = (await world.call(ApiKey.DESCRIBE_LOG_DIRS, 4, request)).results
    assert (result.error_code, result.topics) == (ErrorCode.KAFKA_STORAGE_ERROR, [])


# -- leaders and replicas ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1, 2])
async def test_an_election_is_never_needed(world: World, version: int) -> None:
    await world.topic("orders")
    asked = m.ElectLeadersRequest.TopicPartitions(topic="orders", partitions=[0, 5])
    request = m.ElectLeadersRequest(topic_partitions=[asked])
    answer = await world.call(ApiKey.ELECT_LEADERS, version, request)
    (topic,) = answer.replica_election_results
    assert [one.error_code for one in topic.partition_result] == [84, 3]
    everything = await world.call(ApiKey.ELECT_LEADERS, version, m.ElectLeadersRequest(topic_partitions=None))
    assert (everything.error_code, everything.replica_election_results) == (0, [])
    denied = await world.call(ApiKey.ELECT_LEADERS, version, request, user="ann")
    if version == 0:
        (topic,) = denied.replica_election_results
        assert [one.error_code for one in topic.partition_result] == [31, 31]
    else:
        assert (denied.error_code, denied.replica_election_results) == (31, [])


async def test_an_unknown_kind_of_election(world: World) -> None:
    request = m.ElectLeadersRequest(election_type=2, topic_partitions=None)
    assert (await world.call(ApiKey.ELECT_LEADERS, 2, request)).error_code == ErrorCode.INVALID_REQUEST


async def test_reassignments(world: World) -> None:
    await world.topic("orders", 4)
    request = m.AlterPartitionReassignmentsRequest
    wishes: list[tuple[int, list[int] | None]] = [(0, [1]), (1, None), (2, [2]), (3, []), (4, [1])]
    topic = request.ReassignableTopic(
        name="orders",
        partitions=[request.ReassignablePartition(partition_index=i, replicas=wish) for i, wish in wishes],
    )
    key = ApiKey.ALTER_PARTITION_REASSIGNMENTS
    answer = await world.call(key, 0, m.AlterPartitionReassignmentsRequest(topics=[topic]))
    assert (answer.error_code, answer.error_message) == (0, None)
    assert [one.error_code for one in answer.responses[0].partitions] == [0, 85, 39, 39, 3]
    denied = await world.call(key, 0, m.AlterPartitionReassignmentsRequest(topics=[topic]), user="ann")
    assert (denied.error_code, denied.responses) == (31, [])


async def test_no_reassignment_is_under_way(world: World) -> None:
    key = ApiKey.LIST_PARTITION_REASSIGNMENTS
    answer = await world.call(key, 0, m.ListPartitionReassignmentsRequest(topics=None))
    assert (answer.error_code, answer.topics) == (0, [])
    denied = await world.call(key, 0, m.ListPartitionReassignmentsRequest(topics=None), user="ann")
    assert denied.error_code == 31


# -- producers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 2, 3, 5])
async def test_every_producer_gets_its_own_id(world: World, version: int) -> None:
    request = m.InitProducerIdRequest(transactional_id=None)
    answers = [await world.call(ApiKey.INIT_PRODUCER_ID, version, request) for _ in range(3)]
    assert [one.error_code for one in answers] == [0, 0, 0]
    assert len({one.producer_id for one in answers}) == 3
    assert {one.producer_epoch for one in answers} == {0}


@pytest.mark.parametrize("version", [0, 5])
async def test_a_transactional_producer_is_refused_for_good(world: World, version: int) -> None:
    request = m.InitProducerIdRequest(transactional_id="tx", transaction_timeout_ms=1000)
    answer = await world.call(ApiKey.INIT_PRODUCER_ID, version, request)
    assert (answer.error_code, answer.producer_id) == (
        ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        -1,
    )


async def test_half_an_old_producer_id_is_refused(world: World) -> None:
    request = m.InitProducerIdRequest(transactional_id=None, producer_id=5)
    assert (await world.call(ApiKey.INIT_PRODUCER_ID, 3, request)).error_code == ErrorCode.INVALID_REQUEST


async def test_who_may_write_somewhere_may_produce_idempotently(world: World) -> None:
    request = m.InitProducerIdRequest(transactional_id=None)
    denied = await world.call(ApiKey.INIT_PRODUCER_ID, 4, request, user="ann")
    assert (denied.error_code, denied.producer_id) == (ErrorCode.CLUSTER_AUTHORIZATION_FAILED, -1)
    await world.allow("ann", Operation.WRITE, ResourceType.TOPIC, "orders")
    await world.allow("bob", Operation.IDEMPOTENT_WRITE)
    for user in ("ann", "bob"):
        assert (await world.call(ApiKey.INIT_PRODUCER_ID, 4, request, user=user)).error_code == 0


async def test_producers_of_a_partition(world: World) -> None:
    await world.topic("orders", 2)
    world.replicas.partition("orders", 0).log.producers = [(9, producer(epoch=2, last_sequence=41))]
    world.replicas.partition("orders", 1).online = False
    topic = m.DescribeProducersRequest.TopicRequest(name="orders", partition_indexes=[0, 1, 2])
    answer = await world.call(ApiKey.DESCRIBE_PRODUCERS, 0, m.DescribeProducersRequest(topics=[topic]))
    good, offline, unknown = answer.topics[0].partitions
    assert (offline.error_code, unknown.error_code) == (56, 3)
    (state,) = good.active_producers
    assert (state.producer_id, state.producer_epoch, state.last_sequence) == (9, 2, 41)
    assert (state.last_timestamp, state.coordinator_epoch, state.current_txn_start_offset) == (1000, -1, -1)
    request = m.DescribeProducersRequest(topics=[topic])
    denied = await world.call(ApiKey.DESCRIBE_PRODUCERS, 0, request, user="ann")
    assert [one.error_code for one in denied.topics[0].partitions] == [29, 29, 29]


# -- partitions by pages -------------------------------------------------------------------------------------


async def pages(
    world: World, limit: int, names: tuple[str, ...] = (), user: str = "admin"
) -> list[list[Any]]:
    """All pages as lists of (topic, error, partition indexes)."""
    request = m.DescribeTopicPartitionsRequest
    cursor, found = None, []
    for _ in range(20):
        answer = await world.call(
            ApiKey.DESCRIBE_TOPIC_PARTITIONS,
            0,
            m.DescribeTopicPartitionsRequest(
                topics=[request.TopicRequest(name=name) for name in names],
                response_partition_limit=limit,
                cursor=cursor,
            ),
            user=user,
        )
        found.append(
            [
                (topic.name, topic.error_code, [one.partition_index for one in topic.partitions])
                for topic in answer.topics
            ]
        )
        if answer.next_cursor is None:
            return found
        cursor = request.Cursor(
            topic_name=answer.next_cursor.topic_name, partition_index=answer.next_cursor.partition_index
        )
    raise AssertionError("the pages do not end")


async def test_pages_cover_every_partition_once(world: World) -> None:
    await world.topic("b", 3)
    await world.topic("a", 2)
    await world.topic("c", 1)
    assert await pages(world, 2) == [
        [("a", 0, [0, 1])],
        [("b", 0, [0, 1])],
        [("b", 0, [2]), ("c", 0, [0])],
    ]
    assert await pages(world, 100) == [[("a", 0, [0, 1]), ("b", 0, [0, 1, 2]), ("c", 0, [0])]]
    assert len(await pages(world, 0)) == 6


async def test_named_topics_unknown_ones_and_hidden_ones(world: World) -> None:
    await world.topic("seen", 1)
    await world.topic("hidden", 1)
    await world.allow("ann", Operation.READ, ResourceType.TOPIC, "seen")
    assert await pages(world, 10, ("seen", "hidden", "nothing"), user="ann") == [
        [("hidden", 29, []), ("nothing", 29, []), ("seen", 0, [0])]
    ]
    assert await pages(world, 10, user="ann") == [[("seen", 0, [0])]]
    assert await pages(world, 10, ("nothing", "a/b")) == [[("a/b", 17, []), ("nothing", 3, [])]]


async def test_a_page_tells_leader_epoch_operations_and_offline_replicas(world: World) -> None:
    topic = await world.topic("orders", 2)
    world.replicas.partition("orders", 0).leader_epoch = 4
    world.replicas.partition("orders", 1).online = False
    await world.allow("ann", Operation.READ, ResourceType.TOPIC, "orders")
    request = m.DescribeTopicPartitionsRequest()
    answer = await world.call(ApiKey.DESCRIBE_TOPIC_PARTITIONS, 0, request, user="ann")
    (found,) = answer.topics
    assert (found.topic_id, found.is_internal) == (topic.topic_id, False)
    assert found.topic_authorized_operations == 1 << Operation.READ | 1 << Operation.DESCRIBE
    good, offline = found.partitions
    assert (good.leader_id, good.leader_epoch, good.isr_nodes, good.replica_nodes) == (1, 4, [1], [1])
    assert (offline.error_code, offline.leader_id, offline.offline_replicas) == (5, -1, [1])


async def test_a_negative_cursor_is_refused(world: World) -> None:
    request = m.DescribeTopicPartitionsRequest(
        topics=[m.DescribeTopicPartitionsRequest.TopicRequest(name="a")],
        cursor=m.DescribeTopicPartitionsRequest.Cursor(topic_name="a", partition_index=-1),
    )
    (topic,) = (await world.call(ApiKey.DESCRIBE_TOPIC_PARTITIONS, 0, request)).topics
    assert topic.error_code == ErrorCode.INVALID_REQUEST


# -- nobody may ----------------------------------------------------------------------------------------------

_Creations = m.CreateTopicsRequest.CreatableTopic
_Deletions = m.DeleteTopicsRequest.DeleteTopicState
_Growths = m.CreatePartitionsRequest.CreatePartitionsTopic
_Configs = m.DescribeConfigsRequest.DescribeConfigsResource
_Pages = m.DescribeTopicPartitionsRequest
_EVERY_ACL = m.DescribeAclsRequest(
    resource_type_filter=1, pattern_type_filter=1, operation=1, permission_type=1
)

DENIED: list[tuple[ApiKey, int, Any, int]] = [
    (ApiKey.CREATE_TOPICS, 7, m.CreateTopicsRequest(topics=[_Creations(name="new")]), 29),
    (ApiKey.DELETE_TOPICS, 6, m.DeleteTopicsRequest(topics=[_Deletions(name="secret")]), 29),
    (ApiKey.CREATE_PARTITIONS, 3, m.CreatePartitionsRequest(topics=[_Growths(name="secret")]), 29),
    (
        ApiKey.DESCRIBE_CONFIGS,
        4,
        m.DescribeConfigsRequest(resources=[_Configs(resource_type=2, resource_name="secret")]),
        29,
    ),
    (ApiKey.INIT_PRODUCER_ID, 5, m.InitProducerIdRequest(transactional_id=None), 31),
    (ApiKey.DESCRIBE_ACLS, 3, _EVERY_ACL, 31),
    (ApiKey.DESCRIBE_TOPIC_PARTITIONS, 0, _Pages(topics=[_Pages.TopicRequest(name="secret")]), 29),
]


@pytest.mark.parametrize(
    ("key", "version", "request_", "code"), DENIED, ids=[case[0].name for case in DENIED]
)
async def test_an_existing_name_and_a_missing_one_are_denied_alike(
    world: World, key: ApiKey, version: int, request_: Any, code: int
) -> None:
    before = repr(await world.call(key, version, request_, user="ann", deny_all=True))
    await world.topic("secret")
    after = repr(await world.call(key, version, request_, user="ann", deny_all=True))
    assert before == after
    assert f"error_code={code}" in after
    assert list(world.metadata.image.topics) == ["secret"]
