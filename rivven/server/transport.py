"""One non-blocking socket, plain or TLS, behind the same four verbs.

Reading and writing never block: `receive_into` and `send` say how far they came. TLS works through memory,
not on the socket: OpenSSL asks a socket twice for each record, and clients send a record for each message, so
that half of the time of a produce request would be system calls.
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

TLS_CHUNK_BYTES = 64 * 1024
"""Plain bytes handed to OpenSSL at once. A connection keeps the memory that its largest chunk needed, and
more is not faster."""

CIPHERTEXT_BYTES = 64 * 1024
"""Read from a socket at once; the connection keeps as much memory when it has read so much. More is not
faster."""

CIPHERTEXT_BYTES_AT_FIRST = 17 * 1024
"""The same from a peer that has not sent as much data, one whole record: TLS has messages of 27 bytes without
data (key updates) that take 25 µs each, so 64 KiB of them would hold the loop for 60 ms."""

DATALESS_BYTES_MAX = 64 * 1024
"""Ciphertext beyond what data accounts for before the connection is closed: a record has at most 16 KiB, and
clients change their keys once in millions of records, if at all."""

CIPHERTEXT_PER_DATA = 32
"""Bytes of ciphertext that one byte of data accounts for: the shortest requests, in the records that add
most, take ten, and a message of TLS beside each byte of data thirty more than it."""

UNTAKEN_BYTES_MAX = 2 * TLS_CHUNK_BYTES
"""What TLS itself may have to answer (alerts, key updates) behind what a peer does not take. One chunk of
data may be among it."""

TLS_JOIN_BYTES = 16 * 1024
"""Buffers smaller than one TLS record are joined up to this size: a record costs a system call."""


_NOTHING = memoryview(b"")

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
    read_least_bytes = 0
    """What one read counts at least."""

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
    """TLS through memory: what is on the way is at most one chunk out and `CIPHERTEXT_BYTES` in."""

    __slots__ = (
        "_chunk_bytes",
        "_dataless_bytes",
        "_earned_bytes",
        "_incoming",
        "_outgoing",
        "_scratch",
        "_tls",
        "_unsent",
        "socket",
    )
    tls = True
    read_turn_bytes = 256 * 1024
    """As above; in records of 2 KiB this is about 0.3 ms."""
    read_least_bytes = 64 * 1024
    """Four reads in one turn, though they may bring hardly any data: records can be empty of it."""

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, scratch: bytearray | None = None
    ) -> None:
        """`scratch` may be shared with others of the same loop: nothing stays in it."""
        self.socket = sock
        self._scratch = memoryview(bytearray(CIPHERTEXT_BYTES) if scratch is None else scratch)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._unsent = _NOTHING
        self._chunk_bytes = 0
        """Plain bytes of the chunk that is encrypted and not wholly sent."""
        self._dataless_bytes = 0
        """Ciphertext that no data accounts for."""
        self._earned_bytes = 0
        """What may be read at once, by the data there was: doubles while all that comes is data."""

    def handshake(self) -> None:
        """Advance the handshake. Raises WouldBlock until it is done, ssl.SSLError when it fails."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._push()
                self._pull()
                continue
            except ssl.SSLError:
                self._push_what_goes()  # the alert that tells the client why
                raise
            self._push()
            self._dataless_bytes = 0
            return

    def receive_into(self, buffer: memoryview) -> int:
        """As many records as are there and fit: a C client sends records of 1 KiB, and whoever calls works
        once for each call, so a record at a time would be a third of the speed. The socket is asked once: it
        could go on for ever with messages that hold no data.

        Raises as the plain one, and ssl.SSLError."""
        filled, read, asked = 0, self._tls.read, False
        size = min(len(buffer), self.read_turn_bytes)
        while filled < size:
            try:
                got = read(len(buffer) - filled, buffer[filled:])
            except ssl.SSLWantReadError:
                if filled:
                    break
                self._answer_for_tls()
                if self._dataless_bytes > DATALESS_BYTES_MAX:
                    raise _error("the peer sends messages without data") from None
                if asked:
                    raise WouldBlock(needs_write=False) from None
                self._pull()
                asked = True
                continue
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                break
            except ssl.SSLError:
                self._push_what_goes()
                if filled:  # the next call meets what this one met
                    break
                raise
            if not got:
                break
            filled += int(got)
        self._answer_for_tls()
        self._dataless_bytes = max(self._dataless_bytes - CIPHERTEXT_PER_DATA * filled, 0)
        self._earned_bytes = min(self._earned_bytes + 2 * filled, CIPHERTEXT_BYTES)
        return filled

    def send(self, buffers: deque[memoryview]) -> int:
        """Send one chunk. After WouldBlock its plain bytes stay in `buffers` until all of it has left."""
        if not self._chunk_bytes:
            self._chunk_bytes = self._tls.write(_next_chunk(buffers))
        self._push()
        sent, self._chunk_bytes = self._chunk_bytes, 0
        _drop(buffers, sent)
        return sent

    def _answer_for_tls(self) -> None:
        """Send what the protocol itself has to answer, to a key update. Raises ssl.SSLError."""
        if self._outgoing.pending:
            self._push_what_goes()
            if self._outgoing.pending > UNTAKEN_BYTES_MAX:
                raise _error("the peer does not take the answers of TLS")

    def _pull(self) -> None:
        """Take what the socket has. Raises WouldBlock and OSError."""
        most = max(self._earned_bytes, CIPHERTEXT_BYTES_AT_FIRST)
        try:
            size = self.socket.recv_into(self._scratch, most)
        except (BlockingIOError, InterruptedError):
            raise WouldBlock(needs_write=False) from None
        if not size:
            self._incoming.write_eof()
            return
        self._incoming.write(self._scratch[:size])
        self._dataless_bytes += size
        self._earned_bytes = max(self._earned_bytes - size, 0)

    def _push(self) -> None:
        """Give the socket all that is encrypted. Raises WouldBlock and OSError."""
        while self._unsent or self._outgoing.pending:
            if not self._unsent:
                self._unsent = memoryview(self._outgoing.read())
            try:
                sent = self.socket.send(self._unsent)
            except (BlockingIOError, InterruptedError):
                raise WouldBlock(needs_write=True) from None
            # An empty view would keep the bytes it is of.
            self._unsent = self._unsent[sent:] if sent < len(self._unsent) else _NOTHING

    def _push_what_goes(self) -> None:
        with contextlib.suppress(OSError, WouldBlock):
            self._push()

    def peer_chain(self) -> tuple[bytes, ...]:
        """The certificates the client sent (DER), its own first; empty when it showed none."""
        return peer_chain(self._tls)

    def pending(self) -> int:
        """Bytes that no event of the socket will announce; maybe less than a record."""
        return self._tls.pending() + self._incoming.pending

    def discard_input(self) -> None:
        """See `_discard_input`."""
        _discard_input(self.socket)

    def close(self) -> None:
        """Say goodbye if the socket takes it now (close_notify), then close."""
        if not self._unsent:  # else the client would take the goodbye for a part of what did not reach it
            with contextlib.suppress(OSError, ValueError):
                self._tls.unwrap()
            self._push_what_goes()
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


def _error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(reason)
    error.reason = reason
    return error


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
