"""Whether this broker can honour encryption settings of a topic; asked before the metadata decides.

Handlers use it after they have authorised the asker. Without keys a topic must not be told that it is
encrypted, and a key that the provider does not have would take the topic offline later.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from rivven.errors import InvalidConfig

ENABLED, KEY = "encryption.enabled", "encryption.key"


class KeyNames(Protocol):
    """The keys a provider has, by the names that topics use."""

    async def check(self, name: str) -> None:
        """Raises InvalidConfig when the provider has no such key, another RivvenError when it cannot say."""
        ...


class EncryptionRule:
    """`names` is None on a broker without keys."""

    def __init__(self, names: KeyNames | None) -> None:
        self._names = names

    async def check(self, settings: Iterable[tuple[str, str | None]]) -> None:
        """Judge settings that a topic is to get. Raises InvalidConfig, or what `KeyNames.check` raises."""
        for name, text in settings:
            value = (text or "").strip()
            if name == KEY and value:
                if self._names is None:
                    raise InvalidConfig(f"{KEY}: {_NO_KEYS}")
                await self._names.check(value)
            elif name == ENABLED and value.lower() == "true" and self._names is None:
                raise InvalidConfig(f"{ENABLED}: {_NO_KEYS}")


_NO_KEYS = "this broker has no keys; storage.encryption has to be set up first"
