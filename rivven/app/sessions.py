"""The live sessions follow the metadata: what a commit takes away ends the sessions that rest on it.

Driver. A recheck asks about every session, so commits in quick succession share one; topics, settings and
access rules end nobody's session (the next request is judged by them).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Any

from rivven.clock import Clock
from rivven.metadata import records as r
from rivven.metadata.service import MetadataService
from rivven.security.sessions import LiveSession, Sessions

RECHECK_INTERVAL_S = 0.1
"""Least time between two rechecks because of commits: 10,000 sessions cost some 70 ms each time, and a
revocation may take a second."""

SESSIONS_PER_TURN = 500
"""Sessions asked about in one turn of the loop, some 3 ms; requests are served between the turns."""

_NOT_ABOUT_IDENTITY = (
    r.ClusterInitialised,
    r.TopicCreated,
    r.TopicDeleted,
    r.PartitionsAdded,
    r.TopicConfigsChanged,
    r.BrokerConfigsChanged,
    r.AclsAdded,
    r.AclsRemoved,
    r.ProducerIdsReserved,
)


class SessionsFollowMetadata:
    """Belongs to the event loop; listens until the loop ends."""

    def __init__(self, sessions: Sessions, metadata: MetadataService, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self._last = float("-inf")
        self._wanted = False
        self._next: asyncio.Handle | None = None
        self._left: Iterator[LiveSession] = iter(())
        metadata.on_commit(self._committed)

    def _committed(self, events: tuple[Any, ...]) -> None:
        if all(isinstance(event, _NOT_ABOUT_IDENTITY) for event in events):
            return
        self._wanted = True
        if self._next is None:
            self._begin()

    def _begin(self) -> None:
        """Now, or when the interval allows it."""
        wait = self._last + RECHECK_INTERVAL_S - self._clock.monotonic()
        if wait > 0:
            self._next = asyncio.get_running_loop().call_later(wait, self._begin)
            return
        self._wanted = False
        self._last = self._clock.monotonic()
        self._left = self._sessions.all()
        self._some()

    def _some(self) -> None:
        batch = list(islice(self._left, SESSIONS_PER_TURN))
        self._sessions.recheck(batch)
        self._next = None
        if len(batch) == SESSIONS_PER_TURN:
            self._next = asyncio.get_running_loop().call_soon(self._some)
        elif self._wanted:  # a commit came meanwhile, maybe about sessions that were asked already
            self._begin()
