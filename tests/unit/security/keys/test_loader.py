"""Key providers by name, and what becomes of what they raise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rivven.config.storage import EncryptionConfig
from rivven.security.extensions import Extensions, UnknownExtension
from rivven.security.keys.loader import PROVIDERS, load_provider
from rivven.security.keys.observed_provider import OPERATIONS, OUTCOMES, ObservedProvider
from rivven.security.keys.provider import (
    KeyGone,
    KeyMismatch,
    KeyProviderError,
    KeyRefused,
    ProviderUnavailable,
    WrappedKey,
)
from tests.unit.security.keys.scripted_provider import ScriptedProvider

HERE = "tests.unit.security.keys.test_loader"
TOKEN = "hvs.secret-token"


class HalfAProvider:
    """What a small package may bring: wrapping, and failures of its own."""

    name = "half"

    def __init__(self, config: EncryptionConfig) -> None:
        self.config = config

    def current_id(self, key: str) -> str:
        return "half-1"

    def wrap(self, key: str, plain: bytes, context: object) -> WrappedKey:
        raise ConnectionError(f"POST https://vault/?token={TOKEN}")

    def unwrap(self, wrapped: WrappedKey, context: object) -> bytes:
        return self.config.no_such_key  # type: ignore[attr-defined,no-any-return]

    def close(self) -> None:
        """There is nothing to close."""


def broken(config: EncryptionConfig) -> object:
    raise RuntimeError(f"bad token {TOKEN}")


def half() -> ObservedProvider:
    return load_provider(
        EncryptionConfig(key_source="half"),
        Path("data"),
        Extensions("rivven.key_providers", {"half": f"{HERE}:HalfAProvider"}),
    )


def test_the_keyring_is_beside_the_data_unless_the_configuration_says_else(private_path: Path) -> None:
    (private_path / "data-keys").mkdir(mode=0o700)
    provider = load_provider(EncryptionConfig(), private_path / "data")
    assert provider.name == "file"
    with pytest.raises(KeyGone, match=str(private_path / "data-keys" / "keyring")):
        provider.current_id("")


def test_every_built_in_source_has_a_row() -> None:
    from rivven.config.storage import BUILT_IN_SOURCES

    assert tuple(PROVIDERS.names())[:3] == BUILT_IN_SOURCES


def test_an_unknown_provider_and_a_missing_package_say_what_to_do() -> None:
    with pytest.raises(UnknownExtension, match="did you mean 'vault'"):
        load_provider(EncryptionConfig(key_source="vaults"), Path("data"))
    missing = Extensions("rivven.key_providers", {"kms": "no_such_package:open"}, {"kms": "aws"})
    with pytest.raises(UnknownExtension, match=r"install rivven\[aws\]"):
        load_provider(EncryptionConfig(key_source="kms", kms={"key_id": "x"}), Path("data"), missing)


def test_a_provider_that_cannot_be_made_says_so_without_its_own_words() -> None:
    table = Extensions("rivven.key_providers", {"broken": f"{HERE}:broken"})
    with pytest.raises(KeyRefused, match="provider broken cannot be made: RuntimeError") as refused:
        load_provider(EncryptionConfig(key_source="broken"), Path("data"), table)
    assert TOKEN not in repr(refused.value)
    assert refused.value.__suppress_context__


def test_what_a_provider_raises_becomes_an_error_of_the_seam_without_its_words() -> None:
    provider = half()
    with pytest.raises(ProviderUnavailable, match="half failed: ConnectionError") as failed:
        provider.wrap("", b"x", {})
    assert TOKEN not in repr(failed.value) and failed.value.__suppress_context__
    with pytest.raises(ProviderUnavailable, match="half failed: AttributeError"):
        provider.unwrap(WrappedKey("half", "half-1", b""), {})


def test_a_provider_without_a_lifecycle_refuses_it_by_name() -> None:
    provider = half()
    assert provider.current_id("") == "half-1"
    for call in (lambda: provider.rotate(""), lambda: provider.destroy("x"), lambda: provider.describe("")):
        with pytest.raises(KeyRefused, match="half cannot"):
            call()
    provider.close()


def test_calls_are_counted_by_what_came_of_them() -> None:
    scripted = ScriptedProvider()
    provider = ObservedProvider(scripted)
    wrapped = provider.wrap("", b"plain", {})
    kinds: dict[str, Callable[[], KeyProviderError]] = {
        "unavailable": lambda: ProviderUnavailable("x"),
        "refused": lambda: KeyRefused("x"),
        "gone": lambda: KeyGone("x"),
        "mismatch": lambda: KeyMismatch("x"),
        "failed": lambda: KeyProviderError("x"),
    }
    for outcome, made in kinds.items():
        scripted.failure = lambda _call, _use, made=made: made()
        with pytest.raises(KeyProviderError):
            provider.unwrap(wrapped, {})
        assert provider.calls("unwrap", outcome) == 1
    assert provider.calls("wrap", "ok") == 1
    assert sum(provider.calls(one, outcome) for one in OPERATIONS for outcome in OUTCOMES) == 6
