"""Metadata (key 3): brokers, and the topics the asker may describe.

A name one may not describe answers TOPIC_AUTHORIZATION_FAILED whether it exists or not; an id one may not
describe answers UNKNOWN_TOPIC_ID, as one that does not exist.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from rivven.api.context import RequestContext
from rivven.api.rules import Filter
from rivven.errors import ErrorCode, RivvenError
from rivven.metadata.topic_names import name_problem
from rivven.protocol import messages as m
from rivven.protocol.metadata_cache import SharedTopic
from rivven.protocol.schema import NULL_UUID
from rivven.replication.replicas import Replicas, TopicView
from rivven.types import CLUSTER_NAME, Operation, ResourceType

_Topic = m.MetadataResponse.MetadataResponseTopic
_Partition = m.MetadataResponse.MetadataResponsePartition
_Broker = m.MetadataResponse.MetadataResponseBroker

METADATA_RULES = (Filter(),)

IDS_SINCE = 12
"""The first version whose answer can describe a topic that was asked for by id only (KIP-516)."""

NOT_ASKED = -2147483648
"""Authorized operations that were not asked for (KIP-430)."""


class Topics(Protocol):
    """The committed topics."""

    @property
    def topics(self) -> Any: ...
    @property
    def topics_by_id(self) -> Any: ...


AutoCreate = Callable[[str], Awaitable[TopicView]]
"""Creates a topic with the broker's defaults and waits for its partitions; raises RivvenError."""


def metadata_failure(request: Any, version: int, code: ErrorCode) -> Any:
    """The answer to an unexpected error: v13 has a place for it, before that each named topic carries it."""
    response = m.MetadataResponse(error_code=code)
    if version < 13:
        response.topics = [
            _Topic(error_code=code, name=topic.name or "", topic_id=topic.topic_id)
            for topic in request.topics or ()
        ]
    return response


class MetadataHandler:
    """Handles Metadata 0-13."""

    def __init__(
        self,
        node_id: int,
        cluster_id: str,
        image: Callable[[], Topics],
        replicas: Replicas,
        auto_create: AutoCreate | None,
    ) -> None:
        self._node_id = node_id
        self._cluster_id = cluster_id
        self._image = image
        self._replicas = replicas
        self._auto_create = auto_create
        self._entries: dict[str, tuple[tuple[int, int], SharedTopic]] = {}

    async def metadata(self, context: RequestContext, request: Any) -> Any:
        """All topics (null, or empty in v0), or the named ones, created first where that is allowed."""
        listener = context.session.listener
        response = m.MetadataResponse(
            cluster_id=self._cluster_id,
            controller_id=self._node_id,
            brokers=[
                _Broker(node_id=self._node_id, host=listener.advertised_host, port=listener.advertised_port)
            ],
        )
        wants_operations = request.include_topic_authorized_operations
        asked = request.topics
        if asked is None or (context.api_version == 0 and not asked):
            topics = self._image().topics
            visible = context.access.filter(Operation.DESCRIBE, ResourceType.TOPIC, topics)
            response.topics = [
                self._describe(context, topic, wants_operations)
                for name, topic in topics.items()
                if name in visible
            ]
        else:
            context.access.used = True  # a request for no topics asks nothing
            if context.api_version < IDS_SINCE and any(item.name is None for item in asked):
                raise RivvenError("a topic without a name", ErrorCode.INVALID_REQUEST)
            for item in asked:
                response.topics.append(await self._one(context, request, item, wants_operations))
        if request.include_cluster_authorized_operations:
            response.cluster_authorized_operations = (
                context.access.authorized_operations(ResourceType.CLUSTER, CLUSTER_NAME)
                if context.access.probe_cluster(Operation.DESCRIBE)
                else 0
            )
        return response

    async def _one(self, context: RequestContext, request: Any, item: Any, operations: bool) -> Any:
        access = context.access
        image = self._image()
        if item.name is None:
            topic = image.topics_by_id.get(item.topic_id) if item.topic_id != NULL_UUID else None
            if topic is None or not access.allowed(Operation.DESCRIBE, ResourceType.TOPIC, topic.name):
                return _Topic(error_code=ErrorCode.UNKNOWN_TOPIC_ID, name=None, topic_id=item.topic_id)
            return self._describe(context, topic, operations)
        name = item.name
        if not access.allowed(Operation.DESCRIBE, ResourceType.TOPIC, name):
            return _Topic(error_code=ErrorCode.TOPIC_AUTHORIZATION_FAILED, name=name)
        topic = image.topics.get(name)
        if topic is None:
            if name_problem(name) is not None:
                # Said at once: clients ask for a topic that may yet come again and again until they time out.
                return _Topic(error_code=ErrorCode.INVALID_TOPIC_EXCEPTION, name=name)
            if self._auto_create is None or not request.allow_auto_topic_creation:
                return _Topic(error_code=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, name=name)
            if not (
                access.probe_cluster(Operation.CREATE)
                or access.allowed(Operation.CREATE, ResourceType.TOPIC, name)
            ):
                return _Topic(error_code=ErrorCode.TOPIC_AUTHORIZATION_FAILED, name=name)
            try:
                topic = await self._auto_create(name)
            except RivvenError as error:
                return _Topic(error_code=error.code, name=name)
        return self._describe(context, topic, operations)

    def _describe(self, context: RequestContext, topic: TopicView, operations: bool) -> Any:
        """The topic's entry; it is shared between answers until the topic or a partition's state changes."""
        stamp = (topic.version, self._replicas.version)
        cached = self._entries.get(topic.name)
        if cached is None or cached[0] != stamp:
            cached = self._entries[topic.name] = (stamp, SharedTopic(self._build(topic)))
            if len(self._entries) > 2 * len(self._image().topics) + 16:
                self._entries = {topic.name: cached}
        shared = cached[1]
        if not operations:
            return shared
        return shared.with_operations(context.access.authorized_operations(ResourceType.TOPIC, topic.name))

    def _build(self, topic: TopicView) -> Any:
        node = self._node_id
        entry = _Topic(name=topic.name, topic_id=topic.topic_id, is_internal=topic.internal)
        hosted = self._replicas.partitions_of(topic.name)
        for index in range(topic.partitions):
            partition = hosted[index] if index < len(hosted) else None
            if partition is not None and partition.online:
                entry.partitions.append(
                    _Partition(
                        partition_index=index,
                        leader_id=node,
                        leader_epoch=partition.leader_epoch,
                        replica_nodes=[node],
                        isr_nodes=[node],
                    )
                )
            else:
                entry.partitions.append(
                    _Partition(
                        error_code=ErrorCode.LEADER_NOT_AVAILABLE,
                        partition_index=index,
                        leader_id=-1,
                        replica_nodes=[node],
                        offline_replicas=[node] if partition is not None else [],
                    )
                )
        return entry
