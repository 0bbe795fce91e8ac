"""Syslog messages on real sockets: RFC 5424 by datagram and by counted octets, with and without TLS."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from pathlib import Path

import pytest

from rivven.audit.chain import Chain, Head, Line
from rivven.audit.events import AuditEvent
from rivven.audit.sinks import SinkFailed
from rivven.audit.syslog_sink import SyslogServer, SyslogSink
from rivven.security.tls import client_context
from tests.shipped.pki import make_pki

HEADER = re.compile(
    rb"<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) host rivven 7 ([!-~]{1,32}) - (\{.*\})"
)


def lines(count: int = 3) -> list[Line]:
    chain = Chain(Head())
    return [
        chain.append(AuditEvent("authentication", "login", result="failure" if n == 0 else "success"), 1000)
        for n in range(count)
    ]


class TcpServer:
    """Accepts one connection at a time and keeps what comes."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.received = b""
        self.hang_up_after = 1 << 60
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            try:
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True)
                with connection:
                    while data := connection.recv(65_536):
                        self.received += data
                        if len(self.received) >= self.hang_up_after:
                            break
            except OSError:
                continue

    def wait_for(self, count: int) -> list[bytes]:
        """The messages, once there are `count` of them."""
        for _ in range(500):
            found = messages(self.received)
            if len(found) >= count:
                return found
            threading.Event().wait(0.01)
        raise AssertionError(self.received)

    def close(self) -> None:
        self._socket.close()


def messages(stream: bytes) -> list[bytes]:
    """RFC 6587 3.4.1: each message after its length and a space."""
    found = []
    while stream:
        length, space, rest = stream.partition(b" ")
        if not space or len(rest) < int(length):
            break
        found.append(rest[: int(length)])
        stream = rest[int(length) :]
    return found


def sink(port: int, transport: str, ca: Path | None = None, host: str = "127.0.0.1") -> SyslogSink:
    server = SyslogServer(host, port, transport, "auth", str(ca) if ca else None)  # type: ignore[arg-type]
    return SyslogSink(server, "ho st\n", 7, client_context)


def check(received: list[bytes], sent: list[Line]) -> None:
    for message, line in zip(received, sent, strict=True):
        parsed = HEADER.fullmatch(message)
        assert parsed is not None, message
        failed = b'"failure"' in line.data
        assert int(parsed[1]) == 4 * 8 + (4 if failed else 5), "auth is facility 4; warning or notice"
        assert parsed[3] == b"authentication"
        assert parsed[4] == line.data, "the line is the very same bytes"


def test_datagrams() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        made = sink(server.getsockname()[1], "udp")
        made.open()
        sent = lines()
        assert made.write(sent, False) == ()
        check([server.recv(65_536) for _ in sent], sent)
        made.close()


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_counted_octets(transport: str, tmp_path: Path) -> None:
    pki = make_pki(tmp_path)
    context = None
    if transport == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki.certificate, pki.key)
    server = TcpServer(context)
    made = sink(server.port, transport, pki.ca, "localhost")
    made.open()
    sent = lines()
    made.write(sent[:2], True)
    made.write(sent[2:], True)
    check(server.wait_for(3), sent)
    made.close()
    server.close()


def test_a_server_that_hung_up_is_connected_again() -> None:
    server = TcpServer()
    server.hang_up_after = 1
    made = sink(server.port, "tcp")
    made.open()
    sent = lines()
    made.write(sent[:1], False)
    server.wait_for(1)
    server.hang_up_after = 1 << 60
    threading.Event().wait(0.1)  # its goodbye is on the way
    made.write(sent[1:], False)
    check(server.wait_for(3), sent)
    made.close()
    server.close()


def test_a_certificate_that_is_not_trusted_is_a_failure(tmp_path: Path) -> None:
    pki, other = make_pki(tmp_path / "one"), make_pki(tmp_path / "two")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.certificate, pki.key)
    server = TcpServer(context)
    with pytest.raises(SinkFailed, match="syslog tls"):
        sink(server.port, "tls", other.ca, "localhost").open()
    server.close()


def test_authorities_are_read_at_every_connection(tmp_path: Path) -> None:
    """Who changes the server's authority restarts no broker."""
    old, new = make_pki(tmp_path / "old"), make_pki(tmp_path / "new")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(new.certificate, new.key)
    server = TcpServer(context)
    made = sink(server.port, "tls", old.ca, "localhost")
    sent = lines()
    with pytest.raises(SinkFailed, match="syslog tls"):
        made.write(sent, True)
    old.ca.write_bytes(new.ca.read_bytes())
    made.write(sent, True)
    check(server.wait_for(3), sent)
    made.close()
    server.close()


def test_no_server_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(SinkFailed, match=rf"syslog tcp 127.0.0.1:{port}"):
        sink(port, "tcp").open()
