"""One meaningful request for every API the broker offers, at any version, and what a good answer says.

`CALLS` must have an entry for every API: a new one without is a failing test.
"""

from __future__ import annotations

from typing import Any

from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from tests.conformance import admin_calls
from tests.conformance.answers import NOT_ASKED, CallCase, Names, no_errors
from tests.conformance.client import batch, fetch_request, fresh, produce_request, read_all

VALUE = b"the value"


# -- records -------------------------------------------------------------------------------------------------


def _produce(_version: int, names: Names) -> Any:
    return produce_request(names.topic, batch(VALUE))


def _check_produce(answer: Any, version: int, names: Names) -> None:
    (topic,) = answer.responses
    (entry,) = topic.partition_responses
    assert (topic.name, entry.index, entry.error_code) == (names.topic, 0, 0)
    assert entry.base_offset >= 1
    assert entry.log_append_time_ms == -1
    if version >= 5:
        assert entry.log_start_offset == 0


def _check_fetch(answer: Any, version: int, names: Names) -> None:
    (topic,) = answer.responses
    (entry,) = topic.partitions
    assert (topic.topic, entry.partition_index, entry.error_code) == (names.topic, 0, 0)
    assert read_all(entry.records)[0].value == VALUE
    assert entry.high_watermark == entry.last_stable_offset >= 1
    assert entry.aborted_transactions is None
    if version >= 7:
        assert (answer.error_code, answer.session_id) == (0, 0)
    if version >= 11:
        assert entry.preferred_read_replica == -1


def _list_offsets(_version: int, names: Names) -> Any:
    part = m.ListOffsetsRequest.ListOffsetsPartition(partition_index=0, timestamp=-1)
    topic = m.ListOffsetsRequest.ListOffsetsTopic(name=names.topic, partitions=[part])
    return m.ListOffsetsRequest(replica_id=-1, topics=[topic])


def _check_list_offsets(answer: Any, version: int, names: Names) -> None:
    entry = answer.topics[0].partitions[0]
    assert (entry.error_code, entry.timestamp) == (0, -1)
    assert entry.offset >= 1
    if version >= 4:
        assert entry.leader_epoch >= 0


def _epochs(_version: int, names: Names) -> Any:
    part = m.OffsetForLeaderEpochRequest.OffsetForLeaderPartition(partition=0, leader_epoch=0)
    topic = m.OffsetForLeaderEpochRequest.OffsetForLeaderTopic(topic=names.topic, partitions=[part])
    return m.OffsetForLeaderEpochRequest(topics=[topic])


def _check_epochs(answer: Any, _version: int, names: Names) -> None:
    entry = answer.topics[0].partitions[0]
    assert (answer.topics[0].topic, entry.error_code, entry.leader_epoch) == (names.topic, 0, 0)
    assert entry.end_offset >= 1


def _delete_records(_version: int, names: Names) -> Any:
    part = m.DeleteRecordsRequest.DeleteRecordsPartition(partition_index=0, offset=0)
    topic = m.DeleteRecordsRequest.DeleteRecordsTopic(name=names.topic, partitions=[part])
    return m.DeleteRecordsRequest(topics=[topic], timeout_ms=10_000)


def _check_delete_records(answer: Any, _version: int, _names: Names) -> None:
    entry = answer.topics[0].partitions[0]
    assert (entry.error_code, entry.low_watermark) == (0, 0)


def _check_producer_id(answer: Any, _version: int, _names: Names) -> None:
    assert (answer.error_code, answer.producer_epoch) == (0, 0)
    assert answer.producer_id >= 0


def _describe_producers(_version: int, names: Names) -> Any:
    topic = m.DescribeProducersRequest.TopicRequest(name=names.topic, partition_indexes=[0])
    return m.DescribeProducersRequest(topics=[topic])


# -- topics --------------------------------------------------------------------------------------------------


def _metadata(version: int, names: Names) -> Any:
    topics = [m.MetadataRequest.MetadataRequestTopic(name=names.topic)]
    return m.MetadataRequest(topics=topics, allow_auto_topic_creation=False)


