"""The metrics listener: uvicorn on the broker's own event loop, on a loopback address.

Everything it needs is imported on a thread when it starts, after the Kafka listeners are up, so that
neither start-up nor the loop waits for it. Its signals are the broker's: uvicorn handles none.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from rivven.config.values import Address, parse_address
from rivven.http.listening import bound_address, guest_server, listening_socket
from rivven.tasks import Tasks
from rivven.telemetry import Metrics, get_logger

if TYPE_CHECKING:
    import uvicorn

_log = get_logger("rivven.http")

CONNECTIONS_MAX = 32  # scrapers and probes; more is a mistake or an attack
KEEP_ALIVE_SECONDS = 15  # longer than a usual scrape interval would only hold sockets
STOP_SECONDS_MAX = 2.0  # a scrape in flight may end, an open connection must not delay the shutdown


class MetricsServer:
    """Serves /metrics, /healthz and /readyz between `start` and `stop`; belongs to the event loop."""

    def __init__(
        self,
        bind: str,
        metrics: Metrics,
        health: Callable[[], dict[str, object]],
        ready: Callable[[], bool],
    ) -> None:
        self._bind = parse_address(bind)
        self._metrics = metrics
        self._health = health
        self._ready = ready
        self._tasks = Tasks()
        self._server: uvicorn.Server | None = None
        self._socket: socket.socket | None = None
        self._serving: asyncio.Task[None] | None = None

    def bind(self) -> Address:
        """Take the address and return the real one; answers come after `start`. Raises OSError."""
        if self._socket is None:
            self._socket = listening_socket(self._bind)
        return bound_address(self._socket)

    async def start(self) -> Address:
        """Serve and return the real address; raises OSError when it cannot be had."""
        address = self.bind()
        sock = self._socket
        assert sock is not None
        try:
            self._server = await asyncio.to_thread(
                _import_and_build, self._metrics, self._health, self._ready
            )
        except BaseException:
            sock.close()
            raise
        self._serving = self._tasks.spawn(self._server.serve(sockets=[sock]), "metrics listener")
        _log.info("metrics listener ready", address=str(address))
        return address

    async def stop(self) -> None:
        """Stop accepting, let what is in flight end for STOP_SECONDS_MAX, close."""
        if self._server is not None:
            self._server.should_exit = True
        if self._serving is not None:
            await asyncio.wait({self._serving}, timeout=STOP_SECONDS_MAX)
        await self._tasks.cancel_all()
        if self._socket is not None:
            self._socket.close()


def _import_and_build(
    metrics: Metrics, health: Callable[[], dict[str, object]], ready: Callable[[], bool]
) -> uvicorn.Server:
    from rivven.http.application import Application
    from rivven.http.exposition import Exposition

    application = Application(Exposition(metrics).render, health, ready)
    return guest_server(application, connections_max=CONNECTIONS_MAX, keep_alive_s=KEEP_ALIVE_SECONDS)
