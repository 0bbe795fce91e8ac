"""The secrets a broker makes once, for the parts that need them: loaded or made, or the start ends."""

from __future__ import annotations

import os
from typing import Final

from rivven.app.failures import ExitCode, StartFailed
from rivven.security.keys.provider import KeyProviderError
from rivven.security.keys.secrets import SCRAM_DECOY, TOKEN_HASH, Secrets

KEY_BYTES: Final = 32


def decoy_key(secrets: Secrets) -> bytes:
    """The key that makes answers about unknown users stable across restarts. Raises StartFailed."""
    return _key(secrets, SCRAM_DECOY, "restore the file, or remove it: unknown users then get other answers")


def token_key(secrets: Secrets) -> bytes:
    """The key under which API tokens are hashed; tokens hashed with a lost one are refused as passwords and
    bearer texts. Raises StartFailed."""
    return _key(secrets, TOKEN_HASH, "restore the file, or remove it: tokens made before are then refused")


def _key(secrets: Secrets, name: str, hint: str) -> bytes:
    try:
        key = secrets.load_or_create(name, lambda: os.urandom(KEY_BYTES))
    except KeyProviderError as error:
        raise StartFailed(f"the {name} key cannot be read: {error}", hint, ExitCode.DATA_DIRECTORY) from None
    if len(key) != KEY_BYTES:
        reason = f"the {name} key has {len(key)} bytes instead of {KEY_BYTES}"
        raise StartFailed(reason, hint, ExitCode.DATA_DIRECTORY)
    return key
