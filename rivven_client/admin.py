"""The Admin API as commands use it: one call, one answer, and failures told apart by what a person does
about them.

HTTP/1.1 over the standard library. TLS is verified with the profile's authority; user and password, or a
token, go over TLS only. It knows no route.
"""

from __future__ import annotations

import http.client
import json
import ssl
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from rivven_client.failures import ClientFailed, FailureKind
from rivven_client.profile import Profile

ANSWER_BYTES_MAX = 64 << 20
"""A page of a list has some 100 KB; stops a wrong address from filling memory."""

PAGES_MAX = 10_000
"""Pages `listing` asks for: ten million items at the largest page; more is a server that repeats itself."""

PAGE_LIMIT = 1_000

Query = Mapping[str, str | int] | Sequence[tuple[str, str]]
"""Query parameters; pairs where one stands several times."""

_KINDS = {
    401: FailureKind.AUTHENTICATION,
    403: FailureKind.DENIED,
    404: FailureKind.NOT_FOUND,
    408: FailureKind.TIMEOUT,
    409: FailureKind.EXISTS,
    504: FailureKind.TIMEOUT,
}


_BUSY_ERROR = "CONCURRENT_TRANSACTIONS"
"""How a problem names that something else has to end first; what collides for good is a 409 too."""


def path(*parts: str) -> str:
    """``/v1/...`` of path segments, each escaped: names may hold anything."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


class AdminApi:
    """Calls routes of the broker a profile names. One connection per call: commands make few."""

    def __init__(self, profile: Profile, timeout_s: float = 15.0) -> None:
        url = urlsplit(profile.admin_url)
        if url.scheme not in ("https", "http") or not url.hostname:
            raise ClientFailed(
                f"{profile.name}: admin.url is missing or not https://HOST:PORT", FailureKind.INVALID
            )
        self._profile = profile
        self._scheme = url.scheme
        self._host = url.hostname
        self._port = url.port
        self._timeout_s = timeout_s

    def get(self, path: str, query: Query | None = None) -> Any:
        """The answer's JSON. Raises ClientFailed."""
        return self._call("GET", path, None, query)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send JSON; the answer's JSON, None when there is none. Raises ClientFailed."""
        return self._call("POST", path, body or {})

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send JSON; the answer's JSON, None when there is none. Raises ClientFailed."""
        return self._call("PUT", path, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send JSON; the answer's JSON, None when there is none. Raises ClientFailed."""
        return self._call("PATCH", path, body)

    def delete(self, path: str, query: Mapping[str, str | int] | None = None) -> Any:
        """The answer's JSON, None when there is none. Raises ClientFailed."""
        return self._call("DELETE", path, {}, query)

    def listing(self, path: str, query: Mapping[str, str | int] | None = None) -> Iterator[Any]:
        """Every item of a list, page by page. Raises ClientFailed."""
        after = ""
        for _ in range(PAGES_MAX):
            wanted = {**(query or {}), "limit": PAGE_LIMIT, **({"after": after} if after else {})}
            page = self.get(path, wanted)
            yield from page["items"]
            if page.get("next") is None:
                return
            after = page["next"]

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Query | None = None,
    ) -> Any:
        target = f"{path}?{urlencode(query)}" if query else path
        headers = {"Accept": "application/json", "User-Agent": "rivven-cli", **self._authorization()}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        connection = self._connection()
        try:
            connection.request(method, target, content, headers)
            answer = connection.getresponse()
            text = answer.read(ANSWER_BYTES_MAX + 1)
        except TimeoutError:
            raise ClientFailed(
                f"{self._where} did not answer in {self._timeout_s:g} s", FailureKind.TIMEOUT
            ) from None
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or "the handshake failed"
            raise ClientFailed(f"{self._where}: {reason}", FailureKind.TLS) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ClientFailed(
                f"cannot talk to the Admin API at {self._where} ({reason})", FailureKind.UNREACHABLE
            ) from None
        finally:
            connection.close()
        return self._answer(answer.status, text)

    def _answer(self, status: int, text: bytes) -> Any:
        if len(text) > ANSWER_BYTES_MAX:
            raise ClientFailed(f"{self._where}: an answer of more than {ANSWER_BYTES_MAX} bytes")
        try:
            content = json.loads(text) if text.strip() else None
        except ValueError:
            if status < 400:
                raise ClientFailed(f"{self._where}: an answer that is not JSON") from None
            content = None
        if status < 400:
            return content
        problem = content if isinstance(content, dict) else {}
        reason = problem.get("detail") or problem.get("title") or f"status {status}"
        wrong = [f"{one.get('field')}: {one.get('reason')}" for one in problem.get("fields") or ()]
        kind = _KINDS.get(status, FailureKind.INVALID if status < 500 else FailureKind.OTHER)
        if status == 409 and problem.get("error") == _BUSY_ERROR:
            kind = FailureKind.BUSY
        raise ClientFailed("; ".join([str(reason), *wrong]), kind)

    @property
    def _where(self) -> str:
        return self._profile.admin_url

    def _connection(self) -> http.client.HTTPConnection:
        if self._scheme == "http":
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout_s, context=self._tls_context()
        )

    def _tls_context(self) -> ssl.SSLContext:
        settings = self._profile.settings
        try:
            context = ssl.create_default_context(cafile=settings.get("ssl.ca.location"))
            certificate = settings.get("ssl.certificate.location")
            if certificate:
                # A password is always given: without one OpenSSL would ask on the terminal.
                password = settings.get("ssl.key.password", "")
                context.load_cert_chain(certificate, settings.get("ssl.key.location"), lambda: password)
        except OSError as error:  # ssl.SSLError is one
            raise ClientFailed(
                f"{self._profile.name}: the certificate files of the profile: {error.strerror or error}",
                FailureKind.TLS,
            ) from None
        return context

    def _authorization(self) -> dict[str, str]:
        """A token if the profile has one, else user and password; nothing over plain HTTP."""
        profile = self._profile
        if self._scheme != "https":
            return {}
        if profile.admin_token:
            return {"Authorization": f"Bearer {profile.admin_token}"}
        user, password = profile.settings.get("sasl.username"), profile.settings.get("sasl.password")
        if not user or not password:
            return {}
        return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}
