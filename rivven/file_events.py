"""The one thread that is told by the system when something changes in watched directories. A driver.

It wakes whoever listens to a directory and says nothing of what has changed. It must not touch a directory of
its own accord: only those that whoever listens has just found to be there, on a file system that answers.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import threading
from types import TracebackType
from typing import TYPE_CHECKING

from rivven.file_places import Directory

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

START_S = 2.0
"""From the first listener to the first event: until then files are polled, and the start of the broker has
nothing to import."""

RETRY_S = 60.0
"""Between two tries while events cannot be had, as where `fs.inotify.max_user_instances` is used up."""

PAUSE_S = 0.25
"""Between two changes of what is listened to, however fast directories come and go."""

STEP_MS = 50
"""How often the thread asks for events that have come, and for how long none may come before it tells."""

DEBOUNCE_MS = 100
"""What goes on for longer is told of before its end."""

END_S = 1.0
"""The end of the process waits so long for the thread, which may not be in native code when Python goes."""

_log = logging.getLogger("rivven.files")


class FileEvents:
    """Events of directories for any number of listeners, by one thread and one instance of inotify.

    The thread lives while anybody listens. Where events cannot be had, whoever listens is not `told`.
    """

    def __init__(self, start_s: float = START_S, retry_s: float = RETRY_S, pause_s: float = PAUSE_S) -> None:
        self._start_s = start_s
        self._retry_s = retry_s
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._listeners: set[Listener] = set()
        self._told: frozenset[Directory] = frozenset()
        self._changed = threading.Event()
        """What is listened to is another than what the thread knows, or the thread is to end."""
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._at_exit = False
        self._failing = False

    def listener(self) -> Listener:
        """An ear in the running loop, deaf as yet; close it by leaving its context."""
        return Listener(self)

    def told(self, directories: frozenset[Directory]) -> bool:
        """Whether changes in all of these would be told of, now."""
        return bool(directories) and directories <= self._told

    def listen(self, listener: Listener) -> None:
        """Have the thread know what the listener wants now."""
        with self._lock:
            if listener.directories:
                self._listeners.add(listener)
            else:
                self._listeners.discard(listener)
            if self._thread is None and self._listeners and not self._ending.is_set():
                self._start()
            self._changed.set()

    def _start(self) -> None:
        # A daemon, since a process that fails to stop its watchers must end too.
        thread = threading.Thread(target=self._serve, name="file-events", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no thread is to be had
            self._failed(error)
            return
        self._thread = thread
        if not self._at_exit:
            self._at_exit = True
            atexit.register(self._end)

    def _end(self) -> None:
        thread = self._thread
        self._ending.set()
        self._changed.set()
        if thread is not None:
            thread.join(END_S)

    def _serve(self) -> None:
        self._ending.wait(self._start_s)
        notify: RustNotify | None = None
        while (wanted := self._wanted()) is not None:
            try:
                notify = self._renewed(notify, wanted)
                self._follow(notify, wanted)
            except BaseException as error:  # noqa: BLE001 - a panic of the native part is one
                self._told = frozenset()
                if notify is not None:
                    notify.close()
                    notify = None
                self._tell(None)
                self._wait_after(error)
            self._ending.wait(self._pause_s)
        if notify is not None:
            notify.close()

    def _wanted(self) -> frozenset[Directory] | None:
        """All that is listened to; None, for the last time, when nobody does."""
        with self._lock:
            self._changed.clear()
            if self._listeners and not self._ending.is_set():
                return frozenset().union(*(one.directories for one in self._listeners))
            self._thread = None
            self._told = frozenset()
            return None

    def _renewed(self, old: RustNotify | None, wanted: frozenset[Directory]) -> RustNotify:
        from watchfiles._rust_notify import RustNotify

        paths = sorted({directory.path for directory in wanted})
        new = RustNotify(
            paths,
            debug=False,
            force_polling=False,
            poll_delay_ms=0,
            recursive=False,
            ignore_permission_denied=False,
        )
        if old is not None:
            old.close()
        self._told = wanted
        if self._failing:
            self._failing = False
            _log.info("the system tells of changed files again")
        self._tell(None)  # of what has happened since they looked
        return new

    def _follow(self, notify: RustNotify, wanted: frozenset[Directory]) -> None:
        """Tell of events until other directories are wanted, or one of them is not what it was."""
        while True:
            seen = notify.watch(DEBOUNCE_MS, STEP_MS, 0, self._changed)
            if isinstance(seen, str):
                return
            paths = {path for _, path in seen}
            # An event of the directory itself: moved, removed, made anew. What is watched is the old one.
            lost = {directory for directory in wanted if directory.path in paths}
            self._told -= lost
            places = paths | {os.path.dirname(path) for path in paths}
            self._tell(places)
            if lost:
                return

    def _tell(self, places: set[str] | None) -> None:
        """Wake who listens to one of these directories; None wakes all."""
        with self._lock:
            listeners = list(self._listeners)
        for one in listeners:
            if places is None or any(directory.path in places for directory in one.directories):
                one.wake()

    def _wait_after(self, error: BaseException) -> None:
        if isinstance(error, FileNotFoundError):
            return  # a directory has just gone, which its listener is about to find
        self._failed(error)
        self._changed.wait(self._retry_s)

    def _failed(self, error: BaseException) -> None:
        if not self._failing:
            self._failing = True
            _log.warning("the system does not tell of changed files: %s; they are polled instead", error)


class Listener:
    """What one watcher hears; belongs to the loop that made it."""

    def __init__(self, events: FileEvents) -> None:
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._heard = asyncio.Event()
        self.directories: frozenset[Directory] = frozenset()

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.listen(frozenset())

    def listen(self, directories: frozenset[Directory]) -> None:
        """From now on hear of these, and of no others."""
        if directories != self.directories:
            self.directories = directories
            self._events.listen(self)

    @property
    def told(self) -> bool:
        """Whether silence means that nothing has changed."""
        return self._events.told(self.directories)

    async def heard(self, timeout_s: float) -> None:
        """Wait until something may have changed since the last call, or for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._heard.wait()
        self._heard.clear()

    def wake(self) -> None:
        """Something may have changed; from any thread."""
        with contextlib.suppress(RuntimeError):  # its loop is gone, and so will it be
            self._loop.call_soon_threadsafe(self._heard.set)


EVENTS = FileEvents()
"""Of the process: a user has 128 instances of inotify, of which a broker takes one."""
