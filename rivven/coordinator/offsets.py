"""Committed offsets: who may commit, what is too big, what expires.

Pure functions over a group and its offsets; the machine turns their answers into events.
"""

from __future__ import annotations

from rivven.coordinator.commands import CommitOffsets, OffsetTable
from rivven.coordinator.events import CommittedOffset
from rivven.coordinator.group import Group, GroupState
from rivven.coordinator.joining import check_member
from rivven.coordinator.settings import GroupSettings, name_fits
from rivven.coordinator.subscription import topics_of
from rivven.errors import ErrorCode

CONSUMER = "consumer"
"""The protocol type whose member metadata names topics."""


def check_commit(command: CommitOffsets, group: Group | None) -> ErrorCode:
    """Whether this committer speaks for the group now; NONE lets the offsets be stored.

    Without generation, member and instance it is an administrator or a consumer that assigns itself:
    welcome only while the group has no members.
    """
    if not name_fits(command.group_id):
        return ErrorCode.INVALID_GROUP_ID
    if group is None:
        if command.generation < 0:
            return ErrorCode.NONE
        missing = command.knows_missing_groups
        return ErrorCode.GROUP_ID_NOT_FOUND if missing else ErrorCode.ILLEGAL_GENERATION
    if command.generation < 0 and group.state is GroupState.EMPTY:
        return ErrorCode.NONE
    if command.generation < 0 and not command.member_id and command.instance_id is None:
        return ErrorCode.UNKNOWN_MEMBER_ID
    error = check_member(group, command.member_id, command.instance_id)
    if error is not ErrorCode.NONE:
        return error
    if command.generation != group.generation:
        return ErrorCode.ILLEGAL_GENERATION
    if group.state is GroupState.COMPLETING:
        return ErrorCode.REBALANCE_IN_PROGRESS
    return ErrorCode.NONE


def metadata_fits(metadata: str, settings: GroupSettings) -> bool:
    """Whether the text stored with an offset is within offset.metadata.max.bytes."""
    limit = settings.offset_metadata_bytes_max
    return len(metadata) * 4 <= limit or len(metadata.encode(errors="surrogatepass")) <= limit


def subscribed_topics(group: Group) -> frozenset[str] | None:
    """Topics the members of a consumer group subscribe to; None when that cannot be told."""
    if group.protocol_type != CONSUMER:
        return None
    topics: set[str] = set()
    for member in group.members.values():
        for _, metadata in member.protocols:
            found = topics_of(metadata)
            if found is None:
                return None
            topics |= found
    return frozenset(topics)


def expired(
    group: Group, offsets: OffsetTable, settings: GroupSettings, now_ms: int
) -> list[tuple[str, int]]:
    """Offsets nobody has used for the retention time.

    Counted from when the group became empty; from the commit for groups that never had members, and for
    topics that a stable consumer group no longer subscribes to. Other groups with members keep everything
    (KIP-211).
    """
    keep: frozenset[str] = frozenset()
    since: int | None = None
    if group.protocol_type is None:
        pass
    elif group.state is GroupState.EMPTY:
        since = group.state_since_ms if group.state_since_ms >= 0 else None
    elif group.state is GroupState.STABLE:
        subscribed = subscribed_topics(group)
        if subscribed is None:
            return []
        keep = subscribed
    else:
        return []
    return [
        (topic, partition)
        for topic, partitions in offsets.items()
        if topic not in keep
        for partition, committed in partitions.items()
        if _is_expired(committed, since, settings.retention_ms, now_ms)
    ]


def _is_expired(committed: CommittedOffset, since: int | None, retention_ms: int, now_ms: int) -> bool:
    if committed.expire_ms >= 0:
        return now_ms >= committed.expire_ms
    base = committed.commit_ms if since is None else max(since, committed.commit_ms)
    return now_ms - base >= retention_ms
