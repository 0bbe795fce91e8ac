"""What a classic consumer group is: its members, where its rebalance stands, and who waits for an answer.

Pure values with the small mutations that keep their indexes true. It takes no decision, knows no clock and
gives no answers: `turn` and `rebalance` do. A `Group` holds both what is durable (members, generation,
assignments) and what is not (waiting tickets, deadlines); `stored` gives the durable part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from rivven.coordinator.events import GroupStored, StoredMember

Protocols = tuple[tuple[str, bytes], ...]
"""(assignor name, metadata) in the member's order of preference; metadata is never looked into here."""


class GroupState(StrEnum):
    """Kafka's names, as DescribeGroups and ListGroups show them."""

    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


@dataclass(frozen=True, slots=True)
class Member:
    """One member as it joined; `assignment` is what the leader gave it in the present generation."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    protocols: Protocols
    assignment: bytes = b""

    def metadata(self, protocol: str | None) -> bytes:
        """This member's metadata for an assignor, empty if it does not know it."""
        for name, metadata in self.protocols:
            if name == protocol:
                return metadata
        return b""


@dataclass(slots=True)
class Group:
    """One group. Tickets in `joining` and `syncing` are requests held back; None is never a ticket.

    A member that waits for an answer has no entry in `deadlines` (it cannot send heartbeats), except a
    member that joins for the first time: nobody would notice that its client has gone.
    """

    group_id: str
    state: GroupState = GroupState.EMPTY
    generation: int = 0
    protocol_type: str | None = None
    protocol: str | None = None
    leader: str | None = None
    state_since_ms: int = -1
    members: dict[str, Member] = field(default_factory=dict)
    statics: dict[str, str] = field(default_factory=dict)
    """Instance id -> member id (KIP-345)."""
    supporters: dict[str, int] = field(default_factory=dict)
    """Assignor name -> how many members know it."""
    pending: dict[str, int] = field(default_factory=dict)
    """Ids given out with MEMBER_ID_REQUIRED and not used yet -> deadline (KIP-394)."""
    joining: dict[str, int | None] = field(default_factory=dict)
    syncing: dict[str, int | None] = field(default_factory=dict)
    unsynced: set[str] = field(default_factory=set)
    """Members that have not sent SyncGroup in the present generation."""
    deadlines: dict[str, int] = field(default_factory=dict)
    """Member id -> when its session ends."""
    join_deadline: int | None = None
    sync_deadline: int | None = None
    initial_delay_left_ms: int | None = None
    """Set while a group that was empty waits for more members (group.initial.rebalance.delay.ms)."""
    newcomer: bool = False
    """Whether somebody joined during the present slice of that wait."""

    def copy(self) -> Group:
        """A group that can be changed without changing this one; members are shared, they are immutable."""
        return replace(
            self,
            members=dict(self.members),
            statics=dict(self.statics),
            supporters=dict(self.supporters),
            pending=dict(self.pending),
            joining=dict(self.joining),
            syncing=dict(self.syncing),
            unsynced=set(self.unsynced),
            deadlines=dict(self.deadlines),
        )

    # -- asking ----------------------------------------------------------------------------------------------

    def next_deadline(self) -> int | None:
        """The earliest moment at which something about this group must be decided."""
        times = [*self.deadlines.values(), *self.pending.values()]
        times += [time for time in (self.join_deadline, self.sync_deadline) if time is not None]
        return min(times, default=None)

    def rebalance_timeout_ms(self) -> int:
        """How long the slowest member may take to rejoin."""
        return max((member.rebalance_timeout_ms for member in self.members.values()), default=0)

    def supports(self, protocol_type: str, protocols: Protocols) -> bool:
        """Whether somebody with these assignors can be a member beside the present ones."""
        if not protocol_type or not protocols:
            return False
        if not self.members:
            return True
        count = len(self.members)
        return protocol_type == self.protocol_type and any(
            self.supporters.get(name) == count for name, _ in protocols
        )

    def select_protocol(self) -> str:
        """The assignor all members know that most of them prefer; the earliest voted for wins a tie."""
        count = len(self.members)
        votes: dict[str, int] = {}
        for member in self.members.values():
            for name, _ in member.protocols:
                if self.supporters[name] == count:
                    votes[name] = votes.get(name, 0) + 1
                    break
        return max(votes, key=votes.__getitem__)

    @property
    def all_joined(self) -> bool:
        """Whether every member waits for the new generation and nobody is still on the way."""
        return not self.pending and len(self.joining) == len(self.members)

    @property
    def idle(self) -> bool:
        """Whether nothing about this group would be lost by forgetting what is not durable."""
        return self.state is GroupState.EMPTY and not self.members and not self.pending

    # -- keeping the indexes true ----------------------------------------------------------------------------

    def put(self, member: Member) -> None:
        """Add a member or replace the one with its id."""
        old = self.members.get(member.member_id)
        if old is not None:
            self._discount(old)
        self.members[member.member_id] = member
        for name in {name for name, _ in member.protocols}:
            self.supporters[name] = self.supporters.get(name, 0) + 1
        if member.instance_id is not None:
            self.statics[member.instance_id] = member.member_id
        if self.leader is None:
            self.leader = member.member_id

    def drop(self, member_id: str) -> Member:
        """Remove a member whose tickets have been answered. The next member leads if it did."""
        member = self.members.pop(member_id)
        self._discount(member)
        if member.instance_id is not None and self.statics.get(member.instance_id) == member_id:
            del self.statics[member.instance_id]
        self.unsynced.discard(member_id)
        self.deadlines.pop(member_id, None)
        if self.leader == member_id:
            self.leader = next(iter(self.members), None)
        return member

    def _discount(self, member: Member) -> None:
        for name in {name for name, _ in member.protocols}:
            self.supporters[name] -= 1
            if not self.supporters[name]:
                del self.supporters[name]

    # -- durable part ----------------------------------------------------------------------------------------

    def stored(self) -> GroupStored:
        """The durable part, as of now."""
        return GroupStored(
            group_id=self.group_id,
            protocol_type=self.protocol_type or "",
            generation=self.generation,
            protocol=self.protocol,
            leader=self.leader,
            state_since_ms=self.state_since_ms,
            members=tuple(_to_stored(member, self.protocol) for member in self.members.values()),
        )


