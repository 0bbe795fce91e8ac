"""Requests to Vault or OpenBao: logging in, keeping the token alive, saying what a failure means.

A driver; needs the extra `vault`. The token lives here and nowhere else. It is renewed by a thread of its own
long before it ends, because a broker may need no key for days; when that fails, AppRole and Kubernetes log in
again. Errors name the request and what kind of refusal it was, never what the server wrote.
"""

from __future__ import annotations

import logging
import os
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import hvac
import requests
import urllib3
from hvac import exceptions
from urllib3.connection import HTTPSConnection

from rivven.clock import Clock, SystemClock
from rivven.config.storage import VaultConfig
from rivven.security.keys.provider import KeyGone, KeyProviderError, KeyRefused, ProviderUnavailable
from rivven.security.tls import client_context

ATTEMPTS: Final = 2
"""Of a request that may be repeated: a kept connection may have been closed since. Who calls tries again by
itself, with longer pauses."""
LOGIN_PAUSE_SECONDS: Final = 10.0
"""Between two logins because of refusals: a policy that denies is not cured by logging in."""
RENEW_AT: Final = 2 / 3
"""Of its lease, when a token is renewed: a third is left for a server that is away."""
RENEW_SECONDS_MIN: Final = 1.0
RENEW_SECONDS_MAX: Final = 86_400.0
JWT_BYTES_MAX: Final = 65_536
"""Of a service account's token; a larger file is another one."""
POD_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
"""Where Kubernetes mounts it in every pod."""

_UNAVAILABLE: Final = (
    exceptions.RateLimitExceeded,
    exceptions.InternalServerError,
    exceptions.VaultNotInitialized,
    exceptions.BadGateway,
    exceptions.VaultDown,
    exceptions.UnexpectedError,
)

_log = logging.getLogger("rivven.keys.vault")


class _Connection(HTTPSConnection):
    """TLS as of all connections that the broker makes, with the authorities as their file is now."""

    def connect(self) -> None:
        self.ssl_context = client_context(self.ca_certs)
        super().connect()


