"""The live sessions follow the metadata: what a commit takes away ends the sessions that rest on it.

Driver. A recheck asks about every session, so commits in quick succession share one; topics, settings and
access rules end nobody's session (the next request is judged by them).
"""

from __future__ import annotations

import asyncio
from typing import Any

from rivven.clock import Clock
from rivven.metadata import records as r
from rivven.metadata.service import MetadataService
from rivven.security.sessions import Sessions

RECHECK_INTERVAL_S = 0.1
"""Least time between two rechecks because of commits: 10,000 sessions cost some 20 ms each time, and a
revocation may take a second."""

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
        self._pending: asyncio.TimerHandle | None = None
        metadata.on_commit(self._committed)

    def _committed(self, events: tuple[Any, ...]) -> None:
        if self._pending is not None or all(isinstance(event, _NOT_ABOUT_IDENTITY) for event in events):
            return
        wait = self._last + RECHECK_INTERVAL_S - self._clock.monotonic()
        if wait <= 0:
            self._recheck()
        else:
            self._pending = asyncio.get_running_loop().call_later(wait, self._recheck)

    def _recheck(self) -> None:
        self._pending = None
        self._last = self._clock.monotonic()
        self._sessions.recheck()
