"""Files that may change while the broker runs: certificates, users, roles, policies. A driver.

Looks at them several times a second and calls back when their *content* is another. Looking, not listening:
inotify misses the symlink swap by which Kubernetes changes a mounted secret, and what lies on a network file
system. It must not interpret what it reads, and what the callback makes of it is the callback's business.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import hashlib
import logging
import os
import queue
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

INTERVAL_S = 0.25
"""Revoking by editing a file must bite within a second; a look costs a few microseconds per file."""

SETTLE_S = 0.05
"""A file that somebody writes in place is empty or half there for a moment, and half a deny-list is a list
too: a change counts once the file has been the same for so long."""

SETTLE_LOOKS_MAX = 5
"""Looks at a file that changes all the time before it is taken as it is."""

FILES_MAX = 10_000
"""Files of one watcher; a directory of policies larger than this is not what the setting was meant for."""

FILE_BYTES_MAX = 64 << 20
"""Larger files are known by size and times alone: hashing them would hold a thread for a second."""

HANGS_S = 5.0
"""A look that takes so long is told of: until it ends, changes are not seen."""

_log = logging.getLogger("rivven.files")

_Signature = tuple[int, int, int, int]
_Found = TypeVar("_Found")
_Calls = queue.SimpleQueue[Callable[[], None] | None]


class WatchedFiles:
    """Calls `changed` after the content of the files that `paths()` lists has changed, or the list has.

    `paths` is called at every look, so a directory's listing is followed. `changed` may be a coroutine
    function; it is never called again before it has ended, and its failure is logged, not fatal. With
    `reread_s` the content is compared so often however unchanged the files look from outside.

    Files are looked at on a thread of the watcher's own (`paths` is called there too): a network file system
    that hangs then holds up this watcher, and nobody else.
    """

    def __init__(
        self,
        name: str,
        paths: Callable[[], Iterable[Path]],
        changed: Callable[[], Awaitable[None] | None],
        interval_s: float = INTERVAL_S,
        reread_s: float | None = None,
    ) -> None:
        self._name = name
        self._paths = paths
        self._changed = changed
        self._interval_s = interval_s
        self._looks_to_reread = None if reread_s is None else max(1, round(reread_s / interval_s))
        self._looks = 0
        self._signatures: dict[Path, _Signature | None] = {}
        self._digest = b""
        self._calls: _Calls = queue.SimpleQueue()  # at most one waits
        self._thread: threading.Thread | None = None

    def forget(self) -> None:
        """Call `changed` at the next rereading (`reread_s`) though nothing has changed: what could not be
        used may be usable later, as a certificate that begins tomorrow."""
        self._digest = b""

    def mark(self) -> None:
        """Take what is there now as known; called once, before the first load."""
        self._signatures = self._look()
        self._digest = self._read(self._signatures)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.look_once()

    async def look_once(self) -> bool:
        """One look; returns whether `changed` was called."""
        signatures = await self._off_the_loop(self._look)
        if signatures == self._signatures and not self._reread_due():
            return False
        if signatures != self._signatures:
            signatures = await self._settled(signatures)
        digest = await self._off_the_loop(lambda: self._read(signatures))
        # Marked as known only as they were before reading: a write in between is seen by the next look.
        self._signatures = signatures
        if digest == self._digest:
            return False
        self._digest = digest
        try:
            outcome = self._changed()
            if outcome is not None:
                await outcome
        except Exception:  # noqa: BLE001 - the next change must be seen whatever became of this one
            _log.exception("%s changed, but taking over the change failed", self._name)
        return True

    def _reread_due(self) -> bool:
        self._looks += 1
        return self._looks_to_reread is not None and self._looks % self._looks_to_reread == 0

    async def _settled(self, signatures: dict[Path, _Signature | None]) -> dict[Path, _Signature | None]:
        """What the files look like once nobody writes to them any more."""
        for _ in range(SETTLE_LOOKS_MAX):
            before = signatures
            await asyncio.sleep(SETTLE_S)
            signatures = await self._off_the_loop(self._look)
            if signatures == before:
                break
        return signatures

    async def _off_the_loop(self, look: Callable[[], _Found]) -> _Found:
        """What `look` returns, from this watcher's own thread."""
        if self._thread is None:
            # A daemon, since one that hangs must not hold up the broker's end.
            self._thread = threading.Thread(
                target=_serve, args=(self._calls,), name=f"files-{self._name}", daemon=True
            )
            self._thread.start()
            weakref.finalize(self, self._calls.put, None)
        found: concurrent.futures.Future[_Found] = concurrent.futures.Future()
        self._calls.put(lambda: _call(look, found))
        waiting = asyncio.wrap_future(found)
        done, _ = await asyncio.wait({waiting}, timeout=HANGS_S)
        if not done:
            _log.error("%s: the file system does not answer; changes are not seen until it does", self._name)
            await asyncio.wait({waiting})
            _log.info("%s: the file system answers again", self._name)
        return waiting.result()

    def _look(self) -> dict[Path, _Signature | None]:
        found: dict[Path, _Signature | None] = {}
        for path in self._paths():
            if len(found) >= FILES_MAX:
                break
            try:
                status = os.stat(path)
            except OSError:
                found[path] = None
            else:
                found[path] = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return found

    def _read(self, signatures: dict[Path, _Signature | None]) -> bytes:
        digest = hashlib.sha256()
        for path, signature in signatures.items():
            digest.update(f"{path}\0".encode(errors="surrogateescape"))
            if signature is None:
                continue
            if signature[1] > FILE_BYTES_MAX:
                digest.update(repr(signature).encode())
                continue
            try:
                # A pipe would hold this thread until somebody writes to it, and with it the broker's end.
                content = path.read_bytes() if path.is_file() else None
            except OSError:
                content = None
            digest.update(b"unreadable" if content is None else hashlib.sha256(content).digest())
        return digest.digest()


def _serve(calls: _Calls) -> None:
    """The thread of one watcher, which must not keep the watcher alive."""
    while (call := calls.get()) is not None:
        call()
        del call


def _call(look: Callable[[], _Found], found: concurrent.futures.Future[_Found]) -> None:
    if not found.set_running_or_notify_cancel():
        return
    try:
        found.set_result(look())
    except BaseException as error:  # noqa: BLE001 - it is whoever waits that it concerns
        found.set_exception(error)
