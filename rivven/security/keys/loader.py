"""Finds the key provider that the configuration names: built-in ones first, then entry points.

At start-up only. A provider whose package is not installed stops the start with the name of the extra.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rivven.config.storage import EncryptionConfig
from rivven.security.extensions import Extensions, UnknownExtension
from rivven.security.keys.observed_provider import ObservedProvider
from rivven.security.keys.provider import ENTRY_POINTS, KeyProviderError, KeyRefused

PROVIDERS: Final = Extensions(
    ENTRY_POINTS,
    {
        "file": "rivven.security.keys.keyring_file:open_keyring",
        "kms": "rivven.security.keys.kms:open_kms",
        "vault": "rivven.security.keys.vault:open_vault",
    },
    {"kms": "aws", "vault": "vault"},
)


def load_provider(
    config: EncryptionConfig, data_dir: Path, providers: Extensions = PROVIDERS
) -> ObservedProvider:
    """The provider of `storage.encryption`; its factory gets the section with `key_directory` filled in.

    Imports packages, and blocks where the factory does. Raises UnknownExtension with what to install, and
    KeyProviderError.
    """
    factory = providers.load(config.key_source)
    section = config.model_copy(update={"key_directory": config.key_directory_of(data_dir)})
    try:
        return ObservedProvider(factory(section))
    except KeyProviderError:
        raise
    except ImportError as error:
        raise UnknownExtension(
            f"storage.encryption.key_source {config.key_source!r}: {error.name} is not installed"
        ) from None
    except Exception as error:  # noqa: BLE001 - its text may hold secrets
        raise KeyRefused(
            f"the key provider {config.key_source} cannot be made: {type(error).__name__}"
        ) from None
