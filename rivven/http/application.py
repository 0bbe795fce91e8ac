"""The ASGI application of the metrics listener: /metrics, /healthz and /readyz, GET and HEAD only.

Answers are built from functions it is given; it reads no request body and keeps nothing between requests.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from rivven.http.exposition import CONTENT_TYPE

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

ROUTES = ("/metrics", "/healthz", "/readyz")

_JSON = "application/json"


class Application:
    """`render` gives the metrics, `health` facts with a boolean "healthy", `ready` whether clients are
    served."""

    def __init__(
        self, render: Callable[[], bytes], health: Callable[[], dict[str, object]], ready: Callable[[], bool]
    ) -> None:
        self._render = render
        self._health = health
        self._ready = ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI 3)."""
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here")  # uvicorn then refuses a WebSocket upgrade
        status, content_type, body = self._answer(scope["method"], scope["path"])
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        if status == 405:
            headers.append((b"allow", b"GET, HEAD"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        if path not in ROUTES:
            return 404, _JSON, _json({"error": "no such page", "pages": list(ROUTES)})
        if method not in ("GET", "HEAD"):
            return 405, _JSON, _json({"error": "GET only"})
        if path == "/metrics":
            return 200, CONTENT_TYPE, self._render()
        if path == "/healthz":
            facts = self._health()
            return (200 if facts.get("healthy", True) else 503), _JSON, _json(facts)
        ready = self._ready()
        return (200 if ready else 503), _JSON, _json({"ready": ready})


def _json(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"
