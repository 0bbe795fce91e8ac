"""InitProducerId (22) and DescribeProducers (61): idempotent producers."""

from __future__ import annotations

from typing import Any

from rivven.api.context import RequestContext
from rivven.api.rules import Filter, Split, keep_list, list_items
from rivven.errors import ErrorCode, RivvenError, UnknownTopicOrPartition
from rivven.metadata.service import MetadataService
from rivven.protocol import messages as m
from rivven.replication.replicas import Replicas
from rivven.types import Operation, ResourceType

_Producer = m.DescribeProducersResponse.ProducerState
_Partition = m.DescribeProducersResponse.PartitionResponse
_Topic = m.DescribeProducersResponse.TopicResponse

NONE = -1
"""A producer id or epoch that is not there."""

NO_TRANSACTIONS = ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
"""What a transactional producer hears, allowed or not: of the codes whose sense is near, the one at which
Java, librdkafka and aiokafka all give up at once (librdkafka asks again for ever after any other)."""


def init_producer_id_failed(_request: Any, _version: int, code: ErrorCode) -> Any:
    """The answer to an error: no id."""
    return m.InitProducerIdResponse(error_code=code, producer_id=NONE, producer_epoch=NONE)


def _deny(response: Any, item: Any, _version: int, code: ErrorCode) -> None:
    partitions = [
        _Partition(partition_index=index, error_code=code, error_message="not authorised")
        for index in item.partition_indexes
    ]
    response.topics.append(_Topic(name=item.name, partitions=partitions))


INIT_PRODUCER_ID_RULES = (Filter(),)
DESCRIBE_PRODUCERS_RULES = (
    Split(
        Operation.READ,
        ResourceType.TOPIC,
        items=list_items("topics", "name"),
        keep=keep_list("topics"),
        deny=_deny,
    ),
)


class ProducerHandlers:
    """Handles InitProducerId 0-5 and DescribeProducers 0."""

    def __init__(self, metadata: MetadataService, replicas: Replicas) -> None:
        self._metadata = metadata
        self._replicas = replicas

    async def init_producer_id(self, context: RequestContext, request: Any) -> Any:
        """A fresh id with epoch 0, for whoever may write to some topic (KIP-679)."""
        access, version = context.access, context.api_version
        if request.transactional_id is not None:
            access.allowed(Operation.WRITE, ResourceType.TRANSACTIONAL_ID, request.transactional_id)
            return init_producer_id_failed(request, version, NO_TRANSACTIONS)
        if not (
            access.probe_cluster(Operation.IDEMPOTENT_WRITE)
            or access.allowed_any(Operation.WRITE, ResourceType.TOPIC)
        ):
            return init_producer_id_failed(request, version, ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
        if (request.producer_id == NONE) != (request.producer_epoch == NONE):
            return init_producer_id_failed(request, version, ErrorCode.INVALID_REQUEST)
        # Without transactions an old id (KIP-360) is not continued: a new one is always right.
        producer_id = await self._metadata.next_producer_id()
        return m.InitProducerIdResponse(producer_id=producer_id, producer_epoch=0)

    async def describe_producers(self, _context: RequestContext, request: Any) -> Any:
        """The producers each partition remembers."""
        response = m.DescribeProducersResponse()
        for topic in request.topics:
            partitions = []
            for index in topic.partition_indexes:
                entry = _Partition(partition_index=index)
                partitions.append(entry)
                try:
                    entry.active_producers = self._producers(topic.name, index)
                except RivvenError as error:
                    entry.error_code, entry.error_message = error.code, error.message
            response.topics.append(_Topic(name=topic.name, partitions=partitions))
        return response

    def _producers(self, topic: str, index: int) -> list[Any]:
        partition = self._replicas.partition(topic, index)
        if partition is None:
            raise UnknownTopicOrPartition("there is no such partition")
        partition.check_online()
        return [
            _Producer(
                producer_id=producer_id,
                producer_epoch=entry.epoch,
                last_sequence=entry.batches[-1].last_sequence if entry.batches else NONE,
                last_timestamp=entry.active_ms,
                coordinator_epoch=NONE,
                current_txn_start_offset=NONE,
            )
            for producer_id, entry in partition.log.active_producers()
        ]
