"""The machine of one partition of `__consumer_offsets`: all groups that hash to it, and their offsets.

Pure (see `machine.state_machine`). Two layers that never mix:

* durable: `stored` and `offsets`, the latest event per key; what a restart finds.
* volatile: `_groups`, groups as they live now, with waiting tickets and deadlines. A group without an entry
  is read from the durable layer: nobody waits, and every member has a full session before it.

Decisions about one group are taken in a `Turn` on a copy; `apply` puts the copy in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rivven.coordinator import joining, membership, offsets, stored_records
from rivven.coordinator.commands import (
    CommitOffsets,
    DeleteGroup,
    DeleteOffsets,
    DescribeGroup,
    ExpireOffsets,
    ForgetTopics,
    GroupDescription,
    GroupListing,
    Heartbeat,
    JoinGroup,
    JoinReply,
    LeaveGroup,
    ListGroups,
    MemberDescription,
    OffsetTable,
    SyncGroup,
    SyncReply,
)
from rivven.coordinator.events import (
    CommittedOffset,
    DeadlineSeen,
    DurableEvent,
    GroupMoved,
    GroupRemoved,
    GroupRested,
    GroupStored,
    OffsetRemoved,
    OffsetStored,
    SessionRenewed,
    VolatileEvent,
)
from rivven.coordinator.group import Group, GroupState, restored
from rivven.coordinator.settings import GroupSettings
from rivven.coordinator.timers import Timers
from rivven.coordinator.turn import Turn
from rivven.errors import ErrorCode
from rivven.machine.state_machine import JournalRecord, Outcome, Wake

GROUPS_PER_WAKE = 64
"""Groups whose deadlines are handled in one turn of the event loop; the next wake, a millisecond later,
goes on. A thousand groups losing their sessions at once must not stall everybody else."""

INT64_MAX = (1 << 63) - 1
"""A client may ask to keep an offset for as long as an int64 of milliseconds; the sum must stay one."""

_NO_OFFSETS: OffsetTable = {}


class GroupMachine:
    """See the module text. `decide` never changes it, `apply` does nothing else."""

    def __init__(self, settings: GroupSettings) -> None:
        self._settings = settings
        self.stored: dict[str, GroupStored] = {}
        self.offsets: dict[str, OffsetTable] = {}
        self._groups: dict[str, Group] = {}
        self._timers = Timers()

    # -- reading ---------------------------------------------------------------------------------------------

    def offsets_of(self, group_id: str) -> OffsetTable:
        """Committed offsets by topic and partition; the caller must not change them."""
        return self.offsets.get(group_id, _NO_OFFSETS)

    def group_ids(self) -> Iterable[str]:
        """Every group there is, each once, in no useful order."""
        return {**dict.fromkeys(self.stored), **dict.fromkeys(self.offsets), **dict.fromkeys(self._groups)}

    def group(self, group_id: str, now_ms: int) -> Group | None:
        """The group as it stands; the caller must not change it. None when there is none."""
        group = self._groups.get(group_id)
        if group is not None:
            return group
        stored = self.stored.get(group_id)
        if stored is not None:
            return restored(stored, now_ms)
        return Group(group_id) if group_id in self.offsets else None

    # -- the machine's protocol ------------------------------------------------------------------------------

    def decide(self, command: Any, ticket: int | None, now_ms: int) -> Outcome:
        return _DECISIONS[type(command)](self, command, ticket, now_ms)

    def apply(self, event: DurableEvent | VolatileEvent) -> None:
        match event:
            case OffsetStored(group_id, topic, partition, committed):
                self.offsets.setdefault(group_id, {}).setdefault(topic, {})[partition] = committed
            case SessionRenewed():
                self._renew(event)
            case GroupMoved(group):
                self._groups[group.group_id] = group
                self._timers.set(group.group_id, group.next_deadline())
            case GroupRested(group_id):
                self._groups.pop(group_id, None)
                self._timers.set(group_id, None)
            case DeadlineSeen(group_id):
                seen = self._groups.get(group_id)
                self._timers.set(group_id, seen.next_deadline() if seen is not None else None)
            case GroupStored(group_id):
                self.stored[group_id] = event
                if event.members and group_id not in self._groups:
                    self._timers.set(group_id, 0)  # its members' sessions begin at the first wake
            case GroupRemoved(group_id):
                self.stored.pop(group_id, None)
                if group_id not in self._groups:
                    self._timers.set(group_id, None)
            case OffsetRemoved(group_id, topic, partition):
                self._drop_offset(group_id, topic, partition)

    def snapshot(self) -> Iterator[DurableEvent]:
        yield from self.stored.values()
        for group_id, topics in self.offsets.items():
            for topic, partitions in topics.items():
                for partition, committed in partitions.items():
                    yield OffsetStored(group_id, topic, partition, committed)

    def encode(self, event: DurableEvent) -> JournalRecord:
        return stored_records.encode(event)

    def decode(self, record: JournalRecord) -> DurableEvent | None:
        return stored_records.decode(record)

    def _renew(self, event: SessionRenewed) -> None:
        group = self._groups.get(event.group_id)
        if group is not None and event.member_id in group.deadlines:
            group.deadlines[event.member_id] = event.deadline

    def _drop_offset(self, group_id: str, topic: str, partition: int) -> None:
        topics = self.offsets.get(group_id, {})
        partitions = topics.get(topic, {})
        partitions.pop(partition, None)
        if not partitions:
            topics.pop(topic, None)
        if not topics:
            self.offsets.pop(group_id, None)

    # -- members ---------------------------------------------------------------------------------------------

    def _join(self, command: JoinGroup, ticket: int | None, now_ms: int) -> Outcome:
        group = self.group(command.group_id, now_ms)
        error = joining.check(command, group, self._settings)
        if error is not ErrorCode.NONE:
            return _answer(ticket, JoinReply(error, command.member_id))
        turn = Turn(group or Group(command.group_id), self._settings, now_ms)
        joining.join(turn, command, ticket)
        return _outcome(turn)

    def _sync(self, command: SyncGroup, ticket: int | None, now_ms: int) -> Outcome:
        group = self.group(command.group_id, now_ms)
        error = membership.check_sync(command, group)
        if error is not ErrorCode.NONE or group is None:
            return _answer(ticket, SyncReply(error))
        turn = Turn(group, self._settings, now_ms)
        membership.sync(turn, command, ticket)
        return _outcome(turn)

    def _heartbeat(self, command: Heartbeat, ticket: int | None, now_ms: int) -> Outcome:
        group = self.group(command.group_id, now_ms)
        error = membership.heartbeat(command, group)
        renewed: tuple[VolatileEvent, ...] = ()
        if group is not None and error in (ErrorCode.NONE, ErrorCode.REBALANCE_IN_PROGRESS):
            renewed = (_renewal(group, command.member_id, now_ms),)
        return _answer(ticket, error, volatile=renewed)

    def _leave(self, command: LeaveGroup, ticket: int | None, now_ms: int) -> Outcome:
        group = self.group(command.group_id, now_ms)
        if group is None:
            return _answer(ticket, (ErrorCode.UNKNOWN_MEMBER_ID,) * len(command.members))
        turn = Turn(group, self._settings, now_ms)
        turn.answer(ticket, membership.leave(turn, command))
        return _outcome(turn)

    def _wake(self, _command: Wake, _ticket: int | None, now_ms: int) -> Outcome:
        due, again = self._timers.due(now_ms, GROUPS_PER_WAKE)
        events: list[DurableEvent] = []
        volatile: list[VolatileEvent] = []
        replies: list[tuple[int, Any]] = []
        wakes = [] if again is None else [again]
        for group_id in due:
            group = self.group(group_id, now_ms)
            assert group is not None, "a timer outlived its group"
            turn = Turn(group, self._settings, now_ms)
            if membership.deadlines_passed(turn) or group_id not in self._groups:
                volatile += turn.volatile
            else:
                volatile.append(DeadlineSeen(group_id))
            events += turn.events
            replies += turn.replies
            deadline = turn.group.next_deadline()
            if deadline is not None:
                wakes.append(deadline)
        return Outcome(tuple(events), tuple(volatile), tuple(replies), min(wakes, default=None))

    # -- offsets ---------------------------------------------------------------------------------------------

    def _commit(self, command: CommitOffsets, ticket: int | None, now_ms: int) -> Outcome:
        group = self.group(command.group_id, now_ms)
        error = offsets.check_commit(command, group)
        if error is not ErrorCode.NONE:
            return _answer(ticket, (error,) * len(command.offsets))
        expire_ms = min(now_ms + command.retention_ms, INT64_MAX) if command.retention_ms >= 0 else -1
        events, codes = [], []
        for offset in command.offsets:
            if not offsets.metadata_fits(offset.metadata, self._settings):
                codes.append(ErrorCode.OFFSET_METADATA_TOO_LARGE)
                continue
            codes.append(ErrorCode.NONE)
            # The layout with an expiry has no leader epoch; the versions that ask for one send none.
            epoch = offset.leader_epoch if expire_ms < 0 else -1
            committed = CommittedOffset(offset.offset, epoch, offset.metadata, now_ms, expire_ms)
            events.append(OffsetStored(command.group_id, offset.topic, offset.partition, committed))
        renewed: tuple[VolatileEvent, ...] = ()
        if group is not None and command.member_id in group.members:
            renewed = (_renewal(group, command.member_id, now_ms),)
        return _answer(ticket, tuple(codes), events=tuple(events), volatile=renewed)

    def _delete_offsets(self, command: DeleteOffsets, ticket: int | None, now_ms: int) -> Outcome:
        group = self.group(command.group_id, now_ms)
        if not command.group_id:
            return _answer(ticket, ErrorCode.INVALID_GROUP_ID)
        if group is None:
            return _answer(ticket, ErrorCode.GROUP_ID_NOT_FOUND)
        in_use: frozenset[str] | None = frozenset()
        if group.state is not GroupState.EMPTY:
            if group.protocol_type != offsets.CONSUMER:
                return _answer(ticket, ErrorCode.NON_EMPTY_GROUP)
            in_use = offsets.subscribed_topics(group)
        stored = self.offsets_of(command.group_id)
        events, codes = [], []
        for topic, partition in command.partitions:
            if in_use is None or topic in in_use:
                codes.append(ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC)
                continue
            codes.append(ErrorCode.NONE)
            if partition in stored.get(topic, ()):
                events.append(OffsetRemoved(command.group_id, topic, partition))
        return _answer(ticket, tuple(codes), events=tuple(events))

    def _expire(self, command: ExpireOffsets, ticket: int | None, now_ms: int) -> Outcome:
        events: list[DurableEvent] = []
        count = 0
        for group_id in command.group_ids:
            group = self.group(group_id, now_ms)
            if group is None:
                continue
            table = self.offsets_of(group_id)
            gone = offsets.expired(group, table, self._settings, now_ms)
            events += [OffsetRemoved(group_id, topic, partition) for topic, partition in gone]
            count += len(gone)
            nothing_left = len(gone) == sum(map(len, table.values()))
            if nothing_left and group.idle and group_id in self.stored:
                events.append(GroupRemoved(group_id))
        return _answer(ticket, count, events=tuple(events))

    def _forget_topics(self, command: ForgetTopics, ticket: int | None, _now_ms: int) -> Outcome:
        events: list[DurableEvent] = []
        for group_id, topics in self.offsets.items():
            for topic in command.topics & topics.keys():
                events += [OffsetRemoved(group_id, topic, partition) for partition in topics[topic]]
            if len(events) >= command.limit:
                break
        events = events[: command.limit]
        return _answer(ticket, len(events), events=tuple(events))

    # -- groups as a whole -----------------------------------------------------------------------------------

    def _delete_group(self, command: DeleteGroup, ticket: int | None, now_ms: int) -> Outcome:
        group_id = command.group_id
        group = self.group(group_id, now_ms)
        if group is None:
            return _answer(ticket, ErrorCode.GROUP_ID_NOT_FOUND)
        if group.state is not GroupState.EMPTY:
            return _answer(ticket, ErrorCode.NON_EMPTY_GROUP)
        events: list[DurableEvent] = [
            OffsetRemoved(group_id, topic, partition)
            for topic, partitions in self.offsets_of(group_id).items()
            for partition in partitions
        ]
        if group_id in self.stored:
            events.append(GroupRemoved(group_id))
        return _answer(ticket, ErrorCode.NONE, events=tuple(events), volatile=(GroupRested(group_id),))

    def _describe(self, command: DescribeGroup, ticket: int | None, now_ms: int) -> Outcome:
        group = self.group(command.group_id, now_ms)
        return _answer(ticket, None if group is None else _description(group))

    def _list(self, _command: ListGroups, ticket: int | None, _now_ms: int) -> Outcome:
        listed = []
        for group_id in self.group_ids():
            group, stored = self._groups.get(group_id), self.stored.get(group_id)
            if group is not None:
                listed.append(GroupListing(group_id, group.protocol_type or "", group.state))
            elif stored is not None:
                state = GroupState.STABLE if stored.members else GroupState.EMPTY
                listed.append(GroupListing(group_id, stored.protocol_type, state))
            else:
                listed.append(GroupListing(group_id, "", GroupState.EMPTY))
        return _answer(ticket, tuple(listed))


_DECISIONS: dict[type, Callable[[GroupMachine, Any, int | None, int], Outcome]] = {
    JoinGroup: GroupMachine._join,
    SyncGroup: GroupMachine._sync,
    Heartbeat: GroupMachine._heartbeat,
    LeaveGroup: GroupMachine._leave,
    Wake: GroupMachine._wake,
    CommitOffsets: GroupMachine._commit,
    DeleteOffsets: GroupMachine._delete_offsets,
    ExpireOffsets: GroupMachine._expire,
    ForgetTopics: GroupMachine._forget_topics,
    DeleteGroup: GroupMachine._delete_group,
    DescribeGroup: GroupMachine._describe,
    ListGroups: GroupMachine._list,
}


def _answer(
    ticket: int | None,
    value: Any,
    *,
    events: tuple[DurableEvent, ...] = (),
    volatile: tuple[VolatileEvent, ...] = (),
) -> Outcome:
    return Outcome(events, volatile, () if ticket is None else ((ticket, value),))


def _outcome(turn: Turn) -> Outcome:
    return Outcome(tuple(turn.events), turn.volatile, tuple(turn.replies), turn.group.next_deadline())


def _renewal(group: Group, member_id: str, now_ms: int) -> SessionRenewed:
    deadline = now_ms + group.members[member_id].session_timeout_ms
    return SessionRenewed(group.group_id, member_id, deadline)


def _description(group: Group) -> GroupDescription:
    """Metadata and assignments are shown only while they belong to the present generation."""
    stable = group.state is GroupState.STABLE
    return GroupDescription(
        group_id=group.group_id,
        state=group.state,
        protocol_type=group.protocol_type or "",
        protocol=(group.protocol or "") if stable else "",
        members=tuple(
            MemberDescription(
                member_id=member.member_id,
                instance_id=member.instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                metadata=member.metadata(group.protocol) if stable else b"",
                assignment=member.assignment if stable else b"",
            )
            for member in group.members.values()
        ),
    )
