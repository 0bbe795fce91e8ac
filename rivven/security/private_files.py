"""Files that only their owner may read: written whole or not at all, never readable by others in between.

Order of a write: temporary file with mode 0600 in the same directory, content, fsync, rename, fsync of the
directory. A crash leaves the old file or the new one (and perhaps a stray temporary file, replaced later).
It must not be used for log data: that has its own seam with its own crash tests.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_READ_BYTES_MAX = 1 << 20
"""No key, certificate or client file is larger; anything above is the wrong file."""


class PrivateFileError(Exception):
    """A file or directory that cannot be used as it is; one line for the operator, with a hint."""


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, mode 0600, durably. Raises OSError."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def read_bounded(path: Path) -> bytes | None:
    """The content, None when there is no such file. Raises PrivateFileError."""
    try:
        with path.open("rb") as file:
            content = file.read(_READ_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PrivateFileError(f"{path}: {error.strerror}") from error
    if len(content) > _READ_BYTES_MAX:
        raise PrivateFileError(f"{path} is larger than {_READ_BYTES_MAX} bytes: not a file of ours")
    return content


def read_private(path: Path) -> bytes | None:
    """As `read_bounded`, for secrets: also raises PrivateFileError when others may read the file."""
    content = read_bounded(path)
    if content is not None and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise PrivateFileError(f"{path} is open to other users: chmod 600 {path}")
    return content


def make_private_directory(path: Path) -> None:
    """Create `path` with mode 0700, or check that an existing one is ours and closed to others.

    Raises PrivateFileError.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except FileExistsError:
        raise PrivateFileError(f"{path} is not a directory") from None
    except OSError as error:
        raise PrivateFileError(f"{path}: {error.strerror}") from error
    if found.st_uid != os.geteuid():
        raise PrivateFileError(f"{path} belongs to another user (uid {found.st_uid})")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise PrivateFileError(f"{path} is open to other users: chmod 700 {path}")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise PrivateFileError(f"{path} cannot be written: chmod 700 {path}")


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
