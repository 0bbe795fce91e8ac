"""Topic keys in use: what the log asks for keys, and what operators do with them. A driver.

Belongs to the event loop; `create`, `sealer` and `export` may be called from any thread and never wait. The
provider is asked once per topic to open its keys, which then stay in memory: an outage does not reach topics
that are open. Nothing counts before it is durable in the key store; a key is dropped only when its successor
is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

from rivven.clock import Clock
from rivven.errors import StorageFailed
from rivven.log.sealing import ALGORITHMS, DataKey, KeyUnavailable, Sealer, SegmentHeader
from rivven.log.threads import Threads
from rivven.security.keys.bootstrap import MetadataKey
from rivven.security.keys.data_keys import DataKeys
from rivven.security.keys.held_topics import HeldTopic, HeldTopics, Pause, TracesOf
from rivven.security.keys.key_store import KeyStore, StoredTopic
from rivven.security.keys.provider import (
    KeyContext,
    KeyProvider,
    KeyProviderError,
    ProviderUnavailable,
    WrappedKey,
)
from rivven.security.keys.topic_ring import Entropy, TopicRing
from rivven.tasks import Tasks

FAILURES_LISTED_MAX: Final = 20
"""Reasons in a report; what is wrong with one topic is mostly wrong with all."""

SWEEPS_PER_LIFETIME: Final = 4
"""An unused data key is dropped at most a quarter of its lifetime late."""


class WrappedTopicKey(NamedTuple):
    """One topic key as it is stored. All keys of a topic share one `wrapped`."""

    topic_id: UUID
    key_id: bytes
    wrapped: WrappedKey
    created_ms: int
    newest: bool


@dataclass(frozen=True, slots=True)
class RewrapReport:
    """What `rewrap` did. Counted are topics, and the metadata key."""

    moved: int
    unchanged: int
    """Under the newest KEK already."""
    failed: tuple[str, ...]
    """Reasons, at most FAILURES_LISTED_MAX; empty when everything is under the newest KEK now."""
    retirable: tuple[str, ...]
    """KEKs that wrapped something before and wrap nothing here now; backups may still need them."""


@dataclass(frozen=True, slots=True)
class KeySettings:
    """How topic keys are used: `algorithm` of new segments, bounds of the data keys in memory."""

    algorithm: str = "aes-256-gcm"
    data_keys_max: int = 4_096
    data_key_lifetime_s: float = 3_600.0


class TopicKeys:
    """Implements `log.sealing.SegmentKeys`. Call `open` before anything else and `close` last."""

    def __init__(
        self,
        *,
        store: KeyStore,
        provider: KeyProvider,
        metadata_key: MetadataKey,
        context: KeyContext,
        settings: KeySettings,
        threads: Threads,
        tasks: Tasks,
        clock: Clock,
        entropy: Entropy,
        traces_of: TracesOf,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._held = HeldTopics(
            store=store,
            provider=provider,
            context=context,
            threads=threads,
            tasks=tasks,
            clock=clock,
            entropy=entropy,
            pause=pause,
            traces_of=traces_of,
        )
        self._provider = provider
        self._metadata_key = metadata_key
        self._algorithm = ALGORITHMS[settings.algorithm]
        self._lifetime_s = settings.data_key_lifetime_s
        self._tasks = tasks
        self._clock = clock
        self._entropy = entropy
        self._pause = pause
        self._data_keys = DataKeys(settings.data_keys_max, settings.data_key_lifetime_s, clock.monotonic)

    async def open(self) -> None:
        """Read the key store; nothing is asked of the provider. Raises KeyProviderError."""
        await self._held.load()
        self._tasks.spawn(self._sweep(), "data keys")

    def close(self) -> None:
        """Overwrite every key in memory."""
        self._held.close()
        self._data_keys.clear()

    # -- what the log asks -----------------------------------------------------------------------------------

    async def prepare(self, topics: Mapping[UUID, str | None]) -> None:
        """Have the keys of these topics at hand, as far as the provider gives them; see `SegmentKeys`."""
        due = []
        for topic_id, key_name in topics.items():
            topic = self._held.held(topic_id)
            topic.wanted = key_name
            topic.plain = key_name is None
            if not topic.settled:
                due.append(topic)
        await self._held.settle(due)

    async def open_all(self, topic_ids: Iterable[UUID]) -> None:
        """Have the keys of topics that nobody hosts at hand, as far as the provider gives them."""
        await self._held.settle([topic for one in topic_ids if not (topic := self._held.held(one)).settled])

    def create(self, topic_id: UUID, partition: int) -> tuple[SegmentHeader, Sealer]:
        """Header and sealer of a new segment, under the topic's newest key. Raises KeyUnavailable."""
        header, sealer = self._ring(topic_id).create(topic_id, partition, self._algorithm, self._entropy)
        self._data_keys.put(header, sealer)
        return header, sealer

    def sealer(self, header: SegmentHeader) -> Sealer:
        """The sealer of an existing segment. Raises KeyUnavailable, FrameRefused."""
        return self._data_keys.get(header, self._opened)

    def export(self, header: SegmentHeader) -> bytes:
        """The data key of a segment, for the pipe to a worker of our own. Raises KeyUnavailable,
        FrameRefused."""
        secret = self._ring(header.topic_id).data_key(header)
        key = bytes(secret)
        secret[:] = bytes(len(secret))
        return key

    def newest(self, topic_id: UUID) -> bytes | None:
        """Id of the key that new segments use; None while the topic has none."""
        topic = self._held.topics.get(topic_id)
        return topic.stored.key_ids[-1] if topic is not None and topic.stored is not None else None

    def only_sealed(self, topic_id: UUID) -> bool:
        """Whether the topic is known to have no plain segment, so that one found was put there."""
        topic = self._held.topics.get(topic_id)
        return topic is not None and topic.only_sealed

    def may_begin_plain(self, topic_id: UUID) -> bool:
        """Whether a plain segment of it may be begun: it is not marked, nor about to be."""
        topic = self._held.topics.get(topic_id)
        return topic is None or topic.may_begin_plain

    def older(self, topic_id: UUID) -> set[bytes]:
        """Ids of the topic's keys that are not the newest."""
        topic = self._held.topics.get(topic_id)
        return set(topic.stored.key_ids[:-1]) if topic is not None and topic.stored is not None else set()

    def failure(self, topic_id: UUID) -> str:
        """Why a topic's keys could not be had, empty when they are here; for operators."""
        topic = self._held.topics.get(topic_id)
        return "" if topic is None else topic.refused or topic.failure

    def _ring(self, topic_id: UUID) -> TopicRing:
        topic = self._held.topics.get(topic_id)
        ring = None if topic is None else topic.ring
        if ring is None:
            raise KeyUnavailable("the keys of the topic are not available")
        return ring

    def _opened(self, header: SegmentHeader) -> DataKey:
        secret = self._ring(header.topic_id).data_key(header)
        sealer = DataKey(bytes(secret), header.algorithm)
        secret[:] = bytes(len(secret))
        return sealer

    async def _sweep(self) -> None:
        while True:
            await self._pause(self._lifetime_s / SWEEPS_PER_LIFETIME)
            self._data_keys.sweep()

    # -- what happens to topics ------------------------------------------------------------------------------

    async def renew(self, topic_id: UUID) -> bytes:
        """Give a topic a new key, used for new segments from now on; its id. Raises StorageFailed."""
        topic = self._existing(topic_id)
        async with topic.lock:
            stored, ring = await self._in_use(topic)
            made = ring.renewed(self._entropy)
            created_ms = (*stored.created_ms, self._clock.now_ms())
            await self._held.store_ring(topic, made, stored.key_name, created_ms)
            return made.newest.key_id

    async def start_over(self, topic_id: UUID) -> bool:
        """Give a topic whose keys are lost new ones, for what is written from now on; False when they are not
        lost. Raises StorageFailed, also when it may have keys that cannot be had now."""
        topic = self._existing(topic_id)
        async with topic.lock:
            made = await self._held.start_over(topic)
            await self._in_use(topic)
            return made

    async def retire(self, topic_id: UUID, key_ids: set[bytes]) -> None:
        """Drop old keys that no segment uses any more; the newest stays. Raises StorageFailed."""
        topic = self._existing(topic_id)
        async with topic.lock:
            stored, ring = await self._in_use(topic)
            left = ring.without(key_ids)
            if left.key_ids == ring.key_ids:
                left.wipe()
                return
            created = dict(zip(stored.key_ids, stored.created_ms, strict=True))
            created_ms = tuple(created[key_id] for key_id in left.key_ids)
            await self._held.store_ring(topic, left, stored.key_name, created_ms)

    async def forget(self, topic_id: UUID) -> None:
        """Destroy the keys of a deleted topic, in memory and in the key store. Raises KeyProviderError."""
        topic = self._held.held(topic_id)
        async with topic.lock:
            await self._held.run(partial(self._held.store.remove_topic, topic_id))
            topic.wipe()
            self._data_keys.forget(topic_id)
            if self._held.topics.get(topic_id) is topic:
                del self._held.topics[topic_id]

    async def freeze(self, topic_id: UUID) -> None:
        """Wrap the keys of a topic no more, as it is being shredded; returns once nothing is under way."""
        topic = self._held.topics.get(topic_id)
        if topic is not None:
            async with topic.lock:
                topic.frozen = True

    def thaw(self, topic_id: UUID) -> None:
        """It is not shredded after all."""
        topic = self._held.topics.get(topic_id)
        if topic is not None:
            topic.frozen = False

    def rewriting(self) -> list[UUID]:
        """Topics whose re-encryption was asked for and is not complete; survives a restart."""
        return [one.topic_id for one in self._held.topics.values() if one.stored and one.stored.rewriting]

    async def set_rewriting(self, topic_id: UUID, asked: bool) -> None:
        """Remember durably that re-encryption was asked for, or is complete. Raises StorageFailed."""
        topic = self._existing(topic_id)
        async with topic.lock:
            stored, _ = await self._in_use(topic)
            if stored.rewriting is not asked:
                changed = replace(stored, rewriting=asked)
                await self._held.run(partial(self._held.store.write_topic, changed))
                topic.stored = changed

    def unmarked(self) -> set[UUID]:
        """Topics that get sealed segments only, from now on, and are not known to have no other ones."""
        return {
            topic.topic_id
            for topic in self._held.topics.values()
            if topic.wanted is not None and topic.stored is not None and not topic.stored.only_sealed
        }

    def plain_held_back(self, topic_id: UUID) -> AbstractContextManager[None]:
        """Meanwhile no plain segment of the topic is begun: for who looks whether there are any."""
        return self._held.held(topic_id).plain_held_back()

    async def mark_only_sealed(self, topic_id: UUID) -> bool:
        """Remember durably that it has no plain segment, which was found out while they were held back.

        False when it is not to be sealed any more. Raises StorageFailed.
        """
        topic = self._existing(topic_id)
        async with topic.lock:
            if topic.wanted is None or topic.stored is None or topic.gone or topic.frozen:
                return False
            await self._held.mark_only_sealed(topic, True)
        if topic.plain:  # it became so while the mark was written, which who said so did not see
            await self._held.settle([topic])
        return not topic.plain

    def _existing(self, topic_id: UUID) -> HeldTopic:
        topic = self._held.topics.get(topic_id)
        if topic is None:
            raise KeyUnavailable("the topic has no keys")
        return topic

    async def _in_use(self, topic: HeldTopic) -> tuple[StoredTopic, TopicRing]:
        """The keys of a topic whose lock is held. Raises StorageFailed."""
        await self._held.open_ring(topic)
        if topic.stored is None or topic.ring is None:
            raise KeyUnavailable("the topic has no keys")
        return topic.stored, topic.ring

    # -- what operators ask ----------------------------------------------------------------------------------

    def stored(self) -> dict[UUID, StoredTopic]:
        """The keys of every topic as they are stored."""
        return {topic.topic_id: topic.stored for topic in self._held.topics.values() if topic.stored}

    def wrapped(self) -> Iterator[WrappedTopicKey]:
        """Every topic key in the key store."""
        for stored in self.stored().values():
            for key_id, created_ms in zip(stored.key_ids, stored.created_ms, strict=True):
                newest = key_id == stored.key_ids[-1]
                yield WrappedTopicKey(stored.topic_id, key_id, stored.wrapped, created_ms, newest)

    def kek_ids(self, besides: UUID | None = None) -> set[str]:
        """The KEKs that wrap something now, the metadata key too; without what wraps one topic's keys."""
        stored = (one for one in self.stored().values() if one.topic_id != besides)
        return {self._metadata_key.kek_id, *(one.wrapped.key_id for one in stored)}

    @property
    def open_topics(self) -> int:
        """Topics whose keys are in memory."""
        return sum(topic.ring is not None for topic in self._held.topics.values())

    @property
    def waiting_topics(self) -> int:
        """Topics whose keys could not be had yet."""
        return len(self._held.waiting)

    def waiting(self) -> dict[UUID, str]:
        """Those topics, and why."""
        return {topic.topic_id: topic.refused or topic.failure for topic in self._held.waiting}

    @property
    def data_keys(self) -> int:
        """Data keys in memory."""
        return len(self._data_keys)

    async def rewrap(
        self, on_progress: Callable[[int, int], None] = lambda _done, _all: None
    ) -> RewrapReport:
        """Wrap every topic key and the metadata key under the newest KEK of its name. What is there already
        is left alone, so that an interrupted rewrap goes on where it was. `on_progress` gets how many are
        done and how many there are. Raises KeyProviderError when the provider does not even begin."""
        before = self.kek_ids()
        # All of them: a topic whose first key is just being wrapped holds its lock until that is stored.
        topics = list(self._held.topics.values())
        newest = await self._newest_keks({one.stored.key_name for one in topics if one.stored})
        moved = int(await self._held.run(partial(self._metadata_key.rewrap, self._provider)))
        unchanged = 1 - moved
        failed: list[str] = []
        self._held.left_keks -= set(newest.values())

        async def each(topic: HeldTopic) -> None:
            nonlocal moved, unchanged
            try:
                if await self._rewrap_topic(topic, newest):
                    moved += 1
                elif topic.stored is not None:
                    unchanged += 1
            except ProviderUnavailable:
                raise
            except StorageFailed as error:
                failed.append(f"topic {topic.topic_id}: {error}")
            on_progress(moved + unchanged + len(failed), len(topics) + 1)

        outage = await self._held.concurrently(topics, each)
        self._held.left_keks |= before - set(newest.values()) - {self._metadata_key.kek_id}
        await self._stored_what_was_wrapped()
        if outage is not None:
            failed.insert(0, str(outage))
        retirable = tuple(sorted(before - self.kek_ids()))
        return RewrapReport(moved, unchanged, tuple(failed[:FAILURES_LISTED_MAX]), retirable)

    async def _newest_keks(self, names: set[str]) -> dict[str, str]:
        """The newest KEK of each name; a name without one is left out, its topics will say so."""
        found = {}
        for name in sorted(names):
            try:
                found[name] = await self._held.run(partial(self._provider.current_id, name))
            except ProviderUnavailable:
                raise
            except KeyProviderError:
                continue
        return found

    async def _stored_what_was_wrapped(self) -> None:
        """Wait until what the provider wrapped before this call is stored, and so is counted as in use."""
        for topic in list(self._held.topics.values()):
            async with topic.lock:
                continue

    async def _rewrap_topic(self, topic: HeldTopic, newest: Mapping[str, str]) -> bool:
        async with topic.lock:
            if topic.gone or (topic.stored is None and not topic.refused):
                return False
            stored, ring = await self._in_use(topic)
            if stored.wrapped.key_id == newest.get(stored.key_name):
                return False
            await self._held.store_ring(topic, ring, stored.key_name, stored.created_ms)
            return True
