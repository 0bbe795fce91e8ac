"""One broker's keys around `KeyOperations`: a disk, a provider and topics in memory, for several lives."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from rivven.app.key_operations import KeyOperations
from rivven.audit.events import AuditEvent
from rivven.audit.sinks import AuditUnavailable
from rivven.security.keys.erasure import ErasedPartition, ErasedSegment, partition_of
from rivven.security.keys.erasure_files import ErasureFiles
from rivven.security.keys.erasure_signing import ErasureSigning
from rivven.security.keys.inventory import Stored
from rivven.security.keys.keks import DAY_MS, Keks
from rivven.security.keys.provider import KeyProviderError, ProviderUnavailable
from rivven.security.keys.secrets import Secrets
from rivven.tasks import Tasks
from rivven.telemetry import Metrics
from tests.unit.security.keys.key_world import World

ORDERS, LOGS = UUID(int=1), UUID(int=2)


class Topics:
    """What the broker's side does, at once."""

    def __init__(self, image: Any) -> None:
        self.image = image
        self.plain = False
        self.segment_keys: str | None = None
        """What its segment is sealed under, if not by `plain`."""
        self.end = 9
        self.strange = False
        """Its newest segment is sealed under a key that nobody has."""

    async def delete(self, topic_id: UUID) -> None:
        self.image.topics = {name: one for name, one in self.image.topics.items() if one.topic_id != topic_id}

    async def partitions(self, topic: Any) -> list[ErasedPartition]:
        key = self.segment_keys or (None if self.plain else "aa")
        return [partition_of(0, self.plain, [ErasedSegment(0, self.end, 90, key)])]

    async def begin_segments(self, topic: Any, known: Collection[bytes], now_ms: int) -> int:
        return int(self.strange)

    def size(self, topic: Any) -> Stored:
        return Stored(0, 90 if topic.topic_id == ORDERS else 10)

    async def sealed(self, topic: Any) -> tuple[dict[str | None, Stored], bool]:
        return {None: Stored(1, 90)}, self.plain


class Trail:
    """Keeps what it is told; refuses when it is told to."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []
        self.reasons: list[str] = []
        """Of failures."""
        self.refuses = False

    def event(self, event: AuditEvent) -> None:
        self.events.append((event.action, event.resource, event.result))
        if event.reason:
            self.reasons.append(event.reason)

    async def intent(self, event: AuditEvent) -> None:
        if self.refuses:
            raise AuditUnavailable("full")
        self.event(event)

    async def result(self, event: AuditEvent) -> None:
        self.event(event)


class Reencryptor:
    """Is asked, and never gets anywhere."""

    def __init__(self) -> None:
        self.asked: list[UUID] = []

    async def request(self, topic_id: UUID) -> Any:
        self.asked.append(topic_id)
        return self.progress(topic_id)

    def progress(self, topic_id: UUID) -> Any:
        if topic_id not in self.asked:
            return None
        return SimpleNamespace(done_bytes=1, left_bytes=2, finished=False, problem="")


class Site:
    """A disk, a provider and two topics; `process` is one life of the broker over them."""

    def __init__(self, days: int = 0) -> None:
        self.world = World()
        self.world.clock.ms = 1_000 * DAY_MS
        topics = {
            name: SimpleNamespace(name=name, topic_id=topic_id, internal=name.startswith("__"))
            for name, topic_id in (("orders", ORDERS), ("logs", LOGS), ("__own", UUID(int=3)))
        }
        self.image = SimpleNamespace(
            topics=topics, topics_by_id={one.topic_id: one for one in topics.values()}, cluster_id="c"
        )
        self.topics = Topics(self.image)
        self.trail = Trail()
        self.reencryptor = Reencryptor()
        self.days = days
        self.encrypted = True
        self.broker_values = {"delete.topic.enable": True}

    def topic_config(self, topic: Any) -> Any:
        return SimpleNamespace(encryption_enabled=self.encrypted, encryption_key="")

    @asynccontextmanager
    async def process(self, *hosted: UUID) -> AsyncIterator[KeyOperations]:
        async with self.world.broker() as keys:
            await keys.prepare(dict.fromkeys(hosted or (ORDERS, LOGS), ""))
            files, store = self.world.files, self.world.store
            kept = ErasureFiles(files, store)
            tasks = Tasks()
            self.secrets = Secrets(files, "/data", os.urandom, store, self.world.metadata_key.secrets_key())
            metadata = SimpleNamespace(
                image=self.image, topic_config=self.topic_config, broker_values=self.broker_values
            )
            self.keys = keys
            self.metrics = Metrics()
            made: Any = KeyOperations
            operations: KeyOperations = made(
                keks=Keks(self.world.provider, keys, self.world.metadata_key, kept),
                topic_keys=keys,
                files=kept,
                signing=ErasureSigning(self.secrets, os.urandom),
                audit_signing=None,
                topics=self.topics,
                metadata=metadata,
                reencryptor=self.reencryptor,
                trail=self.trail,
                tasks=tasks,
                clock=self.world.clock,
                metrics=self.metrics,
                rotation_days=self.days,
            )
            try:
                yield operations
            finally:
                await tasks.cancel_all()

    def fails(self, *calls: str, error: KeyProviderError | None = None) -> None:
        failure = error or ProviderUnavailable("out of reach")
        self.world.provider.failure = lambda call, _use: failure if call in calls else None

    def metric(self, name: str) -> dict[tuple[str, ...], float]:
        family = next(one for one in self.metrics.families() if one.name == name)
        return {labels: one.value for labels, one in family.children()}  # type: ignore[union-attr]


def states(site: Site) -> list[str]:
    return [one.state for one in site.world.provider.describe("")]
