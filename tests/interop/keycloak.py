"""A real identity provider: Keycloak, installed once per machine through Maven and run on a free port.

Driver. The realm is `clients/keycloak/realm.json`: a service with a secret, a person with a password, and a
service whose tokens are for somebody else. Needs a JDK 17 and Maven; the distribution has 160 MB.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.interop.programs import CLIENTS, _once, _run, _stamp
from tests.shipped.pki import Pki

SOURCES = ["pom.xml", "realm.json"]
START_SECONDS_MAX = 300.0  # 10 s alone on a machine; two minutes were seen beside other suites
ADMIN = ("admin", "keycloak-admin")
AUDIENCE = "rivven"
SERVICE = ("producer-app", "producer-app-secret")
OTHER_SERVICE = ("other-app", "other-app-secret")
PERSON = ("alice", "wonderland")
_POLL_SECONDS = 0.2


class Keycloak:
    """A running provider, over HTTPS with a certificate of the test's own authority. A context manager."""

    def __init__(self, home: Path, directory: Path, pki: Pki) -> None:
        self.pki = pki
        self.log = directory / "keycloak.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"https://localhost:{port}"
        self.issuer = f"{self.url}/realms/rivven"
        self._context = ssl.create_default_context(cafile=pki.ca)
        self._command = [
            str(home / "bin/kc.sh"),
            "start",
            "--optimized",
            "--import-realm",
            "--cache=local",
            "--http-enabled=false",
            "--http-host=127.0.0.1",
            f"--https-port={port}",
            f"--https-certificate-file={pki.certificate}",
            f"--https-certificate-key-file={pki.key}",
            f"--hostname={self.url}",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Keycloak:
        with self.log.open("wb") as log:
            # A session of its own: kc.sh may start Java beside itself, and all of it must end.
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def token_url(self) -> str:
        return f"{self.issuer}/protocol/openid-connect/token"

    def service_token(self, service: tuple[str, str] = SERVICE) -> str:
        """An access token by client credentials."""
        form = {"grant_type": "client_credentials", "client_id": service[0], "client_secret": service[1]}
        return str(self._post(self.token_url, form)["access_token"])

    def person_token(self) -> str:
        """An access token of a person."""
        form = {"grant_type": "password", "username": PERSON[0], "password": PERSON[1]}
        return str(
            self._post(self.token_url, form | {"client_id": SERVICE[0], "client_secret": SERVICE[1]})[
                "access_token"
            ]
        )

    def rotate_keys(self) -> None:
        """A new signing key of higher priority, as an operator makes one."""
        form = {
            "grant_type": "password",
            "client_id": "admin-cli",
            "username": ADMIN[0],
            "password": ADMIN[1],
        }
        token = self._post(f"{self.url}/realms/master/protocol/openid-connect/token", form)["access_token"]
        component = {
            "name": f"rotated-{time.monotonic_ns()}",
            "providerId": "rsa-generated",
            "providerType": "org.keycloak.keys.KeyProvider",
            "config": {"priority": ["1000"], "enabled": ["true"], "active": ["true"], "algorithm": ["RS256"]},
        }
        self._send(
            f"{self.url}/admin/realms/rivven/components",
            json.dumps(component).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )

    def settings(self, **keys: Any) -> dict[str, Any]:
        """This provider as an entry of `auth.oidc.issuers`."""
        return {
            "issuer": self.issuer,
            "audiences": [AUDIENCE],
            "ca_path": str(self.pki.ca),
            "principal_claim": "preferred_username",
            "groups_claim": "groups",
            "prefix": "kc-",
            **keys,
        }

    def _post(self, url: str, form: dict[str, str]) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._send(url, urllib.parse.urlencode(form).encode(), {}))
        return answer

    def _send(self, url: str, data: bytes | None, headers: dict[str, str]) -> bytes:
        request = urllib.request.Request(url, data, headers)
        with urllib.request.urlopen(request, timeout=30, context=self._context) as response:
            body: bytes = response.read()
        return body

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            assert self._process.poll() is None, f"Keycloak ended: {self.log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"Keycloak did not start: {self.log.read_text()[-2000:]}"
            try:
                self._send(f"{self.issuer}/.well-known/openid-configuration", None, {})
            except (urllib.error.URLError, ConnectionError):
                time.sleep(_POLL_SECONDS)
            else:
                return


def keycloak_home() -> tuple[Path | None, str]:
    """The unpacked and prepared distribution, or the reason why there is none."""
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            return None, f"{tool} is not installed (a JDK 17 and Maven)"
    directory = CLIENTS / "keycloak"
    with _once(directory, SOURCES, "target") as needed:
        if needed:
            done = _install(directory)
            if done.returncode != 0:
                return None, f"{' '.join(done.args)} failed: {(done.stdout + done.stderr)[-1500:]}"
            _stamp(directory, SOURCES, "target")
    return _home(directory), ""


def _install(directory: Path) -> subprocess.CompletedProcess[str]:
    shutil.rmtree(directory / "target", ignore_errors=True)
    goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:unpack"
    done = _run(["mvn", "-q", "-B", goal], directory)
    if done.returncode != 0:
        return done
    home = _home(directory)
    (home / "data/import").mkdir(parents=True)
    shutil.copy(directory / "realm.json", home / "data/import")
    # What is settled now need not be settled at each start: half a minute of work.
    return _run([str(home / "bin/kc.sh"), "build", "--db=dev-mem"], directory)


def _home(directory: Path) -> Path:
    [home] = (directory / "target").glob("keycloak-*")
    return home


def _environment() -> dict[str, str]:
    return os.environ | {
        "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN[0],
        "KC_BOOTSTRAP_ADMIN_PASSWORD": ADMIN[1],
        "JAVA_OPTS_APPEND": "-XX:TieredStopAtLevel=1",
        "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx384m",
    }