def _check_metadata(answer: Any, version: int, names: Names) -> None:
    nodes = {broker.node_id for broker in answer.brokers}
    assert all(broker.host and broker.port > 0 for broker in answer.brokers)
    (topic,) = answer.topics
    assert (topic.name, topic.error_code, len(topic.partitions)) == (names.topic, 0, 1)
    assert topic.partitions[0].leader_id in nodes
    assert topic.partitions[0].isr_nodes == topic.partitions[0].replica_nodes == [1]
    if version >= 1:
        assert answer.controller_id in nodes
    if version >= 2:
        assert answer.cluster_id
    if version >= 7:
        assert topic.partitions[0].leader_epoch >= 0
    if version >= 8:
        assert topic.topic_authorized_operations == NOT_ASKED
    if version >= 10:
        assert topic.topic_id == names.topic_id


def _describe_partitions(_version: int, names: Names) -> Any:
    return m.DescribeTopicPartitionsRequest(
        topics=[m.DescribeTopicPartitionsRequest.TopicRequest(name=names.topic)]
    )


def _check_partitions(answer: Any, _version: int, names: Names) -> None:
    (topic,) = answer.topics
    assert (topic.name, topic.topic_id, topic.error_code) == (names.topic, names.topic_id, 0)
    assert topic.partitions[0].leader_id == 1
    assert answer.next_cursor is None


def _create_topics(_version: int, names: Names) -> Any:
    creatable = m.CreateTopicsRequest.CreatableTopic(
        name=f"{names.topic}-{fresh()}", num_partitions=1, replication_factor=1
    )
    return m.CreateTopicsRequest(topics=[creatable], timeout_ms=10_000)


def _check_create_topics(answer: Any, version: int, _names: Names) -> None:
    (topic,) = answer.topics
    assert topic.error_code == 0
    if version >= 5:
        assert (topic.num_partitions, topic.replication_factor) == (1, 1)
        assert {config.name for config in topic.configs} >= {"cleanup.policy", "retention.ms"}
    if version >= 7:
        assert topic.topic_id.int != 0


def _delete_topics(version: int, names: Names) -> Any:
    request = m.DeleteTopicsRequest(timeout_ms=10_000)
    if version >= 6:
        request.topics = [m.DeleteTopicsRequest.DeleteTopicState(name=names.topic)]
    else:
        request.topic_names = [names.topic]
    return request


def _create_partitions(_version: int, names: Names) -> Any:
    topic = m.CreatePartitionsRequest.CreatePartitionsTopic(name=names.topic, count=2, assignments=None)
    return m.CreatePartitionsRequest(topics=[topic], timeout_ms=10_000, validate_only=True)


# -- groups --------------------------------------------------------------------------------------------------


def _commit(_version: int, names: Names) -> Any:
    part = m.OffsetCommitRequest.OffsetCommitRequestPartition(
        partition_index=0, committed_offset=1, committed_metadata="note", committed_leader_epoch=0
    )
    topic = m.OffsetCommitRequest.OffsetCommitRequestTopic(name=names.topic, partitions=[part])
    return m.OffsetCommitRequest(
        group_id=names.group,
        generation_id_or_member_epoch=names.generation,
        member_id=names.member,
        topics=[topic],
    )


def _fetch_offsets(version: int, names: Names) -> Any:
    if version >= 8:
        topics = m.OffsetFetchRequest.OffsetFetchRequestTopics(name=names.topic, partition_indexes=[0])
        group = m.OffsetFetchRequest.OffsetFetchRequestGroup(group_id=names.group, topics=[topics])
        return m.OffsetFetchRequest(groups=[group])
    topic = m.OffsetFetchRequest.OffsetFetchRequestTopic(name=names.topic, partition_indexes=[0])
    return m.OffsetFetchRequest(group_id=names.group, topics=[topic])


def _check_fetch_offsets(answer: Any, version: int, names: Names) -> None:
    no_errors(answer, version, names)
    topics = answer.groups[0].topics if version >= 8 else answer.topics
    entry = topics[0].partitions[0]
    assert (topics[0].name, entry.committed_offset, entry.metadata) == (names.topic, 1, "note")
    if version >= 5:
        assert entry.committed_leader_epoch == 0


def _find_coordinator(version: int, names: Names) -> Any:
    return m.FindCoordinatorRequest(key=names.group, key_type=0, coordinator_keys=[names.group])


def _check_coordinator(answer: Any, version: int, names: Names) -> None:
    found = answer.coordinators[0] if version >= 4 else answer
    assert (found.error_code, found.node_id) == (0, 1)
    assert found.host
    assert found.port > 0
    if version >= 4:
        assert found.key == names.group


