from __future__ import annotations

from rivven.log.index import SegmentIndex, decode_index


def _index() -> SegmentIndex:
    index = SegmentIndex()
    for offset, position, timestamp in ((9, 500, 1000), (19, 1000, 1000), (29, 1500, 3000)):
        index.add(offset, position)
        index.add_time(timestamp, offset)
    return index


def test_the_files_are_kafkas() -> None:
    """`.index`: relative offset u32, position u32. `.timeindex`: timestamp i64, relative offset u32."""
    index = _index()
    assert index.encode_offsets().hex() == "00000009000001f400000013000003e80000001d000005dc"
    assert index.encode_times().hex() == "00000000000003e8000000090000000000000bb80000001d"


def test_what_was_written_is_read() -> None:
    index = decode_index(_index().encode_offsets(), _index().encode_times(), 2000)
    assert index is not None
    assert index.entries == _index().entries and index.time_entries == _index().time_entries


def test_the_batch_of_an_offset_is_at_or_after_the_position() -> None:
    index = _index()
    found = {offset: index.entry_before(offset) for offset in (0, 8, 9, 10, 28, 29, 100)}
    assert found == {
        0: (0, -1),
        8: (0, -1),
        9: (500, 9),
        10: (500, 9),
        28: (1000, 19),
        29: (1500, 29),
        100: (1500, 29),
    }


def test_nothing_up_to_a_time_entry_is_later() -> None:
    index = _index()
    assert index.time_before(1000) is None
    assert index.time_before(1001) == (1000, 9)
    assert index.time_before(5000) == (3000, 29)
    assert index.latest_time_before(29) == (1000, 9)
    assert index.latest_time_before(9) is None
    assert index.last_time() == (3000, 29)


def test_cutting_forgets_what_lies_behind() -> None:
    index = _index()
    index.cut(1500, 25)
    assert index.entries == [(9, 500), (19, 1000)]
    assert index.time_entries == [(1000, 9)]


def test_what_cannot_be_an_index_is_refused() -> None:
    good, times = _index().encode_offsets(), _index().encode_times()
    assert decode_index(good[:-1], times, 2000) is None
    assert decode_index(good, times[:-1], 2000) is None
    assert decode_index(good, times, 1500) is None, "beyond the segment"
    assert decode_index(good[8:] + good[:8], times, 2000) is None, "not ascending"
    assert decode_index(good, times[12:] + times[:12], 2000) is None
    assert decode_index(bytes(16), b"", 2000) is None
