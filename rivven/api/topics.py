"""CreateTopics (19), DeleteTopics (20), DeleteRecords (21), CreatePartitions (37).

Whether a change is allowed to happen is decided in `metadata`; a topic is answered for once its partitions
exist.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rivven.api.context import RequestContext
from rivven.api.encryption_rule import EncryptionRule
from rivven.api.rules import Filter, Split, keep_list, list_items
from rivven.errors import ErrorCode, InvalidRequest, RivvenError, UnknownTopicOrPartition
from rivven.metadata.commands import CreatePartitions, CreateTopic, DeleteTopic
from rivven.metadata.config_entries import ConfigEntry
from rivven.metadata.image import Topic
from rivven.metadata.service import NULL_UUID, MetadataService
from rivven.protocol import messages as m
from rivven.replication.replicas import Replicas
from rivven.types import Operation, ResourceType

_Created = m.CreateTopicsResponse.CreatableTopicResult
_CreatedConfig = m.CreateTopicsResponse.CreatableTopicConfigs
_Deleted = m.DeleteTopicsResponse.DeletableTopicResult
_Grown = m.CreatePartitionsResponse.CreatePartitionsTopicResult
_Shrunk = m.DeleteRecordsResponse.DeleteRecordsPartitionResult
_ShrunkTopic = m.DeleteRecordsResponse.DeleteRecordsTopicResult

HIGH_WATERMARK = -1
"""As offset of DeleteRecords: everything there is."""

NO_LOW_WATERMARK = -1

DENIED = "not authorised"

EntriesOf = Callable[[Topic], list[ConfigEntry]]
"""All settings of a topic, for the answer of CreateTopics v5+."""


def _deny_creation(response: Any, item: Any, _version: int, code: ErrorCode) -> None:
    response.topics.append(_Created(name=item.name, error_code=code, error_message=DENIED))


def _deny_growth(response: Any, item: Any, _version: int, code: ErrorCode) -> None:
    response.results.append(_Grown(name=item.name, error_code=code, error_message=DENIED))


def _deny_shrinking(response: Any, item: Any, _version: int, code: ErrorCode) -> None:
    entries = [
        _Shrunk(partition_index=one.partition_index, low_watermark=NO_LOW_WATERMARK, error_code=code)
        for one in item.partitions
    ]
    response.topics.append(_ShrunkTopic(name=item.name, partitions=entries))


def delete_topics_failed(request: Any, version: int, code: ErrorCode) -> Any:
    """The answer to an unexpected error."""
    response = m.DeleteTopicsResponse()
    for name, topic_id in _named_for_deletion(request, version):
        response.responses.append(_Deleted(name=name, topic_id=topic_id, error_code=code))
    return response


CREATE_TOPICS_RULES = (
    Split(
        Operation.CREATE,
        ResourceType.TOPIC,
        items=list_items("topics", "name"),
        keep=keep_list("topics"),
        deny=_deny_creation,
        unless=Operation.CREATE,
    ),
)
DELETE_TOPICS_RULES = (Filter(),)  # topics may be named by id, and the names of ids are not everybody's
CREATE_PARTITIONS_RULES = (
    Split(
        Operation.ALTER,
        ResourceType.TOPIC,
        items=list_items("topics", "name"),
        keep=keep_list("topics"),
        deny=_deny_growth,
    ),
)
DELETE_RECORDS_RULES = (
    Split(
        Operation.DELETE,
        ResourceType.TOPIC,
        items=list_items("topics", "name"),
        keep=keep_list("topics"),
        deny=_deny_shrinking,
    ),
)


def _named_for_deletion(request: Any, version: int) -> list[tuple[str | None, Any]]:
    """(name, id) pairs as asked: by name before v6, by either since."""
    if version < 6:
        return [(name, NULL_UUID) for name in request.topic_names]
    return [(item.name, item.topic_id) for item in request.topics]


class TopicHandlers:
    """Handles CreateTopics 2-7, DeleteTopics 1-6, DeleteRecords 0-2 and CreatePartitions 0-3."""

    def __init__(
        self,
        metadata: MetadataService,
        replicas: Replicas,
        entries_of: EntriesOf,
        encryption: EncryptionRule,
    ) -> None:
        self._metadata = metadata
        self._replicas = replicas
        self._encryption = encryption
        self._entries_of = entries_of

    # -- creating --------------------------------------------------------------------------------------------

    async def create_topics(self, context: RequestContext, request: Any) -> Any:
        """One result per name. v5+ adds the settings the topic runs with where the asker may see them."""
        response = m.CreateTopicsResponse()
        unique, repeated = _by_name(request.topics)
        response.topics += [_failed_creation(name, _twice()) for name in repeated]
        wanted = []
        for item in unique:
            try:
                await self._encryption.check((one.name, one.value) for one in item.configs)
                wanted.append(item)
            except RivvenError as error:
                response.topics.append(_failed_creation(item.name, error))
        commands = [self._creation(item, request.validate_only) for item in wanted]
        replies = await self._metadata.submit_all(commands)
        for item, reply in zip(wanted, replies, strict=True):
            if isinstance(reply, Topic) and not request.validate_only:
                reply = await self._hosted(reply)
            if isinstance(reply, RivvenError):
                response.topics.append(_failed_creation(item.name, reply))
            elif isinstance(reply, BaseException):
                raise reply
            else:
                response.topics.append(self._created(context, reply, request.validate_only))
        return response

    def _creation(self, item: Any, validate_only: bool) -> CreateTopic:
        return CreateTopic(
            item.name,
            self._metadata.new_topic_id(),
            item.num_partitions,
            item.replication_factor,
            tuple((one.partition_index, tuple(one.broker_ids)) for one in item.assignments),
            tuple((one.name, one.value) for one in item.configs),
            validate_only,
        )

    async def _hosted(self, topic: Topic) -> Topic | RivvenError:
        """Wait for the partitions of a committed topic; the topic, or why they cannot be had."""
        current = self._metadata.image.topics_by_id.get(topic.topic_id)
        if current is None:
            return UnknownTopicOrPartition("the topic was deleted")
        try:
            await self._replicas.ensure(current)
        except RivvenError as error:
            return error
        if topic.topic_id not in self._metadata.image.topics_by_id:
            # Deleted while it was being hosted: whoever removes may have come too early to see it.
            await self._replicas.sync_with(self._metadata.image)
            return UnknownTopicOrPartition("the topic was deleted")
        return current

    def _created(self, context: RequestContext, topic: Topic, validate_only: bool) -> Any:
        result = _Created(
            name=topic.name,
            topic_id=NULL_UUID if validate_only else topic.topic_id,
            error_message=None,
        )
        if context.api_version < 5:
            return result
        if not context.access.allowed(Operation.DESCRIBE_CONFIGS, ResourceType.TOPIC, topic.name):
            result.topic_config_error_code = ErrorCode.TOPIC_AUTHORIZATION_FAILED
            return result
        result.num_partitions = topic.partitions
        result.replication_factor = 1
        result.configs = [
            _CreatedConfig(
                name=entry.setting.name,
                value=entry.value,
                read_only=entry.read_only,
                config_source=entry.source,
            )
            for entry in self._entries_of(topic)
        ]
        return result

    async def create_partitions(self, _context: RequestContext, request: Any) -> Any:
        """Grow topics; one result per name."""
        response = m.CreatePartitionsResponse()
        unique, repeated = _by_name(request.topics)
        response.results += [_grown(name, _twice()) for name in repeated]
        commands = [
            CreatePartitions(
                item.name,
                item.count,
                None
                if item.assignments is None
                else tuple(tuple(one.broker_ids) for one in item.assignments),
                request.validate_only,
            )
            for item in unique
        ]
        replies = await self._metadata.submit_all(commands)
        for item, reply in zip(unique, replies, strict=True):
            if isinstance(reply, Topic) and not request.validate_only:
                reply = await self._hosted(reply)
            if isinstance(reply, BaseException) and not isinstance(reply, RivvenError):
                raise reply
            response.results.append(_grown(item.name, reply if isinstance(reply, RivvenError) else None))
        return response

    # -- deleting --------------------------------------------------------------------------------------------

    async def delete_topics(self, context: RequestContext, request: Any) -> Any:
        """Delete by name or id; what one may not describe is answered as if it did not exist."""
        context.access.used = True  # a request for no topics asks nothing
        response = m.DeleteTopicsResponse()
        topics: list[Topic] = []
        for name, topic_id, found in self._resolve(context, request):
            if isinstance(found, RivvenError):
                response.responses.append(_not_deleted(name, topic_id, found, context.api_version))
            else:
                topics.append(found)
        replies = await self._metadata.submit_all([DeleteTopic(topic.topic_id) for topic in topics])
        for topic, reply in zip(topics, replies, strict=True):
            if isinstance(reply, RivvenError):
                error = _not_deleted(topic.name, topic.topic_id, reply, context.api_version)
                response.responses.append(error)
            elif isinstance(reply, BaseException):
                raise reply
            else:
                response.responses.append(_Deleted(name=topic.name, topic_id=topic.topic_id))
        return response

    def _resolve(self, context: RequestContext, request: Any) -> list[tuple[Any, Any, Topic | RivvenError]]:
        """(name, id, the topic or why not) for each item that is asked for, repetitions once."""
        asked = _named_for_deletion(request, context.api_version)
        resolved: dict[tuple[Any, Any], Topic | RivvenError] = {}
        seen_ids: set[Any] = set()
        for name, topic_id in asked:
            if (name, topic_id) in resolved:
                resolved[name, topic_id] = _twice()
                continue
            found = self._deletable(context, name, topic_id)
            if isinstance(found, Topic):
                if found.topic_id in seen_ids:
                    found = _twice()
                else:
                    seen_ids.add(found.topic_id)
            resolved[name, topic_id] = found
        return [(name, topic_id, found) for (name, topic_id), found in resolved.items()]

    def _deletable(self, context: RequestContext, name: str | None, topic_id: Any) -> Topic | RivvenError:
        access, image = context.access, self._metadata.image
        if (name is None) == (topic_id == NULL_UUID):
            return InvalidRequest("a topic is named either by name or by id")
        everything = access.probe_cluster(Operation.DELETE)
        if name is None:
            topic = image.topics_by_id.get(topic_id)
            if topic is None or not (
                everything or access.allowed(Operation.DESCRIBE, ResourceType.TOPIC, topic.name)
            ):
                return RivvenError("there is no topic with this id", ErrorCode.UNKNOWN_TOPIC_ID)
            name = topic.name
        if not (everything or access.allowed(Operation.DELETE, ResourceType.TOPIC, name)):
            return RivvenError(DENIED, ErrorCode.TOPIC_AUTHORIZATION_FAILED)
        if not self._metadata.broker_values["delete.topic.enable"]:
            code = ErrorCode.INVALID_REQUEST if context.api_version < 3 else ErrorCode.TOPIC_DELETION_DISABLED
            return RivvenError("topic deletion is disabled", code)
        return image.topics.get(name) or UnknownTopicOrPartition("there is no such topic")

    async def delete_records(self, _context: RequestContext, request: Any) -> Any:
        """Move log starts up; answers each partition's log start afterwards."""
        response = m.DeleteRecordsResponse()
        for topic in request.topics:
            entries = []
            for asked in topic.partitions:
                entry = _Shrunk(partition_index=asked.partition_index, low_watermark=NO_LOW_WATERMARK)
                entries.append(entry)
                try:
                    entry.low_watermark = await self._shrink(topic.name, asked.partition_index, asked.offset)
                except RivvenError as error:
                    entry.error_code = error.code
            response.topics.append(_ShrunkTopic(name=topic.name, partitions=entries))
        return response

    async def _shrink(self, name: str, index: int, offset: int) -> int:
        partition = self._replicas.partition(name, index)
        if partition is None:
            raise UnknownTopicOrPartition("there is no such partition")
        if self._replicas.is_internal(name):
            raise RivvenError("records of the broker's own topics stay", ErrorCode.INVALID_TOPIC_EXCEPTION)
        partition.check_online()
        if not partition.log.config.deletes:
            raise RivvenError(
                "cleanup.policy of the topic does not delete records", ErrorCode.POLICY_VIOLATION
            )
        if offset == HIGH_WATERMARK:
            offset = partition.high_watermark
        if not 0 <= offset <= partition.high_watermark:
            raise RivvenError("the offset is not in the log", ErrorCode.OFFSET_OUT_OF_RANGE)
        if offset <= partition.log_start_offset:
            return partition.log_start_offset
        return await partition.log.delete_records_before(offset)


def _by_name(items: list[Any]) -> tuple[list[Any], list[str]]:
    """Items whose name occurs once, and the names that occur more often."""
    counts: dict[str, int] = {}
    for item in items:
        counts[item.name] = counts.get(item.name, 0) + 1
    return [item for item in items if counts[item.name] == 1], [
        name for name, count in counts.items() if count > 1
    ]


def _twice() -> RivvenError:
    return InvalidRequest("the topic is named twice")


def _failed_creation(name: str, error: RivvenError) -> Any:
    return _Created(name=name, error_code=error.code, error_message=error.message)


def _grown(name: str, error: RivvenError | None) -> Any:
    if error is None:
        return _Grown(name=name)
    return _Grown(name=name, error_code=error.code, error_message=error.message)


def _not_deleted(name: str | None, topic_id: Any, error: RivvenError, version: int) -> Any:
    code = error.code
    if code is ErrorCode.UNKNOWN_TOPIC_ID and version < 6:
        code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION  # deleted meanwhile, and asked for by name
    return _Deleted(name=name, topic_id=topic_id, error_code=code, error_message=error.message)
