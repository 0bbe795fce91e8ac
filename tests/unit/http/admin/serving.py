"""An Admin API listener of a test's own: real sockets, real TLS, rows and users of the test's choice."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rivven.config.values import Address
from rivven.http.admin.application import build_application
from rivven.http.admin.authentication import RequestAuthentication
from rivven.http.admin.document import OpenApiDocument
from rivven.http.admin.guard import ChangeAudit, Guard
from rivven.http.admin.routes import Route
from rivven.http.admin.server import AdminServer
from rivven.security.admission import Admission
from rivven.security.authn.authenticator import Authenticated, Credential, Rejected
from rivven.security.authz.authorizer import Authorizer
from rivven.security.authz.chain import AuthorizerChain
from rivven.testing.authorizers import AllowAll
from rivven.types import Principal
from tests.shipped.pki import Pki

NAMES = frozenset({"localhost"})
ALICE = "Basic " + b64encode(b"alice:correct horse").decode()
MALLORY = "Basic " + b64encode(b"alice:wrong horse").decode()


class StillClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at_ms = 1_000_000
        self.seconds = 0.0

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic(self) -> float:
        return self.seconds


class Doors:
    """Knows alice: by her password, by the token `rvn_alice`, by the certificate bytes of `owner`."""

    def __init__(self) -> None:
        self.authenticated_by: list[str] = []
        self.failed_by: list[str] = []
        self.certificates = Doors.Certificates()

    alice = Authenticated(
        Principal("User", "alice"), groups=("ops",), credential=Credential("password", "alice")
    )

    class Passwords:
        async def verify(self, user: str, password: str, host: str) -> Authenticated | Rejected:
            if (user, password) == ("alice", "correct horse"):
                return Doors.alice
            return Rejected("wrong password")

    class Tokens:
        def verify(self, text: str, host: str, now_ms: int) -> Authenticated | Rejected:
            return Doors.alice if text == "rvn_alice" else Rejected("unknown token")

    class Certificates:
        owner = b"alice"

        def verify(self, der: bytes, now_ms: int) -> Authenticated | Rejected:
            return Doors.alice if der == self.owner else Rejected("unknown certificate")

    def authenticated(self, mechanism: str) -> None:
        self.authenticated_by.append(mechanism)

    def authentication_failed(self, mechanism: str) -> None:
        self.failed_by.append(mechanism)


def new_admission(**options: float) -> Admission:
    """Limits as in a test: nobody waits."""
    return Admission(
        max_connections=1_000,
        max_connections_per_ip=1_000,
        handshake_timeout_s=options.get("handshake_timeout_s", 2.0),
        authentication_timeout_s=30,
        failure_delay_s=options.get("failure_delay_s", 0.0),
    )


def chain_of(*engines: Authorizer) -> AuthorizerChain:
    """A chain of these engines."""
    return AuthorizerChain({f"engine{number}": engine for number, engine in enumerate(engines)})


@dataclass(slots=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(slots=True)
class Served:
    """A running listener and how to reach it."""

    address: Address
    server: AdminServer
    doors: Doors
    context: ssl.SSLContext
    tls: bool = True

    async def raw(self, request: bytes, *, wait_s: float = 10.0) -> list[Answer]:
        """Send these bytes and read until the server closes; the answers in order."""
        reader, writer = await self.connect()
        try:
            writer.write(request)
            return answers(await asyncio.wait_for(reader.read(), wait_s))
        finally:
            writer.close()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        tls = {"ssl": self.context, "server_hostname": "localhost"} if self.tls else {}
        return await asyncio.open_connection(*self.address, **tls)  # type: ignore[arg-type]

    async def ask(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """One request on a connection of its own."""
        wanted = {"Host": "localhost", "Connection": "close", **(headers or {})}
        if body:
            wanted["Content-Length"] = str(len(body))
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in wanted.items())]
        [answer] = await self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return answer


def answers(stream: bytes) -> list[Answer]:
    """The answers in a stream; each has a content-length."""
    found = []
    while stream:
        head, _, stream = stream.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, _, value = line.partition(": ")
            headers[name.lower()] = f"{headers[name.lower()]}, {value}" if name.lower() in headers else value
        length = int(headers.get("content-length", len(stream)))
        found.append(Answer(int(lines[0].split()[1]), headers, stream[:length]))
        stream = stream[length:]
    return found


@asynccontextmanager
async def serving(
    rows: Sequence[Route],
    pki: Pki,
    *,
    engine: Authorizer | None = None,
    audit: ChangeAudit | None = None,
    admission: Admission | None = None,
    client_ca: Path | None = None,
    tls: bool = True,
    anonymous: bool = False,
) -> AsyncIterator[Served]:
    """A listener with these rows until the block ends."""
    doors, clock = Doors(), StillClock()
    admission = admission or new_admission()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(pki.certificate, pki.key)
    if client_ca is not None:
        server_tls.verify_mode = ssl.CERT_OPTIONAL
        server_tls.load_verify_locations(client_ca)

    def build() -> object:
        authentication = RequestAuthentication(
            admission,
            clock,
            doors,
            passwords=doors.Passwords(),
            bearer=doors.Tokens(),
            certificates=doors.certificates,
            anonymous=anonymous,
        )
        guard = Guard(authentication, chain_of(engine or AllowAll()), clock, audit)
        document = OpenApiDocument()
        return build_application([*rows, *document.routes()], guard, document, NAMES, "0")

    server = AdminServer("127.0.0.1:0")
    server.open(admission, (lambda: server_tls) if tls else None, build)  # type: ignore[arg-type]
    address = await server.start()
    try:
        yield Served(address, server, doors, ssl.create_default_context(cafile=str(pki.ca)), tls)
    finally:
        await asyncio.wait_for(server.stop(), 10)
