"""Replaces KEKs that have grown older than `storage.encryption.key_rotation_days`, without a command.

Driver; belongs to the event loop. What is found too old is rotated and everything is rewrapped, one operation
at a time with those that `rivven keys` asks for; what could not be done now is tried again soon.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

from rivven.audit.events import FAILURE, INTENT, SUCCESS, AuditEvent, Fact
from rivven.audit.trail import AuditTrail
from rivven.clock import Clock
from rivven.errors import RivvenError
from rivven.security.keys.keks import Keks, due
from rivven.security.keys.operations import KeysBusy, Rewrapped, Rotated

CHECK_SECONDS: Final = 3_600.0
"""Between two looks at the age of KEKs, which is counted in days."""

AGAIN_SECONDS: Final = 60.0
"""Until the next look when another operation or a failure was in the way."""

_log = logging.getLogger("rivven.keys")


class KeyAge:
    """Follows the age of KEKs."""

    def __init__(
        self,
        keks: Keks,
        trail: AuditTrail,
        clock: Clock,
        days: int,
        alone: Callable[[str], AbstractContextManager[None]],
        rewrap: Callable[[], Awaitable[Rewrapped]],
    ) -> None:
        """`alone` keeps other operations out, or raises KeysBusy; `rewrap` moves everything under the newest
        KEKs. With 0 `days` nothing is ever too old."""
        self._keks = keks
        self._trail = trail
        self._clock = clock
        self._days = days
        self._alone = alone
        self._rewrap = rewrap

    async def follow(self) -> None:
        """Look again and again; ends at once when there is no limit."""
        while self._days:
            again = AGAIN_SECONDS
            try:
                await self.rotate_old()
                again = CHECK_SECONDS
            except KeysBusy as error:
                _log.info("keys are not rotated by age now: %s", error)
            except (RivvenError, OSError) as error:
                _log.error("keys that are %d days old could not be rotated: %s", self._days, error)
            await asyncio.sleep(again)

    async def rotate_old(self) -> list[Rotated]:
        """Replace KEKs that are too old and rewrap. Raises RivvenError."""
        described, problems = await self._keks.described_singly()
        names = due(described, self._days, self._clock.now_ms())
        made = []
        if names or self._keks.behind(described):  # a crash or a failure may have come before the rewrap
            with self._alone("a rotation by age"):
                for name in names:
                    try:
                        made.append(await self._rotate(name))
                    except (RivvenError, OSError) as error:
                        problems.append(error)
                await self._rewrap()
        if problems:
            raise problems[0]
        return made

    async def _rotate(self, name: str) -> Rotated:
        """One rotation, recorded before and after."""
        event = partial(self._event, name)
        await self._trail.intent(event(INTENT))
        try:
            made = await self._keks.rotate(name)
        except (RivvenError, OSError) as error:
            self._trail.event(event(FAILURE, reason=str(error)))
            raise
        await self._trail.result(event(SUCCESS, key_id=made.key_id, previous=made.previous_id))
        _log.warning("key %s is older than %d days: new KEK %s", name or "(default)", self._days, made.key_id)
        return made

    def _event(self, name: str, result: str, reason: str = "", **more: str) -> AuditEvent:
        details: dict[str, Fact] = {
            "operation": "rotate",
            "key": name,
            "key_rotation_days": self._days,
            **more,
        }
        return AuditEvent("key_change", "rotate", f"kek:{name}", result, reason=reason, details=details)
