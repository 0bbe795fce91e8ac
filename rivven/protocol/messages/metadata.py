"""Metadata: brokers, topics, partitions and their leaders.

Declarations only; field names, order and version spans are Kafka's.
"""

from __future__ import annotations

from uuid import UUID

from rivven.protocol import schema as s
from rivven.protocol.api import ApiKey
from rivven.protocol.schema import Request, Response, Struct


class MetadataRequest(Request, api=ApiKey.METADATA):
    class MetadataRequestTopic(Struct):
        topic_id: UUID = s.uuid("10+")
        name: str | None = s.string(nullable="10+", entity="topicName")

    topics: list[MetadataRequest.MetadataRequestTopic] | None = s.array("MetadataRequestTopic", nullable="1+")
    allow_auto_topic_creation: bool = s.boolean("4+", default=True)
    include_cluster_authorized_operations: bool = s.boolean("8-10")
    include_topic_authorized_operations: bool = s.boolean("8+")


class MetadataResponse(Response, api=ApiKey.METADATA):
    class MetadataResponseBroker(Struct):
        node_id: int = s.i32(entity="brokerId")
        host: str = s.string()
        port: int = s.i32()
        rack: str | None = s.string("1+", nullable="", default=None)

    class MetadataResponsePartition(Struct):
        error_code: int = s.i16()
        partition_index: int = s.i32()
        leader_id: int = s.i32(entity="brokerId")
        leader_epoch: int = s.i32("7+", default=-1)
        replica_nodes: list[int] = s.array("i32", entity="brokerId")
        isr_nodes: list[int] = s.array("i32", entity="brokerId")
        offline_replicas: list[int] = s.array("i32", "5+", entity="brokerId")

    class MetadataResponseTopic(Struct):
        error_code: int = s.i16()
        name: str | None = s.string(nullable="12+", entity="topicName")
        topic_id: UUID = s.uuid("10+")
        is_internal: bool = s.boolean("1+")
        partitions: list[MetadataResponse.MetadataResponsePartition] = s.array("MetadataResponsePartition")
        topic_authorized_operations: int = s.i32("8+", default=-2147483648)

    throttle_time_ms: int = s.i32("3+")
    brokers: list[MetadataResponse.MetadataResponseBroker] = s.array("MetadataResponseBroker")
    cluster_id: str | None = s.string("2+", nullable="", default=None)
    controller_id: int = s.i32("1+", default=-1, entity="brokerId")
    topics: list[MetadataResponse.MetadataResponseTopic] = s.array("MetadataResponseTopic")
    cluster_authorized_operations: int = s.i32("8-10", default=-2147483648)
    error_code: int = s.i16("13+")


class DescribeTopicPartitionsRequest(Request, api=ApiKey.DESCRIBE_TOPIC_PARTITIONS):
    class TopicRequest(Struct):
        name: str = s.string(entity="topicName")

    class Cursor(Struct):
        topic_name: str = s.string(entity="topicName")
        partition_index: int = s.i32()

    topics: list[DescribeTopicPartitionsRequest.TopicRequest] = s.array("TopicRequest")
    response_partition_limit: int = s.i32(default=2000)
    cursor: DescribeTopicPartitionsRequest.Cursor | None = s.struct("Cursor", nullable="")


class DescribeTopicPartitionsResponse(Response, api=ApiKey.DESCRIBE_TOPIC_PARTITIONS):
    class DescribeTopicPartitionsResponsePartition(Struct):
        error_code: int = s.i16()
        partition_index: int = s.i32()
        leader_id: int = s.i32(entity="brokerId")
        leader_epoch: int = s.i32(default=-1)
        replica_nodes: list[int] = s.array("i32", entity="brokerId")
        isr_nodes: list[int] = s.array("i32", entity="brokerId")
        eligible_leader_replicas: list[int] | None = s.array(
            "i32", nullable="", default=None, entity="brokerId"
        )
        last_known_elr: list[int] | None = s.array("i32", nullable="", default=None, entity="brokerId")
        offline_replicas: list[int] = s.array("i32", entity="brokerId")

    class DescribeTopicPartitionsResponseTopic(Struct):
        error_code: int = s.i16()
        name: str | None = s.string(nullable="", entity="topicName")
        topic_id: UUID = s.uuid()
        is_internal: bool = s.boolean()
        partitions: list[DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponsePartition] = s.array(
            "DescribeTopicPartitionsResponsePartition"
        )
        topic_authorized_operations: int = s.i32(default=-2147483648)

    class Cursor(Struct):
        topic_name: str = s.string(entity="topicName")
        partition_index: int = s.i32()

    throttle_time_ms: int = s.i32()
    topics: list[DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponseTopic] = s.array(
        "DescribeTopicPartitionsResponseTopic"
    )
    next_cursor: DescribeTopicPartitionsResponse.Cursor | None = s.struct("Cursor", nullable="")