def _join(_version: int, names: Names) -> Any:
    protocol = m.JoinGroupRequest.JoinGroupRequestProtocol(name="range", metadata=b"\0meta")
    return m.JoinGroupRequest(
        group_id=names.group,
        session_timeout_ms=10_000,
        rebalance_timeout_ms=10_000,
        member_id=names.member,
        protocol_type="consumer",
        protocols=[protocol],
    )


def _check_join(answer: Any, version: int, names: Names) -> None:
    assert answer.error_code == 0
    assert answer.generation_id >= 1
    assert answer.leader == answer.member_id
    assert answer.protocol_name == "range"
    assert [(member.member_id, member.metadata) for member in answer.members] == [
        (answer.member_id, b"\0meta")
    ]
    if version >= 7:
        assert answer.protocol_type == "consumer"


def _sync(_version: int, names: Names) -> Any:
    assignment = m.SyncGroupRequest.SyncGroupRequestAssignment(member_id=names.member, assignment=b"mine")
    return m.SyncGroupRequest(
        group_id=names.group,
        generation_id=names.generation,
        member_id=names.member,
        protocol_type="consumer",
        protocol_name="range",
        assignments=[assignment],
    )


def _check_sync(answer: Any, version: int, _names: Names) -> None:
    assert (answer.error_code, answer.assignment) == (0, b"mine")
    if version >= 5:
        assert (answer.protocol_type, answer.protocol_name) == ("consumer", "range")


def _heartbeat(_version: int, names: Names) -> Any:
    return m.HeartbeatRequest(group_id=names.group, generation_id=names.generation, member_id=names.member)


def _leave(_version: int, names: Names) -> Any:
    member = m.LeaveGroupRequest.MemberIdentity(member_id=names.member)
    return m.LeaveGroupRequest(group_id=names.group, member_id=names.member, members=[member])


def _check_leave(answer: Any, version: int, names: Names) -> None:
    no_errors(answer, version, names)
    if version >= 3:
        assert [member.member_id for member in answer.members] == [names.member]


def _check_describe_groups(answer: Any, version: int, names: Names) -> None:
    (group,) = answer.groups
    assert (group.group_id, group.error_code, group.group_state) == (names.group, 0, "Empty")
    if version >= 3:
        assert group.authorized_operations == NOT_ASKED


def _check_list_groups(answer: Any, version: int, names: Names) -> None:
    assert answer.error_code == 0
    (found,) = [group for group in answer.groups if group.group_id == names.group]
    if version >= 4:
        assert found.group_state == "Empty"
    if version >= 5:
        assert found.group_type == "Classic"


def _delete_offsets(_version: int, names: Names) -> Any:
    part = m.OffsetDeleteRequest.OffsetDeleteRequestPartition(partition_index=0)
    topic = m.OffsetDeleteRequest.OffsetDeleteRequestTopic(name=names.topic, partitions=[part])
    return m.OffsetDeleteRequest(group_id=names.group, topics=[topic])


