"""Whose data directory this is: `identity.json`, its format version, and the lock against a second process.

Blocking, at start-up only. Every refusal is one line with a hint, for the process to print and end.
"""

from __future__ import annotations

import errno
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from rivven.errors import StorageFailed
from rivven.log import framed_file
from rivven.log.files import Files, Lock

IDENTITY_NAME = "identity.json"
LOCK_NAME = "lock"
FORMAT = 1
"""Of the data directory as a whole. Raised by a change that an older version must not open."""
IDENTITY_BYTES_MAX = 65536
"""The file holds five short values."""


class DirectoryRefused(StorageFailed):
    """The data directory cannot be used. `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class DirectoryLocked(DirectoryRefused):
    """Another process has it."""


class DirectoryNotPermitted(DirectoryRefused):
    """This user may not read or write it."""


class DirectoryTooNew(DirectoryRefused):
    """A later version of this program wrote it."""


class DirectoryOfAnother(DirectoryRefused):
    """It belongs to another node or cluster."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What the identity file says."""

    cluster_id: str
    node_id: int
    directory_id: UUID


def lock_directory(files: Files, path: str) -> Lock:
    """Create the directory if needed and take its lock. Raises DirectoryRefused."""
    try:
        if not files.exists(path):
            _make_with_parents(files, path)
        lock = files.lock(f"{path}/{LOCK_NAME}")
    except OSError as error:
        raise refusal(path, error) from error
    if lock is None:
        raise DirectoryLocked(
            f"data directory {path} is in use by another process",
            "stop that broker, or give this one another data_dir",
        )
    return lock


def load_or_create(
    files: Files, path: str, node_id: int, cluster_id: str | None, entropy: Callable[[int], bytes]
) -> Identity:
    """Read the identity, or write one at the first start. `cluster_id` None: whatever is there, or a new one.

    Raises DirectoryRefused.
    """
    name = f"{path}/{IDENTITY_NAME}"
    try:
        found = _read(files, name)
        if found is None:
            new = Identity(
                cluster_id or _new_cluster_id(entropy), node_id, UUID(bytes=entropy(16), version=4)
            )
            _write(files, name, new)
            return new
    except OSError as error:
        raise refusal(path, error) from error
    if found.node_id != node_id:
        raise DirectoryOfAnother(
            f"data directory {path} belongs to node {found.node_id}, this is node {node_id}",
            "set node.id to what it was, or give this node another data_dir",
        )
    if cluster_id is not None and found.cluster_id != cluster_id:
        raise DirectoryOfAnother(
            f"data directory {path} belongs to cluster {found.cluster_id}, not {cluster_id}",
            "give this node another data_dir",
        )
    return found


def refusal(path: str, error: OSError) -> DirectoryRefused:
    """What an operating system error at start-up means."""
    reason = error.strerror or str(error)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return DirectoryNotPermitted(
            f"data directory {path} is not readable and writable: {reason}",
            "give the directory to the user that runs the broker (chown, chmod 700)",
        )
    return DirectoryRefused(f"data directory {path} cannot be used: {reason}", "check the path and the disk")


def _make_with_parents(files: Files, path: str) -> None:
    parent = path.rstrip("/").rpartition("/")[0]
    if parent and not files.exists(parent):
        _make_with_parents(files, parent)
    files.make_directory(path)
    files.sync_directory(parent or ("/" if path.startswith("/") else "."))


def _read(files: Files, name: str) -> Identity | None:
    if not files.exists(name):
        return None
    content = files.open(name, "read").read(IDENTITY_BYTES_MAX, 0)
    try:
        fields = json.loads(content)
        version = fields["format"]
        if not isinstance(version, int):
            raise TypeError("format is not a number")
        if version > FORMAT:
            raise DirectoryTooNew(
                f"{name} has format {version}, newer than {FORMAT}, the newest this version reads",
                "start the version of the broker that wrote it, or a later one",
            )
        return Identity(str(fields["cluster_id"]), int(fields["node_id"]), UUID(fields["directory_id"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DirectoryRefused(
            f"{name} is damaged: {error!r}", "restore it from a backup; the data beside it is untouched"
        ) from None


def _write(files: Files, name: str, identity: Identity) -> None:
    fields = {
        "format": FORMAT,
        "cluster_id": identity.cluster_id,
        "node_id": identity.node_id,
        "directory_id": str(identity.directory_id),
    }
    framed_file.replace(files, name, json.dumps(fields, indent=2).encode() + b"\n")


def _new_cluster_id(entropy: Callable[[int], bytes]) -> str:
    """Sixteen random bytes in URL-safe base64 without padding, as Kafka writes cluster ids."""
    text = urlsafe_b64encode(UUID(bytes=entropy(16), version=4).bytes).decode().rstrip("=")
    return "A" + text[1:] if text.startswith("-") else text  # Kafka's tools would take "-" for an option
