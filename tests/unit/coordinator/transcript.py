"""Runs a group machine from a readable script and writes down what it does.

A script is lines of commands, `@<ms> <command> <words> <key=value>...`; what the machine answers and
journals is written under each, indented. A transcript file is a script with its outcome; the test replays it
and compares.
"""

from __future__ import annotations

from typing import Any

from rivven.coordinator.commands import (
    CommitOffsets,
    DeleteGroup,
    DeleteOffsets,
    DescribeGroup,
    ExpireOffsets,
    ForgetTopics,
    GroupDescription,
    Heartbeat,
    JoinGroup,
    JoinReply,
    LeaveGroup,
    ListGroups,
    OffsetToCommit,
    SyncGroup,
    SyncReply,
)
from rivven.coordinator.events import GroupRemoved, GroupStored, OffsetRemoved, OffsetStored
from rivven.coordinator.groups import GroupMachine
from rivven.coordinator.settings import GroupSettings
from rivven.errors import ErrorCode
from rivven.machine.state_machine import JournalRecord, Wake

SETTINGS = GroupSettings(max_size=4, offset_metadata_bytes_max=10, retention_ms=100_000)


class Transcript:
    """One machine for one group "g", its journal, and the text so far."""

    def __init__(self, settings: GroupSettings = SETTINGS) -> None:
        self.settings = settings
        self.machine = GroupMachine(settings)
        self.journal: list[JournalRecord] = []
        self.lines: list[str] = []
        self.wake_at: int | None = None
        self._names: dict[int, str] = {}
        self._fresh = 0

    def run(self, script: str) -> str:
        """Execute the command lines of a script; returns the whole transcript."""
        for line in script.splitlines():
            if line.startswith("@"):
                self.lines.append(line)
                self._line(line)
            elif not line.startswith(" "):
                self.lines.append(line)
        return "\n".join(self.lines) + "\n"

    def _line(self, line: str) -> None:
        time, verb, *words = line.partition("#")[0][1:].split()
        if verb == "restart":
            self.restart()
            return
        options = dict(word.split("=", 1) for word in words if "=" in word)
        names = [word for word in words if "=" not in word]
        command = getattr(self, f"_{verb.replace('-', '_')}")(names, options)
        self.execute(command, int(time), names[0] if names else verb)

    def restart(self) -> None:
        """Lose everything volatile: a new machine reads the journal."""
        self.machine = GroupMachine(self.settings)
        for record in self.journal:
            self.machine.apply(self.machine.decode(record))

    def execute(self, command: Any, now_ms: int, name: str) -> None:
        """Decide, apply and write down one command; its answer goes by `name`."""
        ticket = None if isinstance(command, Wake) else len(self._names)
        if ticket is not None:
            self._names[ticket] = name
        outcome = self.machine.decide(command, ticket, now_ms)
        for event in outcome.events:
            self.journal.append(self.machine.encode(event))
            self.machine.apply(event)
            self._write(f"journal {_event(event)}")
        for event in outcome.volatile:
            self.machine.apply(event)
        for answered, value in outcome.replies:
            self._write(f"{self._names[answered]} <- {_value(value)}")
        if ticket is not None and ticket not in dict(outcome.replies):
            self._write("(held)")
        if outcome.wake_at is not None:
            self.wake_at = outcome.wake_at
        if isinstance(command, Wake):
            self._write(f"(next wake {outcome.wake_at})")

    def _write(self, text: str) -> None:
        self.lines.append(f"    {text}")

    # -- commands --------------------------------------------------------------------------------------------

    def _join(self, names: list[str], options: dict[str, str]) -> JoinGroup:
        self._fresh += 1
        protocols = options.get("protocols", "range").split(",")
        return JoinGroup(
            group_id="g",
            member_id=options.get("id", ""),
            fresh_id=str(self._fresh),
            client_id=names[0],
            client_host="/10.0.0.1",
            session_timeout_ms=int(options.get("session", 10_000)),
            rebalance_timeout_ms=int(options.get("rebalance", 30_000)),
            protocol_type=options.get("type", "consumer"),
            protocols=tuple(
                (protocol, options.get("meta", f"{names[0]}.{protocol}").encode())
                for protocol in protocols
                if protocol
            ),
            instance_id=options.get("instance"),
            require_member_id=options.get("v", "9") >= "4",
            can_skip_assignment=options.get("v", "9") >= "9",
        )

    def _sync(self, _names: list[str], options: dict[str, str]) -> SyncGroup:
        assigned = [entry.split(":") for entry in options.get("assign", "").split(",") if entry]
        return SyncGroup(
            group_id="g",
            generation=int(options["gen"]),
            member_id=options["id"],
            instance_id=options.get("instance"),
            protocol_type=options.get("type"),
            protocol=options.get("protocol"),
            assignments=tuple((member_id, part.encode()) for member_id, part in assigned),
        )

    def _heartbeat(self, _names: list[str], options: dict[str, str]) -> Heartbeat:
        return Heartbeat("g", int(options["gen"]), options["id"], options.get("instance"))

    def _leave(self, names: list[str], _options: dict[str, str]) -> LeaveGroup:
        return LeaveGroup("g", tuple(_identity(word) for word in names[1:]))

    def _commit(self, names: list[str], options: dict[str, str]) -> CommitOffsets:
        offsets = []
        for word in names[1:]:
            topic, partition, offset, *rest = word.split(":")
            offsets.append(OffsetToCommit(topic, int(partition), int(offset), 5, rest[0] if rest else ""))
        return CommitOffsets(
            group_id="g",
            offsets=tuple(offsets),
            generation=int(options.get("gen", -1)),
            member_id=options.get("id", ""),
            instance_id=options.get("instance"),
            retention_ms=int(options.get("keep", -1)),
            knows_missing_groups=options.get("v") == "9",
        )

    def _delete_offsets(self, names: list[str], _options: dict[str, str]) -> DeleteOffsets:
        pairs = [word.split(":") for word in names[1:]]
        return DeleteOffsets("g", tuple((topic, int(partition)) for topic, partition in pairs))

    def _delete(self, _names: list[str], _options: dict[str, str]) -> DeleteGroup:
        return DeleteGroup("g")

    def _describe(self, _names: list[str], _options: dict[str, str]) -> DescribeGroup:
        return DescribeGroup("g")

    def _list(self, _names: list[str], _options: dict[str, str]) -> ListGroups:
        return ListGroups()

    def _expire(self, _names: list[str], _options: dict[str, str]) -> ExpireOffsets:
        return ExpireOffsets(("g",))

    def _forget(self, names: list[str], options: dict[str, str]) -> ForgetTopics:
        return ForgetTopics(frozenset(names[1:]), int(options.get("limit", 100)))

    def _wake(self, _names: list[str], _options: dict[str, str]) -> Wake:
        return Wake()


