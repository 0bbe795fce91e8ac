"""Small files that are replaced as a whole and know whether they are whole: checkpoints, epochs, snapshots.

Layout, big endian::

    magic 4 bytes | version u16 | flags u16 | payload length u32 | payload | CRC-32C of all before, u32

What the payload means is the business of whoever reads it. Blocking: not for the event loop.
"""

from __future__ import annotations

from struct import Struct

from crc32c import crc32c

from rivven.errors import StorageFailed
from rivven.log.files import File, Files

FRAMED_BYTES_MAX = 1 << 28
"""Largest payload believed (256 MiB: a checkpoint of four million partitions)."""

_head = Struct(">4sHHI")
_crc = Struct(">I")


class FramedFileDamaged(StorageFailed):
    """A framed file that is not what was written. The text names file and reason."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class FormatTooNew(StorageFailed):
    """A file written by a later version of this program."""

    def __init__(self, path: str, version: int, known: int) -> None:
        super().__init__(f"{path}: format {version} is newer than {known}, the newest this version reads")


def encode(magic: bytes, version: int, payload: bytes | bytearray, flags: int = 0) -> bytes:
    """The bytes of a framed file."""
    body = _head.pack(magic, version, flags, len(payload)) + payload
    return body + _crc.pack(crc32c(body))


def decode(path: str, content: bytes, magic: bytes, version: int) -> tuple[int, bytes]:
    """(flags, payload). Raises FramedFileDamaged, or FormatTooNew for a version above `version`."""
    if len(content) < _head.size + _crc.size:
        raise FramedFileDamaged(path, f"{len(content)} bytes are fewer than its frame")
    found, found_version, flags, length = _head.unpack_from(content)
    if found != magic:
        raise FramedFileDamaged(path, f"begins with {found!r}, not {magic!r}")
    end = _head.size + length
    if len(content) != end + _crc.size:
        raise FramedFileDamaged(
            path, f"is {len(content)} bytes long, its length field asks for {end + _crc.size}"
        )
    if crc32c(content[:end]) != _crc.unpack_from(content, end)[0]:
        raise FramedFileDamaged(path, "CRC-32C does not match")
    if found_version > version:
        raise FormatTooNew(path, found_version, version)
    return flags, content[_head.size : end]


def read(files: Files, path: str, magic: bytes, version: int) -> tuple[int, bytes] | None:
    """(flags, payload), None when there is no such file. Raises as `decode`, and OSError."""
    if not files.exists(path):
        return None
    file = files.open(path, "read")
    size = file.size()
    if size > FRAMED_BYTES_MAX:
        raise FramedFileDamaged(path, f"{size} bytes are more than {FRAMED_BYTES_MAX}")
    return decode(path, file.read(size, 0), magic, version)


def replace(files: Files, path: str, content: bytes) -> None:
    """Put `content` in place of the file durably: either the old or the new one survives a crash, whole."""
    temporary = path + ".tmp"
    write_whole(files, temporary, content).sync()
    files.rename(temporary, path)
    files.sync_directory(path.rpartition("/")[0] or ".")


def write_whole(files: Files, path: str, content: bytes) -> File:
    """Write a file that nobody reads yet, without making it durable. Returns it open."""
    file = files.open(path, "create")
    file.truncate(0)
    position = 0
    view = memoryview(content)
    while position < len(content):
        position += file.write((view[position:],), position)
    return file
