"""Produce: record batches to append, and where they landed.

Declarations only; field names, order and version spans are Kafka's.
"""

from __future__ import annotations

from rivven.protocol import schema as s
from rivven.protocol.api import ApiKey
from rivven.protocol.schema import Request, Response, Struct


class ProduceRequest(Request, api=ApiKey.PRODUCE):
    class PartitionProduceData(Struct):
        index: int = s.i32()
        records: s.Records = s.records(nullable="")

    class TopicProduceData(Struct):
        name: str = s.string(entity="topicName")
        partition_data: list[ProduceRequest.PartitionProduceData] = s.array("PartitionProduceData")

    transactional_id: str | None = s.string(nullable="", default=None, entity="transactionalId")
    acks: int = s.i16()
    timeout_ms: int = s.i32()
    topic_data: list[ProduceRequest.TopicProduceData] = s.array("TopicProduceData")


class ProduceResponse(Response, api=ApiKey.PRODUCE):
    class BatchIndexAndErrorMessage(Struct):
        batch_index: int = s.i32()
        batch_index_error_message: str | None = s.string(nullable="", default=None)

    class LeaderIdAndEpoch(Struct):
        leader_id: int = s.i32(default=-1, entity="brokerId")
        leader_epoch: int = s.i32(default=-1)

    class PartitionProduceResponse(Struct):
        index: int = s.i32()
        error_code: int = s.i16()
        base_offset: int = s.i64()
        log_append_time_ms: int = s.i64(default=-1)
        log_start_offset: int = s.i64("5+", default=-1)
        record_errors: list[ProduceResponse.BatchIndexAndErrorMessage] = s.array(
            "BatchIndexAndErrorMessage", "8+"
        )
        error_message: str | None = s.string("8+", nullable="", default=None)
        current_leader: ProduceResponse.LeaderIdAndEpoch | None = s.struct("LeaderIdAndEpoch", "10+", tag=0)

    class TopicProduceResponse(Struct):
        name: str = s.string(entity="topicName")
        partition_responses: list[ProduceResponse.PartitionProduceResponse] = s.array(
            "PartitionProduceResponse"
        )

    class NodeEndpoint(Struct):
        node_id: int = s.i32(entity="brokerId")
        host: str = s.string()
        port: int = s.i32()
        rack: str | None = s.string(nullable="", default=None)

    responses: list[ProduceResponse.TopicProduceResponse] = s.array("TopicProduceResponse")
    throttle_time_ms: int = s.i32()
    node_endpoints: list[ProduceResponse.NodeEndpoint] = s.array("NodeEndpoint", "10+", tag=0)
