"""Idempotent producers: ids (KIP-98, KIP-360) and their state per partition (KIP-664).

Declarations only; field names, order and version spans are Kafka's.
"""

from __future__ import annotations

from rivven.protocol import schema as s
from rivven.protocol.api import ApiKey
from rivven.protocol.schema import Request, Response, Struct


class InitProducerIdRequest(Request, api=ApiKey.INIT_PRODUCER_ID):
    transactional_id: str | None = s.string(nullable="", entity="transactionalId")
    transaction_timeout_ms: int = s.i32()
    producer_id: int = s.i64("3+", default=-1, entity="producerId")
    producer_epoch: int = s.i16("3+", default=-1)


class InitProducerIdResponse(Response, api=ApiKey.INIT_PRODUCER_ID):
    throttle_time_ms: int = s.i32()
    error_code: int = s.i16()
    producer_id: int = s.i64(default=-1, entity="producerId")
    producer_epoch: int = s.i16()


class DescribeProducersRequest(Request, api=ApiKey.DESCRIBE_PRODUCERS):
    class TopicRequest(Struct):
        name: str = s.string(entity="topicName")
        partition_indexes: list[int] = s.array("i32")

    topics: list[DescribeProducersRequest.TopicRequest] = s.array("TopicRequest")


class DescribeProducersResponse(Response, api=ApiKey.DESCRIBE_PRODUCERS):
    class ProducerState(Struct):
        producer_id: int = s.i64(entity="producerId")
        producer_epoch: int = s.i32()
        last_sequence: int = s.i32(default=-1)
        last_timestamp: int = s.i64(default=-1)
        coordinator_epoch: int = s.i32()
        current_txn_start_offset: int = s.i64(default=-1)

    class PartitionResponse(Struct):
        partition_index: int = s.i32()
        error_code: int = s.i16()
        error_message: str | None = s.string(nullable="", default=None)
        active_producers: list[DescribeProducersResponse.ProducerState] = s.array("ProducerState")

    class TopicResponse(Struct):
        name: str = s.string(entity="topicName")
        partitions: list[DescribeProducersResponse.PartitionResponse] = s.array("PartitionResponse")

    throttle_time_ms: int = s.i32()
    topics: list[DescribeProducersResponse.TopicResponse] = s.array("TopicResponse")
