"""The provider `file`: KEKs in a keyring on this machine, mode 0600, optionally sealed with a passphrase.

A driver. Every call reads the file, which costs microseconds, and decodes it when it is another one: what
another process has changed is seen, and a keyring that is taken away is noticed at once. A change happens
under a lock, to a file that has just been read, and is durable before it counts. Destroying a KEK is complete
when it returns; copies of the file elsewhere are not its business, as `rivven keys shred` says.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rivven.clock import SystemClock
from rivven.config.storage import EncryptionConfig
from rivven.log.files import Files
from rivven.security.keys import key_file
from rivven.security.keys.key_file import KeyFileRefused, PrivateFiles, disk_failures
from rivven.security.keys.keyring import (
    KEY_BYTES,
    NONCE_BYTES,
    SALT_BYTES,
    TAG_BYTES,
    Keyring,
    KeyringUnreadable,
    PassphraseCosts,
    decode,
    split_sealed,
)
from rivven.security.keys.provider import (
    PLAIN_BYTES_MAX,
    Destruction,
    KekInfo,
    KekState,
    KeyGone,
    KeyMismatch,
    KeyRefused,
    ProviderUnavailable,
    WrappedKey,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC: Final = b"RVKR"
SEALED: Final = 1
"""Flag of a keyring with a passphrase."""
KEYRING_NAME: Final = "keyring"
_SUFFIX_BYTES: Final = 4
"""Random part of a KEK's id."""

Entropy = Callable[[int], bytes]


class KeyringAway(KeyGone):
    """There is no keyring, which says nothing about the keys in it."""


