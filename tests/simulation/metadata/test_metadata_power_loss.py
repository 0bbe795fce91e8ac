"""Metadata under power loss: random changes, full disks, rewrites and crashes, with every append on record.

After each crash the image must be what some prefix of the appends makes, the prefix holding at least
everything that was answered; refused appends count for nothing. Topic and producer ids never return.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from rivven.clock import SystemClock
from rivven.config.broker_settings import broker_defaults
from rivven.errors import RivvenError
from rivven.log.committer import Committer
from rivven.machine import journal_frames, local_journal
from rivven.machine.local_journal import LocalJournal
from rivven.machine.state_machine import JournalRecord
from rivven.metadata import commands as c
from rivven.metadata.image import MetadataImage
from rivven.metadata.records import TopicCreated, decode
from rivven.metadata.service import MetadataService
from rivven.protocol.scram import ScramMechanism, derive_verifier
from rivven.tasks import Tasks
from rivven.testing.files import CrashFiles, Fault, PowerCut
from rivven.testing.threads import StepThreads
from rivven.types import AclBinding, AclFilter, Operation, PatternType, Permission, ResourceType

SEEDS = int(os.environ.get("RIVVEN_SIM_SEEDS", "60"))
LIVES = 4
STEPS = 120
NAMES = ("a", "b", "c.d", "c_d", "e")
VERIFIER = derive_verifier(ScramMechanism.SCRAM_SHA_256, "pw", b"salt", 4096)
RULE = AclBinding(
    ResourceType.TOPIC, "a", PatternType.LITERAL, "User:ann", "*", Operation.READ, Permission.ALLOW
)


class RecordingJournal(LocalJournal):
    """Remembers what was appended and what became of it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.appends: list[tuple[list[Any], asyncio.Future[None]]] = []

    def append(self, records: Sequence[JournalRecord]) -> asyncio.Future[None]:
        future = super().append(records)
        self.appends.append(([decode(record) for record in records], future))
        return future


class Simulation:
    """A history over several lives of one disk."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.files = CrashFiles()
        self.files.make_directory("/data")
        self.files.sync_directory("/")
        self.past: list[Any] = []
        """Events that make the image of the last start."""
        self.topic_ids: set[UUID] = set()
        self.producer_ids: set[int] = set()
        self.journal: RecordingJournal
        self.threads: StepThreads

    async def live(self) -> None:
        tasks = Tasks()
        self.threads = StepThreads(self.random)
        committer = Committer(self.files, "/data", self.threads, lambda _error: None)
        self.journal = RecordingJournal(self.files, "/data/metadata.journal", committer, self.threads)
        service = MetadataService(
            self.journal,
            SystemClock(),
            tasks,
            node_id=1,
            broker=broker_defaults(),
            entropy=self.random.randbytes,
        )
        asked: list[asyncio.Future[Any]] = []
        try:
            starting = asyncio.ensure_future(service.start())
            asked.append(starting)
            while not starting.done():
                await self._turn()
            await starting
            self.files.cut_power_at = self.files.operations + self.random.randrange(5, 90)
            for _ in range(STEPS):
                await self._step(service, asked)
        except PowerCut:
            pass
        for future in asked:
            future.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        await tasks.cancel_all()

    async def _turn(self) -> None:
        self.threads.step()
        await asyncio.sleep(0)

    async def _step(self, service: MetadataService, asked: list[asyncio.Future[Any]]) -> None:
        if self.random.random() < 0.35:
            asked.append(asyncio.ensure_future(self._ask(service)))
        elif self.random.random() < 0.06:
            fault = Fault("write", errno.ENOSPC, written=self.random.randrange(900))
            self.files.faults.append(fault)
        await self._turn()

    async def _ask(self, service: MetadataService) -> None:
        try:
            if self.random.random() < 0.15:
                producer_id = await service.next_producer_id()
                assert producer_id not in self.producer_ids, f"seed {self.seed}"
                self.producer_ids.add(producer_id)
            else:
                await service.submit(self._command(service))
        except RivvenError:
            pass

    def _command(self, service: MetadataService) -> Any:
        choose = self.random
        name = choose.choice(NAMES)
        topic = service.image.topics.get(name)
        rule = replace(RULE, resource_name=name)
        commands = [
            c.CreateTopic(name, service.new_topic_id(), choose.randrange(1, 4)),
            c.CreatePartitions(name, choose.randrange(1, 6)),
            c.AlterTopicConfigs(name, (c.ConfigChange("retention.ms", 0, str(choose.randrange(9))),)),
            c.AlterBrokerConfigs("", (c.ConfigChange("log.retention.ms", choose.randrange(2), "5"),)),
            c.StoreScram(name, (VERIFIER,)),
            c.AlterScram(deletions=(c.ScramDeletion(name, 1),)),
            c.CreateAcls((rule, replace(rule, operation=Operation.WRITE))),
            c.DeleteAcls((AclFilter(resource_name=name),)),
        ]
        if topic is not None:
            commands.append(c.DeleteTopic(topic.topic_id))
        return choose.choice(commands)

    async def check(self) -> None:
        """Open what the crash left and compare it with the record."""
        threads = StepThreads()
        committer = Committer(self.files, "/data", threads, lambda _error: None)
        journal = LocalJournal(self.files, "/data/metadata.journal", committer, threads)
        found = MetadataImage()
        async for record in journal.load():
            found.apply(decode(record))
        appends = [entry for entry in self.journal.appends if not _failed(entry[1])]
        answered = sum(_durable(future) for _, future in appends)
        expected = _image(self.past)
        matches = answered == 0 and _equal(expected, found)
        for number, (events, _) in enumerate(appends, 1):
            for event in events:
                expected.apply(event)
            matches = matches or (number >= answered and _equal(expected, found))
        assert matches, f"seed {self.seed}: {answered} answered of {len(appends)}: {list(found.events())}"
        self._check_identities()
        self.past = list(found.events())

    def _check_identities(self) -> None:
        for events, _ in self.journal.appends:
            for event in events:
                if isinstance(event, TopicCreated):
                    assert event.topic_id not in self.topic_ids, f"seed {self.seed}"
                    self.topic_ids.add(event.topic_id)


def _failed(future: asyncio.Future[None]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is not None


def _durable(future: asyncio.Future[None]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _image(events: list[Any]) -> MetadataImage:
    image = MetadataImage()
    for event in events:
        image.apply(event)
    return image


def _equal(one: MetadataImage, other: MetadataImage) -> bool:
    """Equal but for versions and the order of insertion."""
    return sorted(map(repr, one.events())) == sorted(map(repr, other.events()))


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_power_loss(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    print(f"seed {seed}")
    monkeypatch.setattr(local_journal, "COMPACTION_BYTES_MIN", 2_000)
    monkeypatch.setattr(journal_frames, "SNAPSHOT_SLICE", 3)
    simulation = Simulation(seed)
    for _ in range(LIVES):
        await simulation.live()
        simulation.files.crash(simulation.random)
        await simulation.check()
        simulation.files.restart()
