"""Sending over a real socket pair: partial sends keep order and lose nothing, plain and TLS."""

import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rivven.security.dev_pki import ensure_dev_pki
from rivven.server.transport import PlainTransport, TlsTransport, WouldBlock, _next_chunk, as_views


def test_empty_buffers_are_left_out() -> None:
    assert [bytes(view) for view in as_views([b"a", b"", memoryview(b"bc"), bytearray()])] == [b"a", b"bc"]


def test_everything_arrives_in_order_through_a_small_socket() -> None:
    left, right = socket.socketpair()
    left.setblocking(False)
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    pieces = [bytes([i % 251]) * (1 + 37 * i) for i in range(200)]
    out = deque(as_views(pieces))
    transport = PlainTransport(left)
    received = bytearray()
    blocked = 0
    while out:
        try:
            transport.send(out)
        except WouldBlock as wait:
            assert wait.needs_write
            blocked += 1
            received += right.recv(1 << 16)
    right.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            received += right.recv(1 << 16)
    assert bytes(received) == b"".join(pieces)
    assert blocked > 0
    left.close()
    right.close()


def test_small_buffers_are_joined_into_one_tls_record_and_large_ones_are_not_copied() -> None:
    out = deque(as_views([b"a" * 10, b"b" * 20, b"c" * 100_000]))
    chunk = _next_chunk(out)
    assert len(chunk) == 16 * 1024
    assert bytes(chunk[:31]) == b"a" * 10 + b"b" * 20 + b"c"
    large = memoryview(b"d" * 300_000)
    chunk = _next_chunk(deque([large]))
    assert chunk.obj is large.obj
    assert len(chunk) == 64 * 1024


@pytest.fixture
def tls_pair(tmp_path: Path) -> Iterator[tuple[TlsTransport, ssl.SSLSocket]]:
    """A server transport and the client's end of one established connection."""
    ensure_dev_pki(tmp_path, int(time.time() * 1000))
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    client_side = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    left, right = socket.socketpair()
    left.setblocking(False)
    transport = TlsTransport(left, server_side)
    with ThreadPoolExecutor(1) as pool:
        connecting = pool.submit(client_side.wrap_socket, right, server_hostname="localhost")
        while True:
            try:
                transport.handshake()
                break
            except WouldBlock:
                select.select([transport.socket], [], [], 5)
        client = connecting.result(5)
    yield transport, client
    transport.close()
    client.close()


def test_one_call_takes_every_tls_record_that_is_there(
    tls_pair: tuple[TlsTransport, ssl.SSLSocket],
) -> None:
    transport, client = tls_pair
    sent = [bytes([number]) * 100 for number in range(20)]
    for record in sent:
        client.sendall(record)
    buffer = bytearray(10_000)
    size = transport.receive_into(memoryview(buffer))
    assert buffer[:size] == b"".join(sent)
    with pytest.raises(WouldBlock) as wait:
        transport.receive_into(memoryview(buffer))
    assert not wait.value.needs_write


def test_one_call_takes_no_more_than_fits_or_a_turn_allows(
    tls_pair: tuple[TlsTransport, ssl.SSLSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, client = tls_pair
    client.sendall(b"a" * 1000)
    client.sendall(b"b" * 1000)
    assert transport.receive_into(memoryview(bytearray(300))) == 300
    monkeypatch.setattr(TlsTransport, "read_turn_bytes", 500)
    assert transport.receive_into(memoryview(bytearray(4000))) == 700
    buffer = bytearray(4000)
    assert buffer[: transport.receive_into(memoryview(buffer))] == b"b" * 1000


def test_what_came_before_the_end_is_returned_before_the_end(
    tls_pair: tuple[TlsTransport, ssl.SSLSocket],
) -> None:
    transport, client = tls_pair
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)
    buffer = bytearray(100)
    assert buffer[: transport.receive_into(memoryview(buffer))] == b"last words"
    assert transport.receive_into(memoryview(buffer)) == 0


def test_everything_arrives_in_order_through_a_small_tls_socket(
    tls_pair: tuple[TlsTransport, ssl.SSLSocket],
) -> None:
    transport, client = tls_pair
    transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    pieces = [bytes([i % 251]) * (1 + 1_100 * i) for i in range(60)]
    whole = b"".join(pieces)
    out = deque(as_views(pieces))
    sent = blocked = 0
    with ThreadPoolExecutor(1) as pool:
        receiving = pool.submit(_received, client, len(whole))
        while out:
            try:
                sent += transport.send(out)
            except WouldBlock as wait:
                assert wait.needs_write
                assert sum(map(len, out)) == len(whole) - sent, "what has not left stays in the queue"
                blocked += 1
                select.select([], [transport.socket], [], 5)
        assert receiving.result(10) == whole
    assert blocked > 0
    assert sent == len(whole)


def _received(client: ssl.SSLSocket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        found += client.recv(1 << 16)
    return bytes(found)


def test_what_the_socket_does_not_announce_any_more_is_pending(
    tls_pair: tuple[TlsTransport, ssl.SSLSocket],
) -> None:
    transport, client = tls_pair
    client.sendall(b"x" * 5000)
    buffer = memoryview(bytearray(10_000))
    assert transport.receive_into(buffer[:1000]) == 1000
    assert transport.pending() >= 4000
    assert transport.receive_into(buffer) == 4000
    assert transport.pending() == 0


def test_a_client_that_is_refused_hears_why(tmp_path: Path) -> None:
    """The alert leaves although the handshake has failed."""
    ensure_dev_pki(tmp_path, int(time.time() * 1000))
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    server_side.minimum_version = ssl.TLSVersion.TLSv1_3
    client_side = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    client_side.maximum_version = ssl.TLSVersion.TLSv1_2
    left, right = socket.socketpair()
    left.setblocking(False)
    transport = TlsTransport(left, server_side)
    with ThreadPoolExecutor(1) as pool:
        connecting = pool.submit(client_side.wrap_socket, right, server_hostname="localhost")
        select.select([left], [], [], 5)
        with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
            transport.handshake()
        with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
            connecting.result(5)
    transport.close()
    right.close()


def test_a_close_says_goodbye(tls_pair: tuple[TlsTransport, ssl.SSLSocket]) -> None:
    transport, client = tls_pair
    client.suppress_ragged_eofs = False  # without a close_notify the end would be an error
    transport.close()
    assert client.recv(10) == b""


def test_unread_input_does_not_cost_the_peer_its_answers() -> None:
    """A close with unread bytes is a reset, and a reset takes what the peer has not read yet."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    ours.setblocking(False)
    transport = PlainTransport(ours)
    peer.sendall(b"a request nobody reads any more")
    transport.send(deque(as_views([b"answer"])))
    select.select([ours], [], [], 5)
    transport.discard_input()
    transport.close()
    peer.settimeout(5)
    time.sleep(0.05)
    assert peer.recv(100) == b"answer"
    assert peer.recv(100) == b""
    peer.close()
