"""One non-blocking socket, plain or TLS, behind the same four verbs.

Reading and writing never block and never buffer here: `receive_into` and `send` say how far they came.
TLS works on the socket itself (no memory BIO): one copy less, and OpenSSL's own record batching.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Sequence
from itertools import islice

from rivven.security.tls import peer_chain

SEND_BUFFERS_MAX = 64
"""Buffers per sendmsg: far below IOV_MAX (1,024), enough that the call's cost no longer shows."""

TLS_CHUNK_BYTES = 256 * 1024
"""Most plain bytes handed to OpenSSL at once: about 0.1 ms of encryption per turn of the loop."""

TLS_JOIN_BYTES = 16 * 1024
"""Buffers smaller than one TLS record are joined up to this size: a record costs a system call."""


DISCARDED_BYTES = 256 * 1024
DISCARDED_READS_MAX = 16
"""At most 4 MiB, some milliseconds: what a client sends in one round trip while it is being closed."""


class WouldBlock(Exception):
    """Nothing can be read or written now. `needs_write` says which event will help.

    Always a new one: an exception raised twice keeps the traceback, and with it the frames and their buffers,
    of every time it was raised.
    """

    def __init__(self, needs_write: bool) -> None:
        super().__init__()
        self.needs_write = needs_write


class PlainTransport:
    """TCP without TLS."""

    __slots__ = ("socket",)
    tls = False
    read_turn_bytes = 1 << 20
    """Most bytes read in one turn of the loop, so that a fast sender cannot hold up the others: 0.3 ms."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def handshake(self) -> None:
        """Nothing to negotiate."""

    def receive_into(self, buffer: memoryview) -> int:
        """Bytes read (0 = end of stream). Raises WouldBlock or OSError."""
        try:
            return self.socket.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            raise WouldBlock(needs_write=False) from None

    def send(self, buffers: deque[memoryview]) -> int:
        """Send from the front of `buffers`, dropping what left; returns bytes sent."""
        try:
            sent = self.socket.sendmsg(list(islice(buffers, SEND_BUFFERS_MAX)))
        except (BlockingIOError, InterruptedError):
            raise WouldBlock(needs_write=True) from None
        _drop(buffers, sent)
        return sent

    def peer_chain(self) -> tuple[bytes, ...]:
        """Nobody shows a certificate here."""
        return ()

    def pending(self) -> int:
        """Decrypted bytes waiting inside the transport: none here."""
        return 0

    def discard_input(self) -> None:
        """See `_discard_input`."""
        _discard_input(self.socket)

    def close(self) -> None:
        self.socket.close()


class TlsTransport:
    """TLS on the socket itself."""

    __slots__ = ("_chunk", "socket")
    tls = True
    read_turn_bytes = 256 * 1024
    """As above; in records of 2 KiB this is about 1 ms."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self.socket = context.wrap_socket(
            sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
        )
        self._chunk: memoryview | None = None

    def handshake(self) -> None:
        """Advance the handshake. Raises WouldBlock until it is done, ssl.SSLError when it fails."""
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            raise WouldBlock(needs_write=False) from None
        except ssl.SSLWantWriteError:
            raise WouldBlock(needs_write=True) from None

    def receive_into(self, buffer: memoryview) -> int:
        """As many records as are there and fit: a C client sends records of 2 KiB, and whoever calls works
        once for each call, so a record at a time would be a third of the speed."""
        filled, receive = 0, self.socket.recv_into
        size = min(len(buffer), self.read_turn_bytes)
        try:
            while filled < size:
                got = receive(buffer[filled:])
                if not got:
                    break
                filled += got
        except OSError as error:
            if filled:  # the next call meets what this one met
                return filled
            if isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError):
                raise WouldBlock(needs_write=isinstance(error, ssl.SSLWantWriteError)) from None
            if not isinstance(error, ssl.SSLZeroReturnError):
                raise
        return filled

    def send(self, buffers: deque[memoryview]) -> int:
        """Send one chunk. After WouldBlock OpenSSL wants the same bytes again, so the chunk is kept."""
        chunk = self._chunk
        if chunk is None:
            chunk = self._chunk = _next_chunk(buffers)
        try:
            sent = self.socket.send(chunk)
        except ssl.SSLWantWriteError:
            raise WouldBlock(needs_write=True) from None
        except ssl.SSLWantReadError:
            raise WouldBlock(needs_write=False) from None
        self._chunk = None
        _drop(buffers, sent)
        return sent

    def peer_chain(self) -> tuple[bytes, ...]:
        """The certificates the client sent (DER), its own first; empty when it showed none."""
        return peer_chain(self.socket)

    def pending(self) -> int:
        return self.socket.pending()

    def discard_input(self) -> None:
        """See `_discard_input`."""
        _discard_input(self.socket)

    def close(self) -> None:
        """Say goodbye if the socket takes it now (close_notify), then close."""
        if self._chunk is None:  # in the middle of a record nothing else may be sent
            with contextlib.suppress(OSError, ValueError):
                self.socket.unwrap()
        self.socket.close()


Transport = PlainTransport | TlsTransport


def _discard_input(sock: socket.socket) -> None:
    """Read and forget what is there already: closing a socket with unread bytes sends a reset, upon which the
    peer's system throws away answers that the peer has not read yet."""
    with contextlib.suppress(OSError):
        for _ in range(DISCARDED_READS_MAX):
            if not sock.recv(DISCARDED_BYTES):
                return


def _next_chunk(buffers: deque[memoryview]) -> memoryview:
    first = buffers[0]
    if len(first) >= TLS_JOIN_BYTES or len(buffers) == 1:
        return first[:TLS_CHUNK_BYTES]
    parts: list[memoryview] = []
    size = 0
    for buffer in buffers:
        part = buffer[: TLS_JOIN_BYTES - size]
        parts.append(part)
        size += len(part)
        if size >= TLS_JOIN_BYTES:
            break
    return memoryview(b"".join(parts))


def _drop(buffers: deque[memoryview], sent: int) -> None:
    while sent:
        first = buffers[0]
        size = len(first)
        if size > sent:
            buffers[0] = first[sent:]
            return
        buffers.popleft()
        sent -= size


def blames_certificate(error: ssl.SSLError) -> bool:
    """Whether a handshake failed because of what the client showed, or did not show, of itself."""
    return isinstance(error, ssl.SSLCertVerificationError) or (
        error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    )


def tls_reason(error: ssl.SSLError) -> str:
    """One line for the log: the common mistakes named, the rest as OpenSSL says it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client certificate: {error.verify_message}"
    reason = error.reason or str(error)
    if reason == "HTTP_REQUEST":
        return "the peer speaks HTTP, this port speaks Kafka over TLS"
    if reason in ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"):
        return "the peer does not speak TLS (a plaintext client on a TLS port?)"
    return reason.replace("_", " ").lower()


def as_views(buffers: Sequence[bytes | bytearray | memoryview]) -> list[memoryview]:
    """Byte views of the non-empty buffers."""
    return [memoryview(buffer) for buffer in buffers if len(buffer)]
