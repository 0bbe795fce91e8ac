"""One broker process started from the installed `rivven` command, as a user starts it.

Driver. It writes a configuration file, runs `rivven server init` for the first credential, starts
`rivven server --config F --ready-file R`. Where the configuration says port 0 it gets one that it keeps over
restarts, so that clients find it again (metrics have a new one each time).
What `init` leaves is the same for every broker that neither encrypts nor has an id of its own: those start
with a copy of it, made once by the command in each test process.
"""

from __future__ import annotations

import copy
import functools
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.shipped.connection import Account, Connection
from tests.shipped.pki import Pki, make_pki
from tests.shipped.ports import free_port

RIVVEN = Path(sys.executable).with_name("rivven")
ADMIN = "admin"
START_SECONDS_MAX = 30.0  # the budget is half a second; CI machines are shared
STOP_SECONDS_MAX = 30.0  # the broker's own shutdown deadline
_POLL_SECONDS = 0.01

# The keys of a configuration that decide what `init` writes, beside where; the rest is read by a start.
_SEEN_BY_INIT = {"storage", "node"}

# Small numbers so that a suite of many short topics is fast; each is a documented setting.
FAST_SETTINGS = {
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1000,
    "offsets.topic.num.partitions": 4,
}


class BrokerDidNotStart(AssertionError):
    """The process ended or stayed silent; the message holds its log."""


