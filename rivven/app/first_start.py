"""The first credential of a data directory: made by `init` or a development start, demanded of every other.

Order of a first development start: client files, then the verifiers durably, then the password is shown. A
crash in between repeats the first start instead of losing the password.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from rivven.app.failures import ExitCode, StartFailed
from rivven.app.metadata import offline_metadata
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


def init(config: Config, name: str) -> FirstAdmin:
    """Store the first user of a stopped broker. Raises StartFailed."""
    return asyncio.run(_init(config, name))


async def _init(config: Config, name: str) -> FirstAdmin:
    try:
        admin = make_first_admin(name, os.urandom)
    except ValueError as error:
        raise StartFailed(
            f"{name!r} cannot be a user: {error}", "choose another name", ExitCode.USAGE
        ) from None
    async with offline_metadata(config) as metadata:
        if metadata.image.has_credentials:
            raise StartFailed(
                "this data directory has users already",
                "add more with: rivven user create NAME, on the running broker",
                ExitCode.NO_CREDENTIALS,
            )
        await _store(metadata, admin)
    return admin


async def _store(metadata: MetadataService, admin: FirstAdmin) -> None:
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
    await _store(metadata, admin)
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
