"""Sending over a real socket pair: partial sends keep order and lose nothing, plain and TLS."""

import socket
from collections import deque

import pytest

from rivven.server.transport import PlainTransport, WouldBlock, _next_chunk, as_views


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
    assert len(chunk) == 256 * 1024
