"""SyncGroup, Heartbeat, LeaveGroup and the end of sessions.

Pure. `check_*` judge a command against the group as it is; the other functions take steps in a `Turn`.
"""

from __future__ import annotations

from dataclasses import replace

from rivven.coordinator import rebalance
from rivven.coordinator.commands import Heartbeat, LeaveGroup, SyncGroup
from rivven.coordinator.group import Group, GroupState
from rivven.coordinator.joining import check_member
from rivven.coordinator.settings import GROUP_BYTES_MAX
from rivven.coordinator.turn import Turn
from rivven.errors import ErrorCode


def check_sync(command: SyncGroup, group: Group | None) -> ErrorCode:
    """Whether the sync belongs to the present generation; NONE leads to `sync`."""
    if not command.group_id:
        return ErrorCode.INVALID_GROUP_ID
    if group is None:
        return ErrorCode.UNKNOWN_MEMBER_ID
    error = check_member(group, command.member_id, command.instance_id)
    if error is not ErrorCode.NONE:
        return error
    if command.generation != group.generation:
        return ErrorCode.ILLEGAL_GENERATION
    if command.protocol_type is not None and command.protocol_type != group.protocol_type:
        return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    if command.protocol is not None and command.protocol != group.protocol:
        return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    if group.state is GroupState.PREPARING:
        return ErrorCode.REBALANCE_IN_PROGRESS
    if command.member_id == group.leader and _size(group, command) > GROUP_BYTES_MAX:
        return ErrorCode.MESSAGE_TOO_LARGE
    return ErrorCode.NONE


def _size(group: Group, command: SyncGroup) -> int:
    """Bytes of metadata and assignments that the leader's sync would make durable."""
    metadata = sum(len(member.metadata(group.protocol)) for member in group.members.values())
    return metadata + sum(len(assignment) for _, assignment in command.assignments)


def sync(turn: Turn, command: SyncGroup, ticket: int | None) -> None:
    """Hold the member's request until the leader's has come; the leader's answers all of them."""
    group, member_id = turn.group, command.member_id
    group.unsynced.discard(member_id)
    if group.state is GroupState.STABLE:
        turn.answer_sync(member_id, ticket)
    else:
        turn.refuse_waiting(member_id, ErrorCode.REBALANCE_IN_PROGRESS)
        group.syncing[member_id] = ticket
        group.deadlines.pop(member_id, None)
        if member_id == group.leader:
            _assign(turn, dict(command.assignments))
    if not group.unsynced and group.state is GroupState.STABLE:
        group.sync_deadline = None


def _assign(turn: Turn, assignments: dict[str, bytes]) -> None:
    """The generation has its assignments: durable first, the answers follow the commit."""
    group = turn.group
    for member_id, member in group.members.items():
        group.members[member_id] = replace(member, assignment=assignments.get(member_id, b""))
    turn.become(GroupState.STABLE)
    turn.store()
    syncing, group.syncing = group.syncing, {}
    for member_id, ticket in syncing.items():
        turn.answer_sync(member_id, ticket)


def heartbeat(command: Heartbeat, group: Group | None) -> ErrorCode:
    """What a heartbeat is told. NONE and REBALANCE_IN_PROGRESS renew the session."""
    if not command.group_id:
        return ErrorCode.INVALID_GROUP_ID
    if group is None:
        return ErrorCode.UNKNOWN_MEMBER_ID
    error = check_member(group, command.member_id, command.instance_id)
    if error is not ErrorCode.NONE:
        return error
    if command.generation != group.generation:
        return ErrorCode.ILLEGAL_GENERATION
    return ErrorCode.REBALANCE_IN_PROGRESS if group.state is GroupState.PREPARING else ErrorCode.NONE


def leave(turn: Turn, command: LeaveGroup) -> tuple[ErrorCode, ...]:
    """Remove whom the command names, then rebalance once; an error for each that is not there."""
    members_before = len(turn.group.members)
    errors = tuple(_leave_one(turn, member_id, instance_id) for member_id, instance_id in command.members)
    after_removal(turn, len(turn.group.members) != members_before)
    return errors


def _leave_one(turn: Turn, member_id: str, instance_id: str | None) -> ErrorCode:
    group = turn.group
    if instance_id is not None and not member_id:
        owner = group.statics.get(instance_id)
        if owner is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
        member_id = owner
    if group.pending.pop(member_id, None) is not None:
        return ErrorCode.NONE
    error = check_member(group, member_id, instance_id)
    if error is ErrorCode.NONE:
        turn.remove(member_id)
    return error


def after_removal(turn: Turn, members_changed: bool) -> None:
    """Fewer members: those who stay share the work anew. Fewer expected members: nobody waits for them."""
    if members_changed and turn.group.state in (GroupState.STABLE, GroupState.COMPLETING):
        rebalance.prepare(turn)
    else:
        rebalance.complete_if_all_joined(turn)


def deadlines_passed(turn: Turn) -> bool:
    """Take every step that is due now; False when nothing was."""
    group, now = turn.group, turn.now_ms
    late_pending = [member_id for member_id, deadline in group.pending.items() if deadline <= now]
    late_members = [member_id for member_id, deadline in group.deadlines.items() if deadline <= now]
    for member_id in late_pending:
        del group.pending[member_id]
    for member_id in late_members:
        turn.remove(member_id)
    acted = bool(late_pending or late_members)
    if acted:
        after_removal(turn, bool(late_members))
    if group.join_deadline is not None and group.join_deadline <= now:
        rebalance.join_deadline_passed(turn)
        acted = True
    if group.sync_deadline is not None and group.sync_deadline <= now:
        rebalance.sync_deadline_passed(turn)
        acted = True
    return acted
