"""Shredding a topic: the steps of an erasure, in order, each safe to repeat after a crash at any point.

Driver over four seams, so that each step can be made to fail in a test. A KEK is destroyed only after
everything that is still needed was seen under another one: a wrong answer there is the end of all data.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Protocol
from uuid import UUID

from rivven.clock import Clock
from rivven.errors import RivvenError, StorageFailed
from rivven.security.keys.erasure import Erasure, Step
from rivven.security.keys.provider import BuiltInProvider, KeyGone, KeyRefused

RETRY_SECONDS_MIN: Final = 1.0
RETRY_SECONDS_MAX: Final = 60.0
"""Between attempts at an erasure whose provider does not answer: it is asked for ever, but rarely."""

_log = logging.getLogger("rivven.keys")


class Records(Protocol):
    """Where the record of the running erasure is kept. Both calls block and are durable when they return."""

    def save_erasure(self, erasure: Erasure) -> None: ...
    def clear_erasure(self) -> None: ...


class Topics(Protocol):
    """The broker's side: topics and their files."""

    async def delete(self, topic_id: UUID) -> None:
        """Delete the topic for ever and wait until its files, caches and waiting readers are gone.

        A topic that does not exist any more is no error.
        """
        ...


class Wrappings(Protocol):
    """Every wrapped key there is: those of topics and the metadata key."""

    async def forget(self, topic_id: UUID) -> None:
        """Remove a topic's keys from memory and from the disk, durably."""
        ...

    async def rewrap(self) -> None:
        """Wrap everything under the newest KEK of its name; what is there already stays."""
        ...

    def kek_ids(self, besides: UUID | None = None) -> set[str]:
        """The KEKs that wrap something now, besides the keys of one topic."""
        ...


Issue = Callable[[Erasure], Awaitable[bytes]]
"""Signs the certificate and stores it durably; gives its bytes."""


class StillInUse(StorageFailed):
    """An old KEK wraps something after rewrapping; it is not destroyed."""


class Shredder:
    """Runs one erasure at a time. Belongs to the event loop; files and the provider are used on threads."""

    def __init__(
        self,
        *,
        records: Records,
        topics: Topics,
        wrappings: Wrappings,
        provider: BuiltInProvider,
        issue: Issue,
        clock: Clock,
        on_stop: Callable[[Erasure, str], None] = lambda _erasure, _reason: None,
    ) -> None:
        """`on_stop` hears why an attempt came no further, each time."""
        self._on_stop = on_stop
        self._records = records
        self._topics = topics
        self._wrappings = wrappings
        self._provider = provider
        self._issue = issue
        self._clock = clock
        self.running: Erasure | None = None
        self.problem = ""
        """Why the last attempt did not come further."""

    async def begin(self, erasure: Erasure) -> None:
        """Make the fresh KEKs, and store the plan: from here on the erasure comes to its end, whatever
        happens in between. Raises StorageFailed, and nothing has happened, when the provider makes none."""
        await self._renew(erasure)
        await asyncio.to_thread(self._records.save_erasure, erasure)
        self.running = erasure

    def resume(self, erasure: Erasure) -> None:
        """Take over what an earlier process began."""
        self.running = erasure

    async def finish(self) -> bytes:
        """Go through the remaining steps once. Returns the certificate; raises what stopped it."""
        assert self.running is not None, "nothing is being shredded"
        steps = (
            (Step.DELETED, self._delete),
            (Step.FORGOTTEN, self._forget),
            (Step.RENEWED, self._renew),
            (Step.REWRAPPED, self._rewrap),
            (Step.DESTROYED, self._destroy),
        )
        order = list(Step)
        for step, perform in steps:
            if order.index(self.running.step) >= order.index(step):
                continue
            await perform(self.running)
            await self._done(step)
        certificate = await self._issue(self.running)
        await asyncio.to_thread(self._records.clear_erasure)
        self.running, self.problem = None, ""
        return certificate

    async def insist(self) -> bytes:
        """Until it is finished: try again after each failure, less and less often."""
        delay = RETRY_SECONDS_MIN
        while True:
            try:
                return await self.finish()
            except (RivvenError, OSError) as error:
                self.stopped(error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, RETRY_SECONDS_MAX)

    def stopped(self, error: Exception) -> None:
        """Remember and say why an attempt came no further."""
        self.problem = str(error)
        if self.running is not None:
            _log.error("shredding %s waits after %s: %s", self.running.topic, self.running.step, error)
            self._on_stop(self.running, self.problem)

    async def _done(self, step: Step) -> None:
        assert self.running is not None
        erasure = self.running.at(step)
        if step is Step.DESTROYED:
            erasure = replace(erasure, finished_ms=self._clock.now_ms())
        await self._keep(erasure)

    async def _keep(self, erasure: Erasure) -> None:
        await asyncio.to_thread(self._records.save_erasure, erasure)
        self.running = erasure

    async def _delete(self, erasure: Erasure) -> None:
        await self._topics.delete(erasure.topic_id)

    async def _forget(self, erasure: Erasure) -> None:
        await self._wrappings.forget(erasure.topic_id)

    async def _renew(self, erasure: Erasure) -> None:
        for name in erasure.names:
            try:
                current = await asyncio.to_thread(self._provider.current_id, name)
            except KeyGone:
                if self._needed(erasure, name):
                    raise  # as while a keyring is away: what it wraps could never be moved
                continue  # a former name: its KEKs are destroyed as far as they are still there
            if current not in erasure.old_ids:
                continue  # made before a crash, or since by somebody else
            try:
                fresh = await asyncio.to_thread(self._provider.rotate, name)
            except KeyRefused:
                if self._needed(erasure, name):
                    raise
                continue  # nothing else is under a key that has no successor, as one named by its ARN
            if fresh in erasure.old_ids:
                raise StillInUse(f"the provider made no new key of {name or 'the default'}: {fresh} is old")

    def _needed(self, erasure: Erasure, name: str) -> bool:
        """Whether an old KEK of a named key wraps something besides the topic's keys."""
        return bool(self._wrappings.kek_ids(erasure.topic_id) & erasure.ids_of(name))

    async def _rewrap(self, _erasure: Erasure) -> None:
        await self._wrappings.rewrap()
        self._check_unused()

    async def _destroy(self, erasure: Erasure) -> None:
        waiting = [kek.key_id for kek in erasure.old_keks if not kek.done]
        while waiting:
            refused: dict[str, KeyRefused] = {}
            for key_id in waiting:
                try:
                    await self._destroy_one(key_id)
                except KeyRefused as error:  # a transit engine wants older versions to go first
                    refused[key_id] = error
            if len(refused) == len(waiting):
                raise next(iter(refused.values()))
            waiting = list(refused)

    async def _destroy_one(self, key_id: str) -> None:
        self._check_unused()
        try:
            found = await asyncio.to_thread(self._provider.destroy, key_id)
            until_ms = None if found.complete else found.until_ms
            if not found.complete and until_ms is None:
                raise StorageFailed(f"the provider does not say when {key_id} will be destroyed")
        except KeyGone:
            until_ms = None  # destroyed before a crash, or by its owner
        assert self.running is not None
        await self._keep(self.running.with_destroyed(key_id, until_ms))

    def _check_unused(self) -> None:
        assert self.running is not None
        used = self._wrappings.kek_ids() & self.running.old_ids
        if used:
            raise StillInUse(f"{min(used)} still wraps a key that is needed, so it is not destroyed")
