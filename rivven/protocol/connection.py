"""One Kafka connection without I/O: bytes in, frames out, responses back in request order.

    int32 size | size bytes of frame        both ways, sizes big-endian

The driver reads into `get_buffer()`, reports with `bytes_received(n)` and sends what `complete()` returns.
A frame owns its bytes: small ones are copied out of the scratch buffer, the rest of a larger one is
received straight into its own buffer. That buffer grows with the bytes that really arrive, so a peer that
announces 100 MB and sends nothing costs nothing. This module must not parse a header, know an API or decide
when to stop reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

from rivven.protocol.buffers import BufferPool
from rivven.protocol.exceptions import (
    FrameTooLarge,
    HttpOnKafkaPort,
    MalformedFrameSize,
    ProtocolError,
    TlsOnPlaintext,
)
from rivven.protocol.primitives import Buffer

MAX_FRAME_BYTES_UNAUTHENTICATED: Final = 512 * 1024
"""Kafka's `sasl.server.max.receive.size`: no handshake token is larger."""

MAX_FRAME_BYTES: Final = 100 * 1024 * 1024
"""Kafka's `socket.request.max.bytes`."""

MAX_PIPELINED_UNAUTHENTICATED: Final = 16
"""Requests in flight before authentication: clients wait for each answer there, this is generous."""

SCRATCH_BYTES: Final = 64 * 1024
"""Room for one read of small requests."""

FIRST_ALLOCATION_UNAUTHENTICATED: Final = 16 * 1024
"""What a stranger gets for an announced size alone; then the buffer doubles as bytes arrive."""

FIRST_ALLOCATION: Final = 1024 * 1024 + 64 * 1024
"""The same after authentication: a Produce request of the usual `max.message.bytes` needs no second one."""

_SIZE: Final = Struct(">i")
_TLS_HANDSHAKE: Final = b"\x16\x03"
_HTTP: Final = frozenset({b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"DELE", b"CONN", b"PATC", b"PRI "})


class Frame(NamedTuple):
    """One request: its place in the order of the connection, and its writable bytes without the size."""

    sequence: int
    data: memoryview


