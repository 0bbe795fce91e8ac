"""Deciding about topics: creation, deletion, growth.

Pure: image and command in, events and reply out. Raises RivvenError with Kafka's code; the texts name nothing
the asker did not send.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rivven.errors import ErrorCode, InvalidConfig, InvalidRequest, RivvenError
from rivven.metadata import records as r
from rivven.metadata.commands import DEFAULT, CreatePartitions, CreateTopic, DeleteTopic
from rivven.metadata.config_changes import checked_topic_configs, parsed_topic_value
from rivven.metadata.image import MetadataImage, Topic
from rivven.metadata.topic_names import RESERVED_TOPICS, name_problem

PARTITIONS_PER_TOPIC_MAX = 10_000
"""Most partitions one topic may have: what one node is measured to start with in five seconds."""

PARTITIONS_TOTAL_MAX = 20_000
"""Most partitions of the node: each costs memory (about 25 KB) and files for as long as it lives."""

Decided = tuple[tuple[r.MetadataEvent, ...], Any]
"""Events and the reply they lead to."""


def create_topic(
    image: MetadataImage,
    command: CreateTopic,
    node_id: int,
    default_partitions: int,
    defaults: Mapping[str, str],
) -> Decided:
    """See `CreateTopic`. `defaults` are the broker's defaults of topic settings."""
    _check_name(image, command)
    configs = _own_configs(command.configs, defaults)
    partitions = _partition_count(command, node_id, default_partitions)
    _check_room(image, partitions, partitions)
    topic = Topic(command.name, command.topic_id, partitions, configs, command.internal, 0)
    if command.validate_only:
        return (), topic
    event = r.TopicCreated(command.name, command.topic_id, partitions, configs, command.internal)
    return (event,), topic


def delete_topic(image: MetadataImage, command: DeleteTopic) -> Decided:
    """See `DeleteTopic`."""
    topic = image.topics_by_id.get(command.topic_id)
    if topic is None:
        raise RivvenError("there is no topic with this id", ErrorCode.UNKNOWN_TOPIC_ID)
    if topic.internal:
        raise RivvenError("the broker's own topics cannot be deleted", ErrorCode.INVALID_TOPIC_EXCEPTION)
    return (r.TopicDeleted(topic.topic_id),), topic


def create_partitions(image: MetadataImage, command: CreatePartitions, node_id: int) -> Decided:
    """See `CreatePartitions`."""
    topic = image.topics.get(command.name)
    if topic is None:
        raise RivvenError("there is no such topic", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    if topic.internal:
        raise RivvenError(
            "the partition count of the broker's own topics is fixed", ErrorCode.INVALID_TOPIC_EXCEPTION
        )
    added = command.count - topic.partitions
    if added <= 0:
        raise RivvenError(
            f"the topic has {topic.partitions} partitions; {command.count} would not be more",
            ErrorCode.INVALID_PARTITIONS,
        )
    if command.assignments is not None:
        if len(command.assignments) != added:
            raise RivvenError(
                f"{len(command.assignments)} assignments for {added} new partitions",
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            )
        for replicas in command.assignments:
            _check_replicas(replicas, node_id)
    _check_room(image, added, command.count)
    grown = Topic(topic.name, topic.topic_id, command.count, topic.configs, topic.internal, 0)
    if command.validate_only:
        return (), grown
    return (r.PartitionsAdded(topic.topic_id, command.count),), grown


def _check_name(image: MetadataImage, command: CreateTopic) -> None:
    name = command.name
    problem = name_problem(name)
    if problem is None and name in RESERVED_TOPICS and not command.internal:
        if name in image.topics:
            raise RivvenError("the topic exists", ErrorCode.TOPIC_ALREADY_EXISTS)
        problem = "the name is reserved for the broker"
    if problem is not None:
        raise RivvenError(problem, ErrorCode.INVALID_TOPIC_EXCEPTION)
    existing = image.name_in_the_way(name)
    if existing == name:
        raise RivvenError("the topic exists", ErrorCode.TOPIC_ALREADY_EXISTS)
    if existing is not None:
        # The other name is not told: the asker may not be allowed to see it.
        raise RivvenError(
            "a topic exists whose name differs only in '.' and '_', which metrics cannot tell apart",
            ErrorCode.INVALID_TOPIC_EXCEPTION,
        )


def _own_configs(configs: Sequence[tuple[str, str | None]], defaults: Mapping[str, str]) -> dict[str, str]:
    own: dict[str, str] = {}
    for name, value in configs:
        if value is None:
            raise InvalidConfig(f"{name}: a value is missing")
        if name in own:
            raise InvalidRequest(f"{name} is given twice")
        own[name] = parsed_topic_value(name, value)
    return checked_topic_configs(own, defaults)


def _partition_count(command: CreateTopic, node_id: int, default_partitions: int) -> int:
    """The number of partitions, from the count or the manual assignments."""
    if command.assignments:
        if command.partitions != DEFAULT or command.replication_factor != DEFAULT:
            raise InvalidRequest("a count or replication factor and manual assignments exclude each other")
        return _assigned_count(command.assignments, node_id)
    if command.replication_factor != DEFAULT:
        if command.replication_factor <= 0:
            raise RivvenError(
                "the replication factor must be positive, or -1 for the default",
                ErrorCode.INVALID_REPLICATION_FACTOR,
            )
        if command.replication_factor > 1:
            raise RivvenError(
                f"replication factor {command.replication_factor} is larger than the number of brokers, 1",
                ErrorCode.INVALID_REPLICATION_FACTOR,
            )
    if command.partitions == DEFAULT:
        return default_partitions
    if command.partitions <= 0:
        raise RivvenError(
            "the number of partitions must be positive, or -1 for the default", ErrorCode.INVALID_PARTITIONS
        )
    return command.partitions


def _assigned_count(assignments: tuple[tuple[int, tuple[int, ...]], ...], node_id: int) -> int:
    indexes = [index for index, _ in assignments]
    if sorted(indexes) != list(range(len(indexes))):
        raise RivvenError(
            "assigned partitions must be numbered from 0 without gaps or repetitions",
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
        )
    for _, replicas in assignments:
        _check_replicas(replicas, node_id)
    return len(assignments)


def _check_replicas(replicas: tuple[int, ...], node_id: int) -> None:
    if replicas != (node_id,):
        raise RivvenError(
            f"every partition is assigned to exactly one broker, {node_id}",
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
        )


def _check_room(image: MetadataImage, added: int, total: int) -> None:
    if total > PARTITIONS_PER_TOPIC_MAX:
        raise RivvenError(
            f"a topic may have at most {PARTITIONS_PER_TOPIC_MAX} partitions", ErrorCode.INVALID_PARTITIONS
        )
    if image.partition_count + added > PARTITIONS_TOTAL_MAX:
        raise RivvenError(
            f"this broker holds at most {PARTITIONS_TOTAL_MAX} partitions", ErrorCode.POLICY_VIOLATION
        )
