"""The section `storage`: whether data is encrypted on disk, and who keeps the keys.

Values and their contradictions only; nothing is opened here. The keys `enabled`, `algorithm`, `key_source`,
`key_rotation_days` and `kms` are those of the Rivven security document.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from rivven.config.secrets import SecretReference
from rivven.config.values import FilePath, Seconds, Strict

TEXT_MAX = 2_048  # characters of a key id or URL: the longest ARN
OPTIONS_MAX = 64  # settings of an installed provider

Text = Annotated[str, Field(min_length=1, max_length=TEXT_MAX)]

BUILT_IN_SOURCES = ("file", "kms", "vault")


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL, https://host:port")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must be a URL without user, password, query or fragment")
    return url


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _beside(data_dir: Path) -> Path:
    """The key store of a data directory that is written as `.` or `..`."""
    absolute = _absolute(data_dir)
    return absolute.parent / f"{absolute.name}-keys"


class KeyringConfig(Strict):
    """KEKs in a file of this machine."""

    path: FilePath | None = Field(
        default=None, description="The keyring; keyring in key_directory by default. Mode 0600."
    )
    passphrase: SecretReference | None = Field(
        default=None,
        description="Passphrase the keyring is sealed with (Argon2id), as file:PATH or env:NAME.",
    )


class KmsConfig(Strict):
    """KEKs in a key management service."""

    provider: Literal["aws"] = Field(default="aws", description="The service.")
    key_id: Text | None = Field(
        default=None, description="Key id, ARN or alias/NAME. What is stored is always the key's own ARN."
    )
    region: Text | None = Field(default=None, description="The region; that of the environment by default.")
    endpoint_url: Text | None = Field(
        default=None, description="Another address of the service: a VPC endpoint, a FIPS one."
    )
    role_arn: Text | None = Field(default=None, description="A role to assume before every use.")
    external_id: SecretReference | None = Field(
        default=None, description="The external id that the role asks for, as file:PATH or env:NAME."
    )
    access_key_id: SecretReference | None = Field(
        default=None,
        description="Credentials of a user; by default the SDK's own chain (environment, profile, instance).",
    )
    secret_access_key: SecretReference | None = Field(default=None, description="With access_key_id.")
    timeout_secs: Seconds = Field(default=5.0, description="Until a call is given up.")
    deletion_days: int = Field(
        default=7, ge=7, le=30, description="How long the service waits before it destroys a key."
    )
    ca_path: FilePath | None = Field(
        default=None, description="The authorities trusted for the service; the SDK's by default."
    )

    @field_validator("endpoint_url")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        return url if url is None else _check_url(url)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> KmsConfig:
        if (self.access_key_id is None) is not (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key go together")
        if self.external_id is not None and self.role_arn is None:
            raise ValueError("external_id has no meaning without role_arn")
        return self


_AUTH_FIELDS: dict[str, frozenset[str]] = {
    "token": frozenset({"token"}),
    "approle": frozenset({"role_id", "secret_id", "mount"}),
    "kubernetes": frozenset({"role", "jwt_path", "mount"}),
}
"""What each way to authenticate understands besides `method`."""
_GIVEN = frozenset[str]().union(*_AUTH_FIELDS.values())


class VaultAuthConfig(Strict):
    """How to log in to a transit server."""

    method: Literal["token", "approle", "kubernetes"] = Field(default="token", description="The way.")
    token: SecretReference | None = Field(default=None, description="For token, as file:PATH or env:NAME.")
    role_id: Text | None = Field(default=None, description="For approle, the role's id.")
    secret_id: SecretReference | None = Field(
        default=None, description="For approle, as file:PATH or env:NAME."
    )
    role: Text | None = Field(default=None, description="For kubernetes, the role's name.")
    jwt_path: FilePath | None = Field(
        default=None,
        description=("For kubernetes, the service account's token; by default the file every pod has of it."),
    )
    mount: Text | None = Field(
        default=None, description="For approle and kubernetes, where it is mounted; its own name by default."
    )

    @model_validator(mode="after")
    def _fits_its_method(self) -> VaultAuthConfig:
        for name in sorted(_GIVEN - _AUTH_FIELDS[self.method]):
            if getattr(self, name) is None:
                continue
            raise ValueError(f"{name}: means nothing for method {self.method}")
        if self.method == "approle" and (self.role_id is None or self.secret_id is None):
            raise ValueError("method approle needs role_id and secret_id")
        if self.method == "kubernetes" and self.role is None:
            raise ValueError("method kubernetes needs role")
        return self


class VaultConfig(Strict):
    """KEKs in the transit engine of Vault or OpenBao."""

    address: Text | None = Field(default=None, description="The server, as https://vault.example.com:8200.")
    mount: Text = Field(default="transit", description="Where the transit engine is mounted.")
    key: Text = Field(default="rivven", description="The name of the key in it.")
    namespace: Text | None = Field(default=None, description="The namespace, where the server has them.")
    ca_path: FilePath | None = Field(
        default=None, description="The authorities trusted for the server; the system's by default."
    )
    timeout_secs: Seconds = Field(default=5.0, description="Until a call is given up.")
    auth: VaultAuthConfig = Field(default=VaultAuthConfig(), description="How to log in.")

    @field_validator("address")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        return url if url is None else _check_url(url)


_SOURCES = {"file": KeyringConfig(), "kms": KmsConfig(), "vault": VaultConfig(), "options": dict[str, str]()}
"""The sections of one key source only, and what they are when nobody wrote them."""


class EncryptionConfig(Strict):
    """Encryption of everything in the data directory."""

    enabled: bool = Field(
        default=False, description="Whether what is written from now on is encrypted; topics can differ."
    )
    algorithm: Literal["aes-256-gcm", "chacha20-poly1305"] = Field(
        default="aes-256-gcm", description="How new segments are sealed."
    )
    key_source: Text = Field(
        default="file",
        description="Who keeps the KEKs: file, kms, vault, or the name of an installed provider.",
    )
    key_rotation_days: int = Field(
        default=0, ge=0, le=3_650, description="Age at which a new KEK is made; 0 for never."
    )
    key_directory: FilePath | None = Field(
        default=None,
        description=(
            "The key store; the data directory's name with -keys by default. Never inside the data "
            "directory, never in the same backup."
        ),
    )
    provider_timeout_secs: Seconds = Field(
        default=60.0, description="How long a start waits for a provider that is out of reach."
    )
    data_keys_max: int = Field(
        default=4_096, ge=16, le=1_000_000, description="Keys of closed segments kept in memory."
    )
    data_key_lifetime_secs: Seconds = Field(
        default=3_600.0, description="How long an unused one of them is kept."
    )
    hot_tail_bytes: int = Field(
        default=67_108_864, ge=0, le=1 << 40, description="Newest batches kept decrypted in memory."
    )
    reencrypt_bytes_per_second: int = Field(
        default=50_000_000, ge=65_536, le=1 << 40, description="Speed of re-encryption in the background."
    )
    file: KeyringConfig = Field(default=KeyringConfig(), description="For key_source: file.")
    kms: KmsConfig = Field(default=KmsConfig(), description="For key_source: kms.")
    vault: VaultConfig = Field(default=VaultConfig(), description="For key_source: vault.")
    options: dict[str, str] = Field(
        default={}, max_length=OPTIONS_MAX, description="Settings of an installed key provider."
    )

    def key_directory_of(self, data_dir: Path) -> Path:
        """Where the key store is."""
        if self.key_directory is not None:
            return self.key_directory
        return data_dir.with_name(f"{data_dir.name}-keys") if data_dir.name.strip(".") else _beside(data_dir)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> EncryptionConfig:
        own = self.key_source if self.key_source in BUILT_IN_SOURCES else "options"
        for name, default in _SOURCES.items():
            if name != own and getattr(self, name) != default:
                raise ValueError(f"{name}: means nothing for key_source {self.key_source}")
        if self.key_source == "kms" and self.kms.key_id is None:
            raise ValueError("key_source kms needs kms.key_id")
        if self.key_source == "vault":
            if self.vault.address is None:
                raise ValueError("key_source vault needs vault.address")
            if self.vault.auth.method == "token" and self.vault.auth.token is None:
                raise ValueError("vault.auth: method token needs token")
        return self


class StorageConfig(Strict):
    """What is on the disk."""

    encryption: EncryptionConfig = Field(
        default=EncryptionConfig(), description="Encryption at rest and the keys for it."
    )

    def problem(self, data_dir: Path) -> str | None:
        """What is wrong with these values for a data directory, ``key: reason``."""
        if "encryption" not in self.model_fields_set:
            return None
        place = _absolute(self.encryption.key_directory_of(data_dir))
        data = _absolute(data_dir)
        if place == data or data in place.parents:
            return "encryption.key_directory: lies in data_dir; whoever copies the data must not get its keys"
        keyring = self.encryption.file.path
        if keyring is not None and data in _absolute(keyring).parents:
            return "encryption.file.path: lies in data_dir; whoever copies the data must not get its keys"
        return None
