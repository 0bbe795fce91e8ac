"""What a group machine can be asked, and what it answers. Declarations only.

Texts and bytes come from clients; the machine checks them. `fresh_id` is entropy from outside: a suffix no
member ever had. Answers carry error codes of the Kafka protocol; a refusal is a value here, not an
exception.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from rivven.coordinator.events import CommittedOffset
from rivven.coordinator.group import GroupState, Protocols
from rivven.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class JoinGroup:
    """A client wants to be, or stay, a member. The answer may be held until the rebalance completes."""

    group_id: str
    member_id: str
    fresh_id: str
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    """-1: as long as the session (JoinGroup v0)."""
    protocol_type: str
    protocols: Protocols
    instance_id: str | None = None
    require_member_id: bool = True
    """v4+: a new dynamic member is told its id and joins again with it (KIP-394)."""
    can_skip_assignment: bool = True
    """v9+: a static leader that returns can be told to leave the assignments as they are."""


class JoinedMember(NamedTuple):
    """A member as the leader sees it."""

    member_id: str
    instance_id: str | None
    metadata: bytes


@dataclass(frozen=True, slots=True)
class JoinReply:
    error: ErrorCode
    member_id: str
    generation: int = -1
    protocol_type: str | None = None
    protocol: str | None = None
    leader: str = ""
    skip_assignment: bool = False
    members: tuple[JoinedMember, ...] = ()


@dataclass(frozen=True, slots=True)
class SyncGroup:
    """A member asks for its assignment; the leader brings everybody's. Held until the leader's has come."""

    group_id: str
    generation: int
    member_id: str
    instance_id: str | None = None
    protocol_type: str | None = None
    protocol: str | None = None
    assignments: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class SyncReply:
    error: ErrorCode
    protocol_type: str | None = None
    protocol: str | None = None
    assignment: bytes = b""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A member is alive; answered with an `ErrorCode`."""

    group_id: str
    generation: int
    member_id: str
    instance_id: str | None = None


@dataclass(frozen=True, slots=True)
class LeaveGroup:
    """Members, as (member id, instance id), leave or are removed; answered with one `ErrorCode` each."""

    group_id: str
    members: tuple[tuple[str, str | None], ...]


class OffsetToCommit(NamedTuple):
    topic: str
    partition: int
    offset: int
    leader_epoch: int
    metadata: str


@dataclass(frozen=True, slots=True)
class CommitOffsets:
    """Answered with one `ErrorCode` per offset, in order."""

    group_id: str
    offsets: tuple[OffsetToCommit, ...]
    generation: int = -1
    member_id: str = ""
    instance_id: str | None = None
    retention_ms: int = -1
    """v2-4: how long this client wants its offsets kept; -1 is the broker's setting."""
    knows_missing_groups: bool = False
    """v9+: a group that does not exist has an error code of its own."""


@dataclass(frozen=True, slots=True)
class DeleteOffsets:
    """Answered with an `ErrorCode` for all, or a tuple of one per partition, in order."""

    group_id: str
    partitions: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class DeleteGroup:
    """Answered with an `ErrorCode`."""

    group_id: str


@dataclass(frozen=True, slots=True)
class DescribeGroup:
    """Answered with a `GroupDescription`, or None when there is no such group."""

    group_id: str


@dataclass(frozen=True, slots=True)
class MemberDescription:
    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    metadata: bytes
    assignment: bytes


@dataclass(frozen=True, slots=True)
class GroupDescription:
    group_id: str
    state: GroupState
    protocol_type: str
    protocol: str
    members: tuple[MemberDescription, ...]


@dataclass(frozen=True, slots=True)
class ListGroups:
    """Answered with a tuple of `GroupListing`."""


class GroupListing(NamedTuple):
    group_id: str
    protocol_type: str
    state: GroupState


@dataclass(frozen=True, slots=True)
class ExpireOffsets:
    """Remove what nobody used for the retention time in these groups; answered with how many offsets went."""

    group_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForgetTopics:
    """These topics are gone: remove their offsets, at most `limit` of them; answered with how many went."""

    topics: frozenset[str]
    limit: int


OffsetTable = dict[str, dict[int, CommittedOffset]]
"""The offsets of one group: topic -> partition -> offset."""
