"""Cluster administration: log directories, elections, reassignments, the cluster itself.

Declarations only; field names, order and version spans are Kafka's.
"""

from __future__ import annotations

from rivven.protocol import schema as s
from rivven.protocol.api import ApiKey
from rivven.protocol.schema import Request, Response, Struct


class DescribeLogDirsRequest(Request, api=ApiKey.DESCRIBE_LOG_DIRS):
    class DescribableLogDirTopic(Struct):
        topic: str = s.string(entity="topicName")
        partitions: list[int] = s.array("i32")

    topics: list[DescribeLogDirsRequest.DescribableLogDirTopic] | None = s.array(
        "DescribableLogDirTopic", nullable=""
    )


class DescribeLogDirsResponse(Response, api=ApiKey.DESCRIBE_LOG_DIRS):
    class DescribeLogDirsPartition(Struct):
        partition_index: int = s.i32()
        partition_size: int = s.i64()
        offset_lag: int = s.i64()
        is_future_key: bool = s.boolean()

    class DescribeLogDirsTopic(Struct):
        name: str = s.string(entity="topicName")
        partitions: list[DescribeLogDirsResponse.DescribeLogDirsPartition] = s.array(
            "DescribeLogDirsPartition"
        )

    class DescribeLogDirsResult(Struct):
        error_code: int = s.i16()
        log_dir: str = s.string()
        topics: list[DescribeLogDirsResponse.DescribeLogDirsTopic] = s.array("DescribeLogDirsTopic")
        total_bytes: int = s.i64("4+", default=-1)
        usable_bytes: int = s.i64("4+", default=-1)

    throttle_time_ms: int = s.i32()
    error_code: int = s.i16("3+")
    results: list[DescribeLogDirsResponse.DescribeLogDirsResult] = s.array("DescribeLogDirsResult")


class ElectLeadersRequest(Request, api=ApiKey.ELECT_LEADERS):
    class TopicPartitions(Struct):
        topic: str = s.string(entity="topicName")
        partitions: list[int] = s.array("i32")

    election_type: int = s.i8("1+")
    topic_partitions: list[ElectLeadersRequest.TopicPartitions] | None = s.array(
        "TopicPartitions", nullable=""
    )
    timeout_ms: int = s.i32(default=60000)


class ElectLeadersResponse(Response, api=ApiKey.ELECT_LEADERS):
    class PartitionResult(Struct):
        partition_id: int = s.i32()
        error_code: int = s.i16()
        error_message: str | None = s.string(nullable="")

    class ReplicaElectionResult(Struct):
        topic: str = s.string(entity="topicName")
        partition_result: list[ElectLeadersResponse.PartitionResult] = s.array("PartitionResult")

    throttle_time_ms: int = s.i32()
    error_code: int = s.i16("1+")
    replica_election_results: list[ElectLeadersResponse.ReplicaElectionResult] = s.array(
        "ReplicaElectionResult"
    )


class AlterPartitionReassignmentsRequest(Request, api=ApiKey.ALTER_PARTITION_REASSIGNMENTS):
    class ReassignablePartition(Struct):
        partition_index: int = s.i32()
        replicas: list[int] | None = s.array("i32", nullable="", default=None, entity="brokerId")

    class ReassignableTopic(Struct):
        name: str = s.string(entity="topicName")
        partitions: list[AlterPartitionReassignmentsRequest.ReassignablePartition] = s.array(
            "ReassignablePartition"
        )

    timeout_ms: int = s.i32(default=60000)
    topics: list[AlterPartitionReassignmentsRequest.ReassignableTopic] = s.array("ReassignableTopic")


class AlterPartitionReassignmentsResponse(Response, api=ApiKey.ALTER_PARTITION_REASSIGNMENTS):
    class ReassignablePartitionResponse(Struct):
        partition_index: int = s.i32()
        error_code: int = s.i16()
        error_message: str | None = s.string(nullable="")

    class ReassignableTopicResponse(Struct):
        name: str = s.string(entity="topicName")
        partitions: list[AlterPartitionReassignmentsResponse.ReassignablePartitionResponse] = s.array(
            "ReassignablePartitionResponse"
        )

    throttle_time_ms: int = s.i32()
    error_code: int = s.i16()
    error_message: str | None = s.string(nullable="")
    responses: list[AlterPartitionReassignmentsResponse.ReassignableTopicResponse] = s.array(
        "ReassignableTopicResponse"
    )


class ListPartitionReassignmentsRequest(Request, api=ApiKey.LIST_PARTITION_REASSIGNMENTS):
    class ListPartitionReassignmentsTopics(Struct):
        name: str = s.string(entity="topicName")
        partition_indexes: list[int] = s.array("i32")

    timeout_ms: int = s.i32(default=60000)
    topics: list[ListPartitionReassignmentsRequest.ListPartitionReassignmentsTopics] | None = s.array(
        "ListPartitionReassignmentsTopics", nullable="", default=None
    )


class ListPartitionReassignmentsResponse(Response, api=ApiKey.LIST_PARTITION_REASSIGNMENTS):
    class OngoingPartitionReassignment(Struct):
        partition_index: int = s.i32()
        replicas: list[int] = s.array("i32", entity="brokerId")
        adding_replicas: list[int] = s.array("i32", entity="brokerId")
        removing_replicas: list[int] = s.array("i32", entity="brokerId")

    class OngoingTopicReassignment(Struct):
        name: str = s.string(entity="topicName")
        partitions: list[ListPartitionReassignmentsResponse.OngoingPartitionReassignment] = s.array(
            "OngoingPartitionReassignment"
        )

    throttle_time_ms: int = s.i32()
    error_code: int = s.i16()
    error_message: str | None = s.string(nullable="")
    topics: list[ListPartitionReassignmentsResponse.OngoingTopicReassignment] = s.array(
        "OngoingTopicReassignment"
    )


class DescribeClusterRequest(Request, api=ApiKey.DESCRIBE_CLUSTER):
    include_cluster_authorized_operations: bool = s.boolean()
    endpoint_type: int = s.i8("1+", default=1)


class DescribeClusterResponse(Response, api=ApiKey.DESCRIBE_CLUSTER):
    class DescribeClusterBroker(Struct):
        broker_id: int = s.i32(entity="brokerId")
        host: str = s.string()
        port: int = s.i32()
        rack: str | None = s.string(nullable="", default=None)

    throttle_time_ms: int = s.i32()
    error_code: int = s.i16()
    error_message: str | None = s.string(nullable="", default=None)
    endpoint_type: int = s.i8("1+", default=1)
    cluster_id: str = s.string()
    controller_id: int = s.i32(default=-1, entity="brokerId")
    brokers: list[DescribeClusterResponse.DescribeClusterBroker] = s.array("DescribeClusterBroker")
    cluster_authorized_operations: int = s.i32(default=-2147483648)
