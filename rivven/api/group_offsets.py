"""Committed offsets: OffsetCommit (8), OffsetFetch (9), OffsetDelete (47).

Handlers translate; who may commit is the group machine's decision. Reading needs no machine: what is
committed is durable, and no transaction can hold an offset back, so `require_stable` is always satisfied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rivven.api.context import RequestContext
from rivven.api.rules import Filter, Require, Rule, Split, keep_list, list_items
from rivven.coordinator.commands import CommitOffsets, DeleteOffsets, OffsetTable, OffsetToCommit
from rivven.coordinator.events import CommittedOffset
from rivven.coordinator.service import GroupCoordinator
from rivven.errors import ErrorCode, RivvenError
from rivven.protocol import messages as m
from rivven.types import Operation, ResourceType

_Committed = m.OffsetCommitResponse.OffsetCommitResponsePartition
_CommittedTopic = m.OffsetCommitResponse.OffsetCommitResponseTopic
_Fetched = m.OffsetFetchResponse.OffsetFetchResponsePartition
_FetchedTopic = m.OffsetFetchResponse.OffsetFetchResponseTopic
_GroupFetched = m.OffsetFetchResponse.OffsetFetchResponsePartitions
_GroupFetchedTopic = m.OffsetFetchResponse.OffsetFetchResponseTopics
_GroupAnswer = m.OffsetFetchResponse.OffsetFetchResponseGroup
_Deleted = m.OffsetDeleteResponse.OffsetDeleteResponsePartition
_DeletedTopic = m.OffsetDeleteResponse.OffsetDeleteResponseTopic

NO_OFFSET = CommittedOffset(offset=-1, leader_epoch=-1, metadata="", commit_ms=-1)
"""What a partition without a committed offset answers, without an error."""


# -- who may ------------------------------------------------------------------------------------------------


def _group_id(request: Any) -> str:
    group_id: str = request.group_id
    return group_id


def _commit_failed(request: Any, _version: int, code: ErrorCode) -> Any:
    response = m.OffsetCommitResponse()
    for topic in request.topics:
        _deny_commit(response, topic, 0, code)
    return response


def _deny_commit(response: Any, item: Any, _version: int, code: ErrorCode) -> None:
    entries = [
        _Committed(partition_index=asked.partition_index, error_code=code) for asked in item.partitions
    ]
    response.topics.append(_CommittedTopic(name=item.name, partitions=entries))


def _delete_failed(_request: Any, _version: int, code: ErrorCode) -> Any:
    return m.OffsetDeleteResponse(error_code=code)


def _deny_delete(response: Any, item: Any, _version: int, code: ErrorCode) -> None:
    if response.error_code:
        return  # the group itself was refused: Kafka lists no topics then
    entries = [_Deleted(partition_index=asked.partition_index, error_code=code) for asked in item.partitions]
    response.topics.append(_DeletedTopic(name=item.name, partitions=entries))


def offset_fetch_failed(request: Any, version: int, code: ErrorCode) -> Any:
    """Every group that was asked answers `code`."""
    if version < 8:
        return _refused(request.topics, version, code)
    groups = [_GroupAnswer(group_id=group.group_id, error_code=code) for group in request.groups]
    return m.OffsetFetchResponse(groups=groups)


def _topics(operation: Operation, deny: Callable[[Any, Any, int, ErrorCode], None]) -> Split:
    return Split(
        operation,
        ResourceType.TOPIC,
        items=list_items("topics", "name"),
        keep=keep_list("topics"),
        deny=deny,
    )


OFFSET_COMMIT_RULES: tuple[Rule, ...] = (
    Require(Operation.READ, ResourceType.GROUP, denied=_commit_failed, name=_group_id),
    _topics(Operation.READ, _deny_commit),
)
OFFSET_FETCH_RULES: tuple[Rule, ...] = (Filter(),)
OFFSET_DELETE_RULES: tuple[Rule, ...] = (
    Require(Operation.DELETE, ResourceType.GROUP, denied=_delete_failed, name=_group_id),
    _topics(Operation.READ, _deny_delete),
)


# -- handlers -----------------------------------------------------------------------------------------------


class GroupOffsetHandlers:
    """Handles OffsetCommit 2-9, OffsetFetch 1-9 and OffsetDelete 0.

    `partition_count(topic)` is 0 for a topic that does not exist.
    """

    def __init__(self, coordinator: GroupCoordinator, partition_count: Callable[[str], int]) -> None:
        self._coordinator = coordinator
        self._partition_count = partition_count

    async def offset_commit(self, context: RequestContext, request: Any) -> Any:
        """One error per partition; an unknown partition does not stop the others."""
        response = m.OffsetCommitResponse()
        entries: list[Any] = []
        offsets: list[OffsetToCommit] = []
        for topic in request.topics:
            count = self._partition_count(topic.name)
            answers = []
            for asked in topic.partitions:
                entry = _Committed(partition_index=asked.partition_index)
                answers.append(entry)
                if not 0 <= asked.partition_index < count:
                    entry.error_code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                    continue
                entries.append(entry)
                offsets.append(
                    OffsetToCommit(
                        topic.name,
                        asked.partition_index,
                        asked.committed_offset,
                        asked.committed_leader_epoch,
                        asked.committed_metadata or "",
                    )
                )
            response.topics.append(_CommittedTopic(name=topic.name, partitions=answers))
        for entry, code in zip(entries, await self._commit(context, request, offsets), strict=True):
            entry.error_code = code
        return response

    async def _commit(
        self, context: RequestContext, request: Any, offsets: list[OffsetToCommit]
    ) -> tuple[ErrorCode, ...]:
        if not offsets:
            return ()
        command = CommitOffsets(
            group_id=request.group_id,
            offsets=tuple(offsets),
            generation=request.generation_id_or_member_epoch,
            member_id=request.member_id,
            instance_id=request.group_instance_id,
            retention_ms=request.retention_time_ms,
            knows_missing_groups=context.api_version >= 9,
        )
        try:
            codes: tuple[ErrorCode, ...] = await self._coordinator.submit(command)
        except RivvenError as error:
            return (error.code,) * len(offsets)
        return codes

    async def offset_fetch(self, context: RequestContext, request: Any) -> Any:
        """Null topics ask for every topic the asker may describe; v8+ asks for several groups at once."""
        version = context.api_version
        if version < 8:
            table, code = self._table(context, request.group_id)
            if code is not ErrorCode.NONE:
                return _refused(request.topics, version, code)
            topics = self._fetch(context, table, request.topics, _Fetched, _FetchedTopic)
            return m.OffsetFetchResponse(topics=topics)
        response = m.OffsetFetchResponse()
        for group in request.groups:
            table, code = self._table(context, group.group_id)
            entry = _GroupAnswer(group_id=group.group_id, error_code=code)
            if code is ErrorCode.NONE:
                entry.topics = self._fetch(context, table, group.topics, _GroupFetched, _GroupFetchedTopic)
            response.groups.append(entry)
        return response

    def _table(self, context: RequestContext, group_id: str) -> tuple[OffsetTable, ErrorCode]:
        if not context.access.allowed(Operation.DESCRIBE, ResourceType.GROUP, group_id):
            return {}, ErrorCode.GROUP_AUTHORIZATION_FAILED
        try:
            return self._coordinator.committed_offsets(group_id), ErrorCode.NONE
        except RivvenError as error:
            return {}, error.code

    @staticmethod
    def _fetch(
        context: RequestContext,
        table: OffsetTable,
        topics: list[Any] | None,
        entry_type: Any,
        topic_type: Any,
    ) -> list[Any]:
        asked: list[tuple[str, list[int]]]
        if topics is None:
            asked = [(name, sorted(partitions)) for name, partitions in sorted(table.items())]
        else:
            asked = [(topic.name, topic.partition_indexes) for topic in topics]
        visible = context.access.filter(Operation.DESCRIBE, ResourceType.TOPIC, [name for name, _ in asked])
        answers = []
        for name, indexes in asked:
            if name in visible:
                known = table.get(name, {})
                entries = [_offset(entry_type, index, known.get(index, NO_OFFSET)) for index in indexes]
            elif topics is None:
                continue
            else:
                code = ErrorCode.TOPIC_AUTHORIZATION_FAILED
                entries = [_offset(entry_type, index, NO_OFFSET, code) for index in indexes]
            answers.append(topic_type(name=name, partitions=entries))
        return answers

    async def offset_delete(self, _context: RequestContext, request: Any) -> Any:
        """Offsets of topics the group still subscribes to stay (GROUP_SUBSCRIBED_TO_TOPIC)."""
        response = m.OffsetDeleteResponse()
        entries: list[Any] = []
        partitions: list[tuple[str, int]] = []
        for topic in request.topics:
            count = self._partition_count(topic.name)
            answers = []
            for asked in topic.partitions:
                entry = _Deleted(partition_index=asked.partition_index)
                answers.append(entry)
                if 0 <= asked.partition_index < count:
                    entries.append(entry)
                    partitions.append((topic.name, asked.partition_index))
                else:
                    entry.error_code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            response.topics.append(_DeletedTopic(name=topic.name, partitions=answers))
        try:
            codes = await self._coordinator.submit(DeleteOffsets(request.group_id, tuple(partitions)))
        except RivvenError as error:
            return m.OffsetDeleteResponse(error_code=error.code)
        if isinstance(codes, ErrorCode):
            return m.OffsetDeleteResponse(error_code=codes)
        for entry, code in zip(entries, codes, strict=True):
            entry.error_code = code
        return response


# -- shapes -------------------------------------------------------------------------------------------------


def _offset(entry_type: Any, index: int, committed: CommittedOffset, code: ErrorCode = ErrorCode.NONE) -> Any:
    return entry_type(
        partition_index=index,
        committed_offset=committed.offset,
        committed_leader_epoch=committed.leader_epoch,
        metadata=committed.metadata,
        error_code=code,
    )


def _refused(topics: list[Any] | None, version: int, code: ErrorCode) -> Any:
    """v1 has no error for the whole group, so each partition carries it."""
    if version >= 2:
        return m.OffsetFetchResponse(error_code=code)
    return m.OffsetFetchResponse(
        topics=[
            _FetchedTopic(
                name=topic.name,
                partitions=[_offset(_Fetched, index, NO_OFFSET, code) for index in topic.partition_indexes],
            )
            for topic in topics or ()
        ]
    )
