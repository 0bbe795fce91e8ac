"""ListOffsets (2), OffsetForLeaderEpoch (23): where in the log a time or an epoch lies."""

from __future__ import annotations

from typing import Any

from rivven.api.context import RequestContext
from rivven.api.fetch import check_leader_epoch
from rivven.api.rules import Split, keep_list, list_items
from rivven.errors import ErrorCode, RivvenError, UnknownTopicOrPartition
from rivven.protocol import messages as m
from rivven.replication.partition import Partition
from rivven.replication.replicas import Replicas
from rivven.types import Operation, ResourceType

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL = -4
LATEST_TIERED = -5

_SPECIAL_SINCE = {MAX_TIMESTAMP: 7, EARLIEST_LOCAL: 8, LATEST_TIERED: 9}
"""Special timestamps and the version that introduced each (kafka.md section 1, row 2)."""

_Offset = m.ListOffsetsResponse.ListOffsetsPartitionResponse
_OffsetTopic = m.ListOffsetsResponse.ListOffsetsTopicResponse
_EpochEnd = m.OffsetForLeaderEpochResponse.EpochEndOffset
_EpochTopic = m.OffsetForLeaderEpochResponse.OffsetForLeaderTopicResult


def _deny_offsets(response: Any, item: Any, _version: int, code: ErrorCode) -> None:
    entries = [_Offset(partition_index=asked.partition_index, error_code=code) for asked in item.partitions]
    response.topics.append(_OffsetTopic(name=item.name, partitions=entries))


def _deny_epochs(response: Any, item: Any, _version: int, code: ErrorCode) -> None:
    entries = [_EpochEnd(partition=asked.partition, error_code=code) for asked in item.partitions]
    response.topics.append(_EpochTopic(topic=item.topic, partitions=entries))


LIST_OFFSETS_RULES = (
    Split(
        Operation.DESCRIBE,
        ResourceType.TOPIC,
        items=list_items("topics", "name"),
        keep=keep_list("topics"),
        deny=_deny_offsets,
    ),
)

OFFSET_FOR_LEADER_EPOCH_RULES = (
    Split(
        Operation.DESCRIBE,
        ResourceType.TOPIC,
        items=list_items("topics", "topic"),
        keep=keep_list("topics"),
        deny=_deny_epochs,
        unless=Operation.CLUSTER_ACTION,
    ),
)


class OffsetHandlers:
    """Handles ListOffsets 1-10 and OffsetForLeaderEpoch 2-4."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas

    async def list_offsets(self, context: RequestContext, request: Any) -> Any:
        """One entry per partition; a time beyond the last record answers offset -1 without an error."""
        response = m.ListOffsetsResponse()
        for topic in request.topics:
            seen: set[int] = set()
            entries = []
            for asked in topic.partitions:
                entry = _Offset(partition_index=asked.partition_index)
                entries.append(entry)
                try:
                    if asked.partition_index in seen:
                        raise RivvenError("a partition is named twice", ErrorCode.INVALID_REQUEST)
                    seen.add(asked.partition_index)
                    partition = self._find(topic.name, asked.partition_index)
                    check_leader_epoch(partition, asked.current_leader_epoch)
                    await self._look_up(partition, asked.timestamp, context.api_version, entry)
                except RivvenError as error:
                    entry.error_code = error.code
            response.topics.append(_OffsetTopic(name=topic.name, partitions=entries))
        return response

    async def offset_for_leader_epoch(self, _context: RequestContext, request: Any) -> Any:
        """The end offset of an epoch, so that a consumer can detect truncation (KIP-320)."""
        response = m.OffsetForLeaderEpochResponse()
        for topic in request.topics:
            entries = []
            for asked in topic.partitions:
                entry = _EpochEnd(partition=asked.partition)
                entries.append(entry)
                try:
                    partition = self._find(topic.topic, asked.partition)
                    check_leader_epoch(partition, asked.current_leader_epoch)
                    epoch, end = partition.log.epoch_end_offset(asked.leader_epoch)
                    if epoch == partition.leader_epoch:
                        end = min(end, partition.high_watermark)
                    entry.leader_epoch, entry.end_offset = epoch, end
                except RivvenError as error:
                    entry.error_code = error.code
            response.topics.append(_EpochTopic(topic=topic.topic, partitions=entries))
        return response

    def _find(self, topic: str, index: int) -> Partition:
        partition = self._replicas.partition(topic, index)
        if partition is None:
            raise UnknownTopicOrPartition()
        partition.check_online()
        return partition

    @staticmethod
    async def _look_up(partition: Partition, timestamp: int, version: int, entry: Any) -> None:
        since = _SPECIAL_SINCE.get(timestamp)
        if (since is not None and version < since) or timestamp < LATEST_TIERED:
            raise RivvenError("this timestamp needs a newer version", ErrorCode.UNSUPPORTED_VERSION)
        log, bound = partition.log, partition.high_watermark
        if timestamp == LATEST:
            entry.offset, entry.leader_epoch = bound, partition.leader_epoch
        elif timestamp in (EARLIEST, EARLIEST_LOCAL):
            entry.offset = partition.log_start_offset
            entry.leader_epoch = log.epoch_for_offset(entry.offset)
        elif timestamp == LATEST_TIERED:
            return  # nothing is tiered: -1, as Kafka answers without remote storage
        else:
            found = await (
                log.max_timestamp(bound)
                if timestamp == MAX_TIMESTAMP
                else log.offset_for_timestamp(timestamp, bound)
            )
            if found is not None:
                entry.offset, entry.timestamp, entry.leader_epoch = found
