"""What the HTTP listeners share: a listening socket, and uvicorn as a guest in the broker's own loop.

uvicorn handles no signals here, says nothing of its own start and end, and is imported by whoever runs this
on a thread. Nothing is decided about requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rivven.config.values import Address

if TYPE_CHECKING:
    import uvicorn

BACKLOG = 64
"""Connections the kernel holds while the listener's code is still being imported."""


def listening_socket(address: Address) -> socket.socket:
    """A non-blocking socket that listens there. Raises OSError with nothing left open."""
    family, kind, protocol, _name, where = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def bound_address(sock: socket.socket) -> Address:
    """The real address of a bound socket."""
    host, port = sock.getsockname()[:2]
    return Address(host, port)


async def first_connection(sock: socket.socket) -> None:
    """Return once somebody wants to connect to a listening socket; nobody is accepted here."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    loop.add_reader(sock.fileno(), asked.set)
    try:
        await asked.wait()
    finally:
        loop.remove_reader(sock.fileno())


def guest_server(
    application: Any, *, connections_max: int, keep_alive_s: int, **options: Any
) -> uvicorn.Server:
    """uvicorn with the application, loaded; call it on a thread. `options` are more settings of uvicorn's."""
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    # Its "started" and "finished" lines would pass for the broker's own, and its warnings are about what
    # strangers send: a line for each would be a way to fill the disk.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

    class Server(uvicorn.Server):
        """uvicorn without its hands on the process's signals."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    opened: dict[Connection, None] = {}  # oldest first

    class Connection(H11Protocol):
        """One of as many as there may be; beyond, the oldest that is not being answered makes room.

        uvicorn's own limit refuses requests, and holds connections that make none for as long as they like,
        until the broker has no descriptor left; and whoever held them all would keep everybody else out.
        """

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            opened[self] = None
            if len(opened) > connections_max:
                idle = (one for one in opened if one.cycle is None or one.cycle.response_complete)
                gone = next(idle)  # the new one, if no other
                del opened[gone]
                gone.connections.discard(gone)
                gone.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            opened.pop(self, None)
            super().connection_lost(exc)

    settings: dict[str, Any] = {
        "log_config": None,
        "access_log": False,
        "lifespan": "off",
        "ws": "none",
        "http": Connection,
        "interface": "asgi3",
        "limit_concurrency": connections_max + 1,  # the number from which on it refuses
        "timeout_keep_alive": keep_alive_s,
        "timeout_graceful_shutdown": 1,
        "server_header": False,
        "proxy_headers": False,
    }
    config = uvicorn.Config(application, **(settings | options))
    config.load()  # imports the protocol classes here, on the thread
    return Server(config)
