"""The provider `vault`: KEKs in the transit engine of Vault or OpenBao.

A driver; needs the extra `vault`. A KEK is one version of a transit key, its id ``NAME:vVERSION``. The
context of a wrapped key goes with it as associated data, so it opens nowhere else. Errors name key and
request, never what the server wrote, which may quote what it was sent.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from rivven.config.storage import EncryptionConfig, VaultConfig
from rivven.security.keys.provider import (
    BLOB_BYTES_MAX,
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
from rivven.security.keys.vault_session import InvalidRequest, VaultSession

AEAD_TYPES: Final = frozenset(
    {"aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"}
)  # the types of transit keys that bind associated data
NAMES_MAX: Final = 10_000
"""Checked key names remembered: at most one for each topic."""
VERSIONS_MAX: Final = 1_000
"""Newest versions described: 80 years of monthly rotation."""

_NAME: Final = re.compile(r"\w(?:[\w.-]{0,254}\w)?", re.ASCII)
"""What transit takes as a name; anything else could be another path of the server."""
_ID: Final = re.compile(rf"(?P<name>{_NAME.pattern}):v(?P<version>[1-9][0-9]{{0,8}})", re.ASCII)
_BLOB: Final = re.compile(rb"vault:v(?P<version>[1-9][0-9]{0,8}):[A-Za-z0-9+/=]+")


class TransitKey(NamedTuple):
    """A key as the server describes it."""

    latest: int
    oldest: int
    """First version that still exists; what is below was trimmed."""
    oldest_decrypting: int
    oldest_encrypting: int
    """0: only the newest one encrypts."""
    created_ms: dict[int, int]
    usable: bool
    """False while it is deleted in a way that can be undone."""


class VaultProvider:
    """A `KeyProvider` and its lifecycle over a transit engine. Safe to use from several threads."""

    name = "vault"

    def __init__(self, config: VaultConfig, session: VaultSession | None = None) -> None:
        """Connects to nothing yet."""
        self._mount = config.mount.strip("/")
        self._key = config.key
        self._session = session or VaultSession(config)
        self._checked: set[str] = set()

    # -- wrapping --------------------------------------------------------------------------------------------

    def current_id(self, key: str) -> str:
        name = self._named(key)
        return f"{name}:v{self._read(name).latest}"

    def wrap(self, key: str, plain: bytes, context: Mapping[str, str]) -> WrappedKey:
        if len(plain) > PLAIN_BYTES_MAX:
            raise KeyRefused(f"{len(plain)} bytes are more than a provider wraps")
        name = self._named(key)
        if name not in self._checked:
            self._read(name)  # a token that may create keys would make one of a mistyped name
            if len(self._checked) < NAMES_MAX:
                self._checked.add(name)
        body = {"plaintext": b64encode(plain).decode(), "associated_data": _associated(context)}
        try:
            answer = self._session.post(f"{self._mount}/encrypt/{name}", body)
        except InvalidRequest as error:
            if error.says("encryption key not found"):
                raise KeyGone(f"there is no key {name}") from None
            raise KeyRefused(f"{name} does not encrypt with associated data") from None
        blob = str(answer.get("ciphertext", "")).encode()
        found = _BLOB.fullmatch(blob)
        if found is None or len(blob) > BLOB_BYTES_MAX:
            raise ProviderUnavailable(f"encrypt with {name}: not as a transit engine answers")
        return WrappedKey(self.name, f"{name}:v{int(found['version'])}", blob)

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        if wrapped.provider != self.name:
            raise KeyRefused(f"the key was wrapped by {wrapped.provider}, not by vault")
        name, version = _split(wrapped.key_id)
        found = _BLOB.fullmatch(wrapped.blob)
        if found is None or int(found["version"]) != version:
            key = self._read(name)
            if not key.oldest <= version <= key.latest:
                raise KeyGone(f"{name} has no version {version}")
            raise KeyMismatch(f"what {wrapped.key_id} is said to have wrapped is not of it")
        body = {"ciphertext": wrapped.blob.decode(), "associated_data": _associated(context)}
        try:
            answer = self._session.post(f"{self._mount}/decrypt/{name}", body)
        except InvalidRequest as error:
            raise self._not_opened(name, version, error) from None
        try:
            plain = b64decode(str(answer.get("plaintext", "")), validate=True)
        except NotBase64:
            plain = b""
        if not 0 < len(plain) <= PLAIN_BYTES_MAX:
            raise ProviderUnavailable(f"decrypt with {name}: not as a transit engine answers")
        return plain

    def _not_opened(
        self, name: str, version: int, error: InvalidRequest
    ) -> KeyGone | KeyRefused | KeyMismatch:
        """Why a blob was refused. Raises KeyProviderError if asking for more fails."""
        if error.says("encryption key not found"):
            return KeyGone(f"there is no key {name}")
        if error.says("version is too new"):
            return KeyGone(f"{name} has no version {version}")
        if error.says("disallowed by policy"):
            key = self._read(name)
            if version < key.oldest:
                return KeyGone(f"version {version} of {name} was destroyed")
            return KeyRefused(
                f"version {version} of {name} may not decrypt any more (min_decryption_version)"
            )
        return KeyMismatch(f"what {name}:v{version} wrapped does not open for this use")

    # -- lifecycle -------------------------------------------------------------------------------------------

    def rotate(self, key: str) -> str:
        name = self._named(key)
        before = self._read(name)  # a key that is not there is refused as such
        self._session.post(f"{self._mount}/keys/{name}/rotate", {}, repeatable=False)
        after = self._read(name)
        if after.latest <= before.latest:
            raise KeyRefused(f"{name} was not rotated, it stays at version {before.latest}")
        return f"{name}:v{after.latest}"

    def destroy(self, key_id: str) -> Destruction:
        """Trim the version away. Complete when the server has confirmed that.

        Versions can only be trimmed from the oldest on, so an older one that is still there must be
        destroyed first: KeyRefused. What the server's own backups hold is its operator's to destroy.
        """
        name, version = _split(key_id)
        key = self._read(name)
        if version < key.oldest:
            return Destruction(complete=True)
        if version > key.latest:
            raise KeyGone(f"{name} has no version {version}")
        if version == key.latest:
            raise KeyRefused(f"{key_id} is the current key: rotate first")
        if key.oldest < version:
            raise KeyRefused(
                f"{key_id} cannot be destroyed before version {key.oldest}: the transit engine trims "
                "from the oldest on"
            )
        self._trim(name, key, version + 1)
        if self._read(name).oldest <= version:
            raise KeyRefused(f"{key_id} is still there after it was trimmed")
        return Destruction(complete=True)

    def state(self, key_id: str) -> KekState:
        name, version = _split(key_id)
        key = self._read(name)
        if version > key.latest:
            raise KeyGone(f"{name} has no version {version}")
        return _state(key, version)

    def _trim(self, name: str, key: TransitKey, first: int) -> None:
        limits: dict[str, object] = {
            "min_decryption_version": max(first, key.oldest_decrypting),
            "min_encryption_version": max(first, key.oldest_encrypting),  # trimming asks for one
        }
        path = f"{self._mount}/keys/{name}"
        try:
            self._session.post(f"{path}/config", limits)
            self._session.post(f"{path}/trim", {"min_available_version": first})
        except InvalidRequest:
            raise KeyRefused(f"the versions of {name} below {first} cannot be trimmed") from None

    def describe(self, key: str) -> list[KekInfo]:
        name = self._named(key)
        found = self._read(name)
        first = max(1, found.latest - VERSIONS_MAX + 1)
        return [
            KekInfo(
                f"{name}:v{version}",
                found.created_ms.get(version),
                _state(found, version),
                version == found.latest,
            )
            for version in range(first, found.latest + 1)
        ]

    def close(self) -> None:
        self._session.close()

    # -- the key ---------------------------------------------------------------------------------------------

    def _named(self, key: str) -> str:
        name = key or self._key
        if _NAME.fullmatch(name) is None:
            raise KeyGone("a transit key's name is letters, digits, _, - and . only")
        return name

    def _read(self, name: str) -> TransitKey:
        """Raises KeyProviderError: KeyGone without it, KeyRefused when it is not a kind we can use."""
        try:
            answer = self._session.get(f"{self._mount}/keys/{name}")
        except KeyGone:
            raise KeyGone(f"there is no key {name}") from None
        if answer.get("type") not in AEAD_TYPES or answer.get("derived"):
            raise KeyRefused(
                f"{name} is of a type that binds no associated data: make it with type aes256-gcm96 "
                "and derived=false"
            )
        try:
            return _parse(answer)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ProviderUnavailable(f"{name}: not as a transit engine answers") from None


def open_vault(config: EncryptionConfig) -> VaultProvider:
    """The factory of `key_source: vault`. Connects to nothing yet."""
    return VaultProvider(config.vault)


def _parse(answer: Mapping[str, Any]) -> TransitKey:
    return TransitKey(
        latest=int(answer["latest_version"]),
        oldest=max(1, int(answer.get("min_available_version", 0))),
        oldest_decrypting=int(answer.get("min_decryption_version", 1)),
        oldest_encrypting=int(answer.get("min_encryption_version", 0)),
        created_ms={int(version): int(seconds) * 1000 for version, seconds in answer["keys"].items()},
        usable=not answer.get("soft_deleted", False),
    )


def _state(key: TransitKey, version: int) -> KekState:
    if version < key.oldest:
        return "destroyed"
    return "enabled" if key.usable and version >= key.oldest_decrypting else "disabled"


def _split(key_id: str) -> tuple[str, int]:
    found = _ID.fullmatch(key_id)
    if found is None:
        raise KeyGone("a KEK's id is NAME:vVERSION")
    return found["name"], int(found["version"])


def _associated(context: Mapping[str, str]) -> str:
    """One text for one context, whatever order it was built in."""
    return b64encode(json.dumps(sorted(context.items()), separators=(",", ":")).encode()).decode()
