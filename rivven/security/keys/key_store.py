"""The key store: a directory of its own with wrapped topic keys, sealed secrets and old public keys.

A driver; blocks. It is not to be backed up with the data: data and a live KEK without it are unreadable, and
that is what erasing a topic rests on. Nothing in it is readable by itself.

    topics/<topic id>.keys     "RVKT", JSON: the keys of one incarnation of a topic, wrapped together
    secrets/<name>             "RVKS", nonce 12 | AES-256-GCM under the metadata key | tag 16
    public/<name>-<id>.pub     PEM, every public key there ever was
    state                      "RVKO", JSON: cluster id, and the operation that is under way
    lock                       held while a process uses the store

Every write is durable before it counts. A file that is not as written is refused by name and never replaced.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from rivven.log.files import Files, Lock
from rivven.security.keys import key_file
from rivven.security.keys.key_file import KeyFileRefused, disk_failures
from rivven.security.keys.provider import (
    BLOB_BYTES_MAX,
    KEY_ID_CHARACTERS_MAX,
    KeyProviderError,
    KeyRefused,
    ProviderUnavailable,
    WrappedKey,
)
from rivven.security.keys.public_keys import safe_name

TOPIC_MAGIC: Final = b"RVKT"
SECRET_MAGIC: Final = b"RVKS"
STATE_MAGIC: Final = b"RVKO"
KEYS_MAX: Final = 64
"""Keys of one topic that segments may still use: ids and keys together fit into what a KMS wraps."""

FORMER_NAMES_MAX: Final = 64
"""Names of keys remembered for a topic: each has at most 2,048 characters, the file 4 MiB."""

STATE_NAME: Final = "state"
_TOPICS, _SECRETS, _PUBLIC = "topics", "secrets", "public"
_SUFFIX: Final = ".keys"


@dataclass(frozen=True, slots=True)
class StoredTopic:
    """The keys of one incarnation of a topic as stored. `key_ids` oldest first; the last is current."""

    topic_id: UUID
    key_name: str
    """The provider's name of the KEK, as in the topic's `encryption.key`."""
    key_ids: tuple[bytes, ...]
    created_ms: tuple[int, ...]
    wrapped: WrappedKey
    """All keys together: one call of the provider opens a topic."""
    rewriting: bool = False
    """Re-encryption of the topic was asked for and is not complete."""
    former_names: tuple[str, ...] = ()
    """Other names whose KEKs have wrapped them, or keys before them: copies of the store may have that."""
    only_sealed: bool = False
    """Every segment of the topic is sealed: a plain one was put there by somebody. False: not known."""


class KeyStore:
    """One key store, held by this process until `close`. Not thread-safe per file; calls block."""

    def __init__(self, files: Files, path: str, cluster_id: str, lock: Lock) -> None:
        self._files = files
        self.path = path
        self._cluster_id = cluster_id
        self._lock = lock

    def close(self) -> None:
        """Let another process use it."""
        self._lock.release()

    # -- topics ----------------------------------------------------------------------------------------------

    def topics(self) -> tuple[dict[UUID, StoredTopic], dict[UUID, str]]:
        """Every topic's keys, and for each file that is refused the reason."""
        found: dict[UUID, StoredTopic] = {}
        refused: dict[UUID, str] = {}
        for topic_id in self._topic_ids():
            try:
                stored = self.read_topic(topic_id)
            except KeyProviderError as error:
                refused[topic_id] = str(error)
                continue
            if stored is not None:
                found[topic_id] = stored
        return found, refused

    def write_topic(self, stored: StoredTopic) -> None:
        """Store the keys of a topic durably. Raises KeyProviderError."""
        payload = json.dumps(_topic_content(stored)).encode()
        key_file.replace(self._files, self._topic_path(stored.topic_id), TOPIC_MAGIC, payload)

    def remove_topic(self, topic_id: UUID) -> None:
        """Remove the keys of a topic durably. Raises KeyProviderError."""
        path = self._topic_path(topic_id)
        key_file.remove(self._files, path)
        key_file.remove(self._files, f"{path}.tmp")

    def read_topic(self, topic_id: UUID) -> StoredTopic | None:
        """The keys of a topic, None when it has none. Raises KeyProviderError."""
        path = self._topic_path(topic_id)
        found = key_file.read(self._files, path, TOPIC_MAGIC, "file of topic keys")
        if found is None:
            return None
        try:
            stored = _topic_of(json.loads(found[1]))
        except (ValueError, KeyError, TypeError):
            raise KeyFileRefused(f"{path}: does not hold the keys of a topic") from None
        if stored.topic_id != topic_id:
            raise KeyFileRefused(f"{path}: holds the keys of {stored.topic_id}")
        return stored

    def _topic_ids(self) -> list[UUID]:
        directory = f"{self.path}/{_TOPICS}"
        with disk_failures(directory):
            names = self._files.list(directory)
        ids = []
        for name in names:
            if name.endswith(_SUFFIX):
                try:
                    ids.append(UUID(name.removesuffix(_SUFFIX)))
                except ValueError:
                    continue  # not ours
        return ids

    def _topic_path(self, topic_id: UUID) -> str:
        return f"{self.path}/{_TOPICS}/{topic_id}{_SUFFIX}"

    # -- secrets and public keys -----------------------------------------------------------------------------

    def read_secret(self, name: str) -> bytes | None:
        """A sealed secret, None when there is none. Raises KeyProviderError."""
        found = key_file.read(self._files, self._secret_path(name), SECRET_MAGIC, "sealed secret")
        return None if found is None else found[1]

    def write_secret(self, name: str, sealed: bytes) -> None:
        """Store a sealed secret durably. Raises KeyProviderError."""
        key_file.replace(self._files, self._secret_path(name), SECRET_MAGIC, sealed)

    @property
    def public_directory(self) -> str:
        """Where the public halves of signing keys are kept."""
        return f"{self.path}/{_PUBLIC}"

    def _secret_path(self, name: str) -> str:
        return f"{self.path}/{_SECRETS}/{safe_name(name)}"

    # -- the operation that is under way ---------------------------------------------------------------------

    def operation(self) -> dict[str, Any] | None:
        """What was under way when the last process ended. Raises KeyProviderError."""
        found: dict[str, Any] | None = _read_state(self._files, self.path).get("operation")
        return found

    def set_operation(self, operation: Mapping[str, Any] | None) -> None:
        """Remember durably what is under way (plain values); None: nothing. Raises KeyProviderError."""
        _write_state(self._files, self.path, self._cluster_id, operation)