class Connection:
    """The framing and ordering state of one connection. Any exception it raises ends the connection."""

    __slots__ = (
        "_allocation",
        "_buffer",
        "_expected",
        "_filled",
        "_frame",
        "_held",
        "_held_bytes",
        "_limit",
        "_max_frame_bytes",
        "_max_pipelined",
        "_next_answer",
        "_next_sequence",
        "_owned",
        "_pool",
        "_prefix",
        "_scratch",
        "failure",
    )

    def __init__(
        self,
        max_frame_bytes_unauthenticated: int = MAX_FRAME_BYTES_UNAUTHENTICATED,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        scratch: bytearray | None = None,
        pool: BufferPool | None = None,
    ) -> None:
        """`pool` lends the buffers of large frames; they go back when the frame is answered. `scratch` may
        be shared by connections whose driver calls `get_buffer`, reads, and calls
        `bytes_received` without another connection in between; without it each connection has its own."""
        self._limit = max_frame_bytes_unauthenticated
        self._max_frame_bytes = max_frame_bytes
        self._max_pipelined: int | None = MAX_PIPELINED_UNAUTHENTICATED
        self._allocation = FIRST_ALLOCATION_UNAUTHENTICATED
        self._scratch = memoryview(bytearray(SCRATCH_BYTES) if scratch is None else scratch)
        self._prefix = b""
        self._pool = BufferPool(0) if pool is None else pool
        self._owned: dict[int, bytearray] = {}
        """Buffers of large frames that are not answered yet."""
        self._buffer: bytearray | None = None
        self._frame: memoryview | None = None
        self._filled = 0
        self._expected = 0
        self._next_sequence = 0
        self._next_answer = 0
        self._held: dict[int, Sequence[Buffer] | None] = {}
        self._held_bytes = 0
        self.failure: ProtocolError | None = None
        """What was wrong behind the frames of the last read: the driver starts those, then must close."""

    @property
    def pending(self) -> int:
        """Requests handed out whose answers have not left yet."""
        return self._next_sequence - self._next_answer

    @property
    def buffered_bytes(self) -> int:
        """Bytes received of a frame that is not complete; 0 between frames."""
        return len(self._prefix) if self._frame is None else 4 + self._filled

    @property
    def expected_bytes(self) -> int:
        """The announced size of the frame being received, 0 between frames: what the driver admits by."""
        return 0 if self._frame is None else self._expected

    @property
    def held_bytes(self) -> int:
        """Bytes of answers that wait for an earlier one."""
        return self._held_bytes

    def authenticated(self) -> None:
        """The peer is known: frames up to `max_frame_bytes`, and pipelining is the driver's to bound."""
        self._limit = self._max_frame_bytes
        self._max_pipelined = None
        self._allocation = FIRST_ALLOCATION

    def get_buffer(self) -> memoryview:
        """Where the next bytes go; never empty. Valid until the next call of `bytes_received`."""
        return self._scratch if self._frame is None else self._frame[self._filled :]

    def bytes_received(self, count: int) -> list[Frame]:
        """`count` bytes are in the buffer: the requests they complete, in order.

        Raises TlsOnPlaintext, HttpOnKafkaPort, MalformedFrameSize, FrameTooLarge or ProtocolError; behind
        whole frames of the same read the error is kept as `failure` instead, so that they are answered.
        """
        if self._frame is None:
            frames: list[Frame] = []
            try:
                self._cut(self._scratch[:count], frames)
            except ProtocolError as error:
                if not frames:
                    raise
                self.failure = error
            return frames
        self._filled += count
        if self._filled < len(self._frame):
            return []
        if self._filled < self._expected:
            self._grow()
            return []
        frame, self._frame = self._frame, None
        assert self._buffer is not None
        self._owned[self._next_sequence] = self._buffer
        self._buffer = None
        return [self._hand_out(frame)]

    def complete(self, sequence: int, buffers: Sequence[Buffer] | None) -> list[Buffer]:
        """The answer of a request (None: it has none, as Produce with acks=0); returns what may be sent now.

        Raises ValueError for a sequence that was not handed out or is already answered.
        """
        if sequence in self._held or not self._next_answer <= sequence < self._next_sequence:
            raise ValueError(f"request {sequence} is not waiting for an answer")
        if self._owned:
            owned = self._owned.pop(sequence, None)
            if owned is not None:
                self._pool.give_back(owned)
        if sequence != self._next_answer:
            self._held[sequence] = buffers
            self._held_bytes += _size(buffers)
            return []
        self._next_answer += 1
        ready: list[Buffer] = list(buffers or ())
        while self._next_answer in self._held:
            released = self._held.pop(self._next_answer)
            self._held_bytes -= _size(released)
            ready += released or ()
            self._next_answer += 1
        return ready

    def _cut(self, data: memoryview, frames: list[Frame]) -> None:
        """Frames out of scratch bytes; what is left over starts the next frame."""
        pos, end = 0, len(data)
        if self._prefix:
            missing = 4 - len(self._prefix)
            self._prefix += bytes(data[:missing])
            if len(self._prefix) < 4:
                return
            prefix, self._prefix, pos = self._prefix, b"", missing
            pos = self._start(self._checked_size(prefix), data, pos, frames)
        while end - pos >= 4:
            pos = self._start(self._checked_size(data[pos : pos + 4]), data, pos + 4, frames)
        if pos < end:
            self._prefix = bytes(data[pos:])

    def _start(self, size: int, data: memoryview, pos: int, frames: list[Frame]) -> int:
        """A frame of `size` starts at `pos`: cut it out whole, or begin a buffer of its own."""
        end = len(data)
        if end - pos >= size:
            frames.append(self._hand_out(memoryview(bytearray(data[pos : pos + size]))))
            return pos + size
        self._filled = end - pos
        self._expected = size
        self._allocate(min(size, max(self._allocation, 2 * self._filled)))
        assert self._frame is not None
        self._frame[: self._filled] = data[pos:]
        return end

    def _grow(self) -> None:
        """Double the buffer. A new one: a view of the old may still be held, which forbids resizing."""
        smaller = self._frame
        assert smaller is not None
        self._allocate(min(self._expected, 2 * self._filled))
        assert self._frame is not None
        self._frame[: self._filled] = smaller

    def _allocate(self, size: int) -> None:
        self._buffer = self._pool.take(size)
        self._frame = memoryview(self._buffer)[:size]

    def _hand_out(self, data: memoryview) -> Frame:
        frame = Frame(self._next_sequence, data)
        self._next_sequence += 1
        if self._max_pipelined is not None and self.pending > self._max_pipelined:
            raise ProtocolError(f"more than {self._max_pipelined} requests at once before authentication")
        return frame

    def _checked_size(self, prefix: Buffer) -> int:
        if self._next_sequence == 0:
            _recognise(bytes(prefix))
        size: int = _SIZE.unpack(prefix)[0]
        if 0 <= size <= self._limit:
            return size
        if size < 0:
            raise MalformedFrameSize(f"frame size {size} is negative: this is not the Kafka protocol")
        raise FrameTooLarge(f"frame of {size} bytes, this connection may send {self._limit}")


def _size(buffers: Sequence[Buffer] | None) -> int:
    return sum(map(len, buffers or ()))


def _recognise(start: bytes) -> None:
    """The first four bytes of a connection, read as what else they may be."""
    if start.startswith(_TLS_HANDSHAKE):
        raise TlsOnPlaintext(
            "TLS handshake on a plaintext listener: the client must use the TLS port, or no TLS"
        )
    if start in _HTTP:
        raise HttpOnKafkaPort("HTTP request on a Kafka listener")
