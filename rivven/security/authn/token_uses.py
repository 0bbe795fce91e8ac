"""When tokens were last used, in memory: every login counts here, few reach the disk.

Pure; belongs to the event loop. What is due to be stored is asked for from time to time: a busy token must
not cost a journal write per login. Entries exist for tokens that were used since the start and no others.
"""

from __future__ import annotations

from collections.abc import Callable

STORED_EVERY_MS = 3_600_000
"""How far the stored time may lag behind; after a crash a list shows a use at most this much too early."""

LastUse = tuple[int | None, str]
"""(wall clock ms or None for never, address)."""


class TokenUses:
    """`used(...)` by authentication, `last(...)` by lists, `due(...)` by who stores."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, str]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def used(self, token_id: str, now_ms: int, host: str) -> None:
        """A login with this token has succeeded."""
        self._seen[token_id] = (now_ms, host)

    def last(self, token_id: str, stored: LastUse) -> LastUse:
        """The newer of what is stored and what was seen since."""
        seen = self._seen.get(token_id)
        return stored if seen is None or (stored[0] is not None and stored[0] >= seen[0]) else seen

    def due(
        self, stored: Callable[[str], LastUse | None], lag_ms: int = STORED_EVERY_MS
    ) -> list[tuple[str, int, str]]:
        """Uses whose stored time lags by `lag_ms` or more; entries of tokens that are no more are dropped.

        `stored` gives what is stored about a token, None when there is no such token. A lag of 0 is
        everything that is newer than what is stored.
        """
        found = []
        for token_id, (used_ms, host) in list(self._seen.items()):
            known = stored(token_id)
            if known is None:
                del self._seen[token_id]
            elif known[0] is None or used_ms - known[0] >= max(1, lag_ms):
                found.append((token_id, used_ms, host))
        return found
