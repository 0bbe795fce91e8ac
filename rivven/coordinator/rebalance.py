"""How a group gets from one generation to the next.

Pure. The order of a generation:

    prepare    members are told to rejoin (by heartbeat answers and refused syncs); their JoinGroups are held
    complete   all have rejoined, or the rebalance timeout has passed: one generation more, all joins answered
    (sync)     the leader's SyncGroup brings the assignments: stable, and durable
    every member that joined must sync within the rebalance timeout, or it is removed and the group
    rebalances again
"""

from __future__ import annotations

from rivven.coordinator.group import GroupState
from rivven.coordinator.turn import Turn
from rivven.errors import ErrorCode


def prepare(turn: Turn) -> None:
    """Start a rebalance; a group that was empty first waits for more members to come."""
    group, now = turn.group, turn.now_ms
    for member_id in list(group.syncing):
        turn.refuse_waiting(member_id, ErrorCode.REBALANCE_IN_PROGRESS)
        turn.renew_session(member_id)
    group.unsynced.clear()
    group.sync_deadline = None
    was_empty = group.state is GroupState.EMPTY
    turn.become(GroupState.PREPARING)
    if not was_empty:
        group.join_deadline = now + group.rebalance_timeout_ms()
        complete_if_all_joined(turn)
    elif turn.settings.initial_delay_ms == 0:
        complete(turn)
    else:
        delay = turn.settings.initial_delay_ms
        group.join_deadline = now + delay
        group.initial_delay_left_ms = max(group.rebalance_timeout_ms() - delay, 0)
        group.newcomer = False


def prepare_or_complete(turn: Turn) -> None:
    """Membership changed: start a rebalance, or see whether the running one is complete now."""
    if turn.group.state is GroupState.PREPARING:
        complete_if_all_joined(turn)
    else:
        prepare(turn)


def complete_if_all_joined(turn: Turn) -> None:
    """Complete the join unless somebody is missing or the first wait of the group still runs."""
    group = turn.group
    if group.state is GroupState.PREPARING and group.initial_delay_left_ms is None and group.all_joined:
        complete(turn)


def join_deadline_passed(turn: Turn) -> None:
    """The wait for joins is over, unless newcomers during the first wait earn it another slice."""
    group = turn.group
    left = group.initial_delay_left_ms
    if left and group.newcomer:
        delay = min(turn.settings.initial_delay_ms, left)
        group.newcomer = False
        group.initial_delay_left_ms = left - delay
        group.join_deadline = turn.now_ms + delay
        return
    complete(turn)


def sync_deadline_passed(turn: Turn) -> None:
    """Members that joined the generation but never asked for their assignment go; the rest rebalances."""
    group = turn.group
    group.sync_deadline = None
    if not group.unsynced:
        return
    for member_id in list(group.unsynced):
        turn.remove(member_id)
    prepare(turn)


def complete(turn: Turn) -> None:
    """Begin the next generation with who has joined; absent static members keep their place."""
    group = turn.group
    for member_id in [*group.members]:
        if member_id not in group.joining and group.members[member_id].instance_id is None:
            turn.remove(member_id)
    if group.members and not _leader_has_joined(turn):
        # Only absent static members are left: wait until they come back or their sessions end.
        group.join_deadline = turn.now_ms + group.rebalance_timeout_ms()
        group.initial_delay_left_ms = None
        return
    group.generation += 1
    group.join_deadline = None
    group.initial_delay_left_ms = None
    if not group.members:
        group.protocol = None
        turn.become(GroupState.EMPTY)
        turn.store()
        return
    group.protocol = group.select_protocol()
    turn.become(GroupState.COMPLETING)
    group.unsynced = set(group.joining)
    group.sync_deadline = turn.now_ms + group.rebalance_timeout_ms()
    joining, group.joining = group.joining, {}
    for member_id, ticket in joining.items():
        turn.renew_session(member_id)
        turn.answer_join(member_id, ticket)


def _leader_has_joined(turn: Turn) -> bool:
    """Whether the leader has joined; one that has takes over from one that has not."""
    group = turn.group
    if group.leader not in group.joining:
        successor = next(iter(group.joining), None)
        if successor is None:
            return False
        group.leader = successor
    return True