CALLS: dict[ApiKey, CallCase] = {
    ApiKey.PRODUCE: CallCase(_produce, _check_produce),
    ApiKey.FETCH: CallCase(lambda version, names: fetch_request(names.topic, 0), _check_fetch),
    ApiKey.LIST_OFFSETS: CallCase(_list_offsets, _check_list_offsets),
    ApiKey.METADATA: CallCase(_metadata, _check_metadata),
    ApiKey.OFFSET_COMMIT: CallCase(_commit, no_errors),
    ApiKey.OFFSET_FETCH: CallCase(_fetch_offsets, _check_fetch_offsets),
    ApiKey.FIND_COORDINATOR: CallCase(_find_coordinator, _check_coordinator),
    ApiKey.JOIN_GROUP: CallCase(_join, _check_join),
    ApiKey.SYNC_GROUP: CallCase(_sync, _check_sync),
    ApiKey.HEARTBEAT: CallCase(_heartbeat, no_errors),
    ApiKey.LEAVE_GROUP: CallCase(_leave, _check_leave),
    ApiKey.DESCRIBE_GROUPS: CallCase(
        lambda version, names: m.DescribeGroupsRequest(groups=[names.group]), _check_describe_groups
    ),
    ApiKey.LIST_GROUPS: CallCase(lambda version, names: m.ListGroupsRequest(), _check_list_groups),
    ApiKey.DELETE_GROUPS: CallCase(
        lambda version, names: m.DeleteGroupsRequest(groups_names=[names.group]), no_errors
    ),
    ApiKey.OFFSET_DELETE: CallCase(_delete_offsets, no_errors),
    ApiKey.API_VERSIONS: CallCase(
        lambda version, names: m.ApiVersionsRequest(
            client_software_name="wire", client_software_version="1.0"
        ),
        admin_calls.check_versions,
    ),
    ApiKey.CREATE_TOPICS: CallCase(_create_topics, _check_create_topics),
    ApiKey.DELETE_TOPICS: CallCase(_delete_topics, no_errors),
    ApiKey.DELETE_RECORDS: CallCase(_delete_records, _check_delete_records),
    ApiKey.CREATE_PARTITIONS: CallCase(_create_partitions, no_errors),
    ApiKey.INIT_PRODUCER_ID: CallCase(
        lambda version, names: m.InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=0),
        _check_producer_id,
    ),
    ApiKey.OFFSET_FOR_LEADER_EPOCH: CallCase(_epochs, _check_epochs),
    ApiKey.DESCRIBE_ACLS: CallCase(
        lambda version, names: m.DescribeAclsRequest(**admin_calls.acl_filter(names)),
        admin_calls.check_describe_acls,
    ),
    ApiKey.CREATE_ACLS: CallCase(admin_calls.create_acls, no_errors),
    ApiKey.DELETE_ACLS: CallCase(
        lambda version, names: m.DeleteAclsRequest(
            filters=[m.DeleteAclsRequest.DeleteAclsFilter(**admin_calls.acl_filter(names))]
        ),
        admin_calls.check_delete_acls,
    ),
    ApiKey.DESCRIBE_CONFIGS: CallCase(admin_calls.describe_configs, admin_calls.check_describe_configs),
    ApiKey.ALTER_CONFIGS: CallCase(admin_calls.alter_configs, no_errors),
    ApiKey.INCREMENTAL_ALTER_CONFIGS: CallCase(admin_calls.incremental, no_errors),
    ApiKey.LIST_CONFIG_RESOURCES: CallCase(lambda version, names: m.ListConfigResourcesRequest(), no_errors),
    ApiKey.DESCRIBE_LOG_DIRS: CallCase(
        lambda version, names: m.DescribeLogDirsRequest(topics=None), admin_calls.check_log_dirs
    ),
    ApiKey.ELECT_LEADERS: CallCase(admin_calls.elect, admin_calls.check_elect),
    ApiKey.ALTER_PARTITION_REASSIGNMENTS: CallCase(admin_calls.reassign, no_errors),
    ApiKey.LIST_PARTITION_REASSIGNMENTS: CallCase(
        lambda version, names: m.ListPartitionReassignmentsRequest(), no_errors
    ),
    ApiKey.DESCRIBE_CLIENT_QUOTAS: CallCase(admin_calls.describe_quotas, admin_calls.check_described_quotas),
    ApiKey.ALTER_CLIENT_QUOTAS: CallCase(admin_calls.alter_quotas, no_errors),
    ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS: CallCase(
        admin_calls.describe_scram, admin_calls.check_describe_scram
    ),
    ApiKey.ALTER_USER_SCRAM_CREDENTIALS: CallCase(admin_calls.alter_scram, no_errors),
    ApiKey.CREATE_DELEGATION_TOKEN: CallCase(
        lambda version, names: m.CreateDelegationTokenRequest(max_lifetime_ms=60_000),
        admin_calls.check_token_created,
    ),
    ApiKey.RENEW_DELEGATION_TOKEN: CallCase(
        lambda version, names: m.RenewDelegationTokenRequest(hmac=names.token, renew_period_ms=-1),
        admin_calls.check_token_moved,
    ),
    ApiKey.EXPIRE_DELEGATION_TOKEN: CallCase(
        lambda version, names: m.ExpireDelegationTokenRequest(hmac=names.token, expiry_time_period_ms=-1),
        admin_calls.check_token_moved,
    ),
    ApiKey.DESCRIBE_DELEGATION_TOKEN: CallCase(
        lambda version, names: m.DescribeDelegationTokenRequest(owners=None), admin_calls.check_tokens
    ),
    ApiKey.DESCRIBE_CLUSTER: CallCase(
        lambda version, names: m.DescribeClusterRequest(), admin_calls.check_cluster
    ),
    ApiKey.DESCRIBE_PRODUCERS: CallCase(_describe_producers, no_errors),
    ApiKey.DESCRIBE_TOPIC_PARTITIONS: CallCase(_describe_partitions, _check_partitions),
}
"""Every API but the two of the SASL conversation, which need a connection of their own."""
