"""Where changes of a file show: the directories of its name and of every link on the way to it. A driver.

It reads links, status and the list of mounts, and says whether the system would tell of every change there.
It must not wait for a change, and is called where a file system that hangs holds up nobody else.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

MOUNTS = Path("/proc/self/mountinfo")
"""proc(5). Reading it touches none of the mounts that it lists."""

MOUNTS_BYTES_MAX = 4 << 20
"""Some 25,000 mounts; where there are more, nothing is known of any."""

LINKS_MAX = 40
"""Links followed for one name, as many as Linux follows."""

TELLING = frozenset(
    {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs", "tmpfs", "xfs", "zfs"}
)
"""File systems that nobody changes but this machine's kernel, which tells of it, and which answer at once.
Network file systems and those of user space (nfs, cifs, 9p, virtiofs, fuse) do neither."""


class Directory(NamedTuple):
    """A directory without links in its path; another of the same name is another."""

    path: str
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Places:
    """`directories` in which changes of the files show, and whether all of them do (`telling`)."""

    directories: frozenset[Directory]
    telling: bool


class _Unknown(Exception):
    """That changes would be told of cannot be said."""


def places_of(paths: Iterable[Path]) -> Places:
    """Where changes of `paths` show, as of now; may take as long as the file system likes."""
    try:
        finder = _Finder(_mounts())
        for path in paths:
            finder.add(os.path.join(os.getcwd(), path))
        return Places(finder.found(), finder.telling)
    except (OSError, ValueError, _Unknown):
        return Places(frozenset(), False)


class _Finder:
    def __init__(self, mounts: dict[str, str]) -> None:
        self._mounts = mounts
        self._real: dict[str, str] = {}  # of directories, since files lie together
        self._noted: dict[str, Directory] = {}
        self.telling = True

    def found(self) -> frozenset[Directory]:
        return frozenset(self._noted.values())

    def add(self, path: str) -> None:
        """Raises OSError where a directory on the way is missing, _Unknown where one is closed."""
        parent, name = os.path.split(path)
        if parent not in self._real:
            self._real[parent] = self._follow("/", parent)
        file = self._follow(self._real[parent], name)
        self._note(os.path.dirname(file))
        try:
            status = os.stat(file)
        except FileNotFoundError:
            return  # its directory will tell of it
        if stat.S_ISDIR(status.st_mode):
            self._note(file)
            return
        # Written through another name, or mounted over this one, the file changes without its directory.
        self.telling &= status.st_nlink == 1 and file not in self._mounts

    def _follow(self, start: str, path: str) -> str:
        """Where `path` leads from `start`, without links; what holds a link is noted."""
        here, parts, links = start, path.split("/")[::-1], 0
        while parts:
            part = parts.pop()
            if part in ("", "."):
                continue
            if part == "..":
                here = os.path.dirname(here)
                continue
            target = _target(os.path.join(here, part))
            if target is None:
                here = os.path.join(here, part)
                continue
            links += 1
            if links > LINKS_MAX:
                raise _Unknown
            self._note(here)
            here = "/" if target.startswith("/") else here
            parts += target.split("/")[::-1]
        return here

    def _note(self, path: str) -> None:
        if path in self._noted:
            return
        status = os.stat(path)
        path.encode()  # a name that is no text cannot be asked for, which is a ValueError
        if not os.access(path, os.R_OK, effective_ids=True):
            raise _Unknown
        self._noted[path] = Directory(path, status.st_dev, status.st_ino)
        self.telling &= self._mounts[self._mount(path)] in TELLING

    def _mount(self, path: str) -> str:
        while path not in self._mounts:
            if path == "/":
                raise _Unknown
            path = os.path.dirname(path)
        return path


def _target(path: str) -> str | None:
    """What a link says; None for anything else, and for what is not there."""
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise


def _mounts() -> dict[str, str]:
    """The kind of file system by mount point; of several at one point the last, which covers the others."""
    with MOUNTS.open("rb") as file:
        content = file.read(MOUNTS_BYTES_MAX + 1)
    if len(content) > MOUNTS_BYTES_MAX:
        raise _Unknown
    found = {}
    for line in content.splitlines():
        place, _, kind = line.partition(b" - ")
        point = re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8) & 0xFF]), place.split()[4])
        found[os.fsdecode(point)] = os.fsdecode(kind.split()[0])
    return found
