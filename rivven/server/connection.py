"""One client connection: a driver between its socket, the sans-IO protocol core and dispatch.

Order on a connection: consecutive Produce requests overlap their waits; every other request starts after all
earlier ones are answered. Reading stops while too many requests are in flight, while the peer does not take
its answers, or while the request memory budget is exhausted. Closing is decided here, once, with one log
line.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

from rivven.api.authentication import CertificateIdentities
from rivven.api.dispatch import Buffers, Call, Dispatch
from rivven.api.memory import Lease, MemoryBudget
from rivven.api.session import Session
from rivven.clock import Clock
from rivven.protocol.api import ApiKey
from rivven.protocol.connection import Connection as ProtocolCore
from rivven.protocol.connection import Frame
from rivven.protocol.exceptions import ProtocolError
from rivven.server.frame_memory import FrameMemory
from rivven.server.silence import Silence
from rivven.server.transport import Transport, WouldBlock, as_views, blames_certificate, tls_reason
from rivven.tasks import Tasks

_log = logging.getLogger("rivven.server")

WRITE_HIGH_WATER_BYTES = 1 << 20
"""Above this many unsent answer bytes the connection is not read and starts no further request."""

ENDED_SECONDS_MAX = 0.5
"""Time for answers in flight once a session was ended: whoever lost a right is gone within a second."""

_PRODUCE = ApiKey.PRODUCE.to_bytes(2, "big")
_PARKED = frozenset({ApiKey.FETCH, ApiKey.JOIN_GROUP, ApiKey.SYNC_GROUP})
"""Requests that may wait long for others; a draining server does not wait for them."""


class State(Enum):
    """Where a connection is in its life."""

    HANDSHAKE = "handshake"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class ConnectionObserver(Protocol):
    """What a connection tells the metrics."""

    def received(self, size: int) -> None: ...
    def sent(self, size: int) -> None: ...
    def answered(self, api_key: int, seconds: float) -> None: ...


class ClientConnection:
    """Belongs to the event loop. `closed(self)` is called exactly once."""

    def __init__(
        self,
        transport: Transport,
        core: ProtocolCore,
        session: Session,
        dispatch: Dispatch,
        *,
        clock: Clock,
        tasks: Tasks,
        request_budget: MemoryBudget,
        stranger_budget: MemoryBudget,
        requests_in_flight_max: int,
        observer: ConnectionObserver,
        closed: Callable[[ClientConnection], None],
        certificates: CertificateIdentities | None = None,
    ) -> None:
        self.transport = transport
        self.session = session
        session.closer = self._session_ended
        self.closing_since = 0.0
        self._certificates = certificates
        self.state = State.HANDSHAKE if transport.tls else State.OPEN
        self.opened_at = clock.monotonic()
        self.last_activity = self.opened_at
        self._core = core
        self._dispatch = dispatch
        self._clock = clock
        self._tasks = tasks
        self._memory = FrameMemory(request_budget, stranger_budget, self._update_reading)
        self._in_flight_max = requests_in_flight_max
        self._observer = observer
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._descriptor = transport.socket.fileno()
        self._queue: deque[Frame] = deque()
        self._produces = 0
        self._exclusive: asyncio.Task[None] | None = None
        self._exclusive_key = -1
        self._out: deque[memoryview] = deque()
        self._out_bytes = 0
        self._response_leases: list[Lease] = []
        self._reader_on = False
        self._writer_on = False
        self._draining = False
        self._continue_reading: asyncio.Handle | None = None
        self._silence = Silence(self._loop, self._silence_ended)

    def __repr__(self) -> str:
        return f"<connection {self.session.host} on {self.session.listener.name}>"

    # -- life ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start reading (or the TLS handshake)."""
        self._set_reader(True)

    @property
    def authenticated(self) -> bool:
        return self.session.authenticated

    @property
    def idle(self) -> bool:
        """Nothing of this client is being worked on and nothing waits to be sent."""
        return not (self._queue or self._produces or self._exclusive or self._out)

    @property
    def busy(self) -> bool:
        """A request is being worked on (a parked fetch, a join) or must wait: silence of the client is not
        idleness."""
        return bool(self._produces or self._exclusive or self._silence.active)

    def drain(self) -> None:
        """Finish what is in flight, answer it, then close; parked long polls are dropped."""
        if self.state is not State.OPEN:
            self.abort("the server is stopping")
            return
        self._draining = True
        self._queue.clear()
        self._set_reader(False)
        if self._exclusive is not None and self._exclusive_key in _PARKED:
            self._exclusive.cancel()
        self._maybe_finish()

    def close_after_answers(self, reason: str) -> None:
        """Stop reading; close when what was already accepted has been answered and sent."""
        if self.state in (State.CLOSING, State.CLOSED):
            return
        _log.info("closing %s:%s: %s", self.session.listener.name, self.session.host, reason)
        self.session.closing = self.session.closing or reason
        self.state = State.CLOSING
        self.closing_since = self._clock.monotonic()
        self._queue.clear()
        self._set_reader(False)
        self._maybe_finish()

    def _session_ended(self, reason: str) -> None:
        """The identity was taken away: nothing more is read or begun, what waits for others is dropped, and
        a peer that does not take its answers does not keep the connection."""
        subject = self.session.subject
        whose = "" if subject is None else f" of {subject.principal}"
        self.close_after_answers(f"session {self.session.id}{whose} ended: {reason}")
        if self._exclusive is not None and self._exclusive_key in _PARKED:
            self._exclusive.cancel()
        if self.state is not State.CLOSED:
            self._loop.call_later(ENDED_SECONDS_MAX, self.abort, reason)

    def abort(self, reason: str, *, level: int = logging.INFO) -> None:
        """Close now, whatever is pending."""
        if self.state is State.CLOSED:
            return
        if reason:
            _log.log(level, "closed %s:%s: %s", self.session.listener.name, self.session.host, reason)
        self.state = State.CLOSED
        if self._continue_reading is not None:
            self._continue_reading.cancel()
        self._silence.cancel()
        self._set_reader(False)
        self._set_writer(False)
        self.transport.close()
        if self._exclusive is not None:
            self._exclusive.cancel()
        self._release_all()
        self._closed(self)

    def _release_all(self) -> None:
        self._memory.release_all()
        for lease in self._response_leases:
            lease.release()
        self._response_leases.clear()
        self._out.clear()
        self._queue.clear()

    def _maybe_finish(self) -> None:
        if (self._draining or self.state is State.CLOSING) and self.idle:
            self.transport.discard_input()
            self.abort("")

    # -- readiness -------------------------------------------------------------------------------------------

    def _set_reader(self, on: bool) -> None:
        if on != self._reader_on:
            self._reader_on = on
            if on:
                self._loop.add_reader(self._descriptor, self._on_readable)
            else:
                self._loop.remove_reader(self._descriptor)

    def _set_writer(self, on: bool) -> None:
        if on != self._writer_on:
            self._writer_on = on
            if on:
                self._loop.add_writer(self._descriptor, self._on_writable)
            else:
                self._loop.remove_writer(self._descriptor)

    def _may_read(self) -> bool:
        return (
            self.state is State.OPEN
            and not self._draining
            and not self._memory.waiting
            and not self._silence.active
            and self._out_bytes <= WRITE_HIGH_WATER_BYTES
            and self._core.pending < (self._in_flight_max if self.session.authenticated else 1)
        )

    def _update_reading(self) -> None:
        """Read again when the reasons not to are gone; TLS may hold bytes that no event will announce."""
        may_read = self._may_read()
        if may_read and not self._reader_on:
            self._set_reader(True)
            if self.transport.pending() and self._continue_reading is None:
                self._continue_reading = self._loop.call_soon(self._resume_reading)
        elif not may_read and self._reader_on and self.state is not State.HANDSHAKE:
            self._set_reader(False)

    def _silence_ended(self) -> None:
        if self.state is State.OPEN:
            self.last_activity = self._clock.monotonic()
            self._pump()
            self._update_reading()

    def _resume_reading(self) -> None:
        self._continue_reading = None
        if self.state is State.OPEN and self._reader_on:
            self._on_readable()

    # -- reading ---------------------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        try:
            if self.state is State.HANDSHAKE and not self._shake_hands():
                return
            self._receive()
        except ProtocolError as error:
            # What was accepted before the offending bytes is still answered, in order.
            self.close_after_answers(str(error))
        except ssl.SSLError as error:
            self.abort(f"TLS: {error.reason or error}")
        except OSError as error:
            self.abort(f"connection lost: {error.strerror or error}", level=logging.DEBUG)

    def _shake_hands(self) -> bool:
        try:
            self.transport.handshake()
        except WouldBlock as wait:
            self._set_writer(wait.needs_write)
            self._set_reader(not wait.needs_write)  # else what nobody reads yet would wake the loop for ever
            return False
        except ssl.SSLError as error:
            reason = tls_reason(error)
            if self._certificates is not None and blames_certificate(error):
                self._certificates.refuse(self.session, reason)
            self.abort(f"TLS handshake failed: {reason}")
            return False
        self._set_writer(False)
        self._set_reader(True)
        self.state = State.OPEN
        self.last_activity = self._clock.monotonic()
        if self._certificates is not None:
            self._certificates.identify(self.session, self.transport.peer_chain())
            if self.session.closing:
                self.abort(self.session.closing)
                return False
            if self.session.authenticated:
                self._core.authenticated()
        return True

    def _receive(self) -> None:
        core, transport = self._core, self.transport
        budget = transport.read_turn_bytes
        self.last_activity = self._clock.monotonic()
        while budget > 0 and self._may_read():
            buffer = core.get_buffer()
            try:
                size = transport.receive_into(buffer)
            except WouldBlock:
                return
            if size == 0:
                self.abort("", level=logging.DEBUG)
                return
            filled = size == len(buffer)
            del buffer
            budget -= max(size, transport.read_least_bytes)
            self._observer.received(size)
            frames = core.bytes_received(size)
            if frames:
                self._memory.arrived(frames[0].sequence)
                self._queue.extend(frames)
                self._pump()
                if core.failure is not None:
                    raise core.failure
                if self.state is not State.OPEN:
                    return
            self._memory.expect(core.expected_bytes, known=self.session.authenticated)
            if not filled and not transport.tls:
                break
        self._update_reading()
        if self._reader_on and transport.pending() and self._continue_reading is None:
            self._continue_reading = self._loop.call_soon(self._resume_reading)

    # -- requests --------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Start what may start now."""
        queue = self._queue
        while queue and self._exclusive is None and self.state is State.OPEN and not self._draining:
            if self._silence.active or self._dispatch.holds_back(self._silence_ended):
                return
            frame = queue[0]
            if frame.data[0:2] == _PRODUCE and not self.session.expects_raw_token:
                queue.popleft()
                self._start_produce(frame)
            elif self._produces or self._out_bytes > WRITE_HIGH_WATER_BYTES:
                return
            else:
                queue.popleft()
                self._start_exclusive(frame)

    def _start_produce(self, frame: Frame) -> None:
        started = self._clock.monotonic()
        try:
            call = self._dispatch.accept(self.session, frame.data)
        except ProtocolError as error:
            self.close_after_answers(str(error))
            return
        except Exception:  # noqa: BLE001 - as in `_answer`
            self._produce_failed()
            return
        assert isinstance(call, Call)
        self._produces += 1

        def respond(response: Any) -> None:
            # Called while a log tells everybody of its progress: a failure here must stay here.
            try:
                self._answer_produce(frame, call, response, started)
            except Exception:  # noqa: BLE001 - see above
                self._produce_failed()

        try:
            silence_ms = self._dispatch.start(call, respond)
            if silence_ms and self.state is State.OPEN:
                self._silence.extend(silence_ms)
        except Exception:  # noqa: BLE001 - no error code is safe: -1 makes clients duplicate (kafka.md 5.12)
            self._produce_failed()

    def _answer_produce(self, frame: Frame, call: Call, response: Any, started: float) -> None:
        self._produces -= 1
        if self.state is State.CLOSED:
            return
        silence_ms = self._dispatch.settle(call, response)
        if silence_ms:
            self._silence.extend(silence_ms)
        buffers = None if response is None else self._dispatch.encode(call, response)
        if response is None and call.denied:
            self.session.closing = "produce with acks=0 was denied"
        self._observer.answered(ApiKey.PRODUCE, self._clock.monotonic() - started)
        self._complete(frame.sequence, buffers)
        if self._queue and not self._produces:
            self._pump()

    def _produce_failed(self) -> None:
        _log.exception("unexpected error in PRODUCE, closing the connection")
        self.abort("unexpected error in PRODUCE", level=logging.ERROR)

    def _start_exclusive(self, frame: Frame) -> None:
        self._exclusive_key = int.from_bytes(frame.data[0:2], "big")
        self._exclusive = self._tasks.spawn(self._answer(frame), f"request {self._exclusive_key}")

    async def _answer(self, frame: Frame) -> None:
        started = self._clock.monotonic()
        call: Call | None = None
        try:
            buffers: Buffers | None
            if self.session.expects_raw_token:
                buffers = await self._dispatch.raw_token(self.session, frame.data)
            else:
                accepted = self._dispatch.accept(self.session, frame.data)
                if isinstance(accepted, Call):
                    call = accepted
                    response = await self._dispatch.perform(call)
                    silence_ms = self._dispatch.settle(call, response)
                    if silence_ms:
                        self._silence.extend(silence_ms)
                    buffers = self._dispatch.encode(call, response)
                else:
                    buffers = accepted
        except ProtocolError as error:
            self._exclusive = None
            _release(call)
            self.close_after_answers(str(error))
            return
        except asyncio.CancelledError:
            self._exclusive = None
            _release(call)
            if self.state is not State.CLOSED:
                self.abort(self.session.closing or "the server is stopping")
            return
        except Exception:  # noqa: BLE001 - an authorizer or the codec failed; else the client waits for ever
            _log.exception("unexpected error in API %d, closing the connection", self._exclusive_key)
            self._exclusive = None
            _release(call)
            self.abort("unexpected error", level=logging.ERROR)
            return
        self._exclusive = None
        if call is not None and call.context.lease is not None:
            self._response_leases.append(call.context.lease)
        if self.state is State.CLOSED:
            self._release_all()
            return
        if self.session.authenticated:
            self._core.authenticated()
        self._observer.answered(self._exclusive_key, self._clock.monotonic() - started)
        self._complete(frame.sequence, buffers)
        self._pump()
        self._update_reading()

    def _complete(self, sequence: int, buffers: Buffers | None) -> None:
        self._memory.answered(sequence)
        ready = self._core.complete(sequence, buffers)
        if ready:
            views = as_views(ready)
            self._out.extend(views)
            self._out_bytes += sum(map(len, views))
            if not self._writer_on:
                self._flush()
        if self.state is State.CLOSED:
            return
        if self.session.closing:
            self.close_after_answers(self.session.closing)
        elif not self._reader_on and not self._writer_on:
            self._update_reading()
        self._maybe_finish()

    # -- writing ---------------------------------------------------------------------------------------------

    def _on_writable(self) -> None:
        if self.state is State.HANDSHAKE:
            self._on_readable()
            return
        self._flush()
        if self.state is State.CLOSED:
            return
        if self._queue:
            self._pump()
        self._update_reading()
        self._maybe_finish()

    def _flush(self) -> None:
        """Send until everything has left or the socket is full."""
        out = self._out
        try:
            while out:
                sent = self.transport.send(out)
                self._out_bytes -= sent
                self.last_activity = self._clock.monotonic()
                self._observer.sent(sent)
        except WouldBlock as wait:
            # A TLS send that wants to read resumes with the next readable event at the latest.
            self._set_writer(wait.needs_write or not self._reader_on)
            return
        except OSError as error:
            self.abort(f"connection lost: {error.strerror or error}", level=logging.DEBUG)
            return
        self._set_writer(False)
        for lease in self._response_leases:
            lease.release()
        self._response_leases.clear()


def _release(call: Call | None) -> None:
    """Give back the memory of an answer that will not be sent."""
    if call is not None and call.context.lease is not None:
        call.context.lease.release()
