"""A server started from a configuration file of the project, with what a test machine lacks put in its place.

Driver. Paths and ports are replaced through RIVVEN_* variables, as somebody would who tries a file out;
everything else in the file is in force.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.dev.stranger import BIN, COMMAND_SECONDS_MAX
from tests.shipped.pki import make_pki

ROOT = Path(__file__).parents[2]
START_SECONDS_MAX = 30.0


class ConfiguredServer:
    """The shell lines that initialise and start one server, run in the project's directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        self.directory = directory
        self.data = directory / "data"
        self.pki = make_pki(directory / "pki")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RIVVEN_")}
        self.environment = clean | {
            "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
            "RIVVEN_DATA_DIR": str(self.data),
            "RIVVEN_SERVER__TLS__CERT_PATH": str(self.pki.certificate),
            "RIVVEN_SERVER__TLS__KEY_PATH": str(self.pki.key),
            "RIVVEN_LISTENERS__0__BIND": "127.0.0.1:0",
            "RIVVEN_METRICS__BIND": "127.0.0.1:0",
            "RIVVEN_ADMIN__BIND": "127.0.0.1:0",
        }

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line to its end."""
        return subprocess.run(
            ["sh", "-ec", line],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS_MAX,
        )

    def serve(self, line: str) -> tuple[dict[str, Any], int]:
        """Start, wait until ready, end with SIGTERM; returns what the ready file said and the exit code."""
        ready, output = self.directory / "ready.json", self.directory / "server.log"
        ready.unlink(missing_ok=True)
        with output.open("w") as stream:
            process = subprocess.Popen(
                ["sh", "-ec", f"exec {line} --ready-file {ready}"],
                cwd=ROOT,
                env=self.environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        try:
            deadline = time.monotonic() + START_SECONDS_MAX
            while not ready.exists():
                assert process.poll() is None and time.monotonic() < deadline, output.read_text()
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            return json.loads(ready.read_text()), process.wait(START_SECONDS_MAX)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
