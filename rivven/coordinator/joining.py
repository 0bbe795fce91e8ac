"""JoinGroup: who may become or stay a member, and whether that takes a rebalance (KIP-345, KIP-394).

Pure. Every path either answers the ticket or leaves it in `group.joining`, where `rebalance` answers it.
"""

from __future__ import annotations

from dataclasses import replace

from rivven.coordinator import rebalance
from rivven.coordinator.commands import JoinGroup, JoinReply
from rivven.coordinator.group import Group, GroupState, Member
from rivven.coordinator.settings import MEMBER_BYTES_MAX, GroupSettings, name_fits
from rivven.coordinator.turn import Turn
from rivven.errors import ErrorCode


def check(command: JoinGroup, group: Group | None, settings: GroupSettings) -> ErrorCode:
    """What can be said without touching the group (None: there is none); NONE lets the join go on."""
    if not command.group_id or not name_fits(command.group_id):
        return ErrorCode.INVALID_GROUP_ID
    error = _check_sizes(command)
    if error is not ErrorCode.NONE:
        return error
    if not settings.session_min_ms <= command.session_timeout_ms <= settings.session_max_ms:
        return ErrorCode.INVALID_SESSION_TIMEOUT
    if group is None:
        if command.member_id:
            return ErrorCode.UNKNOWN_MEMBER_ID
        supported = bool(command.protocol_type and command.protocols)
        return ErrorCode.NONE if supported else ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    if not _has_room(command, group, settings):
        return ErrorCode.GROUP_MAX_SIZE_REACHED
    if not group.supports(command.protocol_type, command.protocols):
        return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    if command.member_id in group.pending:
        # Only dynamic members are given an id to come back with.
        return ErrorCode.NONE if command.instance_id is None else ErrorCode.UNKNOWN_MEMBER_ID
    if command.member_id:
        return check_member(group, command.member_id, command.instance_id)
    return ErrorCode.NONE


def _check_sizes(command: JoinGroup) -> ErrorCode:
    """What would not fit into a record must never become a member: the whole group could not be stored."""
    names = (command.client_id, command.client_host, command.instance_id, command.protocol_type)
    if not all(map(name_fits, names)) or not all(name_fits(name) for name, _ in command.protocols):
        return ErrorCode.INVALID_REQUEST
    if sum(len(metadata) for _, metadata in command.protocols) > MEMBER_BYTES_MAX:
        return ErrorCode.MESSAGE_TOO_LARGE
    return ErrorCode.NONE


def check_member(group: Group, member_id: str, instance_id: str | None) -> ErrorCode:
    """Whether this is a member, and still the one that owns its instance id."""
    if instance_id is not None:
        owner = group.statics.get(instance_id)
        if owner is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
        if owner != member_id:
            return ErrorCode.FENCED_INSTANCE_ID
    return ErrorCode.NONE if member_id in group.members else ErrorCode.UNKNOWN_MEMBER_ID


def join(turn: Turn, command: JoinGroup, ticket: int | None) -> None:
    """Decide a join that `check` let pass."""
    group = turn.group
    if command.member_id in group.pending:
        _add(turn, command, command.member_id, ticket)
    elif command.member_id:
        _join_again(turn, command, ticket)
    elif command.instance_id is not None:
        _join_static(turn, command, ticket)
    else:
        member_id = f"{command.client_id}-{command.fresh_id}"
        if command.require_member_id:
            group.pending[member_id] = turn.now_ms + command.session_timeout_ms
            turn.answer(ticket, JoinReply(ErrorCode.MEMBER_ID_REQUIRED, member_id))
        else:
            _add(turn, command, member_id, ticket)


def _has_room(command: JoinGroup, group: Group, settings: GroupSettings) -> bool:
    """Ids given out and unused count as members: otherwise their number would have no bound."""
    known = command.member_id in group.members or command.member_id in group.pending
    if known or command.instance_id in group.statics:
        return True
    return len(group.members) + len(group.pending) < settings.max_size


def _add(turn: Turn, command: JoinGroup, member_id: str, ticket: int | None) -> None:
    turn.add(_member(command, member_id), command.protocol_type, ticket)
    rebalance.prepare_or_complete(turn)


def _join_static(turn: Turn, command: JoinGroup, ticket: int | None) -> None:
    group = turn.group
    assert command.instance_id is not None
    member_id = f"{command.instance_id}-{command.fresh_id}"
    old_id = group.statics.get(command.instance_id)
    if old_id is None:
        _add(turn, command, member_id, ticket)
        return
    old_leader = group.leader
    turn.rename_static(old_id, member_id)
    group.put(_updated(group.members[member_id], command))
    if group.state is GroupState.STABLE and group.select_protocol() == group.protocol:
        # A restart within the session: the assignment stays, nobody else notices, but the new id is durable.
        turn.renew_session(member_id)
        turn.store()
        turn.answer(ticket, _returned_static(turn, member_id, old_leader, command.can_skip_assignment))
        return
    group.joining[member_id] = ticket
    rebalance.prepare_or_complete(turn)


def _returned_static(turn: Turn, member_id: str, old_leader: str | None, can_skip: bool) -> JoinReply:
    """The answer without a rebalance. A leader that cannot skip assigning must not think that it leads, so
    it is told the old leader id (KIP-814)."""
    reply = turn.generation_for(member_id, skip_assignment=can_skip and turn.group.leader == member_id)
    if can_skip:
        return reply
    return replace(reply, leader=old_leader or "", members=())


def _join_again(turn: Turn, command: JoinGroup, ticket: int | None) -> None:
    group, member_id = turn.group, command.member_id
    member = group.members[member_id]
    same = member.protocols == command.protocols
    if same and group.state is GroupState.COMPLETING:
        # The answer to its join was lost on the way: once more.
        turn.refuse_waiting(member_id, ErrorCode.REBALANCE_IN_PROGRESS)
        group.unsynced.add(member_id)
        turn.renew_session(member_id)
        turn.answer_join(member_id, ticket)
        return
    if same and group.state is GroupState.STABLE and member_id != group.leader:
        turn.renew_session(member_id)
        turn.answer_join(member_id, ticket)
        return
    turn.rejoin(_updated(member, command), ticket)
    rebalance.prepare_or_complete(turn)


def _updated(member: Member, command: JoinGroup) -> Member:
    """What a member may change when it joins again."""
    return replace(
        member,
        protocols=command.protocols,
        session_timeout_ms=command.session_timeout_ms,
        rebalance_timeout_ms=_rebalance_timeout(command),
    )


def _member(command: JoinGroup, member_id: str) -> Member:
    return Member(
        member_id=member_id,
        instance_id=command.instance_id,
        client_id=command.client_id,
        client_host=command.client_host,
        rebalance_timeout_ms=_rebalance_timeout(command),
        session_timeout_ms=command.session_timeout_ms,
        protocols=command.protocols,
    )


def _rebalance_timeout(command: JoinGroup) -> int:
    """v0 has none: the session's length, or a group of such members would never complete (KAFKA-8653)."""
    return command.rebalance_timeout_ms if command.rebalance_timeout_ms >= 0 else command.session_timeout_ms
