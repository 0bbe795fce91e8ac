"""A page of the manual as somebody follows it: its blocks typed in their order, in a directory of a test.

Driver. What a test machine lacks is replaced wherever it stands: host, ports, and the directories of an
installed broker. Everything else is typed as the page has it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.dev.stranger import BIN, COMMAND_SECONDS_MAX

START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 30.0


def blocks(page: Path, heading: str) -> list[tuple[str, str]]:
    """(language, text) of the fenced blocks below a heading, up to the next heading."""
    section = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL
    )
    assert section, heading
    return re.findall(r"^```(\w+)\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL)


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


class Operator:
    """Somebody at a shell in `directory`, with one broker to look after."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.etc, self.data = directory / "etc", directory / "data"
        (self.etc / "tls").mkdir(parents=True)
        self.port, self.admin_port = free_port(), free_port()
        self.log = directory / "broker.log"
        self.ready: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RIVVEN_")}
        self.environment = clean | {
            "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
            "RIVVEN_METRICS__BIND": "127.0.0.1:0",
        }

    def goes_on_from(self, other: Operator) -> None:
        """With the files another has made by typing the same lines, which copies a page's first steps."""
        shutil.copytree(other.directory, self.directory, dirs_exist_ok=True)

    def adapted(self, text: str) -> str:
        """A text of the page with what this machine has."""
        for written, here in (
            ("/etc/rivven", str(self.etc)),
            ("/var/lib/rivven", str(self.data)),
            ("broker.example.com", "localhost"),
            ("0.0.0.0:9093", f"127.0.0.1:{self.port}"),
            (":9093", f":{self.port}"),
            ("0.0.0.0:9094", f"127.0.0.1:{self.admin_port}"),
            (":9094", f":{self.admin_port}"),
        ):
            text = text.replace(written, here)
        return text

    def types(self, script: str, *, code: int = 0) -> str:
        """Run lines of a shell; fails with everything printed unless they end with `code`."""
        done = subprocess.run(
            ["sh", "-ec", self.adapted(script)],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS_MAX,
        )
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{script}\n{done.returncode}\n{said}\n{self.tail()}"
        return said

    def saves(self, path: str, text: str) -> Path:
        """Write a file the page shows."""
        file = Path(self.adapted(path))
        file = file if file.is_absolute() else self.directory / file
        file.write_text(self.adapted(text))
        return file

    def serves(self, line: str) -> None:
        """Start a broker as the line says, and wait until it is ready."""
        ready = self.directory / "ready.json"
        ready.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-ec", f"exec {self.adapted(line).strip()} --ready-file {ready}"],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not ready.exists():
            assert self._process.poll() is None and time.monotonic() < deadline, self.tail()
            time.sleep(0.01)
        self.ready = json.loads(ready.read_text())

    def stops(self) -> None:
        """SIGTERM, and the end of it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_SECONDS_MAX)
            self._process = None

    def tail(self, characters: int = 4000) -> str:
        """The end of the broker's log."""
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""
