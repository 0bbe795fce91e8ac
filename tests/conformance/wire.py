"""A raw protocol client: one blocking socket, any API at any version, and any bytes a test wants to send.

It uses the broker's codec but none of its connection code; what a stock client would never send is sent with
`send_raw`.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import secrets
import socket
import ssl
from dataclasses import replace
from types import TracebackType
from typing import Any

from rivven.protocol import scram
from rivven.protocol.api import ApiKey
from rivven.protocol.codec import (
    RequestHeader,
    parse_response,
    parse_response_header,
    request_header_bytes,
    write_request,
)
from rivven.protocol.messages import SaslAuthenticateRequest, SaslHandshakeRequest
from tests.shipped.connection import Account, Connection
from tests.shipped.running_time import running_time

TIMEOUT_S = 20.0
CLIENT_ID = "wire"
_correlations = itertools.count(1)


class Closed(Exception):
    """The broker closed the connection instead of answering."""


class Refused(Exception):
    """Authentication failed; `code` and `text` are what the broker said."""

    def __init__(self, code: int, text: str | None) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


def frame(api: int, version: int, request: Any, correlation: int = 1) -> bytes:
    """A whole request: size, header, body."""
    header = request_header_bytes(RequestHeader(api, version, correlation, CLIENT_ID))
    body = header + write_request(api, version, request)
    return len(body).to_bytes(4, "big") + body


@functools.cache
def _context(connection: Connection) -> ssl.SSLContext:
    return connection.ssl_context()


class Wire:
    """One connection. `account=None` on the connection means no login is attempted."""

    def __init__(
        self,
        connection: Connection,
        *,
        login: bool = True,
        receive_buffer: int | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        host, _, port = connection.bootstrap.rpartition(":")
        self.sock: socket.socket = socket.socket(socket.AF_INET6 if "[" in host else socket.AF_INET)
        self.sock.settimeout(TIMEOUT_S)
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.sock.connect((host.strip("[]"), int(port)))
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if connection.ca is not None:
                context = context or _context(replace(connection, bootstrap="", account=None))
                self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        except OSError:
            self.sock.close()
            raise
        self.session_lifetime_ms = 0
        if login and connection.account is not None:
            try:
                self.login(connection.account, connection.mechanism)
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.close()

    # -- bytes -----------------------------------------------------------------------------------------------

    def send_raw(self, data: bytes) -> None:
        """Raises Closed when the peer has gone."""
        try:
            self.sock.sendall(data)
        except (ConnectionError, ssl.SSLError) as error:
            raise Closed(str(error)) from None

    def receive_frame(self, timeout: float = TIMEOUT_S) -> bytes:
        """One answer without its size. Raises Closed, or TimeoutError."""
        self.sock.settimeout(timeout)
        return self._exactly(int.from_bytes(self._exactly(4), "big"))

    def _exactly(self, count: int) -> bytes:
        data = bytearray(count)
        view, filled = memoryview(data), 0
        while filled < count:
            try:
                received = self.sock.recv_into(view[filled:])
            except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
                raise Closed(str(error)) from None
            if received == 0:
                raise Closed("end of stream")
            filled += received
        return bytes(data)

    def is_closed(self, timeout: float = TIMEOUT_S) -> bool:
        """Whether the broker closes within the time without sending anything more."""
        end = running_time() + timeout
        while (left := end - running_time()) > 0:
            self.sock.settimeout(left)
            try:
                return self.sock.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                return True
        return False

    # -- requests --------------------------------------------------------------------------------------------

    def send(self, api: int, version: int, request: Any) -> int:
        """Send one request; returns its correlation id."""
        correlation = next(_correlations)
        self.send_raw(frame(api, version, request, correlation))
        return correlation

    def receive(self, api: int, version: int, correlation: int, timeout: float = TIMEOUT_S) -> Any:
        """The answer that must come next."""
        data = self.receive_frame(timeout)
        found, position = parse_response_header(api, version, data)
        assert found == correlation, f"answer {found} came instead of {correlation}"
        return parse_response(api, version, data, position)

    def call(self, api: int, version: int, request: Any, timeout: float = TIMEOUT_S) -> Any:
        """One request and its answer."""
        return self.receive(api, version, self.send(api, version, request), timeout)

    # -- authentication --------------------------------------------------------------------------------------

    def login(
        self,
        account: Account,
        mechanism: str = "SCRAM-SHA-256",
        *,
        handshake: int = 1,
        version: int = 2,
        token_auth: bool = False,
    ) -> None:
        """SCRAM or PLAIN over SaslAuthenticate (handshake 1) or bare tokens (handshake 0); `token_auth` says
        that the account is a delegation token's id and secret. Raises Refused, Closed."""
        answer = self.call(ApiKey.SASL_HANDSHAKE, handshake, SaslHandshakeRequest(mechanism=mechanism))
        if answer.error_code:
            raise Refused(answer.error_code, ",".join(answer.mechanisms))
        if mechanism == "PLAIN":
            self.token(f"\0{account.user}\0{account.password}".encode(), handshake, version)
            return
        first = scram.client_first(account.user, secrets.token_hex(12), token_auth=token_auth)
        challenge = scram.parse_server_first(
            self.token(f"n,,{first.bare}".encode(), handshake, version), first
        )
        final, expected = scram.client_final(
            scram.ScramMechanism(mechanism), account.password, first, challenge
        )
        scram.verify_server_final(self.token(final, handshake, version), expected)

    def token(self, token: bytes, handshake: int = 1, version: int = 2) -> bytes:
        """One token there, one back."""
        if handshake == 0:
            self.send_raw(len(token).to_bytes(4, "big") + token)
            return self.receive_frame()
        answer = self.call(ApiKey.SASL_AUTHENTICATE, version, SaslAuthenticateRequest(auth_bytes=token))
        if answer.error_code:
            raise Refused(answer.error_code, answer.error_message)
        self.session_lifetime_ms = answer.session_lifetime_ms
        return bytes(answer.auth_bytes)
