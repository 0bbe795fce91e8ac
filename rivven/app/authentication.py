"""Building authentication: users, decoys, mechanisms, and who hears when one of them changes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rivven.app.failures import ExitCode, StartFailed
from rivven.clock import Clock
from rivven.config.models import Config
from rivven.metadata.records import ScramDeleted, ScramUpserted
from rivven.metadata.service import MetadataService
from rivven.metadata.users import DynamicUsers, UserForgotten, UserSettingsChanged
from rivven.security.authn.authenticator import AuthenticatorSource
from rivven.security.authn.credentials import Decoys, Shape
from rivven.security.authn.external_names import ExternalNames, OwnNames
from rivven.security.authn.services import AuthenticationServices
from rivven.security.authn.sources import load_authenticators
from rivven.security.authn.users import Users
from rivven.security.authn.verification import PasswordVerifications
from rivven.security.extensions import UnknownExtension
from rivven.security.sessions import Sessions
from rivven.tasks import Tasks
from rivven.telemetry import Metrics

if TYPE_CHECKING:
    from rivven.app.users_file import UsersFile

_OF_USERS = (ScramUpserted, ScramDeleted, UserSettingsChanged, UserForgotten)


class Authentication:
    """What one broker authenticates with; built once the metadata is open. `decoy_key` is the secret that
    answers about unknown users come from. Raises StartFailed."""

    def __init__(
        self, config: Config, metadata: MetadataService, clock: Clock, metrics: Metrics, decoy_key: bytes
    ) -> None:
        self.users = Users(DynamicUsers(lambda: metadata.image))
        shapes = [Shape(one.iterations, one.salt_bytes) for one in config.auth.scram.decoy_shapes]
        decoys = self.decoys = Decoys(decoy_key, shapes)
        self._passwords = PasswordVerifications(
            self.users, lambda user: decoys.password(user, self.users.argon2), clock, os.urandom
        )
        metrics.watch_passwords(
            lambda: self._passwords.waiting,
            lambda: self._passwords.derivations,
            lambda: self._passwords.refused_for_room,
        )
        self.services = AuthenticationServices(self.users, decoys, self._passwords)
        super_users = frozenset(one.partition(":")[2] for one in config.authorization.super_users)
        self.external_names = ExternalNames(OwnNames(self.users, super_users))
        self._file: UsersFile | None = None
        if config.auth.users_file is not None:
            from rivven.app.users_file import UsersFile  # with its YAML parser, which others do not need

            self._file = UsersFile(config.auth.users_file, self.users, metrics)
            self._file.load()
        metadata.on_commit(self._committed)

    def start(self, sessions: Sessions, tasks: Tasks) -> None:
        """End sessions when their user loses what they rest on, and watch the users file."""
        users = self.users
        sessions.validators.append(
            lambda subject, credential: users.no_longer_valid(credential, subject.groups)
        )
        if self._file is not None:
            self._file.changed = lambda: sessions.recheck_soon("the users file changed")
            tasks.spawn(self._file.follow(), "users file")

    def close(self) -> None:
        """Stop checking passwords."""
        self._passwords.close()

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
