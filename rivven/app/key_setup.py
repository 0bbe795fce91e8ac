"""`rivven keys init`: the first keys of a stopped broker. It replaces nothing that exists."""

from __future__ import annotations

import asyncio
import json

from rivven.app.failures import ExitCode, StartFailed
from rivven.app.metadata import offline_metadata
from rivven.config.models import Config
from rivven.security.keys.bootstrap import BOOTSTRAP_NAME
from rivven.security.keys.keyring_file import KEYRING_NAME


def make_keys(config: Config) -> dict[str, str]:
    """Make keyring, key store and bootstrap file, and seal the metadata; what was made where.

    Raises StartFailed, also where there are keys already.
    """
    settings = config.storage.encryption
    bootstrap = config.data_dir / BOOTSTRAP_NAME
    if not settings.enabled:
        raise StartFailed(
            "storage.encryption.enabled is false in this configuration",
            "set it to true: keys are made for what will be encrypted",
            ExitCode.CONFIG,
        )
    if bootstrap.exists():
        raise StartFailed(
            f"{bootstrap}: this data directory has keys already",
            "nothing was changed; rivven keys rotate makes a new key-encryption key",
            ExitCode.DATA_DIRECTORY,
        )
    asyncio.run(_start_once(config))
    made = json.loads(bootstrap.read_bytes())
    directory = settings.key_directory_of(config.data_dir)
    facts = {"provider": str(made["provider"]), "key_id": str(made["kek"])}
    facts |= {"metadata_key": str(bootstrap), "key_store": str(directory)}
    if settings.key_source == "file":
        facts["keyring"] = str(settings.file.path or directory / KEYRING_NAME)
    return facts


async def _start_once(config: Config) -> None:
    """As far as a start goes that reads the metadata: keys are made on the way, and the journal is sealed."""
    async with offline_metadata(config):
        pass
