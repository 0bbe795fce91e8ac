"""AWS KMS for tests: moto's HTTP server as a process, and a scripted server for what moto never says.

Driver. Both are reached over real sockets with the SDK's own signed requests.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore import xform_name
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.shipped.scripted import Fault, Request, ScriptedServer

REGION = "eu-central-1"
ACCOUNT = "123456789012"
START_SECONDS_MAX = 60.0  # it imports for a second or two; CI machines are shared
ACCESS_KEY = ("AKIDEXAMPLEOFATEST", "secret-access-key-of-a-test")
_POLL_SECONDS = 0.05


class MotoServer:
    """A process of moto's server; `stop` and `start` keep the port, not the keys."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "moto.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def client(self, service: str = "kms") -> Any:
        """The service as its owner uses it."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY[0],
            aws_secret_access_key=ACCESS_KEY[1],
        )

    def start(self) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "-p", str(self._port)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            assert self._process.poll() is None, f"moto ended: {self.log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"moto did not start: {self.log.read_text()[-2000:]}"
            try:
                urllib.request.urlopen(f"{self.url}/moto-api/", timeout=5).close()
            except urllib.error.HTTPError:
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(_POLL_SECONDS)
            else:
                return

    def forget(self) -> None:
        """Drop every key and alias, as a new process would have."""
        request = urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")
        urllib.request.urlopen(request, timeout=5).close()

    def stop(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def __enter__(self) -> MotoServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.stop()


@dataclass
class ScriptedKey:
    """A KMS key."""

    arn: str
    secret: bytes = field(default_factory=lambda: os.urandom(32))
    state: str = "Enabled"
    description: str = ""
    policy: str = "{}"
    deletion: float | None = None
    origin: str = "AWS_KMS"


class ScriptedKms(ScriptedServer):
    """KMS in memory: `keys` by ARN, `aliases` by name; a test changes them as an owner would.

    What moto lets pass is refused here as the service's documentation says: keys that are disabled or wait
    for their deletion, a key that did not encrypt what it is asked to decrypt.
    """

    ALIAS = "alias/rivven"

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, ScriptedKey] = {}
        self.aliases = {self.ALIAS: self.make().arn}

    def make(self, **fields: Any) -> ScriptedKey:
        made = ScriptedKey(f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{uuid.uuid4()}", **fields)
        self.keys[made.arn] = made
        return made

    def operation(self, request: Request) -> str:
        return request.headers.get("X-Amz-Target", request.path).removeprefix("TrentService.")

    def refuse(self, operation: str, code: str, status: int = 400, message: str = "", **more: Any) -> Fault:
        """Let an operation fail as the service reports failures."""
        return self.fault(operation, status, {"__type": code, "message": message}, **more)

    def answer(self, request: Request) -> tuple[int, object]:
        operation, body = self.operation(request), request.body
        if operation == "CreateKey":
            made = self.make(description=body["Description"], policy=body["Policy"])
            return 200, {"KeyMetadata": self._metadata(made)}
        name = body.get("KeyId", body.get("TargetKeyId"))
        key = self._find(name)
        if key is None:
            return _error("NotFoundException", f"{name} does not exist")
        return getattr(self, f"_{xform_name(operation)}")(key, body)

    def _find(self, name: str) -> ScriptedKey | None:
        arn = self.aliases.get(name.rpartition(f":{ACCOUNT}:")[2], name)
        return self.keys.get(arn) or self.keys.get(f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{arn}")

    def _encrypt(self, key: ScriptedKey, body: dict[str, Any]) -> tuple[int, object]:
        if key.state != "Enabled":
            return _unusable(key)
        nonce = os.urandom(12)
        sealed = AESGCM(key.secret).encrypt(nonce, b64decode(body["Plaintext"]), _context(body))
        return 200, {"KeyId": key.arn, "CiphertextBlob": b64encode(nonce + sealed).decode()}

    def _decrypt(self, key: ScriptedKey, body: dict[str, Any]) -> tuple[int, object]:
        if key.state != "Enabled":
            return _unusable(key)
        blob = b64decode(body["CiphertextBlob"])
        try:
            plain = AESGCM(key.secret).decrypt(blob[:12], blob[12:], _context(body))
        except (InvalidTag, ValueError):
            return _error("InvalidCiphertextException", "")
        return 200, {"KeyId": key.arn, "Plaintext": b64encode(plain).decode()}

    def _describe_key(self, key: ScriptedKey, _body: dict[str, Any]) -> tuple[int, object]:
        return 200, {"KeyMetadata": self._metadata(key)}

    def _get_key_policy(self, key: ScriptedKey, _body: dict[str, Any]) -> tuple[int, object]:
        return 200, {"Policy": key.policy}

    def _update_alias(self, key: ScriptedKey, body: dict[str, Any]) -> tuple[int, object]:
        self.aliases[body["AliasName"]] = key.arn
        return 200, {}

    def _list_aliases(self, key: ScriptedKey, _body: dict[str, Any]) -> tuple[int, object]:
        return 200, {"Aliases": [{"AliasName": name} for name, arn in self.aliases.items() if arn == key.arn]}

    def _schedule_key_deletion(self, key: ScriptedKey, body: dict[str, Any]) -> tuple[int, object]:
        key.state = "PendingDeletion"
        key.deletion = float(int(time.time()) + 86_400 * body["PendingWindowInDays"])
        return 200, {"KeyId": key.arn, "DeletionDate": key.deletion}

    def _metadata(self, key: ScriptedKey) -> dict[str, Any]:
        metadata: dict[str, Any] = {
            "Arn": key.arn,
            "KeyId": key.arn.rpartition("/")[2],
            "KeyState": key.state,
            "CreationDate": time.time(),
            "Description": key.description,
            "Origin": key.origin,
        }
        return metadata | ({"DeletionDate": key.deletion} if key.deletion is not None else {})


def _error(code: str, message: str) -> tuple[int, object]:
    return 400, {"__type": code, "message": message}


def _unusable(key: ScriptedKey) -> tuple[int, object]:
    if key.state == "Disabled":
        return _error("DisabledException", f"{key.arn} is disabled.")
    return _error("KMSInvalidStateException", f"{key.arn} is pending deletion.")


def _context(body: dict[str, Any]) -> bytes:
    return json.dumps(body.get("EncryptionContext", {}), sort_keys=True).encode()


def environment() -> dict[str, str]:
    """The SDK's environment for a broker under test: its keys, and no looking for an instance's."""
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY[0],
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY[1],
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
