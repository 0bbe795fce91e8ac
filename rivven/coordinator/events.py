"""What can happen to groups and offsets: the durable events and the volatile ones.

Declarations only. Each durable event is the latest value of one key of `__consumer_offsets`, so the newest
event per key is all that compaction must keep. Volatile events never reach a journal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rivven.coordinator.group import Group


class CommittedOffset(NamedTuple):
    """Where a group stands in one partition. `expire_ms` is set only by old clients that chose it."""

    offset: int
    leader_epoch: int
    metadata: str
    commit_ms: int
    expire_ms: int = -1


@dataclass(frozen=True, slots=True)
class StoredMember:
    """A member as it is kept on disk: of its assignors only the chosen one's metadata."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    subscription: bytes
    assignment: bytes


@dataclass(frozen=True, slots=True)
class GroupStored:
    """Durable: a generation got its assignments, a group became empty, or a static member took a new id."""

    group_id: str
    protocol_type: str
    generation: int
    protocol: str | None
    leader: str | None
    state_since_ms: int
    members: tuple[StoredMember, ...]


@dataclass(frozen=True, slots=True)
class GroupRemoved:
    """Durable: the group's own record is gone (its offsets have events of their own)."""

    group_id: str


@dataclass(frozen=True, slots=True)
class OffsetStored:
    """Durable: a group committed an offset."""

    group_id: str
    topic: str
    partition: int
    committed: CommittedOffset


@dataclass(frozen=True, slots=True)
class OffsetRemoved:
    """Durable: a committed offset expired, was deleted, or lost its topic."""

    group_id: str
    topic: str
    partition: int


DurableEvent = GroupStored | GroupRemoved | OffsetStored | OffsetRemoved


@dataclass(frozen=True, slots=True)
class GroupMoved:
    """Volatile: the group as it now stands, waiting tickets and deadlines included."""

    group: Group


@dataclass(frozen=True, slots=True)
class GroupRested:
    """Volatile: nothing is known about the group beyond what is durable."""

    group_id: str


@dataclass(frozen=True, slots=True)
class SessionRenewed:
    """Volatile: a member was heard of. Without effect on one that waits for an answer."""

    group_id: str
    member_id: str
    deadline: int


@dataclass(frozen=True, slots=True)
class DeadlineSeen:
    """Volatile: the group was looked at and has nothing due before its next deadline."""

    group_id: str


VolatileEvent = GroupMoved | GroupRested | SessionRenewed | DeadlineSeen
