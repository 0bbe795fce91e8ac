"""uvicorn's HTTP/1.1 connection with what it lacks: the peer's certificate, deadlines, and a place in a
count.

Imported with uvicorn, on a thread. It reads no request; it closes connections that take too long, and puts
the `Peer` into each request's scope.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from rivven.http.admin.hygiene import Receive, Scope, Send
from rivven.http.admin.peer import SCOPE_KEY, Judge, Peer
from rivven.security.tls import peer_chain

HEAD_SECONDS_MAX = 10.0
"""From the first byte of a request, or from the accept, to the end of its headers."""

REQUEST_SECONDS_MAX = 120.0
"""From the headers to the last byte of the answer: the slowest body, the back-off of a failed login, the
longest answer to a slow reader."""


class AdminConnection(H11Protocol):
    """One connection. `closed` is called once, when it has ended; `judge` gives what says whether a client's
    chain is trusted, `refused` hears why one is not."""

    def __init__(
        self,
        config: Config,
        state: ServerState,
        closed: Callable[[], None],
        judge: Judge | None,
        refused: Callable[[str, str], None],
    ) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self.peer = Peer("", False)
        self._closed = closed
        self._judge = judge
        self._refused = refused
        self._deadline: asyncio.TimerHandle | None = None
        self._answering = False
        self.data_bytes = 0
        """What the peer has sent, TLS taken off."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The transport is ready: with TLS, its handshake is done."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        chain = peer_chain(tls) if tls is not None else ()
        host = str((transport.get_extra_info("peername") or ("",))[0])
        self.peer = Peer(host, tls is not None, chain[0] if chain else None)
        if chain and self._judge is not None:
            self.peer.still_trusted = self._judge(chain)
            problem = self.peer.still_trusted()
            if problem is not None:
                self._refused(host, problem)
                transport.abort()
                return
        application, peer = self.app, self.peer

        async def with_peer(scope: Scope, receive: Receive, send: Send) -> None:
            scope[SCOPE_KEY] = peer
            await application(scope, receive, send)

        self.app = with_peer
        self._limit(HEAD_SECONDS_MAX)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request; a head that has begun must end in time."""
        self.data_bytes += len(data)
        super().data_received(data)
        if self._in_request():
            self._watch_answer()
        elif self._deadline is None:
            self._limit(HEAD_SECONDS_MAX)

    def on_response_complete(self) -> None:
        """The keep-alive time of uvicorn takes over, unless the next request is here already."""
        self._answering = False
        self._unlimit()
        super().on_response_complete()
        if self._in_request():
            self._watch_answer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended, whoever ended it."""
        self._unlimit()
        super().connection_lost(exc)
        self._closed()

    def _in_request(self) -> bool:
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _watch_answer(self) -> None:
        if not self._answering:
            self._answering = True
            self._limit(REQUEST_SECONDS_MAX)

    def _limit(self, seconds: float) -> None:
        self._unlimit()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _unlimit(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
