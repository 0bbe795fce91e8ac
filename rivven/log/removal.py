"""Creating and removing partition directories durably.

A removed directory is renamed first, which is the moment that counts, and emptied later; a start finishes
what a crash left. The rename runs on the commit thread, so that no round syncs a directory under a name that
is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from functools import partial

from rivven.errors import StorageFailed
from rivven.log.committer import SyncPlan
from rivven.log.descriptors import patiently
from rivven.log.files import Files
from rivven.log.host import Host
from rivven.log.waiting import round_end

DELETED_SUFFIX = ".deleted"

_log = logging.getLogger("rivven.log")


class Names:
    """The names in the partitions directory, and in new directories there, as a member of commit rounds."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._rounds = 0
        self.new: set[str] = set()
        """Directories made with something in them that no round has begun to sync."""

    def begin_sync(self) -> SyncPlan:
        new, self.new = self.new, set()
        return SyncPlan(directories=(self._path, *sorted(new)))

    def synced(self) -> None:
        self._rounds += 1

    def sync_failed(self, error: OSError) -> None:
        self._rounds += 1

    async def durable(self, host: Host) -> None:
        """Return once the round this was marked dirty for has ended, well or not."""
        rounds = self._rounds
        host.committer.mark_dirty(self)
        while self._rounds == rounds:
            await round_end(host)


async def remove_partition(host: Host, name: str) -> None:
    """Rename a partition's directory away, durably, and remove its files in the background.

    Raises KAFKA_STORAGE_ERROR.
    """
    future: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    path = f"{host.partitions_path}/{name}"

    def job() -> None:
        reason = _rename_away(host.files, host.partitions_path, path)
        host.threads.post(partial(_finish, future, reason))

    host.committer.run(job)
    reason = await future
    if reason is not None:
        _log.error("partition directory %s cannot be removed: %s", path, reason)
        raise StorageFailed("the broker's disk refused to delete a partition")
    host.tidy(partial(remove_tree, host.files, path + DELETED_SUFFIX))


def leftovers(names: Iterable[str]) -> list[str]:
    """Names of directories whose removal was not finished."""
    return [name for name in names if name.endswith(DELETED_SUFFIX)]


def remove_tree(files: Files, path: str) -> None:
    """Remove a partition's directory with its files (it has no directories); failures are logged."""
    try:
        for name in files.list(path):
            files.remove(f"{path}/{name}")
        files.remove_directory(path)
    except FileNotFoundError:
        pass  # a deletion before a crash got further than this start could see
    except OSError as error:
        _log.warning("%s: not removed, the next start tries again: %s", path, error)


def _rename_away(files: Files, parent: str, path: str) -> str | None:
    try:
        if files.exists(path):
            files.rename(path, path + DELETED_SUFFIX)
        patiently(partial(files.sync_directory, parent))
    except OSError as error:
        return str(error)
    return None


def _finish(future: asyncio.Future[str | None], reason: str | None) -> None:
    if not future.done():
        future.set_result(reason)
