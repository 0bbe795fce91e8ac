"""Files that may change while the broker runs: certificates, users, roles, policies. A driver.

Looks at them and calls back when their *content* is another. Events of the file system say when to look;
they decide nothing, and a slow poll is behind them. Where not every change would be told of, as on a network
file system, it looks several times a second. It must not interpret what it reads, and what the callback makes
of it is the callback's business.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import hashlib
import logging
import math
import os
import queue
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

from rivven.file_events import EVENTS, FileEvents, Listener
from rivven.file_places import Directory, places_of

INTERVAL_S = 0.25
"""Between two looks where events do not tell of every change, and at least while they tell of many: revoking
by editing a file must bite within a second, and a look costs a few microseconds per file."""

SLOW_S = 2.0
"""Between two looks while events would tell: what should have been told of and was not is found then."""

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
    `reread_s` the content is compared so often however unchanged the files look from outside. `slow_s` is the
    poll behind the events.

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
        slow_s: float = SLOW_S,
        events: FileEvents = EVENTS,
    ) -> None:
        self._name = name
        self._paths = paths
        self._changed = changed
        self._interval_s = interval_s
        self._reread_s = math.inf if reread_s is None else reread_s
        self._unread_s = 0.0
        self._slow_s = slow_s
        self._events = events
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
        with self._events.listener() as listener:
            while True:
                rested_s = await self._rest(listener)
                await self.look_once(rested_s)
                listener.listen(await self._off_the_loop(self._directories))

    async def _rest(self, listener: Listener) -> float:
        """Wait until the next look is due; returns the seconds."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        if listener.told:
            await listener.heard(max(0.0, min(self._slow_s, self._reread_s - self._unread_s)))
        # After quiet the first event is followed at once; however many come, there are no more looks than
        # without events.
        if (rested_s := loop.time() - began) < self._interval_s:
            await asyncio.sleep(self._interval_s - rested_s)
        return loop.time() - began

    def _directories(self) -> frozenset[Directory]:
        """Where every change of what was looked at would be told of; none if any would not."""
        places = places_of(self._signatures)
        return places.directories if places.telling else frozenset()

    async def look_once(self, rested_s: float | None = None) -> bool:
        """One look, so long after the one before it (as a rule `interval_s`); returns whether `changed` was
        called."""
        self._unread_s += self._interval_s if rested_s is None else rested_s
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
        if self._unread_s < self._reread_s:
            return False
        self._unread_s = 0.0
        return True

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
