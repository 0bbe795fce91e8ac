"""Finding out that a topic has sealed segments only, so that a plain one is a forged one from then on.

A topic that is encrypted from its creation is marked with its first keys; this is for the others: the last
plain segment was re-encrypted or deleted, or the key store is older than the mark. Driver; belongs to the
event loop. It decides from what the logs know and from the beginnings of files, and needs no key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol
from uuid import UUID

from rivven.errors import RivvenError
from rivven.log.file_cache import FileCache
from rivven.log.partition_log import PartitionLog
from rivven.log.scanning import BatchDamaged
from rivven.log.segment import UNREAD, Segment
from rivven.log.segment_kind import PlainRefused, learn
from rivven.log.waiting import on_worker, round_end

LOOK_SECONDS = 60.0
"""Between two looks at topics without a mark: with their segments in memory one costs some 10 µs a
partition."""

ROUNDS = 2
"""Commit rounds waited for: a plain file that was taken back must not come again. The one that runs may have
begun before that, the next one has not."""

_log = logging.getLogger("rivven.log")


class MarkKeys(Protocol):
    """What of the keys is needed here (`security.keys.topic_keys.TopicKeys`)."""

    def unmarked(self) -> set[UUID]:
        """Topics that get sealed segments only, from now on, and are not known to have no other ones."""
        ...

    def plain_held_back(self, topic_id: UUID) -> AbstractContextManager[None]:
        """Meanwhile no plain segment of the topic is begun."""
        ...

    async def mark_only_sealed(self, topic_id: UUID) -> bool:
        """Remember it durably; False when it is not to be sealed any more. Raises RivvenError."""
        ...


class SealedSurvey:
    """Marks topics as time goes by. `logs` names every partition of the broker, also those offline."""

    def __init__(
        self,
        logs: Callable[[], Iterable[PartitionLog]],
        keys: MarkKeys,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._logs = logs
        self._keys = keys
        self._pause = pause

    async def run(self) -> None:
        """Look for ever. Cancel to stop."""
        while True:
            await self.look()
            await self._pause(LOOK_SECONDS)

    async def look(self) -> None:
        """Mark every topic that can be marked now."""
        unmarked = self._keys.unmarked()
        topics: dict[UUID, list[PartitionLog]] = {}
        for log in self._logs():
            if log.topic_id in unmarked:
                topics.setdefault(log.topic_id, []).append(log)
        for topic_id, logs in topics.items():
            try:
                await mark_if_only_sealed(self._keys, topic_id, logs)
            except RivvenError as error:
                _log.error("topic %s cannot be marked as only sealed: %s", topic_id, error)
            await asyncio.sleep(0)


async def mark_if_only_sealed(keys: MarkKeys, topic_id: UUID, logs: Sequence[PartitionLog]) -> bool:
    """Mark a topic durably if none of its partitions, which `logs` are, has a plain segment; whether it is.

    Raises RivvenError when the mark cannot be stored.
    """
    with keys.plain_held_back(topic_id):
        for log in logs:
            if not await _all_sealed(log):
                return False
            await asyncio.sleep(0)
        if not logs or not await keys.mark_only_sealed(topic_id):
            return False
    for log in logs:
        _refuse_plain(log)
    _log.info("topic %s has sealed segments only: plain ones are refused from now on", topic_id)
    return True


async def _all_sealed(log: PartitionLog) -> bool:
    """Whether it is certain that neither its files nor what waits to be written are plain."""
    if log.deleted or not log.online or not log.config.encryption_enabled:
        return False
    host = log.host
    try:
        loaded = log.usable()
        if loaded.replacing:
            return False
        for _ in range(ROUNDS):
            if loaded.directory_dirty:
                host.committer.mark_dirty(log)
            elif not loaded.syncing:
                break
            await round_end(host)
        held = [segment for segment in loaded.segments if segment.end_position]
        if any(segment.sealed is None for segment in held):
            return False
        unread = [segment for segment in held if segment.sealed is UNREAD]
        if not unread:
            return log.online
        sealed = await on_worker(host.threads, host.readers, partial(_learn_all, host.cache, unread))
    except (OSError, RivvenError, BatchDamaged) as error:
        _log.debug("%s: its segments cannot be looked at: %s", log.path, error)
        return False
    return sealed and log.online


def _learn_all(cache: FileCache, segments: Sequence[Segment]) -> bool:
    return all(learn(cache, segment) is not None for segment in segments if not segment.retired)


def _refuse_plain(log: PartitionLog) -> None:
    """From now on; what was read as plain between the look and the mark is none of ours."""
    loaded = log.loaded
    for segment in () if loaded is None else loaded.segments:
        segment.only_sealed = True
        if segment.sealed is None and segment.end_position:
            log.take_offline(f"{segment.data.path}, {PlainRefused(segment.data.path)}")