def open_key_store(files: Files, path: str, cluster_id: str, *, may_create: bool) -> KeyStore:
    """The store of a cluster, made if there is none and `may_create`: a data directory that was encrypted
    once must find the store it had, not an empty one. Raises KeyProviderError."""
    with disk_failures(path):
        there = files.exists(f"{path}/{STATE_NAME}")
    if not there and not may_create:
        raise KeyRefused(f"{path}: there is no key store; mount it, or restore it from its own backup")
    for directory in (path, *(f"{path}/{name}" for name in (_TOPICS, _SECRETS, _PUBLIC))):
        key_file.make_directory(files, directory)
    with disk_failures(path):
        lock = files.lock(f"{path}/lock")
    if lock is None:
        raise KeyRefused(f"{path}: the key store is in use by another process")
    try:
        if not there:
            _write_state(files, path, cluster_id, None)
        found = _read_state(files, path).get("cluster")
        if found != cluster_id:
            raise KeyRefused(f"{path}: is the key store of cluster {found}, not of {cluster_id}")
    except KeyProviderError:
        lock.release()
        raise
    return KeyStore(files, path, cluster_id, lock)


def _write_state(files: Files, path: str, cluster_id: str, operation: Mapping[str, Any] | None) -> None:
    payload = json.dumps({"cluster": cluster_id, "operation": operation}).encode()
    key_file.replace(files, f"{path}/{STATE_NAME}", STATE_MAGIC, payload)


def _read_state(files: Files, path: str) -> dict[str, Any]:
    state = f"{path}/{STATE_NAME}"
    found = key_file.read(files, state, STATE_MAGIC, "state of a key store")
    if found is None:
        raise ProviderUnavailable(f"{state}: is gone")
    try:
        content = json.loads(found[1])
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise KeyFileRefused(f"{state}: does not hold the state of a key store")
    return content


def _topic_content(stored: StoredTopic) -> dict[str, Any]:
    return {
        "topic": str(stored.topic_id),
        "key": stored.key_name,
        "rewriting": stored.rewriting,
        "keys": [
            {"id": key_id.hex(), "created_ms": created_ms}
            for key_id, created_ms in zip(stored.key_ids, stored.created_ms, strict=True)
        ],
        "provider": stored.wrapped.provider,
        "kek": stored.wrapped.key_id,
        "wrapped": b64encode(stored.wrapped.blob).decode(),
        "former": list(stored.former_names),
        "only_sealed": stored.only_sealed,
    }


def _topic_of(content: dict[str, Any]) -> StoredTopic:
    keys = content["keys"]
    blob = b64decode(content["wrapped"], validate=True)
    wrapped = WrappedKey(str(content["provider"]), str(content["kek"]), blob)
    if not 1 <= len(keys) <= KEYS_MAX:
        raise ValueError("number of keys")
    if len(blob) > BLOB_BYTES_MAX or len(wrapped.key_id) > KEY_ID_CHARACTERS_MAX:
        raise ValueError("size of the wrapped keys")
    return StoredTopic(
        topic_id=UUID(content["topic"]),
        key_name=str(content["key"]),
        key_ids=tuple(bytes.fromhex(key["id"]) for key in keys),
        created_ms=tuple(int(key["created_ms"]) for key in keys),
        wrapped=wrapped,
        rewriting=bool(content["rewriting"]),
        former_names=tuple(str(name) for name in content.get("former", ())),
        only_sealed=content.get("only_sealed", False) is True,
    )
