"""Listeners: accept, admit, and sweep connections; drain them when the server stops.

Which peers are admitted and how long they may take is decided by `security.admission`; this module owns
sockets.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

from rivven.api.authentication import CertificateIdentities
from rivven.api.dispatch import Dispatch
from rivven.api.memory import MemoryBudget
from rivven.api.session import ListenerInfo, Session
from rivven.clock import Clock
from rivven.protocol.buffers import BufferPool
from rivven.protocol.connection import SCRATCH_BYTES
from rivven.protocol.connection import Connection as ProtocolCore
from rivven.security.admission import Admission
from rivven.security.arrivals import Arrivals
from rivven.security.authn.sasl import SaslExchange
from rivven.security.sessions import Sessions
from rivven.server.connection import ClientConnection, ConnectionObserver, State
from rivven.server.transport import CIPHERTEXT_BYTES, PlainTransport, TlsTransport, Transport
from rivven.tasks import Tasks

_log = logging.getLogger("rivven.server")

STRANGER_MEMORY_BYTES = 16 << 20
"""For large frames of peers that have not authenticated: none of the mechanisms sends such, so 32 of the
largest at a time are plenty."""

BACKLOG = 1024
"""Connections the kernel may hold before accept: a reconnect storm of a thousand clients."""

ACCEPTS_PER_TURN = 64
"""Accepted sockets per turn of the loop, so that a storm does not hold up requests."""

ACCEPT_PAUSE_S = 1.0
"""Pause after EMFILE/ENFILE: accepting at once would spin."""

SWEEP_INTERVAL_S = 0.25
"""How often deadlines are checked; they are seconds, so this is precise enough."""

CLOSING_SECONDS_MAX = 10.0
"""Time a connection has to be rid of its answers once nothing more is read from it: a peer that does not take
them, or a long poll, must not keep it."""

_OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class ListenerObserver(ConnectionObserver, Protocol):
    """What a listener tells the metrics."""

    def connection_opened(self, listener: str) -> None: ...
    def connection_closed(self, listener: str) -> None: ...
    def connection_refused(self, listener: str) -> None: ...


class ConnectionLimits:
    """Plain numbers of one listener's connections."""

    __slots__ = (
        "frame_bytes_max",
        "frame_bytes_max_unauthenticated",
        "idle_timeout_s",
        "requests_in_flight_max",
    )

    def __init__(
        self,
        *,
        frame_bytes_max: int,
        frame_bytes_max_unauthenticated: int,
        requests_in_flight_max: int,
        idle_timeout_s: float,
    ) -> None:
        self.frame_bytes_max = frame_bytes_max
        self.frame_bytes_max_unauthenticated = frame_bytes_max_unauthenticated
        self.requests_in_flight_max = requests_in_flight_max
        self.idle_timeout_s = idle_timeout_s


