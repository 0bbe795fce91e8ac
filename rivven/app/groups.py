"""Consumer groups of one broker: their topic, its coordinator, and what it forgets with deleted topics."""

from __future__ import annotations

from typing import Any

from rivven.clock import Clock
from rivven.coordinator.service import GroupCoordinator
from rivven.coordinator.settings import group_settings
from rivven.metadata.records import TopicCreated, TopicDeleted
from rivven.metadata.service import MetadataService
from rivven.metadata.topic_names import GROUP_TOPIC
from rivven.replication.replicas import Replicas
from rivven.tasks import Tasks

GROUP_TOPIC_CONFIGS = {"cleanup.policy": "compact", "segment.bytes": "104857600"}
"""Kafka's own settings for the topic: compacted, in segments small enough to be compacted soon."""


async def open_groups(
    metadata: MetadataService, replicas: Replicas, clock: Clock, tasks: Tasks
) -> GroupCoordinator:
    """Make the topic if there is none, and start the coordinator over its partitions."""
    count = metadata.static_broker_values["offsets.topic.num.partitions"]
    assert isinstance(count, int)
    topic = await metadata.create_internal_topic(GROUP_TOPIC, count, GROUP_TOPIC_CONFIGS)
    await replicas.ensure(topic)

    def open_store(index: int) -> Any:
        partition = replicas.partition(GROUP_TOPIC, index)
        assert partition is not None
        return partition

    groups = GroupCoordinator(
        topic.partitions,
        open_store,
        group_settings(metadata.static_broker_values),
        clock,
        tasks,
        lambda name: name in metadata.image.topics,
    )
    groups.start()
    _forget_offsets_of_deleted_topics(metadata, groups, tasks)
    return groups


def _forget_offsets_of_deleted_topics(
    metadata: MetadataService, groups: GroupCoordinator, tasks: Tasks
) -> None:
    """A topic of the same name that comes later must not inherit the offsets."""
    names = {topic_id: topic.name for topic_id, topic in metadata.image.topics_by_id.items()}

    def committed(events: tuple[Any, ...]) -> None:
        gone = [event.topic_id for event in events if isinstance(event, TopicDeleted)]
        deleted = frozenset(names.pop(topic_id) for topic_id in gone if topic_id in names)
        names.update((event.topic_id, event.name) for event in events if isinstance(event, TopicCreated))
        if deleted:
            tasks.spawn(groups.topics_deleted(deleted), "forget offsets of deleted topics")

    metadata.on_commit(committed)
