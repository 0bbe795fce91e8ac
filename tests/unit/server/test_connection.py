"""A connection keeps order, reads no more than it may hold, and closes once with everything given back."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rivven.api.context import RequestContext
from rivven.api.memory import MemoryBudget
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.server import connection
from rivven.server.connection import State
from rivven.server.transport import PlainTransport, TlsTransport, WouldBlock
from tests.unit.server.world import Wired, metadata, produce

MIB = 1 << 20


@pytest.fixture
async def wired() -> AsyncIterator[Wired]:
    made = Wired()
    yield made
    await made.end()


async def test_produces_overlap_and_everything_else_waits_its_turn(wired: Wired) -> None:
    await wired.send(produce(1) + produce(2) + metadata(3) + produce(4))
    assert len(wired.produced) == 2, "the one behind Metadata has to wait for it"
    wired.produced[1](m.ProduceResponse())
    await wired.turn()
    assert wired.nothing_to_read(), "an answer waits for the one before it"
    wired.produced[0](m.ProduceResponse())
    assert await wired.answers(3) == [1, 2, 3]
    wired.produced[2](m.ProduceResponse())
    assert await wired.answers(1) == [4]
    assert wired.connection.idle


async def test_no_more_is_read_than_may_be_in_flight() -> None:
    wired = Wired(in_flight=3)
    for number in range(3):
        await wired.send(produce(number))
    await wired.send(produce(3))
    assert len(wired.produced) == 3
    wired.produced[0](m.ProduceResponse())
    await wired.turn()
    assert len(wired.produced) == 4
    await wired.end()


async def test_a_peer_that_does_not_read_is_not_read(wired: Wired) -> None:
    async def large(context: RequestContext, _request: Any) -> Any:
        context.access.used = True
        return m.MetadataResponse(cluster_id="c" * 30_000)

    wired.metadata = large
    await wired.send(b"".join(metadata(number) for number in range(100)))
    await asyncio.sleep(0.05)
    held = wired.connection._out_bytes
    assert MIB < held < MIB + 40_000
    assert await wired.answers(100) == list(range(100))


async def test_a_large_frame_holds_its_memory_until_it_is_answered(wired: Wired) -> None:
    whole = produce(1, 5 * MIB)
    await wired.send(whole)
    await wired.arrived(1)
    assert wired.requests.used_bytes == len(whole) - 4
    wired.produced[0](m.ProduceResponse())
    assert wired.requests.used_bytes == 0


async def test_each_large_frame_that_is_queued_holds_its_own(wired: Wired) -> None:
    release = asyncio.Event()

    async def parked(context: RequestContext, _request: Any) -> Any:
        context.access.used = True
        await release.wait()
        return m.MetadataResponse()

    wired.metadata = parked
    whole = produce(2, 5 * MIB)
    await wired.send(metadata(1))
    sending = asyncio.ensure_future(wired.send(whole * 12))
    await asyncio.sleep(0.3)
    assert wired.produced == []
    assert wired.requests.used_bytes == 7 * (len(whole) - 4), "seven of 5 MiB fit 40 MiB"
    release.set()
    for number in range(12):
        await wired.arrived(number + 1)
        wired.produced[number](m.ProduceResponse())
    await sending
    assert wired.requests.used_bytes == 0


async def test_a_lost_connection_gives_everything_back(wired: Wired) -> None:
    whole = produce(1, 5 * MIB)
    await wired.send(whole)
    await wired.send(whole[: 2 * MIB])
    assert wired.requests.used_bytes > 8 * MIB
    wired.peer.close()
    await asyncio.sleep(0.01)
    assert wired.is_closed
    assert wired.requests.used_bytes == 0
    wired.produced[0](m.ProduceResponse())  # the commit comes later and finds nobody


async def test_a_waiting_lease_is_forgotten_with_its_connection(wired: Wired) -> None:
    wired.requests.take_whole(39 * MIB, lambda lease: None)
    await wired.send(produce(1, 5 * MIB)[:200_000])
    assert wired.requests.waiting == 1
    wired.connection.abort("")
    assert wired.requests.waiting == 0
    assert wired.requests.used_bytes == 39 * MIB


async def test_strangers_have_a_budget_of_their_own() -> None:
    wired = Wired(known=False)
    await wired.send((400_000).to_bytes(4, "big") + bytes(1000))
    assert (wired.strangers.used_bytes, wired.requests.used_bytes) == (400_000, 0)
    wired.connection.abort("")
    assert wired.strangers.used_bytes == 0
    await wired.end()


async def test_a_cancelled_request_gives_back_the_memory_of_its_answer(wired: Wired) -> None:
    responses = MemoryBudget(MIB)

    async def reading(context: RequestContext, _request: Any) -> Any:
        context.lease = responses.take_share(1000, 1)
        await asyncio.Event().wait()

    wired.metadata = reading
    await wired.send(metadata(1))
    assert responses.used_bytes == 1000
    wired.peer.close()
    await asyncio.sleep(0.01)
    assert wired.is_closed
    assert responses.used_bytes == 0


async def test_memory_of_an_answer_is_held_until_it_has_left(wired: Wired) -> None:
    responses = MemoryBudget(8 * MIB)

    async def large(context: RequestContext, _request: Any) -> Any:
        context.access.used = True
        context.lease = responses.take_share(1000, 1)
        return m.MetadataResponse(topics=[m.MetadataResponse.MetadataResponseTopic(name="t" * 30_000)] * 40)

    wired.metadata = large
    await wired.send(metadata(1))
    assert responses.used_bytes == 1000
    assert await wired.answers(1) == [1]
    await wired.turn()
    assert responses.used_bytes == 0


async def test_an_answer_that_cannot_be_written_closes(wired: Wired) -> None:
    async def wrong(context: RequestContext, _request: Any) -> Any:
        context.access.used = True
        return m.MetadataResponse(controller_id="not a number")  # type: ignore[arg-type]

    wired.metadata = wrong
    await wired.send(metadata(1))
    await asyncio.sleep(0.01)
    assert wired.is_closed


async def test_an_unexpected_error_in_produce_closes(wired: Wired, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_call: Any) -> None:
        raise RuntimeError("boom")

    wired.produce = broken
    await wired.send(produce(1))
    assert wired.is_closed
    assert "unexpected error in PRODUCE" in caplog.text
    with pytest.raises(EOFError):
        await wired.answers(1)


async def test_what_came_before_malformed_bytes_is_answered(wired: Wired) -> None:
    await wired.send(produce(1) + b"\x80\0\0\0")
    assert wired.connection.state is State.CLOSING
    wired.produced[0](m.ProduceResponse())
    assert await wired.answers(1) == [1]
    assert wired.is_closed


async def test_draining_finishes_what_is_in_flight_and_drops_what_is_not(wired: Wired) -> None:
    await wired.send(produce(1) + produce(2) + metadata(3))
    wired.connection.drain()
    assert not wired.is_closed
    wired.produced[0](m.ProduceResponse())
    wired.produced[1](m.ProduceResponse())
    assert await wired.answers(2) == [1, 2]
    assert wired.is_closed


async def test_draining_an_idle_connection_closes_it(wired: Wired) -> None:
    await wired.send(metadata(1))
    assert await wired.answers(1) == [1]
    wired.connection.drain()
    assert wired.is_closed


async def test_reads_that_would_block_keep_nothing_alive() -> None:
    """A shared exception would keep the frames, and so the buffers, of every time it was raised."""
    wired = Wired()

    class Buffer(bytearray):
        pass

    def read_into(transport: PlainTransport) -> "weakref.ref[Buffer]":
        buffer = Buffer(16)
        with pytest.raises(WouldBlock):
            transport.receive_into(memoryview(buffer))
        return weakref.ref(buffer)

    kept = read_into(wired.connection.transport)  # type: ignore[arg-type]
    gc.collect()
    assert kept() is None
    await wired.end()


async def test_an_ended_session_is_answered_what_it_began_and_nothing_more(wired: Wired) -> None:
    await wired.send(produce(1) + metadata(2))
    wired.session.end("the user is gone")
    assert wired.connection.state is State.CLOSING
    await wired.send(produce(3))
    wired.produced[0](m.ProduceResponse())
    assert await wired.answers(1) == [1]
    assert wired.is_closed
    assert len(wired.produced) == 1


async def test_an_ended_session_that_is_idle_closes_at_once(wired: Wired) -> None:
    await wired.send(metadata(1))
    assert await wired.answers(1) == [1]
    wired.session.end("the user is gone")
    assert wired.is_closed


async def test_an_ended_session_does_not_wait_for_answers_for_long(
    wired: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ENDED_SECONDS_MAX", 0.01)
    await wired.send(produce(1))
    wired.session.end("the user is gone")
    await asyncio.sleep(0.05)
    assert wired.is_closed
    wired.produced[0](m.ProduceResponse())  # the commit comes later and finds nobody


async def test_an_ended_session_drops_what_waits_for_others(
    wired: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def parked(_context: RequestContext, _request: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(connection, "_PARKED", frozenset({ApiKey.METADATA}))
    wired.metadata = parked
    await wired.send(metadata(1))
    wired.session.end("the user is gone")
    await wired.turn()
    assert wired.is_closed


async def test_what_closes_anyway_hurries_once_its_session_is_ended(
    wired: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def parked(_context: RequestContext, _request: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(connection, "_PARKED", frozenset({ApiKey.METADATA}))
    wired.metadata = parked
    await wired.send(metadata(1))
    wired.connection.close_after_answers("the session expired")
    assert not wired.is_closed, "what was begun before the end is answered"
    wired.session.end("the user is gone")
    await wired.turn()
    assert wired.is_closed
    assert wired.session.closing == "the session expired", "the first reason is the one that is recorded"


async def test_reads_that_bring_hardly_any_data_end_the_turn_too(wired: Wired) -> None:
    """As of a peer that puts a byte between messages of TLS, which cost as much as data."""
    reads = 0

    class Dribbling(PlainTransport):
        tls = True
        read_turn_bytes = TlsTransport.read_turn_bytes
        read_least_bytes = TlsTransport.read_least_bytes

        def receive_into(self, buffer: memoryview) -> int:
            nonlocal reads
            reads += 1
            if reads > 1000:
                raise WouldBlock(needs_write=False)
            return super().receive_into(buffer[:1])

    wired.connection.transport = Dribbling(wired.connection.transport.socket)
    wired.peer.send((4000).to_bytes(4, "big") + bytes(2000))
    wired.connection._on_readable()
    assert reads == 4
