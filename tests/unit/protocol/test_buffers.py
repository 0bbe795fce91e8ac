"""Buffers come back only when nobody looks at them, in bounded number."""

from rivven.protocol.buffers import KEPT_BYTES_MAX, LARGEST, SMALLEST, BufferPool

MEGABYTE = 1 << 20


def test_a_buffer_given_back_is_used_again() -> None:
    pool = BufferPool()
    first = pool.take(MEGABYTE)
    pool.give_back(first)
    assert pool.take(MEGABYTE - 5) is first
    assert pool.kept_bytes == 0


def test_a_buffer_somebody_still_looks_at_is_not_handed_out() -> None:
    pool = BufferPool()
    first = pool.take(MEGABYTE)
    view = memoryview(first)[10:20]
    pool.give_back(first)
    second = pool.take(MEGABYTE)
    assert second is not first
    view.release()
    assert pool.take(MEGABYTE) is first


def test_looking_for_a_free_one_changes_no_byte() -> None:
    pool = BufferPool()
    first = pool.take(SMALLEST)
    first[:] = bytes(range(256)) * (len(first) // 256)
    before = bytes(first)
    pool.give_back(first)
    assert bytes(pool.take(SMALLEST)) == before


def test_small_and_huge_ones_are_not_kept() -> None:
    pool = BufferPool()
    for size in (1, SMALLEST - 1, LARGEST + 1):
        buffer = pool.take(size)
        assert len(buffer) == size
        pool.give_back(buffer)
    assert pool.kept_bytes == 0


def test_a_small_request_does_not_take_a_large_buffer() -> None:
    pool = BufferPool()
    large = pool.take(8 * MEGABYTE)
    pool.give_back(large)
    assert pool.take(MEGABYTE) is not large


def test_what_is_kept_is_bounded() -> None:
    pool = BufferPool()
    for buffer in [pool.take(3 * MEGABYTE) for _ in range(40)]:
        pool.give_back(buffer)
    assert 0 < pool.kept_bytes <= KEPT_BYTES_MAX
