"""`CrashFiles`: a file system in memory that forgets, at a crash, any part of what was not synced.

Harsher than a real disk: every unsynced 4 KiB page is kept, lost or kept in an older version on its own;
unsynced names (created, renamed, removed) are kept in any subset; a failed sync drops the pages it covered
and the next one succeeds, as Linux does. Operations can be made to fail, to write short or to cut the power.
Everything random comes from the generator given to `crash`, so one seed is one outcome.
"""

from __future__ import annotations

import errno
import os
import posixpath
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rivven.log.files import Buffer, OpenMode
from rivven.testing.unsynced import PAGE_BYTES, Directory, Inode


class PowerCut(BaseException):
    """The power went at this operation. Not an Exception: no handler of the broker may survive it."""


@dataclass(slots=True)
class Fault:
    """Fail `times` operations whose name and path match, after letting `skip` of them pass.

    `operation`: open, write, sync, truncate, rename, remove, make_directory, sync_directory, sync_all, list,
    read. A write first stores `written` bytes; with `error` 0 it then returns short instead of failing.
    """

    operation: str
    error: int = errno.EIO
    path: str = ""
    skip: int = 0
    times: int = 1
    written: int = 0


class CrashFiles:
    """Implements `rivven.log.files.Files`. `capacity_bytes` bounds content, `open_files_max` open handles."""

    def __init__(self, capacity_bytes: int = 1 << 40, open_files_max: int = 1 << 30) -> None:
        self.capacity_bytes = capacity_bytes
        self.open_files_max = open_files_max
        self.open_files = 0
        self.faults: list[Fault] = []
        self.operations = 0
        self.cut_power_at: int | None = None
        """Raise PowerCut at the operation with this number (operations that change the disk count, from 1).
        """
        self.powered = True
        self.syncfs = True
        """Whether `sync_all` is supported."""
        self._root = Directory()
        self._locks: set[str] = set()
        self._generation = 0
        self._used_bytes = 0

    # -- what tests do ---------------------------------------------------------------------------------------

    def crash(self, random_: random.Random) -> None:
        """Lose power and come back: handles are dead, locks free, unsynced pages and names kept or lost."""
        for directory in list(_directories(self._root)):
            directory.crash(random_)
        seen: set[int] = set()
        for directory in _directories(self._root):
            for node in directory.entries.values():
                if isinstance(node, Inode) and id(node) not in seen:
                    seen.add(id(node))
                    node.crash(random_)
        self.restart()

    def restart(self) -> None:
        """The process died (kill -9) and the machine went on: nothing is lost, handles and locks are gone."""
        self._generation += 1
        self._locks.clear()
        self.powered = True
        self.cut_power_at = None
        self.faults.clear()
        self.open_files = 0
        self._used_bytes = sum(
            len(node.content)
            for directory in _directories(self._root)
            for node in directory.entries.values()
            if isinstance(node, Inode)
        )

    def content(self, path: str) -> bytes:
        """What a file holds now."""
        return bytes(self._file(path).content)

    def put(self, path: str, content: bytes) -> None:
        """Set a file's content durably, without counting as an operation (bit rot, hand-made damage)."""
        directory, name = self._parent(path)
        node = directory.entries.get(name)
        if not isinstance(node, Inode):
            node = Inode()
            directory.entries[name] = directory.stable[name] = node
        self._used_bytes += len(content) - len(node.content)
        node.content = bytearray(content)
        node.settle()

    # -- Files -----------------------------------------------------------------------------------------------

    def open(self, path: str, mode: OpenMode) -> _CrashFile:
        directory, name = self._parent(path)
        node = directory.entries.get(name)
        self._fault("open", path)
        if self.open_files >= self.open_files_max:
            raise _error(errno.EMFILE, path)
        if isinstance(node, Directory):
            raise _error(errno.EISDIR, path)
        if node is None:
            if mode in ("read", "write"):
                raise _error(errno.ENOENT, path)
            self._operate("create", path)
            node = Inode()
            directory.change((name, node))
        elif mode == "new":
            raise _error(errno.EEXIST, path)
        return _CrashFile(self, node, path, mode != "read", self._generation)

    def list(self, directory: str) -> list[str]:
        self._fault("list", directory)
        return sorted(self._directory(directory).entries)

    def exists(self, path: str) -> bool:
        try:
            directory, name = self._parent(path)
        except FileNotFoundError:
            return False
        return name in directory.entries or name == ""

    def size(self, path: str) -> int:
        return len(self._file(path).content)

    def make_directory(self, path: str) -> None:
        directory, name = self._parent(path)
        if name in directory.entries or not name:
            raise _error(errno.EEXIST, path)
        self._operate("make_directory", path)
        directory.change((name, Directory()))

    def rename(self, source: str, target: str) -> None:
        from_directory, from_name = self._parent(source)
        to_directory, to_name = self._parent(target)
        node = from_directory.entries.get(from_name)
        if node is None:
            raise _error(errno.ENOENT, source)
        self._operate("rename", source)
        if from_directory is to_directory:
            from_directory.change((from_name, None), (to_name, node))
        else:
            to_directory.change((to_name, node))
            from_directory.change((from_name, None))

    def remove(self, path: str) -> None:
        directory, name = self._parent(path)
        node = directory.entries.get(name)
        if node is None:
            raise _error(errno.ENOENT, path)
        if isinstance(node, Directory):
            raise _error(errno.EISDIR, path)
        self._operate("remove", path)
        self._used_bytes -= len(node.content)
        directory.change((name, None))

    def remove_directory(self, path: str) -> None:
        directory, name = self._parent(path)
        node = directory.entries.get(name)
        if not isinstance(node, Directory):
            raise _error(errno.ENOENT if node is None else errno.ENOTDIR, path)
        if node.entries:
            raise _error(errno.ENOTEMPTY, path)
        self._operate("remove_directory", path)
        directory.change((name, None))

    def sync_directory(self, path: str) -> None:
        directory = self._directory(path)
        self._operate("sync_directory", path)
        directory.sync()

    def watch(self, path: str) -> None:
        self._directory(path)

    def sync_all(self, path: str) -> bool:
        if not self.syncfs:
            return False
        self._operate("sync_all", path)
        for directory in _directories(self._root):
            directory.sync()
            for node in directory.entries.values():
                if isinstance(node, Inode):
                    node.sync()
        return True

    def free_bytes(self, path: str) -> int:
        return max(0, self.capacity_bytes - self._used_bytes)

    def lock(self, path: str) -> _CrashLock | None:
        path = posixpath.normpath(path)
        if path in self._locks:
            return None
        if not self.exists(path):
            self.open(path, "create")
        self._locks.add(path)
        return _CrashLock(self._locks, path)

    # -- inside ----------------------------------------------------------------------------------------------

    def _operate(self, operation: str, path: str) -> None:
        """Count an operation that changes the disk; fail or cut the power here if asked to."""
        if not self.powered:
            raise PowerCut
        self.operations += 1
        if self.operations == self.cut_power_at:
            self.powered = False
            raise PowerCut
        self._fault(operation, path)

    def _fault(self, operation: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.operation == operation and fault.path in path:
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                if operation == "write":
                    return fault
                raise _error(fault.error, path)
        return None

    def _write(self, node: Inode, path: str, data: bytes, position: int) -> int:
        if not self.powered:
            raise PowerCut
        self.operations += 1
        if self.operations == self.cut_power_at:
            node.write(data, position)  # it may have happened: the crash decides page by page
            self.powered = False
            raise PowerCut
        fault = self._fault("write", path)
        length = len(data) if fault is None else min(fault.written, len(data))
        growth = max(0, position + length - len(node.content))
        full = growth > self.free_bytes(path)
        if full:
            length = max(0, length - (growth - self.free_bytes(path)))
        before = len(node.content)
        if length:
            node.write(data[:length], position)
        self._used_bytes += len(node.content) - before
        if fault is not None and fault.error:
            raise _error(fault.error, path)
        if full and length == 0:
            raise _error(errno.ENOSPC, path)
        return length

    def _sync(self, node: Inode, path: str) -> None:
        try:
            self._operate("sync", path)
        except OSError:
            node.drop_unsynced()
            raise
        node.sync()

    def _truncate(self, node: Inode, path: str, size: int) -> None:
        self._operate("truncate", path)
        self._used_bytes += size - len(node.content)
        node.truncate(size)

    def _parent(self, path: str) -> tuple[Directory, str]:
        head, name = posixpath.split(posixpath.normpath(path))
        if name == "":
            return self._root, ""
        return self._directory(head), name

    def _directory(self, path: str) -> Directory:
        node: Inode | Directory = self._root
        for part in posixpath.normpath(path).split("/"):
            if part in ("", "."):
                continue
            if not isinstance(node, Directory) or part not in node.entries:
                raise _error(errno.ENOENT, path)
            node = node.entries[part]
        if not isinstance(node, Directory):
            raise _error(errno.ENOTDIR, path)
        return node

    def _file(self, path: str) -> Inode:
        directory, name = self._parent(path)
        node = directory.entries.get(name)
        if not isinstance(node, Inode):
            raise _error(errno.ENOENT, path)
        return node


class _CrashFile:
    __slots__ = ("_files", "_generation", "_node", "_path", "_writable")

    def __init__(self, files: CrashFiles, node: Inode, path: str, writable: bool, generation: int) -> None:
        self._files = files
        self._node = node
        self._path = path
        self._writable = writable
        self._generation = generation
        files.open_files += 1

    def __del__(self) -> None:
        if self._generation == self._files._generation:
            self._files.open_files -= 1

    def read(self, size: int, position: int) -> bytes:
        self._check(False)
        self._files._fault("read", self._path)
        return bytes(self._node.content[position : position + size])

    def read_cached(self, size: int, position: int) -> memoryview | None:
        return memoryview(self.read(size, position))

    def write(self, buffers: Sequence[Buffer], position: int) -> int:
        self._check(True)
        return self._files._write(self._node, self._path, b"".join(buffers), position)

    def truncate(self, size: int) -> None:
        self._check(True)
        self._files._truncate(self._node, self._path, size)

    def sync(self) -> None:
        self._check(False)
        self._files._sync(self._node, self._path)

    def size(self) -> int:
        self._check(False)
        return len(self._node.content)

    def forget_cached(self, position: int) -> None:
        """Pages that a failed sync left readable but not stored are gone after this, as on Linux."""
        self._check(False)
        node = self._node
        first = position // PAGE_BYTES * PAGE_BYTES
        if first < len(node.content) and not node.dirty:
            node.content[first:] = node.stable[first : len(node.content)].ljust(
                len(node.content) - first, b"\0"
            )

    def _check(self, writing: bool) -> None:
        if not self._files.powered:
            raise PowerCut
        if self._generation != self._files._generation:
            raise AssertionError(f"{self._path} is used with a handle from before the crash")
        if writing and not self._writable:
            raise _error(errno.EBADF, self._path)


class _CrashLock:
    __slots__ = ("_locks", "_path")

    def __init__(self, locks: set[str], path: str) -> None:
        self._locks = locks
        self._path = path

    def release(self) -> None:
        self._locks.discard(self._path)


def _directories(root: Directory) -> Iterator[Directory]:
    waiting = [root]
    while waiting:
        directory = waiting.pop()
        yield directory
        waiting.extend(node for node in directory.entries.values() if isinstance(node, Directory))


def _error(code: int, path: str) -> OSError:
    return OSError(code, os.strerror(code), path)
