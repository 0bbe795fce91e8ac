"""DescribeTopicPartitions (75): topics by name, a bounded number of partitions per answer (KIP-966)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rivven.api.context import RequestContext
from rivven.api.rules import Filter
from rivven.errors import ErrorCode, InvalidRequest
from rivven.metadata.image import MetadataImage, Topic
from rivven.metadata.topic_names import name_problem
from rivven.protocol import messages as m
from rivven.replication.replicas import Replicas
from rivven.types import Operation, ResourceType

_Topic = m.DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponseTopic
_Partition = m.DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponsePartition
_Cursor = m.DescribeTopicPartitionsResponse.Cursor

PARTITIONS_PER_ANSWER_MAX = 2_000
"""Kafka's max.request.partition.size.limit; a client that asks for more gets a cursor earlier."""

DESCRIBE_TOPIC_PARTITIONS_RULES = (Filter(),)


def describe_topic_partitions_failed(request: Any, _version: int, code: ErrorCode) -> Any:
    """The answer to an unexpected error; without named topics there is no place to say it."""
    return m.DescribeTopicPartitionsResponse(
        topics=[_Topic(name=topic.name, error_code=code) for topic in request.topics]
    )


class TopicPartitionsHandler:
    """Handles DescribeTopicPartitions 0."""

    def __init__(self, node_id: int, image: Callable[[], MetadataImage], replicas: Replicas) -> None:
        self._node_id = node_id
        self._image = image
        self._replicas = replicas

    async def describe_topic_partitions(self, context: RequestContext, request: Any) -> Any:
        """Named topics, or all the asker may describe, from the cursor on."""
        context.access.used = True  # a malformed request asks nothing
        start_name, start_index = "", 0
        if request.cursor is not None:
            start_name, start_index = request.cursor.topic_name, request.cursor.partition_index
            if start_index < 0:
                raise InvalidRequest("the cursor's partition is negative")
        room = max(1, min(request.response_partition_limit, PARTITIONS_PER_ANSWER_MAX))
        response = m.DescribeTopicPartitionsResponse()
        names = self._names(context, request)
        for position, name in enumerate(names):
            if name < start_name:
                continue
            topic = self._visible(context, name)
            if isinstance(topic, ErrorCode):
                response.topics.append(_Topic(name=name, error_code=topic))
                continue
            first = start_index if name == start_name else 0
            last = min(topic.partitions, first + room)
            response.topics.append(self._described(context, topic, first, last))
            room -= max(0, last - first)
            if last < topic.partitions:
                response.next_cursor = _Cursor(topic_name=name, partition_index=last)
                break
            if room == 0:
                if position + 1 < len(names):
                    response.next_cursor = _Cursor(topic_name=names[position + 1], partition_index=0)
                break
        return response

    def _names(self, context: RequestContext, request: Any) -> list[str]:
        if request.topics:
            return sorted({topic.name for topic in request.topics})
        topics = self._image().topics
        return sorted(context.access.filter(Operation.DESCRIBE, ResourceType.TOPIC, topics))

    def _visible(self, context: RequestContext, name: str) -> Topic | ErrorCode:
        if not context.access.allowed(Operation.DESCRIBE, ResourceType.TOPIC, name):
            return ErrorCode.TOPIC_AUTHORIZATION_FAILED
        if name_problem(name) is not None:
            return ErrorCode.INVALID_TOPIC_EXCEPTION
        return self._image().topics.get(name) or ErrorCode.UNKNOWN_TOPIC_OR_PARTITION

    def _described(self, context: RequestContext, topic: Topic, first: int, last: int) -> Any:
        return _Topic(
            name=topic.name,
            topic_id=topic.topic_id,
            is_internal=topic.internal,
            partitions=[self._partition(topic.name, index) for index in range(first, last)],
            topic_authorized_operations=context.access.authorized_operations(ResourceType.TOPIC, topic.name),
        )

    def _partition(self, topic: str, index: int) -> Any:
        node = self._node_id
        partition = self._replicas.partition(topic, index)
        if partition is None or not partition.online:
            return _Partition(
                error_code=ErrorCode.LEADER_NOT_AVAILABLE,
                partition_index=index,
                leader_id=-1,
                replica_nodes=[node],
                eligible_leader_replicas=[],  # nullable in the schema, but the Java client reads it unasked
                last_known_elr=[],
                offline_replicas=[node],
            )
        return _Partition(
            partition_index=index,
            leader_id=node,
            leader_epoch=partition.leader_epoch,
            replica_nodes=[node],
            isr_nodes=[node],
            eligible_leader_replicas=[],
            last_known_elr=[],
        )
