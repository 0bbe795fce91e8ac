"""Offsets: by time or epoch in the log (2, 23), committed by groups (8, 9, 47).

Declarations only; field names, order and version spans are Kafka's.
"""

from __future__ import annotations

from rivven.protocol import schema as s
from rivven.protocol.api import ApiKey
from rivven.protocol.schema import Request, Response, Struct


class ListOffsetsRequest(Request, api=ApiKey.LIST_OFFSETS):
    class ListOffsetsPartition(Struct):
        partition_index: int = s.i32()
        current_leader_epoch: int = s.i32("4+", default=-1)
        timestamp: int = s.i64()

    class ListOffsetsTopic(Struct):
        name: str = s.string(entity="topicName")
        partitions: list[ListOffsetsRequest.ListOffsetsPartition] = s.array("ListOffsetsPartition")

    replica_id: int = s.i32(entity="brokerId")
    isolation_level: int = s.i8("2+")
    topics: list[ListOffsetsRequest.ListOffsetsTopic] = s.array("ListOffsetsTopic")
    timeout_ms: int = s.i32("10+")


class ListOffsetsResponse(Response, api=ApiKey.LIST_OFFSETS):
    class ListOffsetsPartitionResponse(Struct):
        partition_index: int = s.i32()
        error_code: int = s.i16()
        timestamp: int = s.i64(default=-1)
        offset: int = s.i64(default=-1)
        leader_epoch: int = s.i32("4+", default=-1)

    class ListOffsetsTopicResponse(Struct):
        name: str = s.string(entity="topicName")
        partitions: list[ListOffsetsResponse.ListOffsetsPartitionResponse] = s.array(
            "ListOffsetsPartitionResponse"
        )

    throttle_time_ms: int = s.i32("2+")
    topics: list[ListOffsetsResponse.ListOffsetsTopicResponse] = s.array("ListOffsetsTopicResponse")


class OffsetCommitRequest(Request, api=ApiKey.OFFSET_COMMIT):
    class OffsetCommitRequestPartition(Struct):
        partition_index: int = s.i32()
        committed_offset: int = s.i64()
        committed_leader_epoch: int = s.i32("6+", default=-1)
        committed_metadata: str | None = s.string(nullable="")

    class OffsetCommitRequestTopic(Struct):
        name: str = s.string(entity="topicName")
        partitions: list[OffsetCommitRequest.OffsetCommitRequestPartition] = s.array(
            "OffsetCommitRequestPartition"
        )

    group_id: str = s.string(entity="groupId")
    generation_id_or_member_epoch: int = s.i32(default=-1)
    member_id: str = s.string()
    group_instance_id: str | None = s.string("7+", nullable="", default=None)
    retention_time_ms: int = s.i64("2-4", default=-1)
    topics: list[OffsetCommitRequest.OffsetCommitRequestTopic] = s.array("OffsetCommitRequestTopic")


class OffsetCommitResponse(Response, api=ApiKey.OFFSET_COMMIT):
    class OffsetCommitResponsePartition(Struct):
        partition_index: int = s.i32()
        error_code: int = s.i16()

    class OffsetCommitResponseTopic(Struct):
        name: str = s.string(entity="topicName")
        partitions: list[OffsetCommitResponse.OffsetCommitResponsePartition] = s.array(
            "OffsetCommitResponsePartition"
        )

    throttle_time_ms: int = s.i32("3+")
    topics: list[OffsetCommitResponse.OffsetCommitResponseTopic] = s.array("OffsetCommitResponseTopic")


class OffsetFetchRequest(Request, api=ApiKey.OFFSET_FETCH):
    class OffsetFetchRequestTopic(Struct):
        name: str = s.string(entity="topicName")
        partition_indexes: list[int] = s.array("i32")

    class OffsetFetchRequestTopics(Struct):
        name: str = s.string(entity="topicName")
        partition_indexes: list[int] = s.array("i32")

    class OffsetFetchRequestGroup(Struct):
        group_id: str = s.string(entity="groupId")
        member_id: str | None = s.string("9+", nullable="", default=None)
        member_epoch: int = s.i32("9+", default=-1)
        topics: list[OffsetFetchRequest.OffsetFetchRequestTopics] | None = s.array(
            "OffsetFetchRequestTopics", nullable=""
        )

    group_id: str = s.string("0-7", entity="groupId")
    topics: list[OffsetFetchRequest.OffsetFetchRequestTopic] | None = s.array(
        "OffsetFetchRequestTopic", "0-7", nullable="2-7"
    )
    groups: list[OffsetFetchRequest.OffsetFetchRequestGroup] = s.array("OffsetFetchRequestGroup", "8+")
    require_stable: bool = s.boolean("7+")


