"""A scripted HTTP server with JSON bodies: answers as a test says, remembers what was asked.

Driver. A subclass answers requests; `faults` replace the answers of the next matching requests, whatever the
subclass would have said: an error status, silence, a closed connection, nonsense.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HELD_SECONDS_MAX = 30.0  # a request that is never answered ends with the test


@dataclass
class Request:
    """What came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


@dataclass
class Fault:
    """What requests get whose path or operation holds `match`; `times` of them, then no more."""

    match: str
    status: int = 500
    payload: object = field(default_factory=dict)
    times: int = 1_000_000
    headers: Mapping[str, str] = field(default_factory=dict)
    close: bool = False
    """Hang up without an answer."""
    hold: bool = False
    """Never answer."""


class ScriptedServer:
    """Subclasses give `answer`. A context manager; also `start` and `stop` on the same port, for outages."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self._stopping = threading.Event()

    def answer(self, request: Request) -> tuple[int, object]:
        """Status and body of a request that no fault is for: bytes, or what becomes JSON."""
        raise AssertionError(f"nothing answers {request.path}")

    def parse(self, content: bytes) -> dict[str, Any]:
        """A request's body."""
        body: dict[str, Any] = json.loads(content) if content else {}
        return body

    def operation(self, request: Request) -> str:
        """What faults are matched with."""
        return request.path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def fault(self, match: str, status: int = 500, payload: object = None, **more: Any) -> Fault:
        """Add a fault; returns it, to be removed from `faults`."""
        made = Fault(match, status, {} if payload is None else payload, **more)
        self.faults.append(made)
        return made

    def asked(self, match: str) -> list[Request]:
        """The requests so far whose operation holds `match`."""
        return [request for request in self.requests if match in self.operation(request)]

    def start(self) -> None:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Both parts of an answer at once: a small second segment waits for the first one's ACK otherwise.
            wbufsize = -1

            def _handle(self) -> None:
                owner._serve(self)

            do_GET = do_POST = do_PUT = do_LIST = _handle

            def log_message(self, format: str, *args: object) -> None:
                pass

        ThreadingHTTPServer.daemon_threads = True
        self._stopping.clear()
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def speak_tls(self, context: ssl.SSLContext) -> None:
        """From the next connection on."""
        assert self._server is not None
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def stop(self) -> None:
        assert self._server is not None
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._server = None

    def __enter__(self) -> Any:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self.stop()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        content = handler.rfile.read(length)
        if self._stopping.is_set():  # a kept connection of a server that is gone
            handler.close_connection = True
            return
        request = Request(handler.command, handler.path, dict(handler.headers.items()), self.parse(content))
        with self.lock:
            self.requests.append(request)
            fault = self._fault_for(request)
            status, payload = self.answer(request) if fault is None else (fault.status, fault.payload)
        if fault is not None and fault.hold:
            deadline = time.monotonic() + HELD_SECONDS_MAX
            while not self._stopping.wait(0.02) and time.monotonic() < deadline:
                pass
        if fault is not None and (fault.close or fault.hold):
            handler.close_connection = True
            return
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(0 if status == 204 else len(data)))
        for name, value in (fault.headers if fault is not None else {}).items():
            handler.send_header(name, value)
        handler.end_headers()
        if status != 204:
            handler.wfile.write(data)
        handler.wfile.flush()

    def _fault_for(self, request: Request) -> Fault | None:
        operation = self.operation(request)
        for fault in self.faults:
            if fault.match in operation:
                fault.times -= 1
                if fault.times == 0:
                    self.faults.remove(fault)
                return fault
        return None
