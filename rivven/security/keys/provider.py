"""The seam to whoever keeps the key encryption keys (KEKs): a keyring file, a KMS, a transit server. Pure.

A provider wraps small keys of ours and opens them again; its own keys never leave it. Every call may block
for as long as the provider's own time limits allow, so it runs on a thread; every call is thread-safe. No
error names anything that is secret: neither keys, nor tokens, nor what was to be wrapped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol
from uuid import UUID

from rivven.errors import StorageFailed

ENTRY_POINTS: Final = "rivven.key_providers"
"""Entry point group: a factory that takes the section `storage.encryption` and returns a `BuiltInProvider`
(or, for a package, at least a `KeyProvider`)."""

PLAIN_BYTES_MAX: Final = 4096
"""Largest key that is wrapped: what AWS KMS encrypts at most."""

BLOB_BYTES_MAX: Final = 16_384
"""Largest wrapped key that is stored: KMS answers at most 6,144 bytes, transit servers base64 of little more
than the plain bytes."""

KEY_ID_CHARACTERS_MAX: Final = 2_048
"""Longest id of a KEK: a KMS ARN has at most 2,048 characters."""

KekState = Literal["enabled", "disabled", "pending-destruction", "destroyed"]


class KeyProviderError(StorageFailed):
    """What a provider could not do; the text is one line without secrets."""


class ProviderUnavailable(KeyProviderError):
    """The provider is out of reach or overloaded: the same call may succeed later."""


class KeyRefused(KeyProviderError):
    """The provider says no: access denied, key disabled, or an operation it does not offer."""


class KeyGone(KeyProviderError):
    """The KEK is not known to the provider: never made there, or destroyed."""


class KeyMismatch(KeyProviderError):
    """A wrapped key does not open: another KEK, another context, or changed bytes."""


class WrappedKey(NamedTuple):
    """A key as it may be stored: only the provider can open it."""

    provider: str
    """Name of the provider, as in `storage.encryption.key_source`."""
    key_id: str
    """The resolved id of the version of the KEK: "k3" in a keyring, a key's ARN, "name:v3" in transit."""
    blob: bytes


class Destruction(NamedTuple):
    """How far the destruction of a KEK is."""

    complete: bool
    """The provider has confirmed that nobody, not even it, can use the KEK again."""
    until_ms: int | None = None
    """When it will be complete, if the provider waits (milliseconds since 1970); None if complete."""


class KekInfo(NamedTuple):
    """A KEK as its provider describes it."""

    key_id: str
    created_ms: int | None
    state: KekState
    current: bool
    """Whether `wrap` uses it now."""


class KeyProvider(Protocol):
    """Wraps and unwraps. `key` names a KEK of the provider; "" is the one of the configuration."""

    @property
    def name(self) -> str:
        """The provider's name, as in the configuration."""
        ...

    def current_id(self, key: str) -> str:
        """The id of the newest version of a KEK. Raises KeyProviderError."""
        ...

    def wrap(self, key: str, plain: bytes, context: Mapping[str, str]) -> WrappedKey:
        """Wrap at most PLAIN_BYTES_MAX bytes under the newest version; bound to `context`.

        Raises KeyProviderError.
        """
        ...

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        """The plain bytes. Raises KeyProviderError: KeyMismatch when the context is not that of `wrap`."""
        ...


class KeyLifecycle(Protocol):
    """What `rivven keys` needs of a provider; every built-in one has it."""

    def rotate(self, key: str) -> str:
        """Make a new version or KEK, current from now on, durably; its id. Raises KeyProviderError."""
        ...

    def destroy(self, key_id: str) -> Destruction:
        """Destroy a KEK for ever, or ask again how far that is. Never the current one: KeyRefused. KeyGone is
        taken for its destruction, and so not raised where it may merely not be seen."""
        ...

    def state(self, key_id: str) -> KekState:
        """Where one KEK is now; changes nothing. "destroyed" only where the provider has confirmed that, not
        where it may merely not be seen. Raises KeyProviderError: KeyGone for one never heard of, if the
        provider can tell that."""
        ...

    def describe(self, key: str) -> list[KekInfo]:
        """The KEKs known for a key, oldest first, exactly one of them current. Raises KeyProviderError."""
        ...

    def close(self) -> None:
        """Give connections back; never raises."""
        ...


class BuiltInProvider(KeyProvider, KeyLifecycle, Protocol):
    """Both halves."""


@dataclass(frozen=True, slots=True)
class KeyContext:
    """What a wrapped key is for; bound to it by the provider, so that it opens nowhere else."""

    cluster: str

    def metadata(self) -> dict[str, str]:
        """The context of the metadata key."""
        return {"cluster": self.cluster, "purpose": "metadata"}

    def topic(self, topic_id: UUID) -> dict[str, str]:
        """The context of the keys of one incarnation of a topic."""
        return {"cluster": self.cluster, "purpose": "topic", "topic": str(topic_id)}
