"""Nothing a client sends may make a group that cannot be written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rivven.coordinator.commands import CommitOffsets, JoinGroup, OffsetToCommit, SyncGroup
from rivven.coordinator.groups import INT64_MAX, GroupMachine
from rivven.coordinator.settings import (
    GROUP_BYTES_MAX,
    MEMBER_BYTES_MAX,
    NAME_BYTES_MAX,
    GroupSettings,
    group_settings,
)
from rivven.errors import ErrorCode

SETTINGS = GroupSettings(initial_delay_ms=0)
LONG = "é" * (NAME_BYTES_MAX // 2 + 1)
LONGEST = "é" * (NAME_BYTES_MAX // 2)
JOIN = JoinGroup(
    group_id="g",
    member_id="",
    fresh_id="0123456789",
    client_id="c",
    client_host="/h",
    session_timeout_ms=10_000,
    rebalance_timeout_ms=10_000,
    protocol_type="consumer",
    protocols=(("range", b"m"),),
    require_member_id=False,
)


class Machine:
    """Decides, applies and encodes; answers by ticket."""

    def __init__(self) -> None:
        self.machine = GroupMachine(SETTINGS)
        self.tickets = 0

    def ask(self, command: Any) -> Any:
        self.tickets += 1
        outcome = self.machine.decide(command, self.tickets, 1_000)
        for event in outcome.events:
            assert self.machine.decode(self.machine.encode(event)) == event
        for event in (*outcome.events, *outcome.volatile):
            self.machine.apply(event)
        return dict(outcome.replies)[self.tickets]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"group_id": LONG}, ErrorCode.INVALID_GROUP_ID),
        ({"client_id": LONG}, ErrorCode.INVALID_REQUEST),
        ({"instance_id": LONG}, ErrorCode.INVALID_REQUEST),
        ({"protocol_type": LONG}, ErrorCode.INVALID_REQUEST),
        ({"protocols": ((LONG, b""),)}, ErrorCode.INVALID_REQUEST),
        ({"protocols": (("a", b"x" * MEMBER_BYTES_MAX), ("b", b"x"))}, ErrorCode.MESSAGE_TOO_LARGE),
    ],
)
def test_too_long_to_join(change: dict[str, Any], error: ErrorCode) -> None:
    assert Machine().ask(replace(JOIN, **change)).error is error


@pytest.mark.parametrize("instance_id", [None, LONGEST])
def test_the_longest_names_can_be_stored(instance_id: str | None) -> None:
    machine = Machine()
    joined = machine.ask(
        replace(
            JOIN,
            group_id=LONGEST,
            client_id=LONGEST,
            instance_id=instance_id,
            protocol_type=LONGEST,
            protocols=((LONGEST, b"x" * MEMBER_BYTES_MAX),),
        )
    )
    assert joined.error is ErrorCode.NONE
    synced = machine.ask(SyncGroup(LONGEST, 1, joined.member_id, instance_id))
    assert synced.error is ErrorCode.NONE


def test_assignments_that_do_not_fit_are_refused_and_the_group_goes_on() -> None:
    machine = Machine()
    member_id = machine.ask(JOIN).member_id
    sync = SyncGroup("g", 1, member_id, assignments=((member_id, b"x" * GROUP_BYTES_MAX),))
    assert machine.ask(sync).error is ErrorCode.MESSAGE_TOO_LARGE
    assert machine.ask(replace(sync, assignments=((member_id, b"x"),))).error is ErrorCode.NONE


def test_commits_that_do_not_fit() -> None:
    machine = Machine()
    offset = OffsetToCommit("t", 0, 1, 7, "é" * 2048)
    assert machine.ask(CommitOffsets(LONG, (offset,))) == (ErrorCode.INVALID_GROUP_ID,)
    assert machine.ask(CommitOffsets("g", (offset,))) == (ErrorCode.NONE,)
    longer = offset._replace(metadata="é" * 2048 + "x")
    assert machine.ask(CommitOffsets("g", (longer,))) == (ErrorCode.OFFSET_METADATA_TOO_LARGE,)


def test_keeping_an_offset_for_ever_is_not_an_overflow() -> None:
    machine = Machine()
    command = CommitOffsets("g", (OffsetToCommit("t", 0, 1, 7, ""),), retention_ms=INT64_MAX)
    assert machine.ask(command) == (ErrorCode.NONE,)
    committed = machine.machine.offsets_of("g")["t"][0]
    assert committed.expire_ms == INT64_MAX and committed.leader_epoch == -1


def test_settings_come_by_their_kafka_names() -> None:
    assert group_settings(
        {
            "group.min.session.timeout.ms": 1,
            "group.max.session.timeout.ms": 2,
            "group.initial.rebalance.delay.ms": 3,
            "group.max.size": 4,
            "offset.metadata.max.bytes": 5,
            "offsets.retention.minutes": 6,
            "offsets.retention.check.interval.ms": 7,
        }
    ) == GroupSettings(1, 2, 3, 4, 5, 360_000, 7)
