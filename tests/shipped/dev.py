"""The development server, `rivven server --dev`, as `make run` starts it, in a directory of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.shipped.broker import RIVVEN

START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 30.0


def has_ipv6_loopback() -> bool:
    """Whether the development server will listen on ::1 as well."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


class DevBroker:
    """One development server; its working directory holds `data/` as a user's does."""

    def __init__(self, directory: Path, *, port: int = 0) -> None:
        self.directory = directory
        self.profile = directory / "data" / "dev" / "client.properties"
        # The port is the only thing tests change: many of them run at once.
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("RIVVEN_")
        }
        self.server_environment = self.environment | {
            "RIVVEN_LISTENERS__0__BIND": f"127.0.0.1:{port}",
            "RIVVEN_METRICS__BIND": "127.0.0.1:0",
            "RIVVEN_ADMIN__BIND": "127.0.0.1:0",
        }
        if has_ipv6_loopback():
            self.server_environment["RIVVEN_LISTENERS__1__BIND"] = f"[::1]:{port}"
        self.ready: dict[str, object] = {}
        self._process: subprocess.Popen[str] | None = None

    def start(self, arguments: Sequence[str] = ()) -> DevBroker:
        """Start and wait until clients are served."""
        ready = self.directory / "ready.json"
        ready.unlink(missing_ok=True)
        with (self.directory / "stdout.txt").open("w") as output:
            self._process = subprocess.Popen(
                [RIVVEN, "server", "--dev", "--ready-file", ready, *arguments],
                cwd=self.directory,
                env=self.server_environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the development server did not start: {self.printed()}")
            time.sleep(0.01)
        self.ready = json.loads(ready.read_text())
        return self

    def printed(self) -> str:
        """Everything the server has written so far."""
        return (self.directory / "stdout.txt").read_text()

    def client_settings(self) -> dict[str, str]:
        """What the client file says, by librdkafka's names."""
        return dict(line.split("=", 1) for line in self.profile.read_text().splitlines() if "=" in line)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        assert self._process is not None
        try:
            return self._process.wait(STOP_SECONDS_MAX)
        finally:
            self._process.kill()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def __enter__(self) -> DevBroker:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()
