"""Peers that make TLS itself work, without sending data: the loop is not theirs, nor memory without end."""

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from rivven.security.dev_pki import ensure_dev_pki
from rivven.server.transport import CIPHERTEXT_BYTES_AT_FIRST, UNTAKEN_BYTES_MAX, TlsTransport, WouldBlock
from tests.unit.server.tls_records import DATA, Client12, Client13

Made = TypeVar("Made", Client12, Client13)
Meet = Callable[[type[Made]], tuple[TlsTransport, Made]]


@pytest.fixture
def meet(tmp_path: Path) -> Iterator[Meet[Made]]:
    """A server's transport and a client that does as it likes, after their handshake."""
    ensure_dev_pki(tmp_path, int(time.time() * 1000))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    context.options |= ssl.OP_NO_RENEGOTIATION
    left, right = socket.socketpair()
    left.setblocking(False)

    def shake_hands(kind: type[Made]) -> tuple[TlsTransport, Made]:
        transport = TlsTransport(left, context)
        with ThreadPoolExecutor(1) as pool:
            client = pool.submit(kind, right, tmp_path / "ca.crt", tmp_path / "keys")
            while True:
                try:
                    transport.handshake()
                    break
                except WouldBlock:
                    select.select([left], [], [], 5)
            return transport, client.result(5)

    yield shake_hands
    left.close()
    right.close()


@contextlib.contextmanager
def sending(sock: socket.socket, content: bytes) -> Iterator[None]:
    """Send all of it on a thread, as fast as it is taken."""
    sock.settimeout(5)

    def send() -> None:
        with contextlib.suppress(OSError):  # it is closed while it sends
            sock.sendall(content)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        sock.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_keys_may_be_changed(meet: Meet[Client13]) -> None:
    transport, client = meet(Client13)
    buffer = bytearray(100)
    for number in range(3):
        client.socket.sendall(client.key_update() + client.record(DATA, b"data %d" % number))
        assert buffer[: transport.receive_into(memoryview(buffer))] == b"data %d" % number


def test_one_call_ends_however_much_there_is_without_data(meet: Meet[Client13]) -> None:
    transport, client = meet(Client13)
    flood = b"".join(client.key_update() for _ in range(1500))
    assert len(flood) > 2 * CIPHERTEXT_BYTES_AT_FIRST
    with sending(client.socket, flood):
        while _waiting(transport) < len(flood):
            time.sleep(0.001)
        with pytest.raises(WouldBlock) as wait:
            transport.receive_into(memoryview(bytearray(100)))
        assert not wait.value.needs_write
        assert _waiting(transport) == len(flood) - CIPHERTEXT_BYTES_AT_FIRST, "the loop turns before the rest"


def _waiting(transport: TlsTransport) -> int:
    try:
        return len(transport.socket.recv(1 << 20, socket.MSG_PEEK))
    except BlockingIOError:
        return 0


def test_who_sends_no_data_for_long_is_refused(meet: Meet[Client13]) -> None:
    transport, client = meet(Client13)
    with (
        sending(client.socket, b"".join(client.key_update() for _ in range(5000))),
        pytest.raises(ssl.SSLError, match="the peer sends messages without data"),
    ):
        _read_all(transport)


def test_who_does_not_take_the_answers_of_tls_is_refused(meet: Meet[Client12]) -> None:
    """Data in between, since without it there is an end much earlier."""
    transport, client = meet(Client12)
    transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    some = 200
    flood = b"".join(
        client.record(DATA, bytes(4096)) if number % some == 0 else client.hello()
        for number in range(100 * some)
    )
    with (
        sending(client.socket, flood),
        pytest.raises(ssl.SSLError, match="the peer does not take the answers of TLS"),
    ):
        _read_all(transport)
    assert transport._outgoing.pending < 2 * UNTAKEN_BYTES_MAX


def _read_all(transport: TlsTransport) -> None:
    buffer = memoryview(bytearray(1 << 16))
    while True:
        try:
            if not transport.receive_into(buffer):
                return
        except WouldBlock:
            select.select([transport.socket], [], [], 5)


def test_large_data_is_read_in_large_pieces(meet: Meet[Client13]) -> None:
    transport, client = meet(Client13)
    size = 400 * 16_000
    content = b"".join(client.record(DATA, bytes(16_000)) for _ in range(400))
    buffer, got, calls = memoryview(bytearray(1 << 20)), 0, 0
    with sending(client.socket, content):
        while got < size:
            try:
                got += transport.receive_into(buffer)
                calls += 1
            except WouldBlock:
                select.select([transport.socket], [], [], 5)
        assert got == size
    assert calls < 300, "more than one record at a time"
