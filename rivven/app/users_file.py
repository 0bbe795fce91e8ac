"""The users file while the broker runs: loaded at the start, taken over when its content changes.

A file that cannot be taken over - a typing error, a name the metadata has too - leaves the users as they
were; the log says why and a metric shows it until the file is right again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

from rivven.app.failures import ExitCode, StartFailed
from rivven.security.authn.user_files import UsersFileError, parse_users
from rivven.security.authn.users import FileUser, UserConflict, Users
from rivven.telemetry import Metrics
from rivven.watched_files import WatchedFiles

_log = logging.getLogger("rivven.auth")


FILE_BYTES_MAX = 4 << 20
"""About 15,000 users; parsing takes a thread some half a second. More users belong in the metadata."""


def read_users_file(path: Path) -> tuple[dict[str, FileUser], str | None]:
    """The users of a file, and a warning when other users of the machine can read it.

    Raises UsersFileError. A file that others may write to is refused: they could make themselves users.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UsersFileError(f"{path}: {error.strerror}") from None
    if len(text) > FILE_BYTES_MAX:
        raise UsersFileError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
    if mode & stat.S_IWOTH:
        raise UsersFileError(f"{path}: every user of this machine may change it: chmod o-w {path}")
    open_to_others = f"{path} is open to other users, who can guess at its passwords: chmod o-r {path}"
    return parse_users(text, str(path)), open_to_others if mode & stat.S_IROTH else None


class UsersFile:
    """Belongs to the event loop."""

    def __init__(self, path: Path, users: Users, metrics: Metrics) -> None:
        self._path = path
        self._users = users
        self._metrics = metrics
        self._files = WatchedFiles("the users file", lambda: [path], self._reload)
        self.changed: Callable[[], object] = lambda: None
        """Called after users of the file have changed."""

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

    async def follow(self) -> None:
        """Watch the file until cancelled."""
        await self._files.run()

    async def look_once(self) -> bool:
        """One look at the file; whether it was another."""
        return await self._files.look_once()

    async def _reload(self) -> None:
        try:
            self._take(*await asyncio.to_thread(read_users_file, self._path))
        except (UsersFileError, UserConflict) as error:
            self._metrics.users_file_reloaded(False)
            _log.error("the users file is not taken over, its last good content counts: %s", error)
            return
        self._metrics.users_file_reloaded(True)
        self.changed()

    def _take(self, users: dict[str, FileUser], warning: str | None) -> None:
        self._users.replace_file_users(users)
        if warning is not None:
            _log.warning("%s", warning)
        _log.info("%s holds %s users", self._path, len(users))
