"""A group, its clients and a journal that commits late, fails and restarts, all driven by one seed.

The clients behave like real ones with bad luck: they repeat requests, crash, come back under their instance
id, and believe the first answer they get. What must always hold is checked after every step.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from rivven.coordinator.commands import (
    CommitOffsets,
    DeleteGroup,
    ExpireOffsets,
    Heartbeat,
    JoinGroup,
    JoinReply,
    LeaveGroup,
    OffsetToCommit,
    SyncGroup,
    SyncReply,
)
from rivven.coordinator.events import GroupRemoved
from rivven.coordinator.group import Group, GroupState
from rivven.coordinator.groups import GroupMachine
from rivven.coordinator.settings import GroupSettings
from rivven.errors import ErrorCode
from rivven.machine.state_machine import JournalRecord, Outcome, Wake

SETTINGS = GroupSettings(
    session_min_ms=1_000, initial_delay_ms=500, max_size=6, retention_ms=20_000, offset_metadata_bytes_max=8
)
GROUP = "g"


@dataclass
class Client:
    """What one consumer believes about itself."""

    name: str
    instance_id: str | None
    protocols: tuple[tuple[str, bytes], ...]
    session_ms: int
    rebalance_ms: int
    asks_for_id: bool
    member_id: str = ""
    generation: int = -1
    leads: bool = False
    others: tuple[str, ...] = ()
    waiting: int | None = None
    """The ticket of the request it waits for; answers to older ones are ignored."""
    synced: bool = False
    must_rejoin: bool = False

    def next_wish(self) -> str:
        """What the protocol tells it to do next."""
        if self.generation < 0 or self.must_rejoin:
            return "join"
        return "beat" if self.synced else "sync"


@dataclass
class World:
    seed: int
    now_ms: int = 1_000_000
    records: list[JournalRecord] = field(default_factory=list)
    in_flight: deque[tuple[int, Outcome]] = field(default_factory=deque)
    open_tickets: dict[int, tuple[Client, Any]] = field(default_factory=dict)
    answered: set[int] = field(default_factory=set)
    answers: int = 0
    life: int = 0
    """How often the volatile state or the group itself was lost: a generation happens once in a life."""
    leaders: dict[tuple[int, int], str] = field(default_factory=dict)
    assigned: dict[tuple[int, int], int] = field(default_factory=dict)
    """The nonce of the assignments that became durable, by life and generation."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.machine = GroupMachine(SETTINGS)
        self.committed = GroupMachine(SETTINGS)
        self.wake_at: int | None = None
        self.next_ticket = 0
        self.nonce = 0
        choices = self.random
        self.patience = choices.choice([0.6, 0.9, 0.99])
        """How likely everybody is to do what the protocol says."""
        self.misfortune = choices.choice([0.001, 0.01])
        self.clients = [
            Client(
                name=f"c{index}",
                instance_id=f"i{index}" if choices.random() < 0.4 else None,
                protocols=tuple(
                    (name, f"{name}{index}".encode())
                    for name in choices.choice([("a", "b"), ("b", "a"), ("b",), ("a", "b", "c")])
                ),
                session_ms=choices.randint(1_000, 4_000),
                rebalance_ms=choices.randint(1_000, 6_000),
                asks_for_id=choices.random() < 0.7,
            )
            for index in range(choices.randint(2, 8))
        ]

    # -- the runner's part -----------------------------------------------------------------------------------

    def submit(self, client: Client, command: Any) -> None:
        ticket = self.next_ticket
        self.next_ticket += 1
        self.open_tickets[ticket] = (client, command)
        client.waiting = ticket
        self._decide(command, ticket)

    def _decide(self, command: Any, ticket: int | None) -> None:
        outcome = self.machine.decide(command, ticket, self.now_ms)
        for event in (*outcome.events, *outcome.volatile):
            self.machine.apply(event)
        if outcome.wake_at is not None:
            self.wake_at = outcome.wake_at if self.wake_at is None else min(self.wake_at, outcome.wake_at)
        self.in_flight.append((self.life, outcome))
        if any(isinstance(event, GroupRemoved) for event in outcome.events):
            self.life += 1
        self.check()

    def commit_one(self) -> None:
        life, outcome = self.in_flight.popleft()
        for event in outcome.events:
            record = self.committed.encode(event)
            assert self.committed.decode(record) == event
            self.records.append(record)
            self.committed.apply(event)
        for ticket, value in outcome.replies:
            assert ticket not in self.answered, f"ticket {ticket} answered twice"
            self.answered.add(ticket)
            self.answers += 1
            client, command = self.open_tickets.pop(ticket)
            self.observe(life, command, value)
            if client.waiting == ticket:
                client.waiting = None
                self.believe(client, command, value)

    def lose_volatile(self, restart: bool) -> None:
        """A journal failure (rebuild from the committed image) or a crash (rebuild from the records)."""
        self.in_flight.clear()
        self.open_tickets.clear()
        self.life += 1
        for client in self.clients:
            client.waiting = None
        self.machine = GroupMachine(SETTINGS)
        if restart:
            self.committed = GroupMachine(SETTINGS)
            for record in self.records:
                event = self.committed.decode(record)
                assert event is not None
                self.committed.apply(event)
        for event in self.committed.snapshot():
            self.machine.apply(event)
        self.wake_at = self.now_ms

    def pass_time(self, until_ms: int) -> None:
        while self.wake_at is not None and self.wake_at <= until_ms:
            self.now_ms = max(self.now_ms, self.wake_at)
            self.wake_at = None
            self._decide(Wake(), None)
        self.now_ms = max(self.now_ms, until_ms)

    # -- the clients' part -----------------------------------------------------------------------------------

    def step(self) -> None:
        draw = self.random.random()
        if draw < self.misfortune:
            self.lose_volatile(restart=self.random.random() < 0.5)
        elif draw < 0.15:
            self.pass_time(self.now_ms + self.random.choice([1, 50, 300, 1_500]))
        elif draw < 0.45:
            for _ in range(self.random.randint(0, len(self.in_flight))):
                self.commit_one()
        elif draw < 0.455:
            self.submit(self.clients[0], DeleteGroup(GROUP))
        elif draw < 0.46:
            self.submit(self.clients[0], ExpireOffsets((GROUP,)))
        else:
            self.act(self.random.choice(self.clients))

    def act(self, client: Client) -> None:
        """Mostly what a consumer does next; with bad luck anything at all."""
        if client.waiting is not None and self.random.random() < self.patience:
            return
        lucky = self.random.random() < self.patience
        wish = client.next_wish() if lucky else self.random.choice(["crash", "leave", "beat", "sync", "join"])
        if wish == "crash":  # forgets everything but its instance id
            client.member_id, client.generation, client.waiting = "", -1, None
        elif wish == "join":
            self.submit(client, self.join_command(client))
        elif wish == "sync" and client.generation >= 0:
            self.submit(client, self.sync_command(client))
        elif wish == "leave" and client.member_id:
            self.submit(client, LeaveGroup(GROUP, ((client.member_id, client.instance_id),)))
        elif self.random.random() < 0.5:
            self.submit(client, self.commit_command(client))
        elif client.generation >= 0:
            self.submit(client, Heartbeat(GROUP, client.generation, client.member_id, client.instance_id))

    def join_command(self, client: Client) -> JoinGroup:
        self.nonce += 1
        return JoinGroup(
            group_id=GROUP,
            member_id=client.member_id,
            fresh_id=str(self.nonce),
            client_id=client.name,
            client_host="/host",
            session_timeout_ms=client.session_ms,
            rebalance_timeout_ms=client.rebalance_ms,
            protocol_type="consumer",
            protocols=client.protocols,
            instance_id=client.instance_id,
            require_member_id=client.asks_for_id,
        )

    def sync_command(self, client: Client) -> SyncGroup:
        self.nonce += 1
        assignments = tuple((other, b"%d" % self.nonce) for other in client.others) if client.leads else ()
        return SyncGroup(
            GROUP, client.generation, client.member_id, client.instance_id, assignments=assignments
        )

    def commit_command(self, client: Client) -> CommitOffsets:
        offset = OffsetToCommit("t", self.random.randint(0, 3), self.random.randint(0, 99), 0, "note")
        return CommitOffsets(GROUP, (offset,), client.generation, client.member_id, client.instance_id)

    def believe(self, client: Client, command: Any, value: Any) -> None:
        error = value if isinstance(value, ErrorCode) else getattr(value, "error", ErrorCode.NONE)
        if isinstance(value, JoinReply) and error is ErrorCode.NONE:
            client.member_id, client.generation = value.member_id, value.generation
            client.leads = value.leader == value.member_id and not value.skip_assignment
            client.others = tuple(member.member_id for member in value.members)
            client.synced = client.must_rejoin = False
        elif isinstance(value, JoinReply) and error is ErrorCode.MEMBER_ID_REQUIRED:
            client.member_id = value.member_id
        elif isinstance(value, SyncReply) and error is ErrorCode.NONE:
            client.synced = True
        elif error in (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_INSTANCE_ID):
            client.member_id, client.generation = "", -1
        elif error in (ErrorCode.ILLEGAL_GENERATION, ErrorCode.REBALANCE_IN_PROGRESS):
            client.must_rejoin = True
        if isinstance(command, LeaveGroup):
            client.member_id, client.generation = "", -1

    # -- what must hold --------------------------------------------------------------------------------------

    def observe(self, life: int, command: Any, value: Any) -> None:
        """One leader and one set of assignments per generation, whoever asks and however often."""
        if isinstance(value, JoinReply) and value.error is ErrorCode.NONE:
            key = (life, value.generation)
            if value.members and not value.skip_assignment:
                leader = self.leaders.setdefault(key, value.member_id)
                assert leader == value.member_id, f"generation {key}: {leader}, {value.member_id}"
                assert value.leader == value.member_id
                assert value.member_id in {member.member_id for member in value.members}
        if isinstance(value, SyncReply) and value.error is ErrorCode.NONE and value.assignment:
            key = (life, command.generation)
            nonce = int(value.assignment)
            assert self.assigned.setdefault(key, nonce) == nonce, f"two assignments in generation {key}"

    def check(self) -> None:
        group = self.machine.group(GROUP, self.now_ms)
        live = self.machine._groups.get(GROUP)
        if group is None:
            return
        check_group(group)
        waiting = [*group.joining.values(), *group.syncing.values()]
        assert len(set(waiting)) == len(waiting), "one ticket waits twice"
        held = {ticket for _, outcome in self.in_flight for ticket, _ in outcome.replies} | set(waiting)
        assert set(self.open_tickets) == held, "a request is neither held nor about to be answered"
        if live is not None and live.next_deadline() is not None:
            timer = self.machine._timers.get(GROUP)
            assert timer is not None and timer <= live.next_deadline(), "a deadline nobody watches"

    def check_durable(self) -> None:
        """The committed machine, its replayed journal and its compacted journal are the same."""
        expected = durable(self.committed)
        for records in (self.records, compacted(self.records)):
            machine = GroupMachine(SETTINGS)
            for record in records:
                machine.apply(machine.decode(record))
            assert durable(machine) == expected

    def drain(self) -> None:
        """Everybody falls silent: every request must be answered and the group must end empty."""
        while self.in_flight:
            self.commit_one()
        for _ in range(1_000):
            if self.wake_at is None:
                break
            self.pass_time(self.wake_at)
        while self.in_flight:
            self.commit_one()
        assert self.wake_at is None, "the machine wants to be woken for ever"
        assert not self.open_tickets, f"never answered: {self.open_tickets}"
        group = self.machine.group(GROUP, self.now_ms)
        assert group is None or (group.state is GroupState.EMPTY and not group.members)
        assert GROUP not in self.machine._groups, "an idle group holds volatile state"


