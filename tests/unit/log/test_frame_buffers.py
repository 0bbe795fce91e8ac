"""Memory for sealed frames is used again, within a bound."""

from __future__ import annotations

from rivven.log.frame_buffers import KEPT_BYTES_MAX, SMALLEST_BYTES, FrameBuffers


def test_what_was_given_back_is_used_again() -> None:
    buffers = FrameBuffers()
    first = buffers.take(70_000)
    second = buffers.take(70_000)
    assert len(first) == 70_000 and first.obj is not second.obj
    owner = first.obj
    buffers.give_back(first)
    assert buffers.kept_bytes == 131_072
    smaller = buffers.take(66_000)
    assert smaller.obj is owner and len(smaller) == 66_000
    assert buffers.kept_bytes == 0
    assert buffers.take(1000).obj is not owner


def test_sizes() -> None:
    buffers = FrameBuffers()
    for size in (1, SMALLEST_BYTES, SMALLEST_BYTES + 1, 1 << 20, (1 << 20) + 1):
        assert len(buffers.take(size)) == size


def test_no_more_is_kept_than_the_bound() -> None:
    buffers = FrameBuffers()
    taken = [buffers.take(1 << 20) for _ in range(6)] + [buffers.take(KEPT_BYTES_MAX + 1)]
    for buffer in reversed(taken):
        buffers.give_back(buffer)
    assert buffers.kept_bytes == KEPT_BYTES_MAX
