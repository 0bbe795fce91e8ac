"""Files that were written and not synced since: kept open, as far as descriptors allow, until they are.

The kernel reports a failed write-back to descriptors that were open when it happened, so a file is kept open
from its first unsynced byte. Ten thousand partitions written in one turn are more than a process may open:
beyond the budget a file is opened again for its sync, which Linux also tells of an error that nobody has seen
yet.
"""

from __future__ import annotations

from functools import partial

from rivven.log.committer import Syncing
from rivven.log.descriptors import patiently
from rivven.log.file_cache import FileCache
from rivven.log.files import File
from rivven.log.segment import Segment


class PinBudget:
    """How many more files may be kept open for being dirty. Loop-owned, one per directory."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


class _Reopened:
    """Opens the file again to sync it."""

    __slots__ = ("_cache", "_segment")

    def __init__(self, cache: FileCache, segment: Segment) -> None:
        self._cache = cache
        self._segment = segment

    def sync(self) -> None:
        patiently(partial(self._cache.get, self._segment.data)).sync()


class DirtyFiles:
    """The dirty segments of one log, in the order in which they became dirty. Loop-owned."""

    __slots__ = ("_budget", "_cache", "_files", "_pinned")

    def __init__(self, budget: PinBudget, cache: FileCache) -> None:
        self._budget = budget
        self._cache = cache
        self._files: dict[Segment, Syncing] = {}
        self._pinned = 0

    def __contains__(self, segment: Segment) -> bool:
        return segment in self._files

    def add(self, segment: Segment, file: File) -> None:
        """The file has unsynced bytes."""
        if segment in self._files:
            return
        if self._budget.left > 0:
            self._budget.left -= 1
            self._pinned += 1
            self._files[segment] = file
        else:
            self._files[segment] = _Reopened(self._cache, segment)

    def discard(self, segment: Segment) -> None:
        """The segment is gone; nobody needs its bytes."""
        gone = self._files.pop(segment, None)
        if gone is not None and not isinstance(gone, _Reopened):
            self._release(1)

    def take(self) -> list[Syncing]:
        """What a commit round has to sync; nothing is dirty afterwards."""
        files = list(self._files.values())
        self._files.clear()
        self._release(self._pinned)
        return files

    def _release(self, count: int) -> None:
        self._pinned -= count
        self._budget.left += count
