"""Topic administration: create, delete, truncate, add partitions.

Declarations only; field names, order and version spans are Kafka's.
"""

from __future__ import annotations

from uuid import UUID

from rivven.protocol import schema as s
from rivven.protocol.api import ApiKey
from rivven.protocol.schema import Request, Response, Struct


class CreateTopicsRequest(Request, api=ApiKey.CREATE_TOPICS):
    class CreatableReplicaAssignment(Struct):
        partition_index: int = s.i32()
        broker_ids: list[int] = s.array("i32", entity="brokerId")

    class CreatableTopicConfig(Struct):
        name: str = s.string()
        value: str | None = s.string(nullable="")

    class CreatableTopic(Struct):
        name: str = s.string(entity="topicName")
        num_partitions: int = s.i32()
        replication_factor: int = s.i16()
        assignments: list[CreateTopicsRequest.CreatableReplicaAssignment] = s.array(
            "CreatableReplicaAssignment"
        )
        configs: list[CreateTopicsRequest.CreatableTopicConfig] = s.array("CreatableTopicConfig")

    topics: list[CreateTopicsRequest.CreatableTopic] = s.array("CreatableTopic")
    timeout_ms: int = s.i32(default=60000)
    validate_only: bool = s.boolean()


class CreateTopicsResponse(Response, api=ApiKey.CREATE_TOPICS):
    class CreatableTopicConfigs(Struct):
        name: str = s.string()
        value: str | None = s.string(nullable="")
        read_only: bool = s.boolean()
        config_source: int = s.i8(default=-1)
        is_sensitive: bool = s.boolean()

    class CreatableTopicResult(Struct):
        name: str = s.string(entity="topicName")
        topic_id: UUID = s.uuid("7+")
        error_code: int = s.i16()
        error_message: str | None = s.string(nullable="")
        topic_config_error_code: int = s.i16("5+", tag=0)
        num_partitions: int = s.i32("5+", default=-1)
        replication_factor: int = s.i16("5+", default=-1)
        configs: list[CreateTopicsResponse.CreatableTopicConfigs] | None = s.array(
            "CreatableTopicConfigs", "5+", nullable=""
        )

    throttle_time_ms: int = s.i32()
    topics: list[CreateTopicsResponse.CreatableTopicResult] = s.array("CreatableTopicResult")


class DeleteTopicsRequest(Request, api=ApiKey.DELETE_TOPICS):
    class DeleteTopicState(Struct):
        name: str | None = s.string(nullable="", default=None, entity="topicName")
        topic_id: UUID = s.uuid()

    topics: list[DeleteTopicsRequest.DeleteTopicState] = s.array("DeleteTopicState", "6+")
    topic_names: list[str] = s.array("string", "0-5", entity="topicName")
    timeout_ms: int = s.i32()


class DeleteTopicsResponse(Response, api=ApiKey.DELETE_TOPICS):
    class DeletableTopicResult(Struct):
        name: str | None = s.string(nullable="6+", entity="topicName")
        topic_id: UUID = s.uuid("6+")
        error_code: int = s.i16()
        error_message: str | None = s.string("5+", nullable="", default=None)

    throttle_time_ms: int = s.i32()
    responses: list[DeleteTopicsResponse.DeletableTopicResult] = s.array("DeletableTopicResult")


class DeleteRecordsRequest(Request, api=ApiKey.DELETE_RECORDS):
    class DeleteRecordsPartition(Struct):
        partition_index: int = s.i32()
        offset: int = s.i64()

    class DeleteRecordsTopic(Struct):
        name: str = s.string(entity="topicName")
        partitions: list[DeleteRecordsRequest.DeleteRecordsPartition] = s.array("DeleteRecordsPartition")

    topics: list[DeleteRecordsRequest.DeleteRecordsTopic] = s.array("DeleteRecordsTopic")
    timeout_ms: int = s.i32()


class DeleteRecordsResponse(Response, api=ApiKey.DELETE_RECORDS):
    class DeleteRecordsPartitionResult(Struct):
        partition_index: int = s.i32()
        low_watermark: int = s.i64()
        error_code: int = s.i16()

    class DeleteRecordsTopicResult(Struct):
        name: str = s.string(entity="topicName")
        partitions: list[DeleteRecordsResponse.DeleteRecordsPartitionResult] = s.array(
            "DeleteRecordsPartitionResult"
        )

    throttle_time_ms: int = s.i32()
    topics: list[DeleteRecordsResponse.DeleteRecordsTopicResult] = s.array("DeleteRecordsTopicResult")


class CreatePartitionsRequest(Request, api=ApiKey.CREATE_PARTITIONS):
    class CreatePartitionsAssignment(Struct):
        broker_ids: list[int] = s.array("i32", entity="brokerId")

    class CreatePartitionsTopic(Struct):
        name: str = s.string(entity="topicName")
        count: int = s.i32()
        assignments: list[CreatePartitionsRequest.CreatePartitionsAssignment] | None = s.array(
            "CreatePartitionsAssignment", nullable=""
        )

    topics: list[CreatePartitionsRequest.CreatePartitionsTopic] = s.array("CreatePartitionsTopic")
    timeout_ms: int = s.i32()
    validate_only: bool = s.boolean()


class CreatePartitionsResponse(Response, api=ApiKey.CREATE_PARTITIONS):
    class CreatePartitionsTopicResult(Struct):
        name: str = s.string(entity="topicName")
        error_code: int = s.i16()
        error_message: str | None = s.string(nullable="", default=None)

    throttle_time_ms: int = s.i32()
    results: list[CreatePartitionsResponse.CreatePartitionsTopicResult] = s.array(
        "CreatePartitionsTopicResult"
    )
