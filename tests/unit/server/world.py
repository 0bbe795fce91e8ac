"""One connection over a socket pair: the real driver, protocol core and dispatch, with a small table."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from rivven.api.authentication import versions_failure
from rivven.api.context import RequestContext
from rivven.api.dispatch import Dispatch
from rivven.api.memory import MemoryBudget
from rivven.api.metadata import METADATA_RULES, metadata_failure
from rivven.api.produce import PRODUCE_RULES
from rivven.api.rules import Open
from rivven.api.session import ListenerInfo, Session
from rivven.api.table import Row, Table
from rivven.clock import SystemClock
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.protocol.codec import (
    RequestHeader,
    parse_response,
    parse_response_header,
    request_header_bytes,
    write_request,
)
from rivven.protocol.connection import Connection as ProtocolCore
from rivven.security.authn.sasl import SaslExchange
from rivven.security.authz.chain import AuthorizerChain
from rivven.server.connection import ClientConnection, State
from rivven.server.transport import PlainTransport
from rivven.tasks import Tasks
from rivven.testing.authorizers import AllowAll

LISTENER = ListenerInfo("main", tls=False, sasl=False, advertised_host="h", advertised_port=1)
METADATA_VERSION = 12


class Silent:
    """Counts nothing."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *values: None


async def no_raw_tokens(_session: Session, _token: bytes) -> list[bytes | memoryview]:
    raise AssertionError("not spoken here")


def framed(api: int, version: int, request: Any, correlation: int) -> bytes:
    body = request_header_bytes(RequestHeader(api, version, correlation, None))
    body += write_request(api, version, request)
    return len(body).to_bytes(4, "big") + body


class Wired:
    """The connection, its peer's end, and handlers that wait for the test."""

    def __init__(
        self, *, exchange: SaslExchange | None = None, known: bool = True, in_flight: int = 64
    ) -> None:
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.metadata: Callable[[RequestContext, Any], Awaitable[Any]] = self._answer
        self.produce: Callable[[RequestContext, Any, Callable[[Any], None]], None] = self._hold
        self.produced: list[Callable[[Any], None]] = []
        self.requests = MemoryBudget(40 << 20)
        self.strangers = MemoryBudget(1 << 20)
        self.closed: list[ClientConnection] = []
        self.tasks = Tasks()
        self._arrived = asyncio.Event()
        rows = [
            Row(ApiKey.PRODUCE, PRODUCE_RULES, start=lambda *call: self.produce(*call)),
            Row(ApiKey.METADATA, METADATA_RULES, lambda *call: self.metadata(*call), failed=metadata_failure),
            Row(ApiKey.API_VERSIONS, (Open(),), self._answer, failed=versions_failure),
        ]
        self.dispatch = Dispatch(
            Table(rows), AuthorizerChain({"allow": AllowAll()}), SystemClock(), Silent(), no_raw_tokens
        )
        core = ProtocolCore()
        self.session = Session(LISTENER, "10.0.0.1", exchange)
        if known:
            self.session.become_anonymous()
            core.authenticated()
        self.connection = ClientConnection(
            PlainTransport(ours),
            core,
            self.session,
            self.dispatch,
            clock=SystemClock(),
            tasks=self.tasks,
            request_budget=self.requests,
            stranger_budget=self.strangers,
            requests_in_flight_max=in_flight,
            observer=Silent(),
            closed=self.closed.append,
        )
        self.connection.begin()

    async def _answer(self, context: RequestContext, _request: Any) -> Any:
        context.access.used = True
        return m.MetadataResponse(cluster_id="c")

    def _hold(self, _context: RequestContext, _request: Any, respond: Callable[[Any], None]) -> None:
        self.produced.append(respond)
        self._arrived.set()

    async def arrived(self, count: int) -> None:
        """Wait until so many Produce requests were started."""
        while len(self.produced) < count:
            self._arrived.clear()
            await asyncio.wait_for(self._arrived.wait(), 5)

    async def send(self, data: bytes) -> None:
        """All of it, and time for the connection to read what it is willing to."""
        loop = asyncio.get_running_loop()
        await asyncio.wait_for(loop.sock_sendall(self.peer, data), 5)
        await self.turn()

    async def turn(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def answers(self, count: int) -> list[int]:
        """Correlation ids of the next answers."""
        loop = asyncio.get_running_loop()
        found = []
        for _ in range(count):
            size = int.from_bytes(await self._exactly(loop, 4), "big")
            data = await self._exactly(loop, size)
            found.append(int.from_bytes(data[:4], "big"))
            self.last = data
        return found

    async def _exactly(self, loop: asyncio.AbstractEventLoop, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = await asyncio.wait_for(loop.sock_recv(self.peer, size - len(data)), 5)
            if not more:
                raise EOFError
            data += more
        return data

    def last_metadata(self) -> Any:
        _, position = parse_response_header(ApiKey.METADATA, METADATA_VERSION, self.last)
        return parse_response(ApiKey.METADATA, METADATA_VERSION, self.last, position)

    def nothing_to_read(self) -> bool:
        try:
            return self.peer.recv(1, socket.MSG_PEEK) is None
        except BlockingIOError:
            return True

    @property
    def is_closed(self) -> bool:
        return self.connection.state is State.CLOSED and self.closed == [self.connection]

    async def end(self) -> None:
        if not self.closed:
            self.connection.abort("")
        await self.tasks.cancel_all()
        self.peer.close()


def metadata(correlation: int) -> bytes:
    return framed(ApiKey.METADATA, METADATA_VERSION, m.MetadataRequest(topics=[]), correlation)


def produce(correlation: int, size: int = 10) -> bytes:
    entry = m.ProduceRequest.PartitionProduceData(index=0, records=b"r" * size)
    topic = m.ProduceRequest.TopicProduceData(name="t", partition_data=[entry])
    return framed(ApiKey.PRODUCE, 9, m.ProduceRequest(acks=-1, topic_data=[topic]), correlation)