class KeyringFile:
    """A `KeyProvider` and its lifecycle over one file. Safe to use from several threads."""

    name = "file"

    def __init__(
        self,
        files: Files,
        path: str,
        passphrase: Callable[[], str] | None = None,
        entropy: Entropy = os.urandom,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        """`passphrase` is asked for when the file has to be opened, so that it is not kept."""
        self._files = files
        self._path = path
        self._passphrase = passphrase
        self._entropy = entropy
        self._now_ms = now_ms or SystemClock().now_ms
        self._lock = threading.Lock()
        self._digest = b""
        self._keyring = Keyring()
        self._costs: PassphraseCosts | None = None
        self._sealing_key = b""

    def current_id(self, key: str) -> str:
        with self._reading() as keyring:
            return keyring.current(key).key_id

    def wrap(self, key: str, plain: bytes, context: Mapping[str, str]) -> WrappedKey:
        if len(plain) > PLAIN_BYTES_MAX:
            raise KeyRefused(f"{len(plain)} bytes are more than a provider wraps")
        nonce = self._entropy(NONCE_BYTES)
        with self._reading() as keyring:
            kek = keyring.current(key)
            sealed = _aead(kek.key).encrypt(nonce, plain, _associated(kek.key_id, context))
            return WrappedKey(self.name, kek.key_id, nonce + sealed)

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        from cryptography.exceptions import InvalidTag

        if wrapped.provider != self.name:
            raise KeyRefused(f"the key was wrapped by {wrapped.provider}, not by a keyring file")
        with self._reading() as keyring:
            kek = keyring.find(wrapped.key_id)
            if kek is None:
                raise KeyGone(f"{self._path}: has no key {wrapped.key_id}")
            if kek.destroyed:
                raise KeyGone(f"{self._path}: the key {wrapped.key_id} was destroyed")
            nonce, sealed = wrapped.blob[:NONCE_BYTES], wrapped.blob[NONCE_BYTES:]
            try:
                if len(sealed) < TAG_BYTES:
                    raise InvalidTag
                return _aead(kek.key).decrypt(nonce, sealed, _associated(kek.key_id, context))
            except InvalidTag:
                raise KeyMismatch(
                    f"{self._path}: what {wrapped.key_id} wrapped does not open for this use"
                ) from None

    def rotate(self, key: str) -> str:
        with self._changing() as keyring:
            suffix = self._entropy(_SUFFIX_BYTES).hex()
            made = keyring.add(key, bytearray(self._entropy(KEY_BYTES)), self._now_ms(), suffix)
        return made.key_id

    def destroy(self, key_id: str) -> Destruction:
        with self._not_away(), self._changing(erase=True) as keyring:
            keyring.destroy(key_id)
        return Destruction(complete=True)

    def state(self, key_id: str) -> KekState:
        with self._not_away(), self._reading() as keyring:
            kek = keyring.find(key_id)
            if kek is None:
                raise KeyGone(f"{self._path}: has no key {key_id}")
            return kek.state

    def describe(self, key: str) -> list[KekInfo]:
        with self._reading() as keyring:
            current = keyring.current(key)
            return [KekInfo(kek.key_id, kek.created_ms, kek.state, kek is current) for kek in keyring.of(key)]

    def close(self) -> None:
        """Overwrite the keys in memory; a later call would read the file again."""
        with self._lock:
            self._forget()

    def create(self) -> str:
        """Make the file with a first KEK, and its directory; its id. Raises KeyRefused if there is one."""
        key_file.make_directory(self._files, self._path.rpartition("/")[0] or ".")
        with self._lock, self._exclusively():
            with disk_failures(self._path):
                there = self._files.exists(self._path)
            if there:
                raise KeyRefused(f"{self._path} exists: a keyring is never replaced")
            self._forget()
            keyring = Keyring()
            suffix = self._entropy(_SUFFIX_BYTES).hex()
            made = keyring.add("", bytearray(self._entropy(KEY_BYTES)), self._now_ms(), suffix)
            self._store(keyring)
            return made.key_id

    # -- the file --------------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[Keyring]:
        with self._lock:
            yield self._load()

    @contextmanager
    def _changing(self, erase: bool = False) -> Iterator[Keyring]:
        """The keyring, to be changed; stored when the block ends well, read again when it does not."""
        with self._lock, self._exclusively():
            keyring = self._load()
            try:
                yield keyring
                self._store(keyring, erase)
            except BaseException:
                self._forget()
                raise

    @contextmanager
    def _not_away(self) -> Iterator[None]:
        """A missing file is an outage here: "gone" would be taken for the destruction of a key."""
        try:
            yield
        except KeyringAway as error:
            raise ProviderUnavailable(str(error)) from None

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        with disk_failures(self._path):
            lock = self._files.lock(f"{self._path}.lock")
        if lock is None:
            raise ProviderUnavailable(f"{self._path}: another process is changing it")
        try:
            yield
        finally:
            lock.release()

    def _load(self) -> Keyring:
        found = key_file.read(self._files, self._path, MAGIC, "keyring")
        if found is None:
            raise KeyringAway(
                f"{self._path}: there is no keyring; restore it, or make the first one with: rivven keys init"
            )
        flags, payload = found
        digest = hashlib.sha256(bytes([flags]) + payload).digest()
        if digest != self._digest:
            try:
                keyring = decode(self._open(payload) if flags & SEALED else payload)
            except KeyringUnreadable as error:
                raise KeyFileRefused(f"{self._path}: the keyring {error}") from None
            self._keyring.wipe()
            self._keyring, self._digest = keyring, digest
            if self._passphrase is not None and not flags & SEALED:
                self._store(keyring, erase=True)  # a passphrase was configured since: the clear file goes
        return self._keyring

    def _store(self, keyring: Keyring, erase: bool = False) -> None:
        """Write the file; it counts once this returns."""
        content = keyring.encode()
        flags, payload = (SEALED, self._seal(content)) if self._passphrase is not None else (0, content)
        key_file.replace(self._files, self._path, MAGIC, payload, flags, erase=erase)
        self._digest = hashlib.sha256(bytes([flags]) + payload).digest()
        self._keyring = keyring
        content[:] = bytes(len(content))

    def _forget(self) -> None:
        self._keyring.wipe()
        self._keyring, self._digest = Keyring(), b""
        self._costs, self._sealing_key = None, b""

    # -- the passphrase --------------------------------------------------------------------------------------

    def _seal(self, content: bytearray) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        costs = self._costs or PassphraseCosts(self._entropy(SALT_BYTES))
        nonce = self._entropy(NONCE_BYTES)
        head = costs.encode()
        return head + nonce + AESGCM(self._derived(costs)).encrypt(nonce, bytes(content), MAGIC + head)

    def _open(self, payload: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        costs, nonce, sealed = split_sealed(payload)
        if self._passphrase is None:
            raise KeyRefused(
                f"{self._path}: is sealed with a passphrase: set storage.encryption.file.passphrase"
            )
        try:
            return AESGCM(self._derived(costs)).decrypt(nonce, sealed, MAGIC + costs.encode())
        except InvalidTag:
            self._costs, self._sealing_key = None, b""
            raise KeyMismatch(f"{self._path}: the passphrase does not open it") from None

    def _derived(self, costs: PassphraseCosts) -> bytes:
        """The key of a passphrase, kept as long as salt and costs are the same."""
        if costs != self._costs:
            from argon2.low_level import Type, hash_secret_raw

            assert self._passphrase is not None
            try:
                secret = self._passphrase().encode()
            except ValueError as error:  # a reference that cannot be read; the text names it, not the secret
                raise KeyRefused(f"storage.encryption.file.passphrase: {error}") from None
            self._sealing_key = hash_secret_raw(
                secret, costs.salt, costs.passes, costs.memory_kib, costs.lanes, KEY_BYTES, Type.ID
            )
            self._costs = costs
        return self._sealing_key


def open_keyring(config: EncryptionConfig) -> KeyringFile:
    """The factory of `key_source: file`; `key_directory` must be given. Opens nothing yet."""
    assert config.key_directory is not None
    path: Path = config.file.path or config.key_directory / KEYRING_NAME
    reference = config.file.passphrase
    return KeyringFile(PrivateFiles(), str(path), reference.reveal if reference is not None else None)


def _associated(key_id: str, context: Mapping[str, str]) -> bytes:
    return json.dumps([key_id, sorted(context.items())], separators=(",", ":")).encode()


def _aead(key: bytearray) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
