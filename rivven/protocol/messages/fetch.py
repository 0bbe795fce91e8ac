"""Fetch: record batches read back, KIP-74 limits and KIP-227 sessions.

Declarations only; field names, order and version spans are Kafka's.
"""

from __future__ import annotations

from rivven.protocol import schema as s
from rivven.protocol.api import ApiKey
from rivven.protocol.schema import Request, Response, Struct


class FetchRequest(Request, api=ApiKey.FETCH):
    class FetchPartition(Struct):
        partition: int = s.i32()
        current_leader_epoch: int = s.i32("9+", default=-1)
        fetch_offset: int = s.i64()
        last_fetched_epoch: int = s.i32("12+", default=-1)
        log_start_offset: int = s.i64("5+", default=-1)
        partition_max_bytes: int = s.i32()

    class FetchTopic(Struct):
        topic: str = s.string(entity="topicName")
        partitions: list[FetchRequest.FetchPartition] = s.array("FetchPartition")

    class ForgottenTopic(Struct):
        topic: str = s.string(entity="topicName")
        partitions: list[int] = s.array("i32")

    cluster_id: str | None = s.string("12+", nullable="", default=None, tag=0)
    replica_id: int = s.i32(default=-1, entity="brokerId")
    max_wait_ms: int = s.i32()
    min_bytes: int = s.i32()
    max_bytes: int = s.i32(default=2147483647)
    isolation_level: int = s.i8()
    session_id: int = s.i32("7+")
    session_epoch: int = s.i32("7+", default=-1)
    topics: list[FetchRequest.FetchTopic] = s.array("FetchTopic")
    forgotten_topics_data: list[FetchRequest.ForgottenTopic] = s.array("ForgottenTopic", "7+")
    rack_id: str = s.string("11+")


class FetchResponse(Response, api=ApiKey.FETCH):
    class EpochEndOffset(Struct):
        epoch: int = s.i32(default=-1)
        end_offset: int = s.i64(default=-1)

    class LeaderIdAndEpoch(Struct):
        leader_id: int = s.i32(default=-1, entity="brokerId")
        leader_epoch: int = s.i32(default=-1)

    class SnapshotId(Struct):
        end_offset: int = s.i64(default=-1)
        epoch: int = s.i32(default=-1)

    class AbortedTransaction(Struct):
        producer_id: int = s.i64(entity="producerId")
        first_offset: int = s.i64()

    class PartitionData(Struct):
        partition_index: int = s.i32()
        error_code: int = s.i16()
        high_watermark: int = s.i64()
        last_stable_offset: int = s.i64(default=-1)
        log_start_offset: int = s.i64("5+", default=-1)
        diverging_epoch: FetchResponse.EpochEndOffset | None = s.struct("EpochEndOffset", "12+", tag=0)
        current_leader: FetchResponse.LeaderIdAndEpoch | None = s.struct("LeaderIdAndEpoch", "12+", tag=1)
        snapshot_id: FetchResponse.SnapshotId | None = s.struct("SnapshotId", "12+", tag=2)
        aborted_transactions: list[FetchResponse.AbortedTransaction] | None = s.array(
            "AbortedTransaction", nullable=""
        )
        preferred_read_replica: int = s.i32("11+", default=-1, entity="brokerId")
        records: s.Records = s.records(nullable="")

    class FetchableTopicResponse(Struct):
        topic: str = s.string(entity="topicName")
        partitions: list[FetchResponse.PartitionData] = s.array("PartitionData")

    throttle_time_ms: int = s.i32()
    error_code: int = s.i16("7+")
    session_id: int = s.i32("7+")
    responses: list[FetchResponse.FetchableTopicResponse] = s.array("FetchableTopicResponse")
