"""Connections to the Admin API that make TLS work without sending data."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from rivven.http.admin.routes import Call, Media, Raw, Route, Self_
from rivven.http.admin.tls_meter import BYTES_PER_DATA, DATALESS_BYTES_MAX, TURN_BYTES_MAX, TlsMeter
from tests.shipped.pki import Pki
from tests.unit.http.admin.serving import ALICE, Served, serving
from tests.unit.server.tls_records import DATA, Client13

HELLO = b"GET /v1/me HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + ALICE.encode() + b"\r\n\r\n"


async def me(call: Call) -> Raw:
    return Raw(f"{call.subject.principal}".encode())


ROWS = [Route("GET", "/v1/me", Self_("about the caller"), me, "Me", Media("text/plain"))]


class Tls(asyncio.BufferedProtocol):
    """Writes down what it is told, as asyncio's TLS; `data_bytes` of it turn out to be data."""

    def __init__(self) -> None:
        self.buffer = bytearray(256 * 1024)
        self.told: list[object] = []
        self.data_bytes = 0

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.told.append(nbytes)

    def eof_received(self) -> bool:
        self.told.append("end")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(exc)

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


class Below(asyncio.Transport):
    """A transport that has a protocol and nothing else."""

    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


@pytest.fixture
def tls() -> Tls:
    return Tls()


def metered(tls: Tls, refused: list[int]) -> TlsMeter:
    below = Below(tls)
    meter = TlsMeter(below, lambda: tls.data_bytes, lambda: refused.append(1))
    assert below.protocol is meter
    return meter


def test_a_turn_takes_one_record_at_most_and_everything_is_passed_on(tls: Tls) -> None:
    meter = metered(tls, [])
    view = meter.get_buffer(-1)
    assert len(view) == TURN_BYTES_MAX
    view[:3] = b"abc"
    meter.buffer_updated(3)
    assert tls.buffer[:3] == b"abc"
    meter.pause_writing()
    meter.resume_writing()
    assert meter.eof_received() is True
    lost = OSError()
    meter.connection_lost(lost)
    assert tls.told == [3, "pause", "resume", "end", lost]


def test_data_pays_for_the_records_around_it(tls: Tls) -> None:
    refused: list[int] = []
    meter = metered(tls, refused)
    for _ in range(10 * DATALESS_BYTES_MAX // 1000):
        tls.data_bytes += -(-1000 // BYTES_PER_DATA)
        meter.buffer_updated(1000)
    assert not refused


def test_what_is_kept_for_an_application_that_does_not_read_is_no_reason(tls: Tls) -> None:
    refused: list[int] = []
    meter = metered(tls, refused)
    for _ in range(4):
        for _ in range(16):
            meter.buffer_updated(TURN_BYTES_MAX)
        tls.data_bytes += 16 * TURN_BYTES_MAX  # now it has read
        meter.buffer_updated(100)
    assert not refused


def test_too_little_data_is_told_once(tls: Tls) -> None:
    refused: list[int] = []
    meter = metered(tls, refused)
    tls.data_bytes = 100
    for _ in range(DATALESS_BYTES_MAX // 1024 + 4):
        meter.buffer_updated(1024)
    assert refused == [1]


async def connected(served: Served, pki: Pki, keys: Path) -> Client13:
    def connect() -> Client13:
        return Client13(socket.create_connection(served.address, 10), pki.ca, keys)

    return await asyncio.to_thread(connect)


async def test_keys_may_be_changed_now_and_then(pki: Pki, tmp_path: Path) -> None:
    async with serving(ROWS, pki) as served:
        client = await connected(served, pki, tmp_path / "keys")
        for _ in range(3):
            client.socket.sendall(client.key_update() + client.record(DATA, HELLO))
            assert await asyncio.to_thread(client.socket.recv, 10_000), "an answer, which only TLS can read"
        client.socket.close()


def _until_it_ends(sock: socket.socket, content: bytes) -> None:
    """Send until the peer closes; raises TimeoutError if it does not do so soon."""
    sock.settimeout(5)
    with contextlib.suppress(ConnectionError):
        sock.sendall(content)
        while sock.recv(1 << 16):
            pass


async def test_who_sends_no_data_is_disconnected(pki: Pki, tmp_path: Path) -> None:
    async with serving(ROWS, pki) as served:
        client = await connected(served, pki, tmp_path / "keys")
        flood = b"".join(client.key_update() for _ in range(2 * DATALESS_BYTES_MAX // 27))
        await asyncio.to_thread(_until_it_ends, client.socket, flood)
        assert (await served.ask("/v1/me", headers={"Authorization": ALICE})).body == b"User:alice"
        client.socket.close()
