"""The connection core under any chunking and any order of completion."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rivven.protocol.connection import Connection
from rivven.protocol.exceptions import ProtocolError


@given(
    bodies=st.lists(st.binary(max_size=300), max_size=12),
    chunks=st.lists(st.integers(1, 200), min_size=1),
    scratch=st.integers(4, 400),
)
def test_chunking_never_changes_the_frames(bodies: list[bytes], chunks: list[int], scratch: int) -> None:
    connection = Connection(scratch=bytearray(scratch))
    data = b"".join(len(body).to_bytes(4) + body for body in bodies)
    frames, turn = [], 0
    while data:
        room = connection.get_buffer()
        taken = min(len(room), len(data), chunks[turn % len(chunks)])
        room[:taken] = data[:taken]
        frames += connection.bytes_received(taken)
        data = data[taken:]
        turn += 1
    assert [bytes(frame.data) for frame in frames] == bodies
    assert [frame.sequence for frame in frames] == list(range(len(bodies)))
    assert connection.buffered_bytes == 0


@given(order=st.permutations(range(12)), silent=st.sets(st.integers(0, 11)))
def test_answers_leave_in_order_whatever_the_order_of_completion(order: list[int], silent: set[int]) -> None:
    connection = Connection()
    connection.authenticated()
    room = connection.get_buffer()
    room[:48] = bytes(48)
    assert len(connection.bytes_received(48)) == 12
    sent: list[bytes] = []
    for sequence in order:
        answer = None if sequence in silent else [bytes([sequence]), b"."]
        sent += connection.complete(sequence, answer)  # type: ignore[arg-type]
    expected = [
        part for sequence in range(12) if sequence not in silent for part in (bytes([sequence]), b".")
    ]
    assert sent == expected
    assert connection.pending == connection.held_bytes == 0


@settings(max_examples=300)
@given(data=st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_protocol_errors(data: bytes) -> None:
    connection = Connection(scratch=bytearray(64))
    try:
        while data:
            room = connection.get_buffer()
            taken = min(len(room), len(data))
            room[:taken] = data[:taken]
            connection.bytes_received(taken)
            data = data[taken:]
    except ProtocolError as error:
        assert "\n" not in str(error)
