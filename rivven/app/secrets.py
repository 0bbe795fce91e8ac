"""The secrets a broker makes once, for the parts that need them: loaded or made, or the start ends."""

from __future__ import annotations

import os
from typing import Final

from rivven.app.failures import ExitCode, StartFailed
from rivven.security.authn.token_text import HASH_KEYS_MAX
from rivven.security.keys.provider import KeyProviderError
from rivven.security.keys.secrets import SCRAM_DECOY, TOKEN_HASH, Secrets

KEY_BYTES: Final = 32


def decoy_key(secrets: Secrets) -> bytes:
    """The key that makes answers about unknown users stable across restarts. Raises StartFailed."""
    return _key(secrets, SCRAM_DECOY, "restore the file, or remove it: unknown users then get other answers")


def token_key(secrets: Secrets) -> bytes:
    """The keys under which API tokens are hashed, the newest first; tokens hashed with a lost one are refused
    as passwords and bearer texts. Raises StartFailed."""
    hint = "restore the file, or remove it: tokens made before are then refused"
    return _key(secrets, TOKEN_HASH, hint, HASH_KEYS_MAX)


def _key(secrets: Secrets, name: str, hint: str, keys_max: int = 1) -> bytes:
    try:
        key = secrets.load_or_create(name, lambda: os.urandom(KEY_BYTES))
    except KeyProviderError as error:
        raise StartFailed(f"the {name} key cannot be read: {error}", hint, ExitCode.DATA_DIRECTORY) from None
    if len(key) not in range(KEY_BYTES, keys_max * KEY_BYTES + 1, KEY_BYTES):
        reason = f"the {name} key has {len(key)} bytes instead of {KEY_BYTES}"
        raise StartFailed(reason, hint, ExitCode.DATA_DIRECTORY)
    return key
