"""The silence of a connection that used more than its share: it is not read until the time has passed
(KIP-219).

The answer that told the client has left already; a client that goes on regardless fills its own socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Silence:
    """Belongs to the event loop; `ended` is called when a silence is over."""

    __slots__ = ("_ended", "_loop", "_timer", "_until")

    def __init__(self, loop: asyncio.AbstractEventLoop, ended: Callable[[], None]) -> None:
        self._loop = loop
        self._ended = ended
        self._timer: asyncio.TimerHandle | None = None
        self._until = 0.0

    @property
    def active(self) -> bool:
        return self._timer is not None

    def extend(self, milliseconds: int) -> None:
        """Be silent from now on for this long, or for as long as was said before if that is later."""
        self._until = max(self._until, self._loop.time() + milliseconds / 1000)
        if self._timer is None:
            self._timer = self._loop.call_at(self._until, self._check)

    def cancel(self) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        if self._loop.time() < self._until:
            self._timer = self._loop.call_at(self._until, self._check)
            return
        self._timer = None
        self._ended()
