"""Building authentication: users, decoys, mechanisms, and who hears when one of them changes."""

from __future__ import annotations

import os
from typing import Any

from rivven.app.failures import ExitCode, StartFailed
from rivven.config.models import Config
from rivven.metadata.records import ScramDeleted, ScramUpserted
from rivven.metadata.service import MetadataService
from rivven.metadata.users import DynamicUsers, UserForgotten, UserSettingsChanged
from rivven.security.authn.authenticator import AuthenticatorSource
from rivven.security.authn.credentials import Decoys
from rivven.security.authn.services import AuthenticationServices
from rivven.security.authn.sources import load_authenticators
from rivven.security.authn.users import Users
from rivven.security.bootstrap import load_decoy_key
from rivven.security.extensions import UnknownExtension

_OF_USERS = (ScramUpserted, ScramDeleted, UserSettingsChanged, UserForgotten)


class Authentication:
    """What one broker authenticates with; built once the metadata is open."""

    def __init__(self, config: Config, metadata: MetadataService) -> None:
        self.users = Users(DynamicUsers(lambda: metadata.image))
        decoys = Decoys(load_decoy_key(config.data_dir, os.urandom))
        self.services = AuthenticationServices(self.users, decoys)
        metadata.on_commit(self._committed)

    def _committed(self, events: tuple[Any, ...]) -> None:
        if any(isinstance(event, _OF_USERS) for event in events):
            self.users.changed()


def load_mechanisms(config: Config) -> AuthenticatorSource:
    """The factories of every mechanism some listener offers. Raises StartFailed."""
    try:
        return load_authenticators({name for listener in config.listeners for name in listener.sasl})
    except UnknownExtension as error:
        raise StartFailed(
            f"listeners.sasl: {error}", "name an installed mechanism", ExitCode.CONFIG
        ) from None
