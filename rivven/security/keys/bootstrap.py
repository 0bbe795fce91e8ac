"""The bootstrap file: a clear file in the data directory with the wrapped metadata key. A driver; blocks.

JSON: ``{"version": 1, "cluster": ..., "provider": ..., "kek": ..., "wrapped": base64}``. Everything else that
is sealed outside of topics has its own key derived from the metadata key (HKDF-SHA256, RFC 5869), so that no
two formats ever share one. A file that is not as written is refused by name and never replaced.
"""

from __future__ import annotations

import json
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any, Final

from rivven.log.files import Files
from rivven.security.keys import key_file
from rivven.security.keys.key_file import KeyFileRefused, disk_failures
from rivven.security.keys.provider import (
    BLOB_BYTES_MAX,
    KeyContext,
    KeyMismatch,
    KeyProvider,
    KeyRefused,
    WrappedKey,
)

BOOTSTRAP_NAME: Final = "encryption.key"
VERSION: Final = 1
KEY_BYTES: Final = 32

_BYTES_MAX: Final = 2 * BLOB_BYTES_MAX + 8_192
"""base64 of the largest wrapped key and its names."""
_JOURNAL: Final = b"rivven metadata journal 1"
_SECRETS: Final = b"rivven secrets 1"

Entropy = Callable[[int], bytes]


class MetadataKey:
    """The metadata key in memory, and the file it is kept in. Safe to use from several threads."""

    def __init__(
        self, files: Files, path: str, cluster_id: str, wrapped: WrappedKey, secret: bytearray
    ) -> None:
        self._files = files
        self._path = path
        self._cluster_id = cluster_id
        self._wrapped = wrapped
        self._secret = secret
        self._lock = threading.Lock()

    @classmethod
    def load(cls, files: Files, path: str, provider: KeyProvider, cluster_id: str) -> MetadataKey | None:
        """The key of an existing file, None without one. Raises KeyProviderError."""
        content = _read(files, path)
        if content is None:
            return None
        if content["cluster"] != cluster_id:
            raise KeyFileRefused(f"{path}: belongs to cluster {content['cluster']}, not to {cluster_id}")
        if content["provider"] != provider.name:
            raise KeyRefused(
                f"{path}: the metadata key was wrapped by the provider {content['provider']}, "
                f"storage.encryption.key_source is {provider.name}"
            )
        wrapped = WrappedKey(content["provider"], content["kek"], content["wrapped"])
        secret = bytearray(provider.unwrap(wrapped, KeyContext(cluster_id).metadata()))
        if len(secret) != KEY_BYTES:
            raise KeyMismatch(f"{path}: what was unwrapped is no metadata key")
        return cls(files, path, cluster_id, wrapped, secret)

    @classmethod
    def load_or_create(
        cls, files: Files, path: str, provider: KeyProvider, cluster_id: str, entropy: Entropy
    ) -> MetadataKey:
        """As `load`; makes key and file when there is none. Raises KeyProviderError."""
        found = cls.load(files, path, provider, cluster_id)
        if found is not None:
            return found
        secret = bytearray(entropy(KEY_BYTES))
        wrapped = provider.wrap("", bytes(secret), KeyContext(cluster_id).metadata())
        made = cls(files, path, cluster_id, wrapped, secret)
        made._store(wrapped)
        return made

    @property
    def kek_id(self) -> str:
        """The KEK that wraps it."""
        return self._wrapped.key_id

    def journal_key(self) -> bytes:
        """The key of metadata journals and snapshots, 32 bytes."""
        return self._derive(_JOURNAL)

    def secrets_key(self) -> bytes:
        """The key of sealed secrets, 32 bytes."""
        return self._derive(_SECRETS)

    def rewrap(self, provider: KeyProvider) -> bool:
        """Wrap it under the newest KEK, durably; False when it was. Raises KeyProviderError."""
        with self._lock:
            if provider.current_id("") == self._wrapped.key_id:
                return False
            wrapped = provider.wrap("", bytes(self._secret), KeyContext(self._cluster_id).metadata())
            self._store(wrapped)
            self._wrapped = wrapped
            return True

    def wipe(self) -> None:
        """Overwrite the key in memory; what was derived from it stays with whoever asked."""
        self._secret[:] = bytes(len(self._secret))

    def _derive(self, purpose: bytes) -> bytes:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose).derive(bytes(self._secret))

    def _store(self, wrapped: WrappedKey) -> None:
        content = {
            "version": VERSION,
            "cluster": self._cluster_id,
            "provider": wrapped.provider,
            "kek": wrapped.key_id,
            "wrapped": b64encode(wrapped.blob).decode(),
        }
        key_file.replace_plain(self._files, self._path, json.dumps(content, indent=1).encode() + b"\n")


def _read(files: Files, path: str) -> dict[str, Any] | None:
    with disk_failures(path):
        if not files.exists(path):
            return None
        raw = files.open(path, "read").read(_BYTES_MAX + 1, 0)
    if not raw:
        raise KeyFileRefused(f"{path}: is empty; restore it from a backup of the data directory")
    try:
        content = json.loads(raw)
        version = content["version"]
        if version != VERSION:
            raise KeyFileRefused(f"{path}: format {version}, this version reads {VERSION}")
        content["wrapped"] = b64decode(content["wrapped"], validate=True)
        for name in ("cluster", "provider", "kek"):
            if not isinstance(content[name], str):
                raise TypeError(name)
    except (ValueError, KeyError, TypeError):
        raise KeyFileRefused(f"{path}: is damaged; restore it from a backup of the data directory") from None
    found: dict[str, Any] = content
    return found
