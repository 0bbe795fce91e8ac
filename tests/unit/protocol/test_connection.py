"""The connection core: frames in, answers out in order, limits, and what is not Kafka."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from rivven.protocol import connection as c
from rivven.protocol.connection import Connection, Frame
from rivven.protocol.exceptions import (
    FrameTooLarge,
    HttpOnKafkaPort,
    MalformedFrameSize,
    ProtocolError,
    TlsOnPlaintext,
)


def framed(*bodies: bytes) -> bytes:
    return b"".join(len(body).to_bytes(4) + body for body in bodies)


def feed(connection: Connection, data: bytes) -> list[Frame]:
    """Deliver `data` the way a socket does: as much as the buffer takes at a time."""
    frames: list[Frame] = []
    while data:
        room = connection.get_buffer()
        taken = data[: len(room)]
        room[: len(taken)] = taken
        frames += connection.bytes_received(len(taken))
        data = data[len(taken) :]
    return frames


def bodies(frames: Iterable[Frame]) -> list[bytes]:
    return [bytes(frame.data) for frame in frames]


def test_several_requests_in_one_read() -> None:
    frames = feed(Connection(), framed(b"one", b"", b"three"))
    assert bodies(frames) == [b"one", b"", b"three"]
    assert [frame.sequence for frame in frames] == [0, 1, 2]


def test_a_size_that_arrives_byte_by_byte() -> None:
    connection = Connection()
    data = framed(b"hello")
    assert [feed(connection, data[i : i + 1]) for i in range(8)] == [[]] * 8
    assert connection.buffered_bytes == 8
    assert connection.expected_bytes == 5
    assert bodies(feed(connection, data[8:])) == [b"hello"]
    assert connection.buffered_bytes == connection.expected_bytes == 0


def test_a_frame_owns_its_writable_bytes() -> None:
    scratch = bytearray(64)
    connection = Connection(scratch=scratch)
    (frame,) = feed(connection, framed(b"first"))
    feed(connection, framed(b"other"))
    assert bytes(frame.data) == b"first"
    frame.data[0:1] = b"F"
    assert bytes(frame.data) == b"First"


def test_two_connections_may_share_the_scratch_buffer() -> None:
    scratch = bytearray(32)
    one, two = Connection(scratch=scratch), Connection(scratch=scratch)
    first, second = framed(b"a" * 50), framed(b"b" * 20)
    assert feed(one, first[:30]) == []
    assert bodies(feed(two, second)) == [b"b" * 20]
    assert bodies(feed(one, first[30:])) == [b"a" * 50]


def test_an_announced_size_allocates_little_until_bytes_arrive() -> None:
    connection = Connection()
    feed(connection, (500_000).to_bytes(4) + b"x")
    assert len(connection.get_buffer()) < c.FIRST_ALLOCATION_UNAUTHENTICATED
    connection = Connection()
    connection.authenticated()
    feed(connection, c.MAX_FRAME_BYTES.to_bytes(4) + b"x")
    assert len(connection.get_buffer()) < c.FIRST_ALLOCATION
    assert connection.expected_bytes == c.MAX_FRAME_BYTES


def test_the_buffer_grows_with_the_bytes_and_ends_exact() -> None:
    connection = Connection(scratch=bytearray(1000))
    body = bytes(range(256)) * 1500
    (frame,) = feed(connection, framed(body))
    assert bytes(frame.data) == body
    assert len(frame.data) == len(body)


def test_growing_survives_a_view_held_by_the_reader() -> None:
    connection = Connection(scratch=bytearray(10))
    body = b"z" * 40_000
    data, frames, views = framed(body), [], []
    while data:
        room = connection.get_buffer()
        views.append(room)
        room[: len(data)] = data[: len(room)]
        taken = min(len(room), len(data))
        frames += connection.bytes_received(taken)
        data = data[taken:]
    assert bodies(frames) == [body]
    assert len(views) > 2


def test_the_limit_before_and_after_authentication() -> None:
    size = c.MAX_FRAME_BYTES_UNAUTHENTICATED
    assert feed(Connection(), size.to_bytes(4)) == []
    with pytest.raises(FrameTooLarge, match="524289 bytes"):
        feed(Connection(), (size + 1).to_bytes(4))
    known = Connection(max_frame_bytes=size + 1)
    known.authenticated()
    assert feed(known, (size + 1).to_bytes(4)) == []
    known = Connection(max_frame_bytes=size + 1)
    known.authenticated()
    with pytest.raises(FrameTooLarge):
        feed(known, (size + 2).to_bytes(4))


def test_frames_before_a_malformed_one_are_handed_out_and_the_failure_is_kept() -> None:
    connection = Connection()
    assert [bytes(one.data) for one in feed(connection, framed(b"first") + b"\x80\0\0\0")] == [b"first"]
    assert isinstance(connection.failure, MalformedFrameSize)


def test_a_stranger_may_not_pipeline_without_end() -> None:
    stranger = Connection()
    assert len(feed(stranger, framed(*[b""] * 17))) == 16
    assert "more than 16 requests" in str(stranger.failure)
    connection = Connection()
    connection.authenticated()
    assert len(feed(connection, framed(*[b""] * 1000))) == 1000


@pytest.mark.parametrize(
    ("start", "error"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", TlsOnPlaintext),
        (b"\x16\x03\x03\x00\xa5", TlsOnPlaintext),
        (b"GET / HTTP/1.1\r\n", HttpOnKafkaPort),
        (b"POST /topics HTTP/1.1\r\n", HttpOnKafkaPort),
        (b"HEAD / HTTP/1.0\r\n", HttpOnKafkaPort),
        (b"PUT / HTTP/1.0\r\n", HttpOnKafkaPort),
        (b"OPTIONS * HTTP/1.0\r\n", HttpOnKafkaPort),
        (b"DELETE / HTTP/1.0\r\n", HttpOnKafkaPort),
        (b"CONNECT a:1 HTTP/1.0\r\n", HttpOnKafkaPort),
        (b"PATCH / HTTP/1.0\r\n", HttpOnKafkaPort),
        (b"PRI * HTTP/2.0\r\n", HttpOnKafkaPort),
        (b"\x80\x2e\x01\x00\x02", MalformedFrameSize),
        (b"\xff\xff\xff\xff", MalformedFrameSize),
        (b"SSH-2.0-OpenSSH", FrameTooLarge),
    ],
)
def test_what_is_not_kafka_is_recognised(start: bytes, error: type[ProtocolError]) -> None:
    with pytest.raises(error) as caught:
        feed(Connection(), start)
    assert "\n" not in str(caught.value)


def test_a_tls_hello_is_recognised_whatever_the_size_limit() -> None:
    connection = Connection(max_frame_bytes=2**31 - 1)
    connection.authenticated()
    with pytest.raises(TlsOnPlaintext):
        feed(connection, b"\x16\x03\x01\x02")


def test_answers_leave_in_request_order() -> None:
    connection = Connection()
    feed(connection, framed(b"a", b"b", b"c", b"d"))
    assert connection.complete(2, [b"C1", b"C2"]) == []
    assert connection.complete(1, None) == []
    assert connection.held_bytes == 4
    assert connection.pending == 4
    assert connection.complete(0, [b"A"]) == [b"A", b"C1", b"C2"]
    assert connection.held_bytes == 0
    assert connection.complete(3, [b"D"]) == [b"D"]
    assert connection.pending == 0


def test_an_answer_is_given_once_and_only_to_a_request() -> None:
    connection = Connection()
    feed(connection, framed(b"a", b"b"))
    connection.complete(1, [b"B"])
    for sequence in (1, 2, -1):
        with pytest.raises(ValueError, match="not waiting"):
            connection.complete(sequence, [b"x"])
    connection.complete(0, [b"A"])
    with pytest.raises(ValueError, match="not waiting"):
        connection.complete(0, [b"A"])