def _identity(word: str) -> tuple[str, str | None]:
    """`id`, `id/instance` or `/instance`."""
    member_id, slash, instance_id = word.partition("/")
    return member_id, instance_id if slash else None


def _event(event: Any) -> str:
    match event:
        case GroupStored():
            members = " ".join(
                f"{member.member_id}={member.subscription.decode()}/{member.assignment.decode()}"
                for member in event.members
            )
            head = f"group gen={event.generation} protocol={event.protocol} leader={event.leader}"
            return f"{head} {members or '(empty)'}"
        case GroupRemoved():
            return "group removed"
        case OffsetStored(_, topic, partition, committed):
            expiry = f" expires={committed.expire_ms}" if committed.expire_ms >= 0 else ""
            return f"offset {topic}-{partition}={committed.offset} at={committed.commit_ms}{expiry}"
        case OffsetRemoved(_, topic, partition):
            return f"offset {topic}-{partition} removed"
    raise AssertionError(f"not a durable event: {event}")


def _value(value: Any) -> str:
    match value:
        case ErrorCode():
            return value.name
        case JoinReply():
            if value.error is not ErrorCode.NONE:
                return f"{value.error.name} id={value.member_id}"
            members = " ".join(f"{member.member_id}={member.metadata.decode()}" for member in value.members)
            head = (
                f"joined id={value.member_id} gen={value.generation} {value.protocol} leader={value.leader}"
            )
            skip = " skip-assignment" if value.skip_assignment else ""
            return f"{head}{skip}{' members: ' + members if members else ''}"
        case SyncReply():
            if value.error is not ErrorCode.NONE:
                return value.error.name
            return f"synced {value.protocol} assignment={value.assignment.decode()!r}"
        case GroupDescription():
            members = " ".join(
                f"{member.member_id}={member.metadata.decode()}/{member.assignment.decode()}"
                for member in value.members
            )
            return f"{value.state} type={value.protocol_type} protocol={value.protocol} members: {members}"
        case tuple():
            return " ".join(_value(one) for one in value) or "nothing"
        case None:
            return "no such group"
        case _:
            return str(value)
