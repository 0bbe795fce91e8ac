"""The users file while the broker runs: loaded at the start, taken over when its content changes.

A file that cannot be taken over - a typing error, a name the metadata has too - leaves the users as they
were; the log says why and a metric shows it until the file is right again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from rivven.app.failures import ExitCode, StartFailed
from rivven.security.authn.user_files import UsersFileError, read_users_file
from rivven.security.authn.users import FileUser, UserConflict, Users
from rivven.telemetry import Metrics
from rivven.watched_files import WatchedFiles

_log = logging.getLogger("rivven.auth")


class UsersFile:
    """Belongs to the event loop. `changed` is called after users of the file have changed."""

    def __init__(self, path: Path, users: Users, metrics: Metrics) -> None:
        self._path = path
        self._users = users
        self._metrics = metrics
        self._files = WatchedFiles("the users file", lambda: [path], self._reload)
        self._changed: Callable[[], object] = lambda: None

    def load(self) -> None:
        """Take the users over at the start. Raises StartFailed."""
        self._files.mark()
        try:
            self._take(*read_users_file(self._path))
        except UsersFileError as error:
            raise StartFailed(f"auth.users_file: {error}", "mend the users file", ExitCode.CONFIG) from None
        except UserConflict as error:
            raise StartFailed(
                f"auth.users_file: {self._path}: {error}",
                "take these users out of the file, or start without it and delete them: rivven user delete",
                ExitCode.CONFIG,
            ) from None
        self._metrics.users_file_reloaded(True)

    async def follow(self, changed: Callable[[], object]) -> None:
        """Watch the file until cancelled."""
        self._changed = changed
        await self._files.run()

    async def _reload(self) -> None:
        try:
            self._take(*await asyncio.to_thread(read_users_file, self._path))
        except (UsersFileError, UserConflict) as error:
            self._metrics.users_file_reloaded(False)
            _log.error("the users file is not taken over, its last good content counts: %s", error)
            return
        self._metrics.users_file_reloaded(True)
        self._changed()

    def _take(self, users: dict[str, FileUser], warning: str | None) -> None:
        self._users.replace_file_users(users)
        if warning is not None:
            _log.warning("%s", warning)
        _log.info("%s holds %s users", self._path, len(users))