def check_group(group: Group) -> None:
    """The indexes of a group agree with its members and its state."""
    members = group.members
    assert group.statics == {
        member.instance_id: member_id
        for member_id, member in members.items()
        if member.instance_id is not None
    }
    names = [name for member in members.values() for name, _ in member.protocols]
    assert group.supporters == {name: names.count(name) for name in names}
    assert group.joining.keys() <= members.keys() and group.syncing.keys() <= members.keys()
    assert group.unsynced <= members.keys() and group.deadlines.keys() <= members.keys()
    assert not group.pending.keys() & members.keys()
    assert len(members) + len(group.pending) <= SETTINGS.max_size
    assert (group.leader in members) if members else group.leader is None
    assert not (group.joining and group.state is not GroupState.PREPARING)
    assert not (group.syncing and group.state is not GroupState.COMPLETING)
    assert (group.join_deadline is not None) == (group.state is GroupState.PREPARING)
    watched = group.deadlines.keys() | group.joining.keys() | group.syncing.keys()
    assert watched == members.keys(), "a member nobody would miss"
    if group.state is GroupState.EMPTY:
        assert not members


def durable(machine: GroupMachine) -> tuple[Any, Any]:
    return machine.stored, machine.offsets


def compacted(records: list[JournalRecord]) -> list[JournalRecord]:
    """The latest record per key, in log order; tombstones gone."""
    last = {record.key: index for index, record in enumerate(records)}
    return [
        record
        for index, record in enumerate(records)
        if last[record.key] == index and record.value is not None
    ]
