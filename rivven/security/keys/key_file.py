"""Small files that hold keys: framed, replaced as a whole, refused by name when they are not as written.

A driver over the file seam. A write is temporary file, fsync, rename, fsync of the directory: a crash leaves
the old file or the new one. What is to be erased is overwritten after that, which helps as far as the file
system writes in place. It must not look into what the files mean.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct
from typing import Final

from rivven.log import framed_file
from rivven.log.files import File, Files, Lock, OpenMode, OsFile, OsFiles
from rivven.security.keys.provider import KeyRefused, ProviderUnavailable

VERSION: Final = 1
"""Of the frame of every key file."""

KEY_FILE_BYTES_MAX: Final = 4 << 20
"""A keyring of ten thousand KEKs takes a quarter of it."""

_FLAGS: Final = {
    "read": os.O_RDONLY,
    "write": os.O_RDWR,
    "create": os.O_RDWR | os.O_CREAT,
    "new": os.O_RDWR | os.O_CREAT | os.O_EXCL,
}
_FOR_EVER: Final = frozenset({errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP})
_head = Struct(">4sH")


class KeyFileRefused(KeyRefused):
    """A key file that cannot be used as it is; the text begins with its path."""


class PrivateFiles(OsFiles):
    """The real file system, for keys: a file that other users can read or write is not opened, and nothing
    is locked, and so nothing changed, in a directory where they could put files of their own."""

    def lock(self, path: str) -> Lock | None:
        directory = os.path.dirname(path) or "."
        if stat.S_IMODE(os.stat(directory).st_mode) & 0o022:
            raise KeyFileRefused(
                f"{directory}: other users can change it: chmod 700 {directory}, or name a directory below it"
            )
        return super().lock(path)

    def open(self, path: str, mode: OpenMode) -> File:
        fd = os.open(path, _FLAGS[mode] | os.O_CLOEXEC, 0o600)
        file = OsFile(fd)
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) & 0o077:
            raise KeyFileRefused(f"{path}: is open to other users: chmod 600 {path}")
        return file


def read(files: Files, path: str, magic: bytes, what: str) -> tuple[int, bytes] | None:
    """(flags, payload) of a key file, None when there is none.

    Raises KeyFileRefused for one that is empty, damaged, of an older or newer format, or not permitted, and
    ProviderUnavailable when the disk fails.
    """
    with disk_failures(path):
        if not files.exists(path):
            return None
        file = files.open(path, "read")
        size = file.size()
        content = file.read(size, 0) if size <= KEY_FILE_BYTES_MAX else b""
    if size > KEY_FILE_BYTES_MAX:
        raise KeyFileRefused(f"{path}: {size} bytes are more than a {what} can have")
    if not content:
        raise KeyFileRefused(f"{path}: is empty; restore this {what} from a backup")
    if len(content) < _head.size or content[:4] != magic:  # its first bytes may be a key: not shown
        raise KeyFileRefused(f"{path}: is no {what}, or of a format older than this version reads")
    version = _head.unpack_from(content)[1]
    if version < VERSION:
        raise KeyFileRefused(f"{path}: {what} of format {version}, which this version does not read")
    try:
        return framed_file.decode(path, content, magic, VERSION)
    except (framed_file.FramedFileDamaged, framed_file.FormatTooNew) as error:
        raise KeyFileRefused(str(error)) from None


def replace(
    files: Files, path: str, magic: bytes, payload: bytes | bytearray, flags: int = 0, *, erase: bool = False
) -> None:
    """Put a key file in place durably; `erase` overwrites what it held before. Raises KeyProviderError."""
    with disk_failures(path):
        old = files.open(path, "write") if erase and files.exists(path) else None
        framed_file.replace(files, path, framed_file.encode(magic, VERSION, payload, flags))
        _overwrite(old)


def replace_plain(files: Files, path: str, content: bytes) -> None:
    """As `replace`, without a frame: for what other programs read too. Raises KeyProviderError."""
    with disk_failures(path):
        framed_file.replace(files, path, content)


def remove(files: Files, path: str) -> None:
    """Remove a key file durably, then overwrite what it held; nothing happens when there is none.

    Raises KeyProviderError.
    """
    with disk_failures(path):
        if not files.exists(path):
            return
        old = files.open(path, "write")
        files.remove(path)
        files.sync_directory(path.rpartition("/")[0] or ".")
        _overwrite(old)


def make_directory(files: Files, path: str) -> None:
    """Make a directory durably, its parents too; one that exists is fine. Raises KeyProviderError."""
    with disk_failures(path):
        if files.exists(path):
            return
        parent = path.rpartition("/")[0]
        if parent:
            make_directory(files, parent)
        files.make_directory(path)
        files.sync_directory(parent or ".")


@contextmanager
def disk_failures(path: str) -> Iterator[None]:
    """Turn an OSError into KeyFileRefused where trying again is in vain, else into ProviderUnavailable."""
    try:
        yield
    except OSError as error:
        text = f"{error.filename or path}: {error.strerror or error}"
        if error.errno in _FOR_EVER:
            raise KeyFileRefused(text) from None
        raise ProviderUnavailable(text) from None


def _overwrite(old: File | None) -> None:
    """Zeros over a file that has no name any more. On file systems that copy on write it does not help."""
    if old is not None:
        old.write((bytes(old.size()),), 0)
        old.sync()