class _Connections(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Connection


class _Transport(requests.adapters.HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        super().init_poolmanager(*arguments, **named)
        self.poolmanager.pool_classes_by_scheme = {
            "http": urllib3.HTTPConnectionPool,
            "https": _Connections,
        }


class InvalidRequest(KeyProviderError):
    """The server understood and says no (status 400); `errors` are its words, for comparison only."""

    def __init__(self, message: str, errors: tuple[str, ...]) -> None:
        super().__init__(message)
        self.errors = errors

    def says(self, *phrases: str) -> bool:
        return any(phrase in error for error in self.errors for phrase in phrases)


class VaultSession:
    """An authenticated connection. Safe to use from several threads."""

    def __init__(self, config: VaultConfig, clock: Clock | None = None) -> None:
        """Connects to nothing yet."""
        self._config = config
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._logging_in = threading.Lock()
        """Held over a login: whoever finds the token ended waits for the new one."""
        self._ended = threading.Event()
        self._renewer: threading.Thread | None = None
        self._client: Any = None
        self._token = ""
        self._lease = 0.0
        self._renewable = False
        self._refused_at = float("-inf")
        # At level DEBUG these name paths and hosts; nothing of theirs is worth a risk.
        for library in ("hvac", "urllib3"):
            quiet = logging.getLogger(library)
            quiet.setLevel(max(quiet.level, logging.INFO))

    def get(self, path: str) -> dict[str, Any]:
        """The field `data` of an answer. Raises KeyProviderError."""
        return self._authenticated("get", path, None, ATTEMPTS)

    def post(self, path: str, body: Mapping[str, object], *, repeatable: bool = True) -> dict[str, Any]:
        """As `get`. `repeatable`: doing it twice is doing it once."""
        return self._authenticated("post", path, body, ATTEMPTS if repeatable else 1)

    def close(self) -> None:
        self._ended.set()
        with self._lock:
            client, self._client, self._token = self._client, None, ""
            renewer, self._renewer = self._renewer, None
        if client is not None:
            client.adapter.close()
        if renewer is not None and renewer is not threading.current_thread():
            renewer.join(RENEW_SECONDS_MIN)

    # -- requests --------------------------------------------------------------------------------------------

    def _authenticated(
        self, method: str, path: str, body: Mapping[str, object] | None, attempts: int
    ) -> dict[str, Any]:
        token = self._current_token()
        try:
            answer = self._request(method, path, body, token, attempts)
        except _Denied:
            fresh = self._token_after(token)
            if fresh is None:
                raise KeyRefused(f"{method} {path}: permission denied") from None
            try:
                answer = self._request(method, path, body, fresh, attempts)
            except _Denied:
                raise KeyRefused(f"{method} {path}: permission denied") from None
        data = answer.get("data")
        return data if isinstance(data, dict) else {}

    def _request(
        self, method: str, path: str, body: Mapping[str, object] | None, token: str, attempts: int
    ) -> dict[str, Any]:
        """One request; raises KeyProviderError."""
        what = f"{method} {path}"
        headers = {"X-Vault-Token": token} if token else {}
        for attempt in range(1, attempts + 1):
            try:
                adapter = self._adapter()
                answer = adapter.request(method, f"v1/{path}", headers=headers, json=body)
            except requests.RequestException as error:
                if attempt < attempts and isinstance(error, requests.ConnectionError):
                    continue
                raise ProviderUnavailable(f"{what}: {_network(error)}") from None
            except OSError as error:  # the file of authorities
                raise KeyRefused(f"{what}: {self._config.ca_path}: {type(error).__name__}") from None
            except exceptions.VaultError as error:
                raise _refusal(what, error) from None
            if isinstance(answer, dict):
                return answer
            if answer.status_code == requests.codes.no_content:
                return {}
            raise ProviderUnavailable(f"{what}: answered {answer.status_code}, not as a Vault server does")
        raise AssertionError("the loop returns or raises")

    def _adapter(self) -> Any:
        with self._lock:
            if self._client is None:
                config = self._config
                session = requests.Session()
                session.verify = str(config.ca_path) if config.ca_path is not None else _system_authorities()
                session.mount("https://", _Transport())
                self._client = hvac.Client(
                    url=config.address,
                    token="",  # not None: the environment's token is not ours
                    session=session,
                    timeout=config.timeout_secs / ATTEMPTS,
                    allow_redirects=False,  # the token would go wherever the answer says
                    namespace=config.namespace,
                )
            return self._client.adapter

    # -- the token -------------------------------------------------------------------------------------------

    def _current_token(self) -> str:
        with self._logging_in:
            return self._token or self._log_in()

    def _token_after(self, refused: str) -> str | None:
        """Another token than the refused one, or None when there is none to be had now."""
        with self._logging_in:
            if self._token not in ("", refused):
                return self._token
            if self._clock.monotonic() - self._refused_at < LOGIN_PAUSE_SECONDS:
                return None
            self._refused_at = self._clock.monotonic()
            try:
                fresh = self._log_in()
            except ProviderUnavailable:
                self._refused_at = float("-inf")  # nobody has said no
                raise
        return fresh if fresh != refused else None

    def _log_in(self) -> str:
        """A new token; raises KeyProviderError. The caller holds `_logging_in`."""
        auth = self._config.auth
        try:
            if auth.method == "token":
                assert auth.token is not None, "the configuration was checked"
                granted = self._described(_one_line(auth.token.reveal()))
            elif auth.method == "approle":
                assert auth.secret_id is not None, "the configuration was checked"
                granted = self._granted({"role_id": auth.role_id, "secret_id": auth.secret_id.reveal()})
            else:
                granted = self._granted({"role": auth.role, "jwt": _pod_token(auth.jwt_path or POD_TOKEN)})
        except ValueError as error:  # names the reference or file, not what it holds
            raise KeyRefused(f"storage.encryption.vault.auth: {error}") from None
        return self._keep(granted)

    def _granted(self, body: Mapping[str, object]) -> dict[str, Any]:
        """The field `auth` of a login."""
        auth = self._config.auth
        path = f"auth/{auth.mount or auth.method}/login"
        try:
            answer = self._request("post", path, body, "", ATTEMPTS)
        except (_Denied, InvalidRequest):
            raise KeyRefused(f"{path}: the login was refused") from None
        except KeyGone:
            raise KeyRefused(f"{path}: nothing is mounted there") from None
        return _auth_of(answer)

    def _described(self, token: str) -> dict[str, Any]:
        """A token of the configuration, with the lease the server knows of it."""
        try:
            data = self._request("get", "auth/token/lookup-self", None, token, ATTEMPTS).get("data") or {}
        except (_Denied, KeyRefused, KeyGone, InvalidRequest):
            data = {}  # a policy may forbid the question; whether the token is good, the next request tells
        return {
            "client_token": token,
            "lease_duration": data.get("ttl", 0),
            "renewable": data.get("renewable", False),
        }

    def _keep(self, granted: dict[str, Any]) -> str:
        token, lease = granted.get("client_token"), granted.get("lease_duration", 0)
        if not isinstance(token, str) or not token or not isinstance(lease, int):
            raise ProviderUnavailable("a login without a token, not as a Vault server answers")
        with self._lock:
            self._token, self._lease = token, float(lease)
            self._renewable = bool(granted.get("renewable"))
            if self._lease > 0 and self._renewer is None and not self._ended.is_set():
                self._renewer = threading.Thread(target=self._renew, name="vault-renewal", daemon=True)
                self._renewer.start()
        return token

    def _renew(self) -> None:
        """Body of the thread: keep the token alive until `close` or until it has no end any more."""
        delay = renewal_delay(self._lease)
        while not self._ended.wait(delay):
            with self._lock:
                token, lease, renewable = self._token, self._lease, self._renewable
                if lease <= 0:
                    self._renewer = None
                    return
            try:
                self._prolong(token, lease, renewable)
                delay = renewal_delay(self._lease)
            except KeyProviderError as error:
                _log.warning("the token could not be renewed, tried again: %s", error)
                delay = renewal_delay(lease / 10)

    def _prolong(self, token: str, lease: float, renewable: bool) -> None:
        """Renew, or log in again when the server gives less and less (the token's own maximum is near)."""
        if renewable:
            try:
                granted = _auth_of(self._request("post", "auth/token/renew-self", {}, token, ATTEMPTS))
            except (_Denied, KeyRefused, InvalidRequest):
                granted = {}
            left = granted.get("lease_duration", 0)
            if isinstance(left, int) and left >= lease * RENEW_AT:
                self._keep(granted | {"client_token": token})
                return
        with self._logging_in:
            self._log_in()


class _Denied(KeyRefused):
    """Status 403: an ended token or a policy; the server does not say which."""


def renewal_delay(lease_seconds: float) -> float:
    """Seconds until a token is to be renewed."""
    return min(max(lease_seconds * RENEW_AT, RENEW_SECONDS_MIN), RENEW_SECONDS_MAX)


def _refusal(what: str, error: exceptions.VaultError) -> KeyProviderError:
    """What an error status means to us."""
    words = tuple(str(one) for one in error.errors or ())
    if isinstance(error, exceptions.Forbidden | exceptions.Unauthorized):
        return _Denied(f"{what}: permission denied")
    if isinstance(error, exceptions.InvalidRequest):
        return InvalidRequest(f"{what}: the request was refused", words)
    if isinstance(error, exceptions.InvalidPath):
        if any("no handler for route" in word for word in words):
            return KeyRefused(f"{what}: nothing is mounted there (mount, namespace)")
        return KeyGone(f"{what}: not found")
    if isinstance(error, exceptions.VaultDown) and any("sealed" in word for word in words):
        return ProviderUnavailable(f"{what}: the server is sealed")
    if isinstance(error, _UNAVAILABLE):
        return ProviderUnavailable(f"{what}: {type(error).__name__}")
    return KeyRefused(f"{what}: {type(error).__name__}")


def _network(error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted, or it does not speak TLS"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    return "cannot be reached" if isinstance(error, requests.ConnectionError) else type(error).__name__


def _auth_of(answer: dict[str, Any]) -> dict[str, Any]:
    auth = answer.get("auth")
    return auth if isinstance(auth, dict) else {}


def _pod_token(path: Path) -> str:
    """A service account's token, read anew each time: Kubernetes replaces it every hour."""
    try:
        with path.open("rb") as file:
            content = file.read(JWT_BYTES_MAX + 1)
    except OSError as error:
        raise ValueError(f"jwt_path: {path}: {error.strerror}") from None
    if not 0 < len(content) <= JWT_BYTES_MAX or not content.isascii():
        raise ValueError(f"jwt_path: {path}: does not hold a token")
    return content.decode().strip()


def _one_line(token: str) -> str:
    if not token.isascii() or not token.isprintable():
        raise ValueError("token: what the reference holds is no token")
    return token


def _system_authorities() -> str | bool:
    """The system's trusted authorities; the library would bring its own list."""
    paths = ssl.get_default_verify_paths()
    for path in (paths.cafile, paths.capath):
        if path is not None and os.path.exists(path):
            return path
    return True
