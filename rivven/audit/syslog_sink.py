"""The syslog sink: RFC 5424 messages over UDP (RFC 5426), TCP (RFC 6587) or TLS (RFC 5425).

Driver, on a thread of its own. The message is the line as it is, so the chain can be checked wherever it
ends up. Over TCP and TLS each message begins with its length (octet counting). Syslog confirms nothing: what
was handed to the network is accepted, so this sink can never be a required one.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rivven.audit.chain import Line
from rivven.audit.events import DENIED, FAILURE, AuditEvent
from rivven.audit.sinks import Opened, SinkFailed
from rivven.config.audit import FACILITIES

CONNECT_SECONDS_MAX: Final = 5.0
SEND_SECONDS_MAX: Final = 10.0
"""A server that takes nothing for so long is gone."""

UDP_BYTES_MAX: Final = 65_507
"""The payload of one datagram; a longer line is cut, which a later check of the chain shows."""

_NOTICE, _WARNING = 5, 4
_APP_NAME: Final = "rivven"

Transport = Literal["udp", "tcp", "tls"]


@dataclass(frozen=True, slots=True)
class SyslogServer:
    """Where messages go; `ca_path` says who signed its certificate (TLS; None: the system's authorities)."""

    host: str
    port: int
    transport: Transport = "udp"
    facility: str = "auth"
    ca_path: str | None = None


class SyslogSink:
    """Implements `AuditSink`. `hostname` and `process_id` stand in every message; `tls_context` makes the
    context of a connection from the path of authorities, which are read anew each time."""

    def __init__(
        self,
        server: SyslogServer,
        hostname: str,
        process_id: int,
        tls_context: Callable[[str | None], ssl.SSLContext],
    ) -> None:
        self._server = server
        self._tls_context = tls_context
        self._hostname = _token(hostname, 255)
        self._process_id = str(process_id)
        self._socket: socket.socket | None = None

    def open(self) -> Opened:
        self._connect()
        return Opened()

    def write(self, lines: Sequence[Line], durable: bool) -> Sequence[AuditEvent]:
        if self._socket is None or self._closed_by_peer():
            self.close()
            self._connect()
        messages = [self._message(line.data) for line in lines]
        sock = self._socket
        assert sock is not None
        try:
            if self._server.transport == "udp":
                for message in messages:
                    sock.send(message[:UDP_BYTES_MAX])
            elif messages:
                sock.sendall(b"".join(b"%d %b" % (len(message), message) for message in messages))
        except OSError as error:
            self.close()
            raise SinkFailed(f"{self._where()}: {error.strerror or error}") from error
        return ()

    def close(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()

    def _closed_by_peer(self) -> bool:
        """A server never sends: something to read is its goodbye, and what is sent after it is lost."""
        sock = self._socket
        if self._server.transport == "udp" or sock is None:
            return False
        sock.setblocking(False)
        try:
            return sock.recv(1) == b""
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        finally:
            sock.settimeout(SEND_SECONDS_MAX)

    def _connect(self) -> None:
        server = self._server
        try:
            if server.transport == "udp":
                family, kind, protocol, _, address = socket.getaddrinfo(
                    server.host, server.port, type=socket.SOCK_DGRAM
                )[0]
                sock = socket.socket(family, kind, protocol)
                sock.connect(address)
            else:
                sock = socket.create_connection((server.host, server.port), CONNECT_SECONDS_MAX)
                if server.transport == "tls":
                    sock = self._tls_context(server.ca_path).wrap_socket(sock, server_hostname=server.host)
            sock.settimeout(SEND_SECONDS_MAX)
        except OSError as error:
            raise SinkFailed(f"{self._where()}: {error.strerror or error}") from error
        self._socket = sock

    def _where(self) -> str:
        return f"syslog {self._server.transport} {self._server.host}:{self._server.port}"

    def _message(self, data: bytes) -> bytes:
        """RFC 5424 section 6: version 1, the event's own time, its type as message id, no structured data."""
        fields = json.loads(data)
        severity = _WARNING if fields.get("result") in (DENIED, FAILURE) else _NOTICE
        priority = FACILITIES.index(self._server.facility) * 8 + severity
        header = " ".join(
            (
                f"<{priority}>1",
                str(fields["timestamp"]),
                self._hostname,
                _APP_NAME,
                self._process_id,
                _token(str(fields["event_type"]), 32),
                "-",
            )
        )
        return header.encode("ascii") + b" " + data


def _token(text: str, length: int) -> str:
    """A field of the header: printable ASCII without spaces, ``-`` when nothing is left."""
    return "".join(character for character in text if "!" <= character <= "~")[:length] or "-"
