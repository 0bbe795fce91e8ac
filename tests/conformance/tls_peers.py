"""TLS as a stranger speaks it: which certificate is shown, and whether an old session can be resumed."""

from __future__ import annotations

import contextlib
import socket
import ssl

from rivven.protocol.api import ApiKey
from rivven.protocol.messages import ApiVersionsRequest
from tests.conformance.wire import frame
from tests.shipped.connection import Connection

SECONDS_MAX = 5.0


def served_by(port: int, name: str = "localhost") -> bytes:
    """The certificate (DER) that is shown there, whoever may come in."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # a client is done before the server has seen its own
    with (
        socket.create_connection(("127.0.0.1", port), SECONDS_MAX) as sock,
        context.wrap_socket(sock, server_hostname=name) as tls,
    ):
        shown = tls.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def connected(connection: Connection, port: int) -> ssl.SSLSocket:
    """A socket that shows the connection's client certificate."""
    sock = socket.create_connection(("127.0.0.1", port), SECONDS_MAX)
    return connection.ssl_context().wrap_socket(sock, server_hostname="localhost")


class Returning:
    """A client that comes back with the session it had, if it was given one. Its connections stay open:
    OpenSSL forgets the session of one that the broker has closed."""

    def __init__(self, connection: Connection, version: ssl.TLSVersion) -> None:
        self.resumed = False
        self._port = int(connection.bootstrap.rpartition(":")[2])
        self._context = connection.ssl_context()
        self._context.minimum_version = self._context.maximum_version = version
        self._session: ssl.SSLSession | None = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Returning:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def is_answered(self) -> bool:
        """Connect anew, with the old session if there is one, and ask what everybody may ask."""
        sock = self._open.enter_context(socket.create_connection(("127.0.0.1", self._port), SECONDS_MAX))
        try:
            tls = self._open.enter_context(
                self._context.wrap_socket(sock, server_hostname="localhost", session=self._session)
            )
            self.resumed = bool(tls.session_reused)
            tls.sendall(frame(ApiKey.API_VERSIONS, 0, ApiVersionsRequest()))
            if not tls.recv(4):
                return False
        except OSError:  # ssl.SSLError is one
            return False
        self._session = tls.session
        return True
