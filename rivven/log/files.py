"""The seam to the file system: `Files` (names), `File` (bytes), and their implementation on the operating
system.

Everything that touches the disk goes through here, so that tests can crash, fill and break the disk
(`rivven.testing.files`). Positions are always explicit; an open file has no cursor and may be used from
several threads. Nothing here decides what a failure means: every failure is an OSError.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

from rivven.log.syncfs import load_syncfs

Buffer = bytes | bytearray | memoryview
OpenMode = Literal["read", "write", "create", "new"]
"""read: existing, read only. write: existing. create: existing or new. new: must not exist."""

VECTORS_MAX = 1024
"""Buffers per positioned write: Linux' IOV_MAX, the kernel refuses more."""
_CALL_BYTES = 1 << 20
"""Bytes per system call that writes. From 2 MiB on ext4 takes huge pages for the page cache, which a virtual
machine often has to ask its host for: 14 MB in one call were written at 400 MB/s, one by one at 4,000."""


class File(Protocol):
    """An open file. It is closed when the last reference to it goes, so a user in another thread is never
    cut."""

    def read(self, size: int, position: int) -> bytes:
        """At most `size` bytes from `position`; fewer only at the end of the file."""
        ...

    def read_cached(self, size: int, position: int) -> memoryview | None:
        """Like `read`, but only what memory holds: possibly fewer bytes; None if nothing or not knowable."""
        ...

    def write(self, buffers: Sequence[Buffer], position: int) -> int:
        """Write at most VECTORS_MAX buffers one after another; returns the bytes written, possibly fewer."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""
        ...

    def sync(self) -> None:
        """Return once content and size are on stable storage."""
        ...

    def size(self) -> int:
        """Bytes in the file."""
        ...

    def forget_cached(self, position: int) -> None:
        """Drop clean cached pages from `position` on, so that the next read comes from the disk (a hint)."""
        ...


class Lock(Protocol):
    """A lock held until `release` or the end of the process."""

    def release(self) -> None: ...


class Files(Protocol):
    """The names of a file system. Paths are absolute or relative to the process."""

    def open(self, path: str, mode: OpenMode) -> File: ...

    def list(self, directory: str) -> list[str]:
        """Names in a directory, in no order."""
        ...

    def exists(self, path: str) -> bool: ...

    def size(self, path: str) -> int:
        """Bytes of a file, without opening it."""
        ...

    def make_directory(self, path: str) -> None:
        """Create one directory, readable only by its owner. Its parent must exist, it must not."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Replace `target` by `source`, atomically. Durable once both directories are synced."""
        ...

    def remove(self, path: str) -> None:
        """Unlink one file."""
        ...

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        ...

    def sync_directory(self, path: str) -> None:
        """Return once the names in this directory are on stable storage."""
        ...

    def watch(self, path: str) -> None:
        """From now on notice failures to write on the file system of `path`; `sync_all` reports them."""
        ...

    def sync_all(self, path: str) -> bool:
        """Sync everything of the file system `path` is on; False (and nothing done) where that cannot report
        errors."""
        ...

    def free_bytes(self, path: str) -> int:
        """Bytes an ordinary user may still allocate on the file system of `path`."""
        ...

    def lock(self, path: str) -> Lock | None:
        """Take an exclusive lock on a file, created if missing; None when another process holds it."""
        ...