class OffsetFetchResponse(Response, api=ApiKey.OFFSET_FETCH):
    class OffsetFetchResponsePartition(Struct):
        partition_index: int = s.i32()
        committed_offset: int = s.i64()
        committed_leader_epoch: int = s.i32("5-7", default=-1)
        metadata: str | None = s.string(nullable="")
        error_code: int = s.i16()

    class OffsetFetchResponseTopic(Struct):
        name: str = s.string(entity="topicName")
        partitions: list[OffsetFetchResponse.OffsetFetchResponsePartition] = s.array(
            "OffsetFetchResponsePartition"
        )

    class OffsetFetchResponsePartitions(Struct):
        partition_index: int = s.i32()
        committed_offset: int = s.i64()
        committed_leader_epoch: int = s.i32(default=-1)
        metadata: str | None = s.string(nullable="")
        error_code: int = s.i16()

    class OffsetFetchResponseTopics(Struct):
        name: str = s.string(entity="topicName")
        partitions: list[OffsetFetchResponse.OffsetFetchResponsePartitions] = s.array(
            "OffsetFetchResponsePartitions"
        )

    class OffsetFetchResponseGroup(Struct):
        group_id: str = s.string(entity="groupId")
        topics: list[OffsetFetchResponse.OffsetFetchResponseTopics] = s.array("OffsetFetchResponseTopics")
        error_code: int = s.i16()

    throttle_time_ms: int = s.i32("3+")
    topics: list[OffsetFetchResponse.OffsetFetchResponseTopic] = s.array("OffsetFetchResponseTopic", "0-7")
    error_code: int = s.i16("2-7")
    groups: list[OffsetFetchResponse.OffsetFetchResponseGroup] = s.array("OffsetFetchResponseGroup", "8+")


class OffsetForLeaderEpochRequest(Request, api=ApiKey.OFFSET_FOR_LEADER_EPOCH):
    class OffsetForLeaderPartition(Struct):
        partition: int = s.i32()
        current_leader_epoch: int = s.i32(default=-1)
        leader_epoch: int = s.i32()

    class OffsetForLeaderTopic(Struct):
        topic: str = s.string(entity="topicName")
        partitions: list[OffsetForLeaderEpochRequest.OffsetForLeaderPartition] = s.array(
            "OffsetForLeaderPartition"
        )

    replica_id: int = s.i32("3+", default=-2, entity="brokerId")
    topics: list[OffsetForLeaderEpochRequest.OffsetForLeaderTopic] = s.array("OffsetForLeaderTopic")


class OffsetForLeaderEpochResponse(Response, api=ApiKey.OFFSET_FOR_LEADER_EPOCH):
    class EpochEndOffset(Struct):
        error_code: int = s.i16()
        partition: int = s.i32()
        leader_epoch: int = s.i32(default=-1)
        end_offset: int = s.i64(default=-1)

    class OffsetForLeaderTopicResult(Struct):
        topic: str = s.string(entity="topicName")
        partitions: list[OffsetForLeaderEpochResponse.EpochEndOffset] = s.array("EpochEndOffset")

    throttle_time_ms: int = s.i32()
    topics: list[OffsetForLeaderEpochResponse.OffsetForLeaderTopicResult] = s.array(
        "OffsetForLeaderTopicResult"
    )


class OffsetDeleteRequest(Request, api=ApiKey.OFFSET_DELETE):
    class OffsetDeleteRequestPartition(Struct):
        partition_index: int = s.i32()

    class OffsetDeleteRequestTopic(Struct):
        name: str = s.string(entity="topicName")
        partitions: list[OffsetDeleteRequest.OffsetDeleteRequestPartition] = s.array(
            "OffsetDeleteRequestPartition"
        )

    group_id: str = s.string(entity="groupId")
    topics: list[OffsetDeleteRequest.OffsetDeleteRequestTopic] = s.array("OffsetDeleteRequestTopic")


class OffsetDeleteResponse(Response, api=ApiKey.OFFSET_DELETE):
    class OffsetDeleteResponsePartition(Struct):
        partition_index: int = s.i32()
        error_code: int = s.i16()

    class OffsetDeleteResponseTopic(Struct):
        name: str = s.string(entity="topicName")
        partitions: list[OffsetDeleteResponse.OffsetDeleteResponsePartition] = s.array(
            "OffsetDeleteResponsePartition"
        )

    error_code: int = s.i16()
    throttle_time_ms: int = s.i32()
    topics: list[OffsetDeleteResponse.OffsetDeleteResponseTopic] = s.array("OffsetDeleteResponseTopic")