def restored(stored: GroupStored, now_ms: int) -> Group:
    """The group as it stands after a restart: Stable or Empty, every member with a full session before it."""
    group = Group(
        group_id=stored.group_id,
        state=GroupState.STABLE if stored.members else GroupState.EMPTY,
        generation=stored.generation,
        protocol_type=stored.protocol_type or None,
        protocol=stored.protocol,
        leader=stored.leader,
        state_since_ms=stored.state_since_ms,
    )
    for member in _from_stored(stored.members, stored.protocol):
        group.put(member)
        group.deadlines[member.member_id] = now_ms + member.session_timeout_ms
    return group


def _to_stored(member: Member, protocol: str | None) -> StoredMember:
    return StoredMember(
        member_id=member.member_id,
        instance_id=member.instance_id,
        client_id=member.client_id,
        client_host=member.client_host,
        rebalance_timeout_ms=member.rebalance_timeout_ms,
        session_timeout_ms=member.session_timeout_ms,
        subscription=member.metadata(protocol),
        assignment=member.assignment,
    )


def _from_stored(members: Iterable[StoredMember], protocol: str | None) -> Iterable[Member]:
    for stored in members:
        yield Member(
            member_id=stored.member_id,
            instance_id=stored.instance_id,
            client_id=stored.client_id,
            client_host=stored.client_host,
            rebalance_timeout_ms=stored.rebalance_timeout_ms,
            session_timeout_ms=stored.session_timeout_ms,
            protocols=((protocol or "", stored.subscription),),
            assignment=stored.assignment,
        )
