"""What every command that talks to a broker shares: the chosen profile and its connection, made on first
use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rivven_client.connection import Connection


class Session:
    """The global options of one call of the command."""

    def __init__(
        self, profile: str | None, servers: str | None, command_config: Path | None, timeout_s: float
    ) -> None:
        self._profile = profile
        self._servers = servers
        self._command_config = command_config
        self._timeout_s = timeout_s
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The connection of the chosen profile; raises ProfileError."""
        if self._connection is None:
            from rivven_client.connection import Connection
            from rivven_client.profile import find_profile

            profile = find_profile(
                command_config=self._command_config, profile=self._profile, servers=self._servers
            )
            self._connection = Connection(profile, self._timeout_s)
        return self._connection


pass_session = click.make_pass_decorator(Session)
