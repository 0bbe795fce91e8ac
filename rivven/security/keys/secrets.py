"""Secrets the broker generates once: sealed in the key store, or private files while nothing is encrypted.

A driver; blocks. When encryption is switched on a private file is taken over: the sealed copy is durable
before the file goes, and both are there only after a crash in between. It must not know what a secret is for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from rivven.log.files import Files
from rivven.security.keys import key_file
from rivven.security.keys.key_file import KeyFileRefused, disk_failures
from rivven.security.keys.public_keys import PublicKeys

if TYPE_CHECKING:  # a start without encryption does not import it
    from rivven.security.keys.key_store import KeyStore

TOKEN_HASH: Final = "token-hash"  # noqa: S105 - a name
SCRAM_DECOY: Final = "scram-decoy"
AUDIT_SIGNING: Final = "audit-signing"
ERASURE_SIGNING: Final = "erasure-signing"

PLAIN_FILES: Final = {
    TOKEN_HASH: "token-hash.key",
    SCRAM_DECOY: "scram-decoy.key",
    AUDIT_SIGNING: "audit/signing.key",
    ERASURE_SIGNING: "erasure-signing.key",
}
"""Every secret, and its file below the data directory while nothing is encrypted."""

SECRET_BYTES_MAX: Final = 4_096
"""A private key in PEM takes 120 bytes."""
_NONCE_BYTES: Final = 12

Entropy = Callable[[int], bytes]


class RotatedSecret(NamedTuple):
    """A secret that was made anew. `key_id` tells keys of token hashes apart and is empty for others; `kept`
    older ones still count."""

    name: str
    key_id: str
    kept: int


class SecretService(Protocol):
    """Makes secrets of a running broker anew; raises RivvenError."""

    async def rotate(self, name: str) -> RotatedSecret: ...


class Secrets:
    """The secrets of one broker. `store` and `key` are those of an encrypted data directory, else None."""

    def __init__(
        self, files: Files, data_dir: str, entropy: Entropy, store: KeyStore | None = None, key: bytes = b""
    ) -> None:
        self._files = files
        self._data_dir = data_dir
        self._entropy = entropy
        self._store = store
        self._key = key
        self.public = PublicKeys(files, store.public_directory if store is not None else f"{data_dir}/public")
        """Public halves of signing keys, old ones too."""

    def load(self, name: str) -> bytes | None:
        """A secret, None when there is none yet. Raises KeyProviderError."""
        if self._store is None:
            return self._read_plain(name)
        sealed = self._store.read_secret(name)
        plain = self._read_plain(name)
        if sealed is None:
            if plain is None:
                return None
            self._store.write_secret(name, self._seal(name, plain))
            self._remove_plain(name)
            return plain
        secret = self._open(name, sealed)
        if plain is not None:
            self._drop_leftover(name, plain, secret)
        return secret

    def load_or_create(self, name: str, make: Callable[[], bytes]) -> bytes:
        """A secret, made and durable when there is none yet. Raises KeyProviderError."""
        secret = self.load(name)
        return self.rotate(name, make) if secret is None else secret

    def rotate(self, name: str, make: Callable[[], bytes]) -> bytes:
        """A new secret in place of the old one, durable when this returns. Raises KeyProviderError."""
        secret = make()
        if self._store is not None:
            self._store.write_secret(name, self._seal(name, secret))
            self._remove_plain(name)
            return secret
        path = self._plain_path(name)
        key_file.make_directory(self._files, path.rpartition("/")[0])
        key_file.replace_plain(self._files, path, secret)
        return secret

    # -- private files ---------------------------------------------------------------------------------------

    def _plain_path(self, name: str) -> str:
        return f"{self._data_dir}/{PLAIN_FILES[name]}"

    def _read_plain(self, name: str) -> bytes | None:
        path = self._plain_path(name)
        with disk_failures(path):
            if not self._files.exists(path):
                return None
            content = self._files.open(path, "read").read(SECRET_BYTES_MAX + 1, 0)
        if not content or len(content) > SECRET_BYTES_MAX:
            raise KeyFileRefused(f"{path}: {len(content)} bytes are no {name} key; restore it from a backup")
        return content

    def _remove_plain(self, name: str) -> None:
        key_file.remove(self._files, self._plain_path(name))
        key_file.remove(self._files, f"{self._plain_path(name)}.tmp")

    def _drop_leftover(self, name: str, plain: bytes, secret: bytes) -> None:
        """The power went between sealing and removing; anything else is somebody's decision to make."""
        if plain != secret:
            raise KeyFileRefused(
                f"{self._plain_path(name)}: differs from the {name} key in the key store; remove it if it "
                "came out of an old backup"
            )
        self._remove_plain(name)

    # -- sealing ---------------------------------------------------------------------------------------------

    def _seal(self, name: str, secret: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = self._entropy(_NONCE_BYTES)
        return nonce + AESGCM(self._key).encrypt(nonce, secret, _associated(name))

    def _open(self, name: str, sealed: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return AESGCM(self._key).decrypt(nonce, rest, _associated(name))
        except (InvalidTag, ValueError):
            raise KeyFileRefused(
                f"the {name} key in the key store does not open with this metadata key"
            ) from None


def _associated(name: str) -> bytes:
    return b"rivven secret 1 " + name.encode()
