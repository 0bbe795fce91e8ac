"""Consumer groups through the administration API: plain values in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rivven_client.connection import Connection
from rivven_client.failures import ClientFailed, FailureKind
from rivven_client.topics import offsets_at, partition_numbers

if TYPE_CHECKING:
    from confluent_kafka import TopicPartition

TopicPartitionKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """One line of a list of groups."""

    group: str
    state: str
    kind: str


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """One member and the partitions it was given."""

    member: str
    client: str
    host: str
    partitions: tuple[TopicPartitionKey, ...]


@dataclass(frozen=True, slots=True)
class OffsetInfo:
    """A committed offset beside the end of its partition; `end` is -1 when the partition may not be read."""

    topic: str
    partition: int
    committed: int
    end: int
    metadata: str

    @property
    def lag(self) -> int | None:
        """Records not yet consumed; None when unknown."""
        return max(0, self.end - self.committed) if self.end >= 0 and self.committed >= 0 else None


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """All about one group."""

    group: str
    state: str
    assignor: str
    coordinator: str
    members: tuple[MemberInfo, ...]
    offsets: tuple[OffsetInfo, ...]


def list_groups(connection: Connection) -> list[GroupSummary]:
    """The groups the user may describe, by name."""
    listed = connection.result(connection.admin().list_consumer_groups())
    for error in listed.errors:
        raise ClientFailed(str(error))
    return sorted(
        (GroupSummary(one.group_id, _name(one.state), _name(one.type)) for one in listed.valid),
        key=lambda summary: summary.group,
    )


def describe_group(connection: Connection, group: str) -> GroupInfo:
    """One group with members, committed offsets and lag; raises ClientFailed (NOT_FOUND)."""
    described = connection.result(connection.admin().describe_consumer_groups([group])[group], group)
    offsets = _with_ends(connection, committed_offsets(connection, group))
    if _name(described.state) == "dead" and not offsets:
        raise ClientFailed(f"there is no group {group!r}, or it may not be seen", FailureKind.NOT_FOUND)
    members = tuple(
        MemberInfo(
            member.member_id,
            member.client_id,
            member.host,
            tuple((part.topic, part.partition) for part in member.assignment.topic_partitions),
        )
        for member in described.members
    )
    coordinator = described.coordinator
    where = f"{coordinator.host}:{coordinator.port}" if coordinator is not None else ""
    return GroupInfo(
        group, _name(described.state), described.partition_assignor or "", where, members, offsets
    )


def committed_offsets(connection: Connection, group: str) -> list[TopicPartition]:
    """Every committed offset of a group."""
    from confluent_kafka import ConsumerGroupTopicPartitions

    future = connection.admin().list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group]
    parts = connection.result(future, group).topic_partitions or []
    return sorted(parts, key=lambda part: (part.topic, part.partition))


def commit_offsets(connection: Connection, group: str, offsets: Mapping[TopicPartitionKey, int]) -> None:
    """Set committed offsets of a group without members."""
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

    parts = [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
    request = ConsumerGroupTopicPartitions(group, parts)
    answer = connection.result(connection.admin().alter_consumer_group_offsets([request])[group], group)
    for part in answer.topic_partitions:
        if part.error is not None:
            raise ClientFailed(f"{part.topic}-{part.partition}: {part.error.str()}", FailureKind.INVALID)


def delete_group(connection: Connection, group: str) -> None:
    """Delete a group without members, with its offsets."""
    connection.result(connection.admin().delete_consumer_groups([group])[group], group)


def target_offsets(
    connection: Connection, topics: Sequence[str], *, to: str, value: int | None = None
) -> dict[TopicPartitionKey, int]:
    """Offsets to reset topics to: `to` is earliest, latest, offset or time (`value`: offset, or ms since
    1970)."""
    from confluent_kafka.admin import OffsetSpec

    targets: dict[TopicPartitionKey, int] = {}
    for topic in topics:
        numbers = partition_numbers(connection, topic)
        earliest = offsets_at(connection, topic, numbers, OffsetSpec.earliest())
        latest = offsets_at(connection, topic, numbers, OffsetSpec.latest())
        chosen = {"earliest": earliest, "latest": latest}.get(to)
        if to == "time":
            # A partition without a record that late starts at its end, as Kafka's own tools do it.
            found = offsets_at(connection, topic, numbers, OffsetSpec.for_timestamp(value or 0))
            chosen = {number: offset if offset >= 0 else latest[number] for number, offset in found.items()}
        for number in numbers:
            wanted = chosen[number] if chosen is not None else value or 0
            targets[topic, number] = min(max(wanted, earliest[number]), latest[number])
    return targets


def shifted_offsets(
    connection: Connection, group: str, topics: Sequence[str], by: int
) -> dict[TopicPartitionKey, int]:
    """Committed offsets moved by a number of records, kept within what the partitions hold."""
    low = target_offsets(connection, topics, to="earliest")
    high = target_offsets(connection, topics, to="latest")
    current = {(part.topic, part.partition): part.offset for part in committed_offsets(connection, group)}
    return {key: min(max(current[key] + by, low[key]), high[key]) for key in low if current.get(key, -1) >= 0}


def _with_ends(connection: Connection, parts: Sequence[TopicPartition]) -> tuple[OffsetInfo, ...]:
    from confluent_kafka.admin import OffsetSpec

    ends: dict[TopicPartitionKey, int] = {}
    by_topic: dict[str, list[int]] = {}
    for part in parts:
        by_topic.setdefault(part.topic, []).append(part.partition)
    for topic, numbers in by_topic.items():
        try:
            found = offsets_at(connection, topic, numbers, OffsetSpec.latest())
        except ClientFailed as failure:
            if failure.kind not in (FailureKind.DENIED, FailureKind.NOT_FOUND):
                raise
            continue  # deleted since the commit, or not this user's to read
        ends.update({(topic, number): end for number, end in found.items()})
    return tuple(
        OffsetInfo(
            part.topic,
            part.partition,
            part.offset,
            ends.get((part.topic, part.partition), -1),
            part.metadata or "",
        )
        for part in parts
    )


def _name(value: Any) -> str:
    return str(getattr(value, "name", value)).lower()
