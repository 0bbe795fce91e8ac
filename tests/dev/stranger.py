"""Somebody who has cloned the project and types what the README and the first start say.

Driver of a shell in the directory of a development server. The one thing it changes in what it is given is
the port, because tests do not own 9092: it comes from the client file the server wrote.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.shipped.dev import DevBroker

COMMAND_SECONDS_MAX = 90.0  # a Java tool on a busy machine
DOCUMENTED_ADDRESS = "localhost:9092"
BIN = Path(sys.executable).parent


class Stranger:
    """A working directory with `.venv` and `data`, and a broker that runs."""

    def __init__(self, broker: DevBroker) -> None:
        self.broker = broker
        self.directory = broker.directory
        (self.directory / ".venv").symlink_to(BIN.parent)

    @property
    def profile(self) -> dict[str, str]:
        return self.broker.client_settings()

    def types(self, script: str, *, path: Path | None = None) -> str:
        """Run shell lines as they stand, `rivven` being on the path; fails with everything printed."""
        done = self.tries(script, path=path)
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def tries(self, script: str, *, path: Path | None = None) -> subprocess.CompletedProcess[str]:
        """As `types`, whatever comes of it."""
        places = [str(place) for place in (path, BIN) if place is not None]
        environment = self.broker.environment | {"PATH": os.pathsep.join([*places, os.environ["PATH"]])}
        return subprocess.run(
            ["sh", "-ec", script.replace(DOCUMENTED_ADDRESS, self.profile["bootstrap.servers"])],
            cwd=self.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS_MAX,
        )

    def saves(self, name: str, content: str) -> Path:
        """Save a snippet as a file in the directory."""
        path = self.directory / name
        path.write_text(content)
        return path
