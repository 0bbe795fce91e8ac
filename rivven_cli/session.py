"""What every command that talks to a broker shares: the chosen profile and its connection, made on first
use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rivven_client.admin import AdminApi
    from rivven_client.connection import Connection
    from rivven_client.profile import Profile


class Session:
    """The global options of one call of the command."""

    def __init__(
        self,
        profile: str | None,
        servers: str | None,
        command_config: Path | None,
        timeout_s: float,
        admin_url: str | None = None,
    ) -> None:
        self._profile = profile
        self._servers = servers
        self._command_config = command_config
        self._timeout_s = timeout_s
        self._admin_url = admin_url
        self._connection: Connection | None = None
        self._admin: AdminApi | None = None

    @property
    def connection(self) -> Connection:
        """The connection of the chosen profile; raises ProfileError."""
        if self._connection is None:
            from rivven_client.connection import Connection

            self._connection = Connection(self._find_profile(), self._timeout_s)
        return self._connection

    @property
    def admin(self) -> AdminApi:
        """The Admin API of the chosen profile; raises ProfileError or ClientFailed."""
        if self._admin is None:
            from rivven_client.admin import AdminApi

            self._admin = AdminApi(self._find_profile(), self._timeout_s)
        return self._admin

    def patient_admin(self, seconds: float) -> AdminApi:
        """The same for calls that take long; waits for `seconds`, or --timeout if that is more."""
        from rivven_client.admin import AdminApi

        return AdminApi(self._find_profile(), max(seconds, self._timeout_s))

    def _find_profile(self) -> Profile:
        from rivven_client.profile import find_profile

        found = find_profile(
            command_config=self._command_config, profile=self._profile, servers=self._servers
        )
        return replace(found, admin_url=self._admin_url) if self._admin_url else found


pass_session = click.make_pass_decorator(Session)
