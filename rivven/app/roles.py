"""The roles of one broker: built-in, of the roles file - read again when it changes - and of the metadata."""

from __future__ import annotations

import logging
from pathlib import Path

from rivven.app.failures import ExitCode, StartFailed
from rivven.config.models import Config
from rivven.metadata.roles import Roles
from rivven.metadata.service import MetadataService
from rivven.security.authz.roles import FileRoles, RoleDirectory, UserRoles
from rivven.security.authz.roles_file import FILE_BYTES_MAX, parse_roles
from rivven.tasks import Tasks
from rivven.watched_files import WatchedFiles

_log = logging.getLogger("rivven.authorization")


def open_roles(config: Config, metadata: MetadataService, users: UserRoles, tasks: Tasks) -> RoleDirectory:
    """The role directory; with a roles file it is loaded and watched from now on. Raises StartFailed."""
    directory = RoleDirectory(lambda: metadata.image.of(Roles), users)
    path = config.authorization.rbac.file
    if path is not None:
        file = RolesFile(path, directory)
        file.open()
        tasks.spawn(file.watched.run(), "watch the roles file")
    return directory


class RolesFile:
    """Keeps a directory's file roles up to date; a file that cannot be used leaves the last good ones."""

    def __init__(self, path: Path, directory: RoleDirectory, key: str = "authorization.rbac.file") -> None:
        self._path = path
        self._key = key
        self._directory = directory
        self.watched = WatchedFiles("the roles file", lambda: [path], self.reload)

    def open(self) -> None:
        """The first load. Raises StartFailed."""
        self.watched.mark()
        try:
            self._load()
        except (OSError, ValueError) as error:
            raise StartFailed(
                f"{self._key}: {error}",
                "correct the roles file, or name another",
                ExitCode.CONFIG,
            ) from None

    def reload(self) -> None:
        """Take over a changed file, if it can be used."""
        try:
            roles = self._load()
        except (OSError, ValueError) as error:
            _log.error("the changed roles file is not used, the roles from before stay: %s", error)
        else:
            _log.info("roles file loaded: %d roles, %d bindings", len(roles.roles), len(roles.bindings))

    def _load(self) -> FileRoles:
        with self._path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
        roles = parse_roles(text, self._path.name, self._directory.stored_names())
        self._directory.replace_file(roles)
        return roles
