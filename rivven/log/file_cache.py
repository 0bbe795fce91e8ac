"""A bounded cache of open files, so that ten thousand partitions need only some descriptors.

Safe from several threads. Running out of descriptors closes what is cached and tries again; a file that
someone still reads or writes stays open until they let go of it (`files.File`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from rivven.log.descriptors import is_shortage, patiently
from rivven.log.files import File, Files, Lock, OpenMode

T = TypeVar("T")

OPEN_RETRIES_MAX = 8
"""Attempts after running out of descriptors; each halves the cache, 8 empty any cache that fits in a process.
"""


class FileRef:
    """The name of a file that is opened when needed. Its identity, not its path, is the key of the cache."""

    __slots__ = ("gone", "path", "pinned")

    def __init__(self, path: str) -> None:
        self.path = path
        self.gone = False
        """Nobody needs it open any more; set by the cache."""
        self.pinned: File | None = None
        """Used instead of opening the path, while that still names another file."""


class FileCache:
    """Keeps at most `capacity` files open beyond those in use."""

    def __init__(self, files: Files, capacity: int) -> None:
        self._files = files
        self._capacity = max(1, capacity)
        self._open: OrderedDict[FileRef, File] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)

    def get(self, ref: FileRef, mode: OpenMode = "write") -> File:
        """The open file; raises OSError when it cannot be opened."""
        pinned = ref.pinned
        if pinned is not None:
            return pinned
        with self._lock:
            file = self._open.get(ref)
            if file is not None:
                self._open.move_to_end(ref)
                return file
        return self._keep(ref, self.retrying(lambda: self._files.open(ref.path, mode)))

    def retrying(self, use: Callable[[], T]) -> T:
        """Do what needs a descriptor; without one, close what is cached and try again. Raises OSError."""
        for _ in range(OPEN_RETRIES_MAX):
            try:
                return use()
            except OSError as error:
                if not is_shortage(error):
                    raise
                self._shrink()
        return use()

    def drop(self, ref: FileRef) -> None:
        """Forget a deleted or replaced file, for ever: kept open, it would hold its space on the disk.

        Whoever still has to read it opens it for that alone.
        """
        with self._lock:
            ref.gone = True
            self._open.pop(ref, None)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._open.clear()

    def _keep(self, ref: FileRef, file: File) -> File:
        with self._lock:
            if ref.gone:  # since, by another thread
                return file
            file = self._open.setdefault(ref, file)
            if len(self._open) > self._capacity:
                self._open.popitem(last=False)
        return file

    def _shrink(self) -> None:
        with self._lock:
            for _ in range((len(self._open) + 1) // 2):
                self._open.popitem(last=False)


class SharingFiles:
    """The same `Files`, but what finds no descriptor left takes one from the cache."""

    def __init__(self, files: Files, cache: FileCache) -> None:
        self._files = files
        self._cache = cache

    def open(self, path: str, mode: OpenMode) -> File:
        return self._cache.retrying(lambda: self._files.open(path, mode))

    def list(self, directory: str) -> list[str]:
        return self._cache.retrying(lambda: self._files.list(directory))

    def exists(self, path: str) -> bool:
        return self._files.exists(path)

    def size(self, path: str) -> int:
        return self._files.size(path)

    def make_directory(self, path: str) -> None:
        self._files.make_directory(path)

    def rename(self, source: str, target: str) -> None:
        self._files.rename(source, target)

    def remove(self, path: str) -> None:
        self._files.remove(path)

    def remove_directory(self, path: str) -> None:
        self._files.remove_directory(path)

    def sync_directory(self, path: str) -> None:
        self._cache.retrying(lambda: self._files.sync_directory(path))

    def watch(self, path: str) -> None:
        self._cache.retrying(lambda: self._files.watch(path))

    def sync_all(self, path: str) -> bool:
        return self._files.sync_all(path)

    def free_bytes(self, path: str) -> int:
        return self._files.free_bytes(path)

    def lock(self, path: str) -> Lock | None:
        return self._cache.retrying(lambda: self._files.lock(path))


class PatientFiles(SharingFiles):
    """The same for threads: what must go on to its end waits until there is a descriptor."""

    def open(self, path: str, mode: OpenMode) -> File:
        return patiently(lambda: super(PatientFiles, self).open(path, mode))

    def list(self, directory: str) -> list[str]:
        return patiently(lambda: super(PatientFiles, self).list(directory))

    def sync_directory(self, path: str) -> None:
        patiently(lambda: super(PatientFiles, self).sync_directory(path))
