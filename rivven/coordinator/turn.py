"""One decision about one group in the making: a private copy of the group, and the answers and events so far.

Pure. The steps here are the smallest that keep group, answers and events consistent with each other; when
to take them is decided in `joining`, `membership` and `rebalance`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rivven.coordinator.commands import JoinedMember, JoinReply, SyncReply
from rivven.coordinator.events import DurableEvent, GroupMoved, GroupRested, VolatileEvent
from rivven.coordinator.group import Group, GroupState, Member
from rivven.coordinator.settings import GroupSettings
from rivven.errors import ErrorCode

FIRST_JOIN_TIMEOUT_MS = 300_000
"""A member that joins for the first time cannot send heartbeats and its client may be gone, so its request is
given up after five minutes however long the rebalance takes (Kafka's value)."""


class Turn:
    """Begin with a group nobody else changes meanwhile; end with `events`, `volatile` and `replies`."""

    __slots__ = ("events", "group", "now_ms", "replies", "settings")

    def __init__(self, group: Group, settings: GroupSettings, now_ms: int) -> None:
        self.group = group.copy()
        self.settings = settings
        self.now_ms = now_ms
        self.events: list[DurableEvent] = []
        self.replies: list[tuple[int, Any]] = []

    @property
    def volatile(self) -> tuple[VolatileEvent, ...]:
        """What makes the machine's group equal to this turn's."""
        group = self.group
        return (GroupRested(group.group_id),) if group.idle else (GroupMoved(group),)

    def answer(self, ticket: int | None, value: Any) -> None:
        """Answer one request; commands without a ticket want no answer."""
        if ticket is not None:
            self.replies.append((ticket, value))

    def become(self, state: GroupState) -> None:
        """Change the state and remember since when."""
        self.group.state = state
        self.group.state_since_ms = self.now_ms

    def store(self) -> None:
        """Make the group as it stands now durable."""
        self.events.append(self.group.stored())

    # -- sessions --------------------------------------------------------------------------------------------

    def renew_session(self, member_id: str) -> None:
        """A full session from now."""
        self.group.deadlines[member_id] = self.now_ms + self.group.members[member_id].session_timeout_ms

    # -- answers to members ----------------------------------------------------------------------------------

    def answer_join(self, member_id: str, ticket: int | None) -> None:
        """The present generation as this member sees it: the leader gets everybody's metadata."""
        self.answer(ticket, self.generation_for(member_id))

    def generation_for(self, member_id: str, *, skip_assignment: bool = False) -> JoinReply:
        group = self.group
        members: tuple[JoinedMember, ...] = ()
        if member_id == group.leader:
            members = tuple(
                JoinedMember(member.member_id, member.instance_id, member.metadata(group.protocol))
                for member in group.members.values()
            )
        return JoinReply(
            ErrorCode.NONE,
            member_id,
            generation=group.generation,
            protocol_type=group.protocol_type,
            protocol=group.protocol,
            leader=group.leader or "",
            skip_assignment=skip_assignment,
            members=members,
        )

    def answer_sync(self, member_id: str, ticket: int | None) -> None:
        """This member's assignment, and a full session."""
        group = self.group
        self.answer(
            ticket,
            SyncReply(
                ErrorCode.NONE, group.protocol_type, group.protocol, group.members[member_id].assignment
            ),
        )
        self.renew_session(member_id)

    def refuse_waiting(self, member_id: str, error: ErrorCode) -> None:
        """Answer whatever this member waits for with an error."""
        group = self.group
        if member_id in group.joining:
            self.answer(group.joining.pop(member_id), JoinReply(error, member_id))
        if member_id in group.syncing:
            self.answer(group.syncing.pop(member_id), SyncReply(error))

    # -- membership ------------------------------------------------------------------------------------------

    def add(self, member: Member, protocol_type: str, ticket: int | None) -> None:
        """A new member that waits for the next generation."""
        group = self.group
        if not group.members:
            group.protocol_type = protocol_type
        group.pending.pop(member.member_id, None)
        group.put(member)
        group.newcomer = True
        group.joining[member.member_id] = ticket
        group.deadlines[member.member_id] = self.now_ms + FIRST_JOIN_TIMEOUT_MS

    def rejoin(self, member: Member, ticket: int | None) -> None:
        """A present member, maybe with new metadata, waits for the next generation.

        A client that repeats its request has given up on the first one: that is answered so that it does
        not hang.
        """
        group, member_id = self.group, member.member_id
        waits_already = member_id in group.joining
        self.refuse_waiting(member_id, ErrorCode.REBALANCE_IN_PROGRESS)
        group.put(member)
        group.joining[member_id] = ticket
        if not waits_already:
            group.deadlines.pop(member_id, None)

    def remove(self, member_id: str) -> None:
        """A member goes; whatever it waits for is answered with UNKNOWN_MEMBER_ID."""
        self.refuse_waiting(member_id, ErrorCode.UNKNOWN_MEMBER_ID)
        self.group.drop(member_id)

    def rename_static(self, old_id: str, new_id: str) -> None:
        """A static member came back under a new id: the old one is fenced (KIP-345)."""
        group = self.group
        self.refuse_waiting(old_id, ErrorCode.FENCED_INSTANCE_ID)
        unsynced, leads = old_id in group.unsynced, group.leader == old_id
        member = group.drop(old_id)
        group.put(replace(member, member_id=new_id))
        if unsynced:
            group.unsynced.add(new_id)
        if leads:
            group.leader = new_id
