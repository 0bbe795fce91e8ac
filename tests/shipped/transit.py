"""A scripted Vault server: a transit engine, tokens with leases, AppRole and Kubernetes logins, in memory.

Driver. It follows the real one's paths, statuses and words as far as the provider uses them; tests/interop
runs the same suite against OpenBao itself, so that the two cannot drift apart unseen.
"""

from __future__ import annotations

import os
import time
from base64 import b64decode, b64encode
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.shipped.scripted import Request, ScriptedServer

ROOT_TOKEN = "s.root-token-of-the-script"
ROLE = ("role-id-of-the-script", "secret-id-of-the-script")
POD = ("broker", "jwt.of.the-script")
DENIED = (403, {"errors": ["permission denied"]})


@dataclass
class Key:
    """A transit key; version 1 is `versions[1]`."""

    kind: str = "aes256-gcm96"
    derived: bool = False
    versions: dict[int, bytes] = field(default_factory=lambda: {1: os.urandom(32)})
    latest: int = 1
    min_available: int = 0
    min_decryption: int = 1
    min_encryption: int = 0

    def described(self) -> dict[str, Any]:
        shown = range(max(self.min_decryption, self.min_available, 1), self.latest + 1)
        return {
            "type": self.kind,
            "derived": self.derived,
            "latest_version": self.latest,
            "min_available_version": self.min_available,
            "min_decryption_version": self.min_decryption,
            "min_encryption_version": self.min_encryption,
            "keys": {str(version): int(time.time()) for version in shown},
        }


@dataclass
class Token:
    """A token: policies as the paths it may use ("" for all), and its lease."""

    paths: str = ""
    lease: int = 0
    renewable: bool = False
    grace: int = 0
    """Seconds it is still good for after its lease, for tests about something else."""
    made: float = field(default_factory=time.monotonic)


class TransitServer(ScriptedServer):
    """Keys are in `keys`, tokens in `tokens`; a test changes them as an operator would."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, Key] = {"rivven": Key()}
        self.tokens: dict[str, Token] = {ROOT_TOKEN: Token()}
        self.granted = Token(lease=3600, renewable=True)
        """What logins give."""
        self.namespace = ""

    def answer(self, request: Request) -> tuple[int, object]:
        path = request.path.removeprefix("/v1/")
        if request.headers.get("X-Vault-Namespace", "") != self.namespace:
            return 404, {"errors": [f'no handler for route "{path}". route entry not found.']}
        if path.startswith("auth/") and path.endswith("/login"):
            return self._login(path, request.body)
        token = self.tokens.get(request.headers.get("X-Vault-Token", ""))
        ended = token is not None and 0 < token.lease <= time.monotonic() - token.made - token.grace
        if token is None or ended:
            return DENIED
        if path == "auth/token/lookup-self":
            return 200, {"data": {"ttl": token.lease, "renewable": token.renewable}}
        if path == "auth/token/renew-self":
            token.made = time.monotonic()
            granted = {"client_token": request.headers["X-Vault-Token"], "lease_duration": token.lease}
            return 200, {"auth": granted | {"renewable": token.renewable}}
        if token.paths and not path.startswith(token.paths):
            return DENIED
        if not path.startswith("transit/"):
            return 404, {"errors": [f'no handler for route "{path}". route entry not found.']}
        return self._transit(path.removeprefix("transit/").split("/"), request)

    def _login(self, path: str, body: dict[str, Any]) -> tuple[int, object]:
        if path == "auth/approle/login":
            good = (body.get("role_id"), body.get("secret_id")) == ROLE
        elif path == "auth/kubernetes/login":
            good = (body.get("role"), body.get("jwt")) == POD
        else:
            return 404, {"errors": [f'no handler for route "{path}". route entry not found.']}
        if not good:
            return 400, {"errors": [f"invalid credentials {body}"]}
        token = f"s.{os.urandom(8).hex()}"
        self.tokens[token] = replace(self.granted, made=time.monotonic())
        granted = {"client_token": token, "lease_duration": self.granted.lease}
        return 200, {"auth": granted | {"renewable": self.granted.renewable}}

    def _transit(self, parts: list[str], request: Request) -> tuple[int, object]:
        key = self.keys.get(parts[1])
        if parts[0] == "encrypt":
            key = self.keys.setdefault(parts[1], Key())  # what a token with the right to create does
            return self._encrypt(key, request.body)
        if key is None:
            if request.method == "GET":
                return 404, {"errors": []}
            return 400, {"errors": ["encryption key not found"]}
        if parts[0] == "decrypt":
            return self._decrypt(key, request.body)
        if len(parts) == 2:
            return 200, {"data": key.described()}
        if parts[2] == "rotate":
            key.latest += 1
            key.versions[key.latest] = os.urandom(32)
        elif parts[2] == "config":
            key.min_decryption = int(request.body["min_decryption_version"])
            key.min_encryption = int(request.body["min_encryption_version"])
        else:
            first = int(request.body["min_available_version"])
            if not key.min_encryption or first > min(key.min_decryption, key.min_encryption):
                return 400, {"errors": ["minimum available version cannot be higher than minimum ..."]}
            key.min_available = first
            key.versions = {version: one for version, one in key.versions.items() if version >= first}
        return 204, {}

    def _encrypt(self, key: Key, body: dict[str, Any]) -> tuple[int, object]:
        nonce = os.urandom(12)
        associated = b64decode(body.get("associated_data", ""))
        sealed = AESGCM(key.versions[key.latest]).encrypt(nonce, b64decode(body["plaintext"]), associated)
        blob = f"vault:v{key.latest}:{b64encode(nonce + sealed).decode()}"
        return 200, {"data": {"ciphertext": blob, "key_version": key.latest}}

    def _decrypt(self, key: Key, body: dict[str, Any]) -> tuple[int, object]:
        _, version_text, sealed_text = body["ciphertext"].split(":")
        version = int(version_text[1:])
        if version > key.latest:
            return 400, {"errors": ["invalid ciphertext: version is too new"]}
        if version < max(key.min_decryption, key.min_available):
            return 400, {"errors": ["ciphertext or signature version is disallowed by policy (too old)"]}
        try:
            sealed, associated = b64decode(sealed_text), b64decode(body.get("associated_data", ""))
            plain = AESGCM(key.versions[version]).decrypt(sealed[:12], sealed[12:], associated)
        except (InvalidTag, ValueError):
            return 400, {"errors": ["cipher: message authentication failed"]}
        return 200, {"data": {"plaintext": b64encode(plain).decode()}}