class ShippedBroker:
    """A broker process and everything a test needs to talk to it; not shared between threads."""

    def __init__(
        self,
        directory: Path,
        *,
        settings: Mapping[str, object] | None = None,
        protocols: tuple[str, ...] = ("sasl_ssl",),
        extra: Mapping[str, object] | None = None,
    ) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory = directory
        self.data = directory / "broker-data"
        self.log = directory / "broker.log"
        self.pki: Pki = make_pki(directory / "pki")
        self.admin = Account(ADMIN, "")
        self.ready: dict[str, Any] = {}
        self.config_path = directory / "rivven.yaml"
        self._ready_path = directory / "ready.json"
        self._process: subprocess.Popen[bytes] | None = None
        self._config = self._configuration(FAST_SETTINGS | dict(settings or {}), protocols)
        self.change(**extra or {})

    @property
    def pid(self) -> int:
        assert self._process is not None, "the broker is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def connection(self, protocol: str = "sasl_ssl", account: Account | None = None) -> Connection:
        """How a client reaches the listener of that protocol, as the administrator unless said otherwise."""
        host, port = self._addresses()[protocol]
        return Connection(
            f"{host}:{port}",
            self.pki.ca if protocol.endswith("ssl") else None,
            (account or self.admin) if protocol.startswith("sasl") else None,
        )

    def metrics_address(self) -> tuple[str, int]:
        """Where /metrics, /healthz and /readyz are."""
        return _host_port(self.ready["metrics"])

    def admin_url(self) -> str:
        """The Admin API."""
        return f"https://localhost:{_host_port(self.ready['admin'])[1]}"

    def init(self) -> None:
        """Store the administrator's verifier offline and remember the password printed once."""
        command = [RIVVEN, "server", "init", "--config", self.config_path, "--admin", ADMIN, "-o", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{shlex.join(map(str, command))}: {done.stdout}{done.stderr}"
        self.admin = Account(ADMIN, json.loads(done.stdout)["password"])

    def start(self) -> ShippedBroker:
        """Start and wait for the ready file; the first start also makes the first credential."""
        self.spawn()
        try:
            self.wait_until_ready()
        except BaseException:
            if self.running:
                self.kill()
            raise
        return self

    def spawn(self) -> None:
        """Start without waiting; for measuring the start itself."""
        assert not self.running, "the broker runs already"
        if not self.admin.password:
            self._first_credential()
        self._ready_path.unlink(missing_ok=True)
        self._choose_ports()
        command = [RIVVEN, "server", "--config", self.config_path, "--ready-file", self._ready_path]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.directory,
                env=_environment(),
            )

    def stop(self) -> int:
        """SIGTERM, wait for the end, return the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9: nothing in the process gets a chance to run."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """A clean stop and a start on the same ports."""
        assert self.stop() == 0, self.tail()
        self.start()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal and do not wait."""
        assert self._process is not None, "the broker was never started"
        self._process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS_MAX) -> int:
        """Wait for the end; the exit code."""
        assert self._process is not None, "the broker was never started"
        code = self._process.wait(seconds)
        self._process = None
        return code

    def change(self, **keys: object) -> None:
        """Replace top-level keys of the configuration file; counts from the next start."""
        self._config |= copy.deepcopy(keys)  # ports are put into it
        self._write_config()

    def logged(self) -> str:
        """All that the broker has written to its log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self, characters: int = 6000) -> str:
        """The end of the broker's log, for messages of failed tests."""
        return self.logged()[-characters:]

    def __enter__(self) -> ShippedBroker:
        return self.start()

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if self.running:
            if failure is None:
                self.stop()
            else:
                self.kill()  # what a test left behind may keep it from stopping, which would hide the failure

    def _first_credential(self) -> None:
        if self.data.exists() or _SEEN_BY_INIT & self._config.keys():
            self.init()
            return
        password, archive = _initialised()
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(self.data, filter="tar")
        self.admin = Account(ADMIN, password)

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None, "the broker was never started"
        process = self._process
        process.send_signal(number)
        try:
            code = process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the broker did not end within its deadline: {self.tail()}") from None
        self._process = None
        return code

    def _configuration(self, settings: Mapping[str, object], protocols: tuple[str, ...]) -> dict[str, Any]:
        return {
            "data_dir": str(self.data),
            "insecure": any(not protocol.startswith("sasl") for protocol in protocols),
            "listeners": [{"name": name, "bind": "127.0.0.1:0", "protocol": name} for name in protocols],
            "server": {"tls": {"cert_path": str(self.pki.certificate), "key_path": str(self.pki.key)}},
            "authorization": {"super_users": [f"User:{ADMIN}"]},
            "broker": dict(settings),
            "metrics": {"bind": "127.0.0.1:0"},
            "admin": {"bind": "127.0.0.1:0"},
            "logging": {"format": "human"},
        }

    def _write_config(self) -> None:
        self.config_path.write_text(yaml.safe_dump(self._config))

    def wait_until_ready(self) -> None:
        """Wait for the ready file and remember the addresses in it."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._ready_path.exists():
            if self._process.poll() is not None:
                code, self._process = self._process.returncode, None
                raise BrokerDidNotStart(f"exit code {code}: {self.tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise BrokerDidNotStart(f"no ready file after {START_SECONDS_MAX} s: {self.tail()}")
            time.sleep(_POLL_SECONDS)
        self.ready = json.loads(self._ready_path.read_text())

    def _addresses(self) -> dict[str, tuple[str, int]]:
        return {name: _host_port(address) for name, address in self.ready["listeners"].items()}

    def _choose_ports(self) -> None:
        places = [*self._config["listeners"], self._config.get("admin") or {}]
        for place in places:
            host, _, port = str(place.get("bind", "")).rpartition(":")
            if port == "0":
                place["bind"] = f"{host}:{free_port(host.strip('[]'))}"
        self._write_config()


@functools.cache
def _initialised() -> tuple[str, bytes]:
    """The administrator's password and a tar archive of the data directory that `rivven server init` made."""
    with tempfile.TemporaryDirectory() as directory:
        broker = ShippedBroker(Path(directory) / "initialised")
        broker.init()
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(broker.data, arcname=".")
    return broker.admin.password, archive.getvalue()


def _environment() -> dict[str, str]:
    """The test's environment without what would configure the broker, or recompile it at every start."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("RIVVEN_") and name != "PYTHONDONTWRITEBYTECODE"
    }


def _host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
