"""The first credential of a data directory: made by a development start, demanded of every other.

Order of a first development start: client files, then the verifiers durably, then the password is shown. A
crash in between repeats the first start instead of losing the password.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from rivven.app.failures import ExitCode, StartFailed
from rivven.clock import Clock
from rivven.config.models import Config
from rivven.metadata.commands import CreateAcls, StoreScram
from rivven.metadata.service import MetadataService
from rivven.security.authn.users import Users
from rivven.security.bootstrap import (
    DEV_ADMIN,
    FirstAdmin,
    NoCredentials,
    make_first_admin,
    require_credentials,
)
from rivven.security.dev_pki import ensure_dev_pki
from rivven.security.dev_profile import (
    DEV_DIRECTORY,
    first_start_lines,
    later_start_lines,
    update_address,
    write_client_files,
)
from rivven.security.private_files import PrivateFileError, make_private_directory


def ensure_dev_certificates(config: Config, clock: Clock) -> None:
    """Make or renew the development certificates. Raises StartFailed."""
    directory = config.data_dir / DEV_DIRECTORY
    try:
        make_private_directory(directory)
        ensure_dev_pki(directory, clock.now_ms())
    except (OSError, PrivateFileError) as error:
        raise StartFailed(
            f"cannot make the development certificates: {error}",
            "check that you may write to the data directory",
            ExitCode.DATA_DIRECTORY,
        ) from None


async def ensure_credentials(
    config: Config, config_path: Path | None, metadata: MetadataService, users: Users, port: Callable[[], int]
) -> list[str]:
    """Make sure somebody can log in; returns the lines to show at this start. Raises StartFailed."""
    if config.dev:
        return await _ensure_dev_admin(config, metadata, f"localhost:{port()}")
    needs_user = any(listener.uses_sasl for listener in config.listeners)
    try:
        require_credentials(users.any or not needs_user, config_path)
    except NoCredentials as error:
        reason, _, command = str(error).partition("; ")
        raise StartFailed(reason, command, ExitCode.NO_CREDENTIALS) from None
    return []


async def store_first_admin(metadata: MetadataService, admin: FirstAdmin) -> None:
    """Commit the verifiers and the rules of a first user."""
    await metadata.submit(CreateAcls(admin.grants))
    await metadata.submit(StoreScram(admin.name, admin.verifiers))


async def _ensure_dev_admin(config: Config, metadata: MetadataService, address: str) -> list[str]:
    directory = config.data_dir / DEV_DIRECTORY
    try:
        if metadata.image.has_credentials:
            update_address(directory, address)
            return later_start_lines(directory, address)
        admin = make_first_admin(DEV_ADMIN, os.urandom)
        write_client_files(directory, admin, address, directory / "ca.crt")
    except (OSError, ValueError, PrivateFileError) as error:
        raise StartFailed(
            f"cannot write the development client files: {error}",
            "check that you may write to the data directory",
            ExitCode.DATA_DIRECTORY,
        ) from None
    await store_first_admin(metadata, admin)
    return first_start_lines(directory, admin, address, _command())


def _command() -> str:
    """How the user of this process types `rivven`: the name alone only where the shell would find it."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m rivven"
    found = shutil.which(started.name)
    if found is None or not started.exists() or not os.path.samefile(found, started):
        return shlex.quote(str(started))
    return started.name
