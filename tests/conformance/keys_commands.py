"""`rivven keys` as an operator types it, against one shipped broker that encrypts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.conformance.client import Client
from tests.conformance.web import Web, web_of
from tests.shipped.broker import RIVVEN, ShippedBroker
from tests.shipped.on_disk import holding

SECONDS_MAX = 60
PLAIN = "sasl_plaintext"
MARKER = b"marker-that-nobody-may-find"


def encrypted(directory: Path, **settings: object) -> dict[str, object]:
    """The section `storage` of a broker that encrypts, with its keys beside `directory`."""
    keys = {"enabled": True, "key_directory": str(directory / "key-store"), **settings}
    return {"storage": {"encryption": keys}}


class KeysCommand:
    """The shipped command as the administrator."""

    def __init__(self, broker: ShippedBroker) -> None:
        self.broker = broker
        self.place = broker.directory

    @property
    def web(self) -> Web:
        """The Admin API underneath."""
        return web_of(self.broker)

    def encrypt(self, topic: str) -> None:
        """From now on the topic's segments are sealed."""
        done = self.run("topic", "alter", topic, "--set", "encryption.enabled=true")
        assert done.returncode == 0, done.stderr

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """`rivven ...`."""
        file = self.broker.connection("sasl_ssl").librdkafka_file(self.place / "admin.properties")
        command = [RIVVEN, "--command-config", file, "--admin-url", self.broker.admin_url()]
        return subprocess.run(
            [*map(str, command), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
            cwd=self.place,
            stdin=subprocess.DEVNULL,
        )

    def __call__(self, *arguments: object, code: int = 0) -> str:
        done = self.run("keys", *arguments)
        assert done.returncode == code, f"{arguments}: {done.returncode} {done.stdout} {done.stderr}"
        return done.stdout if code == 0 else done.stderr

    def json(self, *arguments: object) -> Any:
        return json.loads(self(*arguments, "-o", "json"))

    # -- what the Admin API says, asked without starting a process -------------------------------------------

    def topic(self, name: str) -> dict[str, Any]:
        """What is known of one topic."""
        listed = self.web.get("/v1/keys/topics?limit=1000").json["items"]
        [found] = [one for one in listed if one["topic"] == name]
        return dict(found)

    def keks(self) -> list[dict[str, Any]]:
        """Every KEK."""
        return list(self.web.get("/v1/keys").json["keys"])

    def current_kek(self) -> str:
        """The KEK that wraps new keys."""
        [found] = [one["key_id"] for one in self.keks() if one["current"] and not one["name"]]
        return str(found)


def found_in(directory: Path, marker: bytes = MARKER) -> list[str]:
    """Files below a directory that hold the marker."""
    return holding(directory, marker)


class EncryptedPlace:
    """A broker that encrypts, with a listener for raw requests, and the key store beside its data."""

    def __init__(self, directory: Path) -> None:
        self.store = directory / "key-store"
        self.broker = ShippedBroker(
            directory / "broker", protocols=("sasl_ssl", PLAIN), extra=encrypted(directory)
        )
        self.keys = KeysCommand(self.broker)

    def client(self) -> Client:
        return Client(self.broker.connection(PLAIN))
