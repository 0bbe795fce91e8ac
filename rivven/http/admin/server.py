"""The Admin API's listener: accepts, admits, shakes hands, and hands connections to uvicorn's protocol.

Driver. The application is built on a thread when the first connection comes: it takes 0.3 s and 13 MB,
which a broker that nobody administers over HTTP need not spend; the kernel holds connections meanwhile. Each
connection takes the TLS context that is current when it comes, so a reloaded certificate is used at once. It
knows no route.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rivven.config.values import Address, parse_address
from rivven.http.admin.peer import Judge, Peer
from rivven.http.admin.tls_meter import TlsMeter
from rivven.http.listening import bound_address, first_connection, guest_server, listening_socket
from rivven.security.admission import Admission, peer_of
from rivven.security.networks import AllowedNetworks
from rivven.tasks import Tasks
from rivven.telemetry import get_logger

if TYPE_CHECKING:
    import uvicorn

    from rivven.http.admin.hygiene import AsgiApplication

CONNECTIONS_MAX = 512
"""Administrators, scrapers and probes; each TLS connection costs some 60 KB."""

CONNECTIONS_PER_PEER_MAX = 128
"""When one address has this many, its oldest one that has not logged in makes room for the new one: an attack
from an address must not lock its administrator out."""

KEEP_ALIVE_SECONDS = 65
"""Longer than a usual scrape interval: a handshake costs more than an idle connection."""

NETWORK_REFUSED = "its network is not allowed (security.ip_allowlist, admin.allowed_cidrs)"

NO_DATA = "it sends messages of TLS without data"

STOP_SECONDS_MAX = 2.0
"""What is in flight may end; an open connection must not delay the shutdown."""

_log = get_logger("rivven.http")


class AdminServer:
    """Serves between `start` and `stop`; belongs to the event loop."""

    def __init__(self, bind: str) -> None:
        self._bind = parse_address(bind)
        self._admission: Admission | None = None
        self._tls: Callable[[], ssl.SSLContext] | None = None
        self._build: Callable[[], AsgiApplication] | None = None
        self._built: Callable[[], None] = lambda: None
        self._judge: Judge | None = None
        self._refused: Callable[[str, str], None] = lambda _host, _reason: None
        self._networks = AllowedNetworks(())
        self._tasks = Tasks()
        self._socket: socket.socket | None = None
        self._doors: dict[Door, None] = {}
        self._guest: uvicorn.Server | None = None
        self._accepting: asyncio.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    def bind(self) -> Address:
        """Take the address and return the real one; answers come after `start`. Raises OSError."""
        if self._socket is None:
            self._socket = listening_socket(self._bind)
        return bound_address(self._socket)

    def open(
        self,
        admission: Admission,
        tls: Callable[[], ssl.SSLContext] | None,
        build: Callable[[], AsgiApplication],
        built: Callable[[], None] = lambda: None,
        *,
        networks: AllowedNetworks | None = None,
    ) -> None:
        """Say who may connect, with which certificate, and what answers. `tls` gives the current context,
        None for a listener without TLS; `build` is called on a thread, `built` once it has returned. Whoever
        is not of the `networks` gets no byte."""
        self._admission, self._tls, self._build, self._built = admission, tls, build, built
        self._networks = networks or self._networks

    def judge_certificates(self, judge: Judge, refused: Callable[[str, str], None]) -> None:
        """Ask `judge` about every chain a client shows, once it connects and at every `recheck`; `refused`
        hears the address and the reason."""
        self._judge, self._refused = judge, refused

    def recheck(self) -> None:
        """Close the connections whose client certificate is no longer trusted."""
        for door in list(self._doors):
            problem = door.distrusted()
            if problem is not None:
                _log.info("closed a connection to the admin listener", host=door.host, reason=problem)
                door.abort()

    async def start(self) -> Address:
        """Serve from the first connection on; returns the real address. Raises OSError."""
        address = self.bind()
        self._tasks.spawn(self._serve_when_asked(), "admin listener")
        _log.info("admin listener ready", address=str(address))
        return address

    async def _serve_when_asked(self) -> None:
        assert self._socket is not None
        await first_connection(self._socket)
        self._guest = await asyncio.to_thread(self._import_and_build)
        self._built()
        loop = asyncio.get_running_loop()
        # uvicorn owns no socket: it keeps the date, counts what is in flight, and ends it.
        self._serving = self._tasks.spawn(self._guest.serve(sockets=[]), "requests of the admin listener")
        self._accepting = await loop.create_server(lambda: Door(self), sock=self._socket)

    async def stop(self) -> None:
        """Stop accepting, let what is in flight end for STOP_SECONDS_MAX, close."""
        if self._accepting is not None:
            self._accepting.close()
        if self._guest is not None:
            self._guest.should_exit = True
        if self._serving is not None:
            await asyncio.wait({self._serving}, timeout=STOP_SECONDS_MAX)
        for door in list(self._doors):
            door.abort()
        await self._tasks.cancel_all()
        if self._socket is not None:
            self._socket.close()

    def _import_and_build(self) -> uvicorn.Server:
        from rivven.http.admin.connection import AdminConnection
        from rivven.http.admin.hygiene import HEAD_BYTES_MAX

        assert self._build is not None, "open comes first"
        return guest_server(
            self._build(),
            connections_max=CONNECTIONS_MAX,
            keep_alive_s=KEEP_ALIVE_SECONDS,
            http=AdminConnection,
            h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        )

    # -- for its doors --------------------------------------------------------------------------------------

    def admit(self, door: Door) -> bool:
        """Whether a new connection may stay; it is counted then."""
        assert self._admission is not None
        if not self._networks.allow(door.host):
            _log.info("refused a connection to the admin listener", host=door.host, reason=NETWORK_REFUSED)
            return False
        peer = peer_of(door.host)
        held = [one for one in self._doors if peer_of(one.host) == peer]
        if len(held) >= CONNECTIONS_PER_PEER_MAX or len(self._doors) >= CONNECTIONS_MAX:
            oldest = next((one for one in held if not one.trusted), None)
            if oldest is None:
                _log.info("refused a connection to the admin listener", host=door.host, held=len(held))
                return False
            oldest.abort()
        refused = self._admission.admit(door.host)
        if refused is not None:
            _log.info("refused a connection to the admin listener", host=door.host, reason=refused)
            return False
        self._doors[door] = None
        return True

    def forget(self, door: Door) -> None:
        """A connection that was admitted has ended."""
        if door in self._doors:
            assert self._admission is not None
            del self._doors[door]
            self._admission.release(door.host)

    def enter(self, door: Door, transport: asyncio.Transport) -> None:
        """Begin: at once without TLS, else after the handshake."""
        if self._tls is None:
            door.open(transport, self._new_connection(door))
            return
        transport.pause_reading()
        self._tasks.spawn(
            self._shake_hands(door, transport, self._tls()), "TLS handshake of the admin listener"
        )

    def _new_connection(self, door: Door) -> Any:
        from rivven.http.admin.connection import AdminConnection

        assert self._guest is not None
        return AdminConnection(
            self._guest.config,
            self._guest.server_state,
            lambda: self.forget(door),
            self._judge,
            self._refused,
        )

    async def _shake_hands(self, door: Door, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        assert self._admission is not None
        timeout = self._admission.handshake_timeout_s
        try:
            secured = await loop.start_tls(
                transport,
                door,
                context,
                server_side=True,
                ssl_handshake_timeout=timeout,
                ssl_shutdown_timeout=2,
            )
        except (OSError, asyncio.IncompleteReadError) as error:  # ssl.SSLError is an OSError
            reason = "plain HTTP on the TLS port" if "HTTP_REQUEST" in str(error) else str(error)
            _log.info("TLS handshake failed on the admin listener", host=door.host, reason=reason)
            transport.abort()
            self.forget(door)
            return
        if secured is None or secured.is_closing():
            self.forget(door)
            return
        connection = self._new_connection(door)

        def refuse() -> None:
            _log.info("closed a connection to the admin listener", host=door.host, reason=NO_DATA)
            secured.abort()

        TlsMeter(transport, lambda: connection.data_bytes, refuse)
        door.open(secured, connection)


class Door(asyncio.Protocol):
    """A connection until its protocol takes over; keeps the bytes that come in between."""

    def __init__(self, server: AdminServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._connection: Any = None
        self._early = bytearray()
        self.host = ""

    @property
    def trusted(self) -> bool:
        """Whether somebody has logged in on it."""
        peer: Peer | None = getattr(self._connection, "peer", None)
        return peer is not None and peer.trusted

    def distrusted(self) -> str | None:
        """Why its client certificate no longer counts, None while it does or there is none."""
        peer: Peer | None = getattr(self._connection, "peer", None)
        return peer.still_trusted() if peer is not None else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A peer connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.host = str((transport.get_extra_info("peername") or ("",))[0])
        if self._server.admit(self):
            self._server.enter(self, transport)
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """What came with the end of the handshake; at most one read of the transport."""
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer went away before its first request."""
        self._server.forget(self)

    def open(self, transport: asyncio.Transport, connection: Any) -> None:
        """Let the HTTP protocol take over."""
        self._transport = transport
        self._connection = connection
        transport.set_protocol(connection)
        connection.connection_made(transport)
        if self._early and not transport.is_closing():  # it closes when the certificate is refused
            connection.data_received(bytes(self._early))
        self._early.clear()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
        self._server.forget(self)