_NOWAIT = getattr(os, "RWF_NOWAIT", 0) if hasattr(os, "preadv") else 0
_FULLFSYNC = getattr(fcntl, "F_FULLFSYNC", None)
_FLAGS = {
    "read": os.O_RDONLY,
    "write": os.O_RDWR,
    "create": os.O_RDWR | os.O_CREAT,
    "new": os.O_RDWR | os.O_CREAT | os.O_EXCL,
}
_WOULD_BLOCK = frozenset({errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


class OsFile:
    """A file descriptor, closed with its last reference."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __del__(self, _close=os.close) -> None:  # type: ignore[no-untyped-def]  # bound early: needed at exit
        _close(self._fd)

    def read(self, size: int, position: int) -> bytes:
        first = os.pread(self._fd, size, position)
        if len(first) == size or not first:
            return first
        parts = [first]
        got = len(first)
        while got < size:
            part = os.pread(self._fd, size - got, position + got)
            if not part:
                break
            parts.append(part)
            got += len(part)
        return b"".join(parts)

    def read_cached(self, size: int, position: int) -> memoryview | None:
        if not _NOWAIT:
            return None
        buffer = bytearray(size)
        try:
            got = os.preadv(self._fd, (buffer,), position, _NOWAIT)
        except OSError as error:
            if error.errno in _WOULD_BLOCK:
                return None
            raise
        return memoryview(buffer)[:got]

    def write(self, buffers: Sequence[Buffer], position: int) -> int:
        if len(buffers) == 1 and len(buffers[0]) <= _CALL_BYTES:
            return os.pwrite(self._fd, buffers[0], position)
        written = 0
        for group in _calls(buffers):
            try:
                count = os.pwritev(self._fd, group, position + written)
            except OSError:
                if not written:
                    raise
                return written  # a short write: whoever goes on with the rest meets the error
            written += count
            if count != sum(map(len, group)):
                break
        return written

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def sync(self) -> None:
        _sync_data(self._fd)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def forget_cached(self, position: int) -> None:
        if hasattr(os, "posix_fadvise"):
            # The kernel keeps pages that the range covers only in part.
            os.posix_fadvise(self._fd, position & -mmap.PAGESIZE, 0, os.POSIX_FADV_DONTNEED)


def _calls(buffers: Sequence[Buffer]) -> Iterator[list[Buffer]]:
    """The buffers in groups of at most _CALL_BYTES, large ones cut."""
    group: list[Buffer] = []
    room = _CALL_BYTES
    for buffer in buffers:
        rest = memoryview(buffer)
        while rest:
            part, rest = rest[:room], rest[room:]
            group.append(part)
            room -= len(part)
            if not room:
                yield group
                group, room = [], _CALL_BYTES
    if group:
        yield group


class OsFiles:
    """The real file system. Files are 0600 and directories 0700: topics hold other people's data."""

    def __init__(self) -> None:
        self._syncfs = load_syncfs()
        self._watched: dict[str, int] = {}

    def open(self, path: str, mode: OpenMode) -> File:
        return OsFile(os.open(path, _FLAGS[mode] | os.O_CLOEXEC, 0o600))

    def list(self, directory: str) -> list[str]:
        return os.listdir(directory)

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def size(self, path: str) -> int:
        return os.stat(path).st_size

    def make_directory(self, path: str) -> None:
        os.mkdir(path, 0o700)

    def rename(self, source: str, target: str) -> None:
        os.replace(source, target)

    def remove(self, path: str) -> None:
        os.unlink(path)

    def remove_directory(self, path: str) -> None:
        os.rmdir(path)

    def sync_directory(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def watch(self, path: str) -> None:
        # One descriptor from the start: a later one would not hear of an error that someone else has seen.
        if self._syncfs is not None and path not in self._watched:
            self._watched[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self, _close=os.close) -> None:  # type: ignore[no-untyped-def]
        for fd in self._watched.values():
            _close(fd)

    def sync_all(self, path: str) -> bool:
        if self._syncfs is None:
            return False
        self.watch(path)
        self._syncfs(self._watched[path])
        return True

    def free_bytes(self, path: str) -> int:
        stat = os.statvfs(path)
        return stat.f_bavail * stat.f_frsize

    def lock(self, path: str) -> Lock | None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return None
            raise
        return _OsLock(fd)


class _OsLock:
    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _sync_data(fd: int) -> None:
    if _FULLFSYNC is not None:  # macOS: fsync does not reach the medium
        fcntl.fcntl(fd, _FULLFSYNC)
    else:
        os.fdatasync(fd)