class Listener:
    """One configured listener, maybe on several addresses; owns its connections."""

    def __init__(
        self,
        info: ListenerInfo,
        sockets: list[socket.socket],
        *,
        tls_context: Callable[[], ssl.SSLContext] | None,
        new_exchange: Callable[[str], SaslExchange] | None,
        sessions: Sessions,
        certificates: CertificateIdentities | None = None,
        dispatch: Dispatch,
        arrivals: Arrivals,
        admission: Admission,
        limits: ConnectionLimits,
        request_budget: MemoryBudget,
        clock: Clock,
        observer: ListenerObserver,
    ) -> None:
        self.info = info
        self.connections: set[ClientConnection] = set()
        self._sockets = sockets
        self._tls_context = tls_context
        self._new_exchange = new_exchange
        self._sessions = sessions
        self._certificates = certificates
        self._dispatch = dispatch
        self._arrivals = arrivals
        self._admission = admission
        self._limits = limits
        self._request_budget = request_budget
        self._stranger_budget = MemoryBudget(STRANGER_MEMORY_BYTES)
        self._clock = clock
        self._observer = observer
        self._tasks = Tasks()
        self._emptied = asyncio.Event()
        # One for all connections: each read is reported before another connection reads.
        self._scratch = bytearray(SCRATCH_BYTES)
        self._ciphertext = bytearray(CIPHERTEXT_BYTES)
        self._pool = BufferPool()
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Begin to accept."""
        for sock in self._sockets:
            self._loop.add_reader(sock.fileno(), self._accept, sock)
        self._tasks.spawn(self._sweep(), f"sweep of listener {self.info.name}")

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The bound addresses, real ports."""
        return [sock.getsockname()[:2] for sock in self._sockets]

    def stop_accepting(self) -> None:
        """Close the listening sockets; connections go on."""
        for sock in self._sockets:
            self._loop.remove_reader(sock.fileno())
            sock.close()
        self._sockets = []

    def drain(self) -> None:
        """Ask every connection to finish and close."""
        for connection in list(self.connections):
            connection.drain()

    async def wait_empty(self) -> None:
        """Wait until the last connection has closed."""
        while self.connections:
            self._emptied.clear()
            await self._emptied.wait()

    async def stop(self) -> None:
        """Close what is left."""
        for connection in list(self.connections):
            connection.abort("the server is stopping")
        await self._tasks.cancel_all()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _OUT_OF_DESCRIPTORS:
                    _log.warning("cannot accept on %s: %s", self.info.name, error.strerror)
                    self._loop.remove_reader(listening.fileno())
                    self._loop.call_later(ACCEPT_PAUSE_S, self._accept_again, listening)
                    return
                raise
            self._admit(sock, address[0])
            pause = self._arrivals.pause(self._clock.monotonic())
            if pause > 0:
                self._loop.remove_reader(listening.fileno())
                self._loop.call_later(pause, self._accept_again, listening)
                return

    def _accept_again(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening.fileno(), self._accept, listening)

    def _admit(self, sock: socket.socket, host: str) -> None:
        refused = self._arrivals.refusal(host) or self._place(host)
        if refused is not None:
            _log.info("refused %s on %s: %s", host, self.info.name, refused)
            self._observer.connection_refused(self.info.name)
            sock.close()
            return
        wait = self._arrivals.hold(host, self._clock.monotonic())
        if wait > 0:
            self._tasks.spawn(self._hold(sock, host, wait), "hold a connection above its address's rate")
            return
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            transport: Transport
            if self._tls_context is not None:
                transport = TlsTransport(sock, self._tls_context(), self._ciphertext)
            else:
                transport = PlainTransport(sock)
        except OSError:
            self._admission.release(host)
            sock.close()
            return
        exchange = self._new_exchange(host) if self._new_exchange is not None else None
        session = Session(
            listener=self.info,
            host=host,
            exchange=exchange,
            sessions=self._sessions,
            connected_at_ms=self._clock.now_ms(),
        )
        core = ProtocolCore(
            max_frame_bytes_unauthenticated=self._limits.frame_bytes_max_unauthenticated,
            max_frame_bytes=self._limits.frame_bytes_max,
            scratch=self._scratch,
            pool=self._pool,
        )
        if exchange is None and self._certificates is None:
            session.become_anonymous()
            core.authenticated()
        connection = ClientConnection(
            transport,
            core,
            session,
            self._dispatch,
            clock=self._clock,
            tasks=self._tasks,
            request_budget=self._request_budget,
            stranger_budget=self._stranger_budget,
            requests_in_flight_max=self._limits.requests_in_flight_max,
            observer=self._observer,
            closed=self._forget,
            certificates=self._certificates,
        )
        self.connections.add(connection)
        self._admission.entered(connection, host)
        self._observer.connection_opened(self.info.name)
        connection.begin()

    def _place(self, host: str) -> str | None:
        """Count a connection; why there is no place for it, None when it has one."""
        refused = self._admission.admit(host)
        if refused is not None and self._admission.make_room(host, self._clock.monotonic()):
            refused = self._admission.admit(host)
        return refused

    async def _hold(self, sock: socket.socket, host: str, seconds: float) -> None:
        """Keep a connection that came too soon, unread, then close it."""
        self._observer.connection_refused(self.info.name)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._admission.release(host)
            sock.close()

    def _forget(self, connection: ClientConnection) -> None:
        self.connections.discard(connection)
        self._sessions.remove(connection.session)
        self._observer.connection_closed(self.info.name)
        if not self.connections:
            self._emptied.set()
        self._admission.left(connection, connection.session.host)
        self._admission.release(connection.session.host)

    async def _sweep(self) -> None:
        """Close those who take too long: handshake, authentication, idleness."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            now = self._clock.monotonic()
            for connection in list(self.connections):
                self._check_deadlines(connection, now)

    def _check_deadlines(self, connection: ClientConnection, now: float) -> None:
        age = now - connection.opened_at
        if connection.state is State.HANDSHAKE:
            if age > self._admission.handshake_timeout_s:
                connection.abort("TLS handshake took too long")
        elif not connection.authenticated:
            if age > self._admission.authentication_timeout_s:
                connection.abort("not authenticated in time")
        elif connection.state is State.CLOSING:
            if now - connection.closing_since > CLOSING_SECONDS_MAX:
                connection.abort("closing took too long")
        elif connection.session.expired(self._clock.now_ms()):
            # Kafka would wait for the next request; an idle connection would stay open for ever. Who is
            # logging in anew may finish: nothing else is served meanwhile.
            exchange = connection.session.exchange
            overdue = self._clock.now_ms() - (connection.session.expires_at_ms or 0)
            if (
                exchange is None
                or not exchange.renewing
                or overdue > self._admission.authentication_timeout_s * 1000
            ):
                connection.close_after_answers("the session expired")
        elif now - connection.last_activity > self._limits.idle_timeout_s and not connection.busy:
            connection.abort("idle")


def bind_sockets(bind: str) -> list[socket.socket]:
    """Listening non-blocking sockets for ``host:port`` (``[::1]:9092``, ``localhost:0``, ``*:9092``).

    Several addresses of one name share the port (port 0 takes one free port for all).
    Raises OSError (EADDRINUSE, EACCES, EADDRNOTAVAIL, gaierror) with nothing left open.
    """
    host, port = split_host_port(bind)
    found = socket.getaddrinfo(
        None if host in ("*", "") else host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            chosen = sockets[0].getsockname()[1] if sockets and port == 0 else address[1]
            sock = socket.socket(family, kind, protocol)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setblocking(False)
            sock.bind((address[0], chosen, *address[2:]))
            sock.listen(BACKLOG)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def split_host_port(text: str) -> tuple[str, int]:
    """``host:port`` or ``[ipv6]:port``; raises ValueError when there is no port."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit():
        raise ValueError(f"{text!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)
