"""What every HTTP request must look like before anything else looks at it, and what every answer carries.

An ASGI application around the real one. A browser that was lured to another site, a name rebound to this
address, a request that two programs could read differently: refused here, for every route alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from typing import Any

from rivven.http.admin.problems import MEDIA_TYPE, Problem

BODY_BYTES_MAX = 1 << 20
"""The largest body: a hundred times a large policy."""

BODY_SECONDS_MAX = 20.0
"""For a whole body to arrive."""

HEAD_BYTES_MAX = 32_768
"""Request line and headers; a bearer token alone may have 16 KiB."""

HEADERS_MAX = 64
"""Browsers send some twenty."""

RESPONSE_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApplication = Callable[[Scope, Receive, Send], Awaitable[None]]


class Hygiene:
    """`names` are the host names callers may use, lower case, without port; `probes` the paths that answer
    under any name, because who probes knows an address only."""

    def __init__(self, application: AsgiApplication, names: Collection[str], probes: Collection[str]) -> None:
        self._application = application
        self._names = frozenset(names)
        self._probes = frozenset(probes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI 3)."""
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here")
        # The raw path: %2F in a name must not become a separator. Parameters are decoded after routing.
        scope["path"] = scope.get("raw_path", b"").decode("ascii", errors="replace") or scope["path"]
        headers = scope["headers"]
        body = _Body(receive, _has_body(headers))
        problem = self._problem_of(scope, headers)
        started, refused = False, problem is not None

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                extra = list(RESPONSE_HEADERS)
                if body.unread or refused:  # what follows would be taken for a request, or never end
                    extra.append((b"connection", b"close"))
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        if problem is not None:
            await send_problem(problem, answer)
            return
        try:
            await self._application(scope, body.receive, answer)
        except asyncio.CancelledError:  # the listener is stopping, and ends with this request
            if started:
                raise
            await send_problem(Problem(503, "the broker is stopping"), answer)

    def _problem_of(self, scope: Scope, headers: list[tuple[bytes, bytes]]) -> Problem | None:
        if scope["http_version"] not in ("1.1", "1.0"):
            return Problem(505, "HTTP/1.1 is spoken here")
        size = sum(len(name) + len(value) for name, value in headers) + len(scope["raw_path"])
        if len(headers) > HEADERS_MAX or size > HEAD_BYTES_MAX:
            return Problem(431, f"at most {HEADERS_MAX} headers and {HEAD_BYTES_MAX} bytes of them")
        hosts = _values(headers, b"host")
        if scope["path"] not in self._probes and (len(hosts) != 1 or host_name(hosts[0]) not in self._names):
            return Problem(421, "this is not a name of the Admin API; names are set with admin.names")
        lengths, codings = _values(headers, b"content-length"), _values(headers, b"transfer-encoding")
        if codings and lengths:
            return Problem(400, "Content-Length beside Transfer-Encoding")
        if lengths and (not lengths[0].isdigit() or int(lengths[0]) > BODY_BYTES_MAX):
            return Problem(413, f"a body has at most {BODY_BYTES_MAX} bytes")
        origins = _values(headers, b"origin")
        if origins and origins != [f"{scope['scheme']}://{hosts[0]}" if hosts else ""]:
            return Problem(403, "pages of other sites may not use the Admin API")
        return None


def require_json(types: Sequence[str], codings: Sequence[str]) -> None:
    """For routes that change something: a form of another site cannot send JSON, and a compressed body has no
    size. `types` and `codings` are the headers Content-Type and Content-Encoding. Raises the 415 problem."""
    if not _is_json(types):
        raise Problem(415, "requests that change something are sent as application/json")
    if codings:
        raise Problem(415, "bodies are sent without Content-Encoding")


class _Body:
    """The request's body as it arrives: bounded in bytes and time."""

    def __init__(self, receive: Receive, expected: bool) -> None:
        self._receive = receive
        self._bytes = 0
        self._deadline: float | None = None
        self.unread = expected

    async def receive(self) -> Message:
        """The next message. Raises Problem for a body that is too large or too slow."""
        if not self.unread:
            return await self._receive()  # only waits for the end of the connection
        loop = asyncio.get_running_loop()
        if self._deadline is None:
            self._deadline = loop.time() + BODY_SECONDS_MAX
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise Problem(408, f"the body did not arrive within {BODY_SECONDS_MAX:g} s") from None
        self._bytes += len(message.get("body", b""))
        if self._bytes > BODY_BYTES_MAX:
            raise Problem(413, f"a body has at most {BODY_BYTES_MAX} bytes")
        if not message.get("more_body", False):
            self.unread = False
        return message


async def read_body(receive: Receive) -> bytes:
    """The whole body. Raises Problem, also when the caller has gone."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Problem(400, "the caller went away")
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def send_problem(problem: Problem, send: Send) -> None:
    """Answer with a problem document."""
    body = problem.body()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in problem.headers),
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def host_name(header: str) -> str:
    """The name in a Host header: lower case, without port, an IPv6 address without its brackets."""
    host = header.lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _values(headers: list[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in headers if key == name]


def _has_body(headers: list[tuple[bytes, bytes]]) -> bool:
    lengths = _values(headers, b"content-length")
    return bool(_values(headers, b"transfer-encoding")) or any(length.strip("0") for length in lengths)


def _is_json(types: Sequence[str]) -> bool:
    if len(types) != 1:
        return False
    kind, _, parameters = types[0].lower().partition(";")
    return kind.strip() == "application/json" and parameters.strip() in (
        "",
        "charset=utf-8",
        'charset="utf-8"',
    )
