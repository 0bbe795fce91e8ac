"""The live sessions follow what they rest on: what a commit or a file takes away ends them.

Driver. A recheck asks about every session, so changes in quick succession share one; topics, settings and
access rules end nobody's session (the next request is judged by them).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any

from rivven.clock import Clock
from rivven.metadata import records as r
from rivven.metadata.service import MetadataService
from rivven.security.sessions import LiveSession, Sessions

_log = logging.getLogger("rivven.sessions")

RECHECK_INTERVAL_S = 0.1
"""Least time between two rechecks: 10,000 sessions cost some 70 ms each time, and a
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
        self._ended = 0
        self._whys: dict[str, None] = {}
        self._told: dict[str, None] = {}
        sessions.recheck_soon = self.want
        metadata.on_commit(self._committed)

    def _committed(self, events: tuple[Any, ...]) -> None:
        if all(isinstance(event, _NOT_ABOUT_IDENTITY) for event in events):
            return
        self.want()

    def want(self, why: str = "") -> None:
        """Ask about every session; `why` is logged with how many had to end."""
        if why:
            self._whys[why] = None
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
        self._ended = 0
        self._told, self._whys = self._whys, {}
        self._some()

    def _some(self) -> None:
        batch = list(islice(self._left, SESSIONS_PER_TURN))
        self._ended += self._sessions.recheck(batch)
        self._next = None
        if len(batch) == SESSIONS_PER_TURN:
            self._next = asyncio.get_running_loop().call_soon(self._some)
            return
        for why in self._told:
            _log.info("%s: %d sessions ended", why, self._ended)
        if self._wanted:  # a commit came meanwhile, maybe about sessions that were asked already
            self._begin()
