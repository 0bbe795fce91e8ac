"""Topics and their keys in memory: got from the provider, stored, and asked for again when they were not had.

A driver; belongs to the event loop. The provider and the disk are used on threads, a few calls at a time. A
topic's keys change under its lock only, and count once they are durable. What keys are good for is the
business of `topic_keys`.

A topic gets its first keys only if it has no sealed segment: one that has and is not in the key store had
keys that are not here now, because another key store was restored, or because it was shredded. New ones in
their place would be lost again, with what is written under them, when the right key store comes back.

With its first keys a topic of which nothing is on the disk is marked as one that has only sealed segments;
the mark goes once it is to have plain ones. The log begins none while there is a mark or one is being made.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from rivven.clock import Clock
from rivven.log.sealed_traces import Traces
from rivven.log.threads import Threads
from rivven.log.waiting import on_worker
from rivven.security.keys.key_store import FORMER_NAMES_MAX, KeyStore, StoredTopic
from rivven.security.keys.provider import (
    KeyContext,
    KeyGone,
    KeyProvider,
    KeyProviderError,
    KeyRefused,
    ProviderUnavailable,
)
from rivven.security.keys.topic_ring import Entropy, TopicRing, decode_ring, new_ring
from rivven.tasks import Tasks

CALLS_MAX: Final = 8
"""Calls of the provider at once: ten thousand topics at 10 ms each are open in 13 seconds, and a service that
limits rates is not flooded."""

RETRY_SECONDS_MIN: Final = 0.5
RETRY_SECONDS_MAX: Final = 30.0
"""Between rounds for what could not be had; each pause is shortened by up to half, at random."""

Pause = Callable[[float], Awaitable[None]]

TracesOf = Callable[[Collection[UUID]], Traces]
"""What of topics is on the disk. Blocks; raises OSError."""

_log = logging.getLogger("rivven.keys")

T = TypeVar("T")


class HeldTopic:
    """What is known of one topic. `ring` is replaced as a whole and read by any thread."""

    __slots__ = (
        "failure",
        "frozen",
        "gone",
        "lock",
        "lost",
        "marking",
        "plain",
        "refused",
        "ring",
        "stored",
        "topic_id",
        "wanted",
    )

    def __init__(self, topic_id: UUID, stored: StoredTopic | None = None, refused: str = "") -> None:
        self.topic_id = topic_id
        self.stored = stored
        self.ring: TopicRing | None = None
        self.wanted: str | None = None
        """The `encryption.key` it is to be wrapped with; None: nothing new is sealed."""
        self.plain = False
        """Who hosts it said that what is new is to be plain."""
        self.marking = 0
        """How many are about to find out whether it has only sealed segments: none may become plain."""
        self.refused = refused
        """Why its file cannot be used."""
        self.failure = ""
        self.lost = False
        """It has sealed segments and no keys: those they were sealed under are not in this key store."""
        self.frozen = False
        """It is being shredded: a KEK that is not to be destroyed must not wrap its keys any more."""
        self.gone = False
        self.lock = asyncio.Lock()

    @property
    def settled(self) -> bool:
        """Whether there is nothing to ask the provider for."""
        if self.gone:
            return True
        if self.refused:
            return False
        if self.stored is None:
            return self.wanted is None
        if self.plain and self.stored.only_sealed:
            return False
        return self.ring is not None and self.wanted in (None, self.stored.key_name)

    @property
    def only_sealed(self) -> bool:
        """Whether it is known to have no plain segment."""
        return self.stored is not None and self.stored.only_sealed

    @property
    def may_begin_plain(self) -> bool:
        """Whether a plain segment would not be taken for a forged one; not if its file cannot be read, which
        may have the mark."""
        return not (self.only_sealed or self.marking or self.refused)

    @contextmanager
    def plain_held_back(self) -> Iterator[None]:
        """Meanwhile no plain segment of it is begun."""
        self.marking += 1
        try:
            yield
        finally:
            self.marking -= 1

    def wipe(self) -> None:
        """Nothing is known of it any more; its keys in memory are overwritten."""
        self.gone = True
        if self.ring is not None:
            self.ring.wipe()
            self.ring = None


class HeldTopics:
    """Every topic of the key store, by id in `topics`."""

    def __init__(
        self,
        *,
        store: KeyStore,
        provider: KeyProvider,
        context: KeyContext,
        threads: Threads,
        tasks: Tasks,
        clock: Clock,
        entropy: Entropy,
        pause: Pause,
        traces_of: TracesOf,
    ) -> None:
        self.topics: dict[UUID, HeldTopic] = {}
        self.left_keks: frozenset[str] = frozenset()
        """KEKs that everything was moved away from, perhaps to be destroyed: nothing is wrapped by them again
        even if the provider, whose parts may learn of a rotation one after the other, would; until a rewrap
        finds one of them the newest."""
        self.store = store
        self.provider = provider
        self._context = context
        self._threads = threads
        self._tasks = tasks
        self._clock = clock
        self._entropy = entropy
        self._pause = pause
        self._traces_of = traces_of
        self._worker = threads.worker("keys", CALLS_MAX)
        self._retrying = False

    async def load(self) -> None:
        """Read the key store; nothing is asked of the provider. Raises KeyProviderError."""
        stored, refused = await self.run(self.store.topics)
        for topic_id, topic in stored.items():
            self.topics[topic_id] = HeldTopic(topic_id, topic)
        for topic_id, reason in refused.items():
            self.topics[topic_id] = HeldTopic(topic_id, refused=reason)
            _log.error("topic %s has no keys: %s", topic_id, reason)

    def close(self) -> None:
        """Overwrite every key in memory."""
        for topic in self.topics.values():
            topic.wipe()
        self._worker.close()

    async def run(self, job: Callable[[], T]) -> T:
        """Do something that blocks, on a thread."""
        return await on_worker(self._threads, self._worker, job)

    @property
    def waiting(self) -> list[HeldTopic]:
        """Topics whose keys could not be had yet."""
        return [topic for topic in self.topics.values() if not topic.settled]

    def held(self, topic_id: UUID) -> HeldTopic:
        """What is known of a topic, nothing at first."""
        topic = self.topics.get(topic_id)
        if topic is None:
            topic = self.topics[topic_id] = HeldTopic(topic_id)
        return topic

    # -- one topic; its lock is held -------------------------------------------------------------------------

    async def _read_again(self, topic: HeldTopic) -> None:
        """A file that was refused or missed. Raises KeyProviderError."""
        if (topic.refused or topic.lost) and topic.ring is None:
            topic.stored = await self.run(lambda: self.store.read_topic(topic.topic_id))
            topic.refused = ""

    async def mark_only_sealed(self, topic: HeldTopic, mark: bool) -> None:
        """Say durably whether a topic that has keys is known to have no plain segment. Raises
        KeyProviderError, with what was before."""
        stored = topic.stored
        if stored is not None and stored.only_sealed is not mark:
            changed = replace(stored, only_sealed=mark)
            await self.run(partial(self.store.write_topic, changed))
            topic.stored = changed

    async def open_ring(self, topic: HeldTopic) -> None:
        """Get a topic's keys into memory, if it has any; a file that was refused or missed is read again.

        Raises KeyProviderError.
        """
        if topic.ring is not None or topic.gone:
            return
        await self._read_again(topic)
        stored = topic.stored
        if stored is None:
            return
        context = self._context.topic(stored.topic_id)
        content = await self.run(lambda: self.provider.unwrap(stored.wrapped, context))
        topic.ring = decode_ring(content, stored.key_ids)

    async def store_ring(
        self,
        topic: HeldTopic,
        ring: TopicRing,
        key_name: str,
        created_ms: tuple[int, ...],
        *,
        only_sealed: bool = False,
    ) -> None:
        """Wrap keys and store them; they count for the topic from then on. `only_sealed` is for the first
        ones, others keep what is known. Raises KeyProviderError."""
        rewriting = topic.stored is not None and topic.stored.rewriting
        only_sealed = only_sealed or topic.only_sealed
        context = self._context.topic(topic.topic_id)

        def job() -> StoredTopic:
            former = _former_names(topic, key_name)
            wrapped = self.provider.wrap(key_name, ring.encode(), context)
            if wrapped.key_id in self.left_keks:
                raise ProviderUnavailable(
                    f"the key provider still wraps with {wrapped.key_id}, which was left"
                )
            stored = StoredTopic(
                topic.topic_id, key_name, ring.key_ids, created_ms, wrapped, rewriting, former, only_sealed
            )
            self.store.write_topic(stored)
            return stored

        old = topic.ring
        try:
            topic.stored = await self.run(job)
        except KeyProviderError:
            if ring is not old:
                ring.wipe()
            raise
        topic.ring = ring
        if old is not None and old is not ring:
            old.wipe()

    async def _settle(self, topic: HeldTopic, *, unwritten: bool) -> None:
        """`unwritten`: nothing of it is on the disk, and no plain segment is begun until this returns."""
        async with topic.lock:
            if topic.gone:
                return
            await self._read_again(topic)
            if topic.plain:  # needs no provider
                await self.mark_only_sealed(topic, False)
            await self.open_ring(topic)
            wanted, stored, ring = topic.wanted, topic.stored, topic.ring
            if wanted is not None and (stored is None or ring is None):
                if topic.lost:
                    raise KeyGone(
                        "it has segments that were encrypted, and the key store has no keys of it: restore"
                        " the key store of that time, or give those records up with rivven keys start-over"
                    )
                made = new_ring(self._entropy), wanted, (self._clock.now_ms(),)
                await self.store_ring(topic, *made, only_sealed=unwritten)
            elif wanted is not None and stored is not None and ring is not None and wanted != stored.key_name:
                await self.store_ring(topic, ring, wanted, stored.created_ms)
            topic.failure = ""
            topic.lost = False
            if topic.plain:  # it became so while the provider was asked
                await self.mark_only_sealed(topic, False)

    async def start_over(self, topic: HeldTopic) -> bool:
        """First keys for a topic whose keys are lost; False when they are not. Its lock is held.

        Raises KeyProviderError.
        """
        await self.open_ring(topic)
        if not topic.lost or topic.stored is not None or topic.wanted is None:
            return False
        await self.store_ring(topic, new_ring(self._entropy), topic.wanted, (self._clock.now_ms(),))
        topic.lost, topic.failure = False, ""
        return True

    # -- many topics -----------------------------------------------------------------------------------------

    async def settle(self, topics: Sequence[HeldTopic]) -> None:
        """Ask for the keys of these topics, and go on asking in the background for what was not had."""
        await self._try_to_settle(topics)
        if not self._retrying and not all(topic.settled for topic in topics):
            self._retrying = True
            self._tasks.spawn(self._retry(), "topic keys")

    async def concurrently(
        self, topics: Sequence[HeldTopic], action: Callable[[HeldTopic], Awaitable[None]]
    ) -> ProviderUnavailable | None:
        """Do something with topics, CALLS_MAX at a time, until the provider is out of reach: asking it for
        thousands of keys it cannot give would keep it down."""
        left = deque(topics)
        outage: ProviderUnavailable | None = None

        async def take() -> None:
            nonlocal outage
            while left and outage is None:
                try:
                    await action(left.popleft())
                except ProviderUnavailable as error:
                    outage = error

        await asyncio.gather(*(take() for _ in range(min(CALLS_MAX, len(left)))))
        return outage

    async def _try_to_settle(self, topics: Sequence[HeldTopic]) -> None:
        # First and for all of them: a provider that is out of reach ends what follows.
        await self.concurrently([one for one in topics if one.plain and one.only_sealed], self._allow_plain)
        try:
            unwritten = await self._look_at_the_disk(topics)
            with ExitStack() as until_settled:
                for topic in unwritten:
                    until_settled.enter_context(topic.plain_held_back())
                outage = await self.concurrently(
                    topics, lambda topic: self._settle_noting(topic, unwritten=topic in unwritten)
                )
        except ProviderUnavailable as error:  # the disk with the segments
            outage = error
        waiting = [topic for topic in topics if not topic.settled]
        if not waiting:
            return
        for topic in waiting:
            if outage is not None:
                topic.failure = topic.failure or str(outage)
        if outage is not None:
            _log.error(
                "no keys for %d topic(s), which cannot be used until there are: %s", len(waiting), outage
            )

    async def _allow_plain(self, topic: HeldTopic) -> None:
        async with topic.lock:
            if topic.plain and not topic.gone:
                with suppress(KeyProviderError):  # which settling it meets again, and notes
                    await self.mark_only_sealed(topic, False)

    async def _look_at_the_disk(self, topics: Sequence[HeldTopic]) -> set[HeldTopic]:
        """Note which of them would get first keys though they had some; those of which nothing is there.

        Raises ProviderUnavailable.
        """
        without = [
            topic
            for topic in topics
            if topic.stored is None and topic.wanted is not None and not topic.refused and not topic.gone
        ]
        if not without:
            return set()

        def job() -> Traces:
            try:
                return self._traces_of([topic.topic_id for topic in without])
            except OSError as error:
                raise ProviderUnavailable(f"{error.filename}: {error.strerror}") from None

        with ExitStack() as while_looking:  # a segment begun behind the look would not be seen
            for topic in without:
                while_looking.enter_context(topic.plain_held_back())
            traces = await self.run(job)
        for topic in without:
            topic.lost = topic.stored is None and topic.topic_id in traces.sealed
        return {topic for topic in without if topic.topic_id not in traces.present}

    async def _settle_noting(self, topic: HeldTopic, *, unwritten: bool) -> None:
        try:
            await self._settle(topic, unwritten=unwritten)
        except ProviderUnavailable:
            raise
        except KeyProviderError as error:
            if str(error) != topic.failure:
                _log.error("topic %s has no keys: %s", topic.topic_id, error)
            topic.failure = str(error)

    async def _retry(self) -> None:
        delay = RETRY_SECONDS_MIN
        try:
            while self.waiting:
                share = int.from_bytes(self._entropy(2), "big") / 65_536
                await self._pause(delay * (1 - share / 2))
                due = self.waiting
                await self._try_to_settle(due)
                settled = sum(topic.settled for topic in due)
                if settled:
                    _log.warning("the keys of %d topic(s) are here again", settled)
                delay = RETRY_SECONDS_MIN if settled else min(delay * 2, RETRY_SECONDS_MAX)
        finally:
            self._retrying = False


def _former_names(topic: HeldTopic, key_name: str) -> tuple[str, ...]:
    """The names whose KEKs have wrapped its keys before this one does. Raises KeyRefused."""
    if topic.frozen:
        raise KeyRefused("the topic is being shredded, so its keys are not wrapped again")
    stored = topic.stored
    if stored is None:
        return ()
    former = tuple(one for one in dict.fromkeys((*stored.former_names, stored.key_name)) if one != key_name)
    if len(former) > FORMER_NAMES_MAX:
        raise KeyRefused(
            f"{len(former)} other keys have wrapped those of the topic: set its encryption.key back"
        )
    return former
