"""Rotates secrets of a running broker that nothing is signed with: keys of token hashes, key of decoys.

Driver; belongs to the event loop. A secret is durable before it counts. What tokens are hashed under is kept
for as long as one of them needs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from rivven.clock import Clock
from rivven.errors import ErrorCode, RivvenError
from rivven.metadata.token_records import Token
from rivven.security.authn.credentials import Decoys
from rivven.security.authn.token_text import HASH_KEYS_MAX, TokenHashKeys
from rivven.security.keys.secrets import SCRAM_DECOY, TOKEN_HASH, Entropy, RotatedSecret, Secrets

KEY_BYTES: Final = 32

NEWEST_KEPT: Final = 2
"""Keys of token hashes that are kept in any case: a token that is just being stored may be under one."""


class SecretRotation:
    """Implements `security.keys.secrets.SecretService`."""

    def __init__(
        self,
        kept: Secrets,
        decoys: Decoys,
        keys: TokenHashKeys,
        tokens: Callable[[], Iterable[Token]],
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._secrets = kept
        self._decoys = decoys
        self._keys = keys
        self._tokens = tokens
        self._clock = clock
        self._entropy = entropy
        self._alone = asyncio.Lock()

    async def rotate(self, name: str) -> RotatedSecret:
        """A new secret, in effect when this returns. Raises RivvenError, and then nothing has changed."""
        async with self._alone:
            if name == TOKEN_HASH:
                return await self._rotate_token_hash()
            if name == SCRAM_DECOY:
                return await self._rotate_decoy()
        raise RivvenError("there is no such secret", ErrorCode.RESOURCE_NOT_FOUND)

    async def _rotate_token_hash(self) -> RotatedSecret:
        secret = await asyncio.to_thread(self._secrets.load, TOKEN_HASH)
        if secret is None or not self._is_loaded(secret):
            raise RivvenError(
                "the token-hash key is not the one that was loaded: restart the broker first",
                ErrorCode.POLICY_VIOLATION,
            )
        used = self._used()
        kept = b""
        for number, key_id in enumerate(self._keys.key_ids):
            if number < NEWEST_KEPT or key_id in used:
                kept += secret[number * KEY_BYTES : (number + 1) * KEY_BYTES]
        if len(kept) >= HASH_KEYS_MAX * KEY_BYTES:
            raise RivvenError(
                f"tokens use {HASH_KEYS_MAX} keys already: rotate or revoke the oldest tokens first",
                ErrorCode.POLICY_VIOLATION,
            )
        made = self._entropy(KEY_BYTES) + kept
        await asyncio.to_thread(self._secrets.rotate, TOKEN_HASH, lambda: made)
        self._keys.replace(made)
        return RotatedSecret(TOKEN_HASH, self._keys.key_id, len(self._keys.key_ids) - 1)

    def _is_loaded(self, secret: bytes) -> bool:
        try:
            return TokenHashKeys(secret).key_ids == self._keys.key_ids
        except ValueError:
            return False

    def _used(self) -> set[str]:
        """The keys under which a secret is stored that still proves something."""
        now_ms = self._clock.now_ms()
        return {
            secret.key_id
            for token in self._tokens()
            if token.state(now_ms) == "active"
            for _, secret in token.secrets(now_ms)
        }

    async def _rotate_decoy(self) -> RotatedSecret:
        made = self._entropy(KEY_BYTES)
        await asyncio.to_thread(self._secrets.rotate, SCRAM_DECOY, lambda: made)
        self._decoys.rekey(made)
        return RotatedSecret(SCRAM_DECOY, "", 0)
