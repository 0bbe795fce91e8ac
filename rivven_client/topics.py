"""Topics and the cluster through the administration API: plain values in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rivven_client.connection import Connection
from rivven_client.failures import ClientFailed, FailureKind


@dataclass(frozen=True, slots=True)
class TopicSummary:
    """One line of a list of topics."""

    name: str
    partitions: int
    replicas: int
    internal: bool


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """One partition: its leader, replicas, in-sync replicas, and its offsets (-1 when unknown)."""

    partition: int
    leader: int
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]
    earliest: int
    latest: int


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """All about one topic; `settings` are those that differ from the broker's defaults."""

    name: str
    id: str
    partitions: tuple[PartitionInfo, ...]
    settings: Mapping[str, str]
    all_settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """Who serves: cluster id, controller and nodes as (id, host:port)."""

    cluster_id: str
    controller: int
    nodes: tuple[tuple[int, str], ...]


def list_topics(connection: Connection, *, internal: bool = False) -> list[TopicSummary]:
    """The topics the user may describe, by name."""
    metadata = connection.call(connection.admin().list_topics)
    found = []
    for name, topic in sorted(metadata.topics.items()):
        hidden = name.startswith("__")
        if hidden and not internal:
            continue
        replicas = max((len(part.replicas) for part in topic.partitions.values()), default=0)
        found.append(TopicSummary(name, len(topic.partitions), replicas, hidden))
    return found


def describe_topic(connection: Connection, name: str) -> TopicInfo:
    """One topic with offsets and settings; raises ClientFailed (NOT_FOUND) when it does not exist."""
    from confluent_kafka import TopicCollection

    futures = connection.admin().describe_topics(TopicCollection([name]))
    description = connection.result(futures[name], name)
    numbers = [part.id for part in description.partitions]
    earliest, latest = _offsets(connection, name, numbers)
    parts = tuple(
        PartitionInfo(
            part.id,
            part.leader.id if part.leader is not None else -1,
            tuple(node.id for node in part.replicas),
            tuple(node.id for node in part.isr),
            earliest.get(part.id, -1),
            latest.get(part.id, -1),
        )
        for part in sorted(description.partitions, key=lambda part: part.id)
    )
    own, everything = topic_settings(connection, name)
    return TopicInfo(name, str(description.topic_id), parts, own, everything)


def topic_settings(connection: Connection, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """The settings of a topic: those set on it, and all of them with their effective values."""
    from confluent_kafka.admin import ConfigResource, ConfigSource

    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    entries = connection.result(connection.admin().describe_configs([resource])[resource], name)
    own_source = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    everything = {key: entries[key].value for key in sorted(entries)}
    own = {key: value for key, value in everything.items() if entries[key].source == own_source}
    return own, everything


def create_topic(
    connection: Connection,
    name: str,
    partitions: int | None,
    settings: Mapping[str, str],
    *,
    validate_only: bool,
) -> None:
    """Create a topic; `partitions` None takes the broker's default."""
    from confluent_kafka.admin import NewTopic

    topic = NewTopic(name, num_partitions=partitions or -1, replication_factor=-1, config=dict(settings))
    connection.result(connection.admin().create_topics([topic], validate_only=validate_only)[name], name)


def delete_topic(connection: Connection, name: str) -> None:
    """Delete a topic with its records."""
    connection.result(connection.admin().delete_topics([name])[name], name)


def add_partitions(connection: Connection, name: str, total: int) -> None:
    """Raise the number of partitions to `total`."""
    from confluent_kafka.admin import NewPartitions

    connection.result(connection.admin().create_partitions([NewPartitions(name, total)])[name], name)


def alter_topic(
    connection: Connection, name: str, settings: Mapping[str, str], removed: Sequence[str]
) -> None:
    """Set and remove settings of a topic; what is not named stays."""
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

    entries = [
        *(
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
            for key, value in settings.items()
        ),
        *(ConfigEntry(key, None, incremental_operation=AlterConfigOpType.DELETE) for key in removed),
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)
    connection.result(connection.admin().incremental_alter_configs([resource])[resource], name)


def cluster_info(connection: Connection) -> ClusterInfo:
    """Cluster id, controller and nodes."""
    described = connection.result(connection.admin().describe_cluster())
    nodes = tuple(
        (node.id, _host_port(node.host, node.port)) for node in sorted(described.nodes, key=lambda n: n.id)
    )
    controller = described.controller.id if described.controller is not None else -1
    return ClusterInfo(str(described.cluster_id), controller, nodes)


def partition_numbers(connection: Connection, name: str) -> list[int]:
    """The partitions of a topic; raises ClientFailed (NOT_FOUND) when it does not exist, and never creates
    it."""
    from confluent_kafka import TopicCollection

    future = connection.admin().describe_topics(TopicCollection([name]))[name]
    return sorted(part.id for part in connection.result(future, name).partitions)


def offsets_at(connection: Connection, name: str, partitions: Sequence[int], spec: Any) -> dict[int, int]:
    """The offset of each partition for a confluent_kafka OffsetSpec."""
    from confluent_kafka import TopicPartition

    futures = connection.admin().list_offsets({TopicPartition(name, number): spec for number in partitions})
    return {part.partition: connection.result(future, name).offset for part, future in futures.items()}


def _offsets(
    connection: Connection, name: str, partitions: Sequence[int]
) -> tuple[dict[int, int], dict[int, int]]:
    from confluent_kafka.admin import OffsetSpec

    try:
        return (
            offsets_at(connection, name, partitions, OffsetSpec.earliest()),
            offsets_at(connection, name, partitions, OffsetSpec.latest()),
        )
    except ClientFailed as failure:
        if failure.kind is not FailureKind.DENIED:
            raise
        return {}, {}  # may be described, but not read


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
