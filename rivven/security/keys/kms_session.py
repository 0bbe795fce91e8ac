"""Credentials, region and limits of requests to AWS: what every client of the provider `kms` is made with.

A driver; needs the extra `aws`. It asks nobody for a key. Secrets of the configuration go to the SDK and are
not kept beside it.
"""

from __future__ import annotations

import re
from typing import Any, Final

import boto3
import botocore.session
from botocore.config import Config as ClientConfig
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    DeferredRefreshableCredentials,
)

from rivven.config.storage import KmsConfig
from rivven.security.keys.provider import KeyRefused, ProviderUnavailable

ATTEMPTS: Final = 2
"""Of one call; who calls tries again by itself, with longer pauses."""
CONNECTIONS_MAX: Final = 16
"""Calls at a time, of start-up with many topics."""
ROLE_SESSION_NAME: Final = "rivven"

ARN: Final = re.compile(r"arn:[\w-]+:kms:(?P<region>[\w-]+):(?P<account>\d{12}):(?P<resource>[\w:/.-]+)$")
"""Of a key or an alias."""


def client_config(config: KmsConfig) -> ClientConfig:
    """Limits of every client: the attempts together take about `timeout_secs`."""
    return ClientConfig(
        connect_timeout=config.timeout_secs / ATTEMPTS,
        read_timeout=config.timeout_secs / ATTEMPTS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=CONNECTIONS_MAX,
    )


def open_session(config: KmsConfig) -> Any:
    """Credentials: those of the configuration or the SDK's own chain, and the role taken with them."""
    core = botocore.session.Session()
    if config.access_key_id is not None and config.secret_access_key is not None:
        try:
            core.set_credentials(config.access_key_id.reveal(), config.secret_access_key.reveal())
        except ValueError as error:  # names the reference, not what it holds
            raise KeyRefused(f"storage.encryption.kms: {error}") from None
    if config.role_arn is None:
        return boto3.Session(botocore_session=core)
    role = botocore.session.Session()
    role.register_component("credential_provider", CredentialResolver([_AssumedRole(core, config)]))
    return boto3.Session(botocore_session=role)


class _AssumedRole(CredentialProvider):  # type: ignore[misc]
    """Credentials of a role, taken again before they expire."""

    METHOD = "assume-role"
    CANONICAL_NAME = "custom-rivven-role"

    def __init__(self, source: Any, config: KmsConfig) -> None:
        super().__init__()
        self._source = source
        self._config = config

    def load(self) -> Any:
        return DeferredRefreshableCredentials(refresh_using=self._take, method=self.METHOD)

    def _take(self) -> Any:
        config = self._config
        arguments = {"RoleSessionName": ROLE_SESSION_NAME}
        if config.external_id is not None:
            try:
                arguments["ExternalId"] = config.external_id.reveal()
            except ValueError as error:
                raise KeyRefused(f"storage.encryption.kms.external_id: {error}") from None
        credentials = self._source.get_credentials()
        if credentials is None:
            raise ProviderUnavailable("no credentials to assume the role with")
        fetcher = AssumeRoleCredentialFetcher(
            self._sts, credentials, config.role_arn, extra_args=arguments, expiry_window_seconds=None
        )
        return fetcher.fetch_credentials()

    def _sts(self, service: str, **parameters: Any) -> Any:
        """A client of the token service in the key's region, with the limits of all others."""
        region = self._config.region or region_of(str(self._config.key_id))
        return self._source.create_client(
            service, region_name=region, config=client_config(self._config), **parameters
        )


def region_of(name: str) -> str | None:
    """The region an ARN names."""
    arn = ARN.match(name)
    return arn["region"] if arn is not None else None
