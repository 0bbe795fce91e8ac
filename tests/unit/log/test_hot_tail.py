"""What was appended last is had without opening it, within bounds, and never outlives its partition."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.log.hot_tail import BATCHES_MAX, ENTRY_BYTES, HotMemory, HotTail
from rivven.log.reading import ReadResult, Wanted
from rivven.records.batch import patch_offset_and_epoch
from rivven.testing.segment_keys import StaticSegmentKeys
from tests.unit.log.harness import LIMITS, TOPIC, batch_of, broker

SEALED = TopicConfig(encryption_enabled=True)


def batch_at(offset: int, size: int = 10) -> bytes:
    batch = batch_of(b"%d" % (offset % 10) * size, b"second")
    patch_offset_and_epoch(batch, offset, 0)
    return bytes(batch)


def filled(tail: HotTail, count: int, size: int = 10, start: int = 0) -> list[bytes]:
    batches = [batch_at(start + 2 * number, size) for number in range(count)]
    for number, batch in enumerate(batches):
        parts = [batch[:61], memoryview(batch)[61:]]
        tail.add(start + 2 * number + 2, parts, len(batch))
    return batches


def data(result: ReadResult | None) -> bytes:
    assert result is not None
    joined = b"".join(result.buffers)
    assert len(joined) == result.size
    return joined


def test_batches_from_a_beginning_on() -> None:
    tail = HotTail(HotMemory(1 << 20))
    batches = filled(tail, 4)
    for number in range(4):
        result = tail.read(Wanted(2 * number, 1 << 20, 8, True))
        assert data(result) == b"".join(batches[number:])
        assert result is not None and (result.first_offset, result.next_offset) == (2 * number, 8)
    assert tail.read(Wanted(1, 1 << 20, 8, True)) is None, "inside a batch: not here"
    assert tail.read(Wanted(8, 1 << 20, 8, True)) is None


def test_limits_are_those_of_a_read() -> None:
    tail = HotTail(HotMemory(1 << 20))
    batches = filled(tail, 4)
    size = len(batches[0])
    assert data(tail.read(Wanted(0, 2 * size, 8, False))) == b"".join(batches[:2])
    assert data(tail.read(Wanted(0, 2 * size - 1, 8, False))) == batches[0]
    assert data(tail.read(Wanted(0, 1, 8, True))) == batches[0]
    assert tail.read(Wanted(0, 1, 8, False)) == Wanted(0, 1, 8, False).nothing
    assert data(tail.read(Wanted(0, 1 << 20, 5, True))) == b"".join(batches[:2])
    assert tail.read(Wanted(4, 1 << 20, 5, True)) == Wanted(4, 1 << 20, 5, True).nothing


def test_large_batches_keep_their_buffers_and_many_are_cut_short() -> None:
    tail = HotTail(HotMemory(1 << 24))
    filled(tail, 2, size=9000)
    result = tail.read(Wanted(0, 1 << 20, 4, True))
    assert result is not None and len(result.buffers) == 4
    filled(tail, BATCHES_MAX + 5, start=4)
    result = tail.read(Wanted(4, 1 << 20, 1 << 20, True))
    assert result is not None and result.next_offset == 4 + 2 * BATCHES_MAX
    assert len(result.buffers) == 1


def test_the_oldest_of_all_partitions_give_way() -> None:
    size = len(batch_at(0)) + ENTRY_BYTES
    memory = HotMemory(3 * size)
    one, other = HotTail(memory), HotTail(memory)
    filled(one, 2)
    filled(other, 2)
    assert (len(one), len(other)) == (1, 2)
    assert memory.used_bytes == 3 * size
    assert one.read(Wanted(0, 100, 4, True)) is None
    assert one.read(Wanted(2, 1000, 4, True)) is not None
    filled(other, 3, start=4)
    assert (len(one), len(other)) == (0, 3)
    filled(one, 1, start=4)
    assert data(one.read(Wanted(4, 1000, 6, True))) == batch_at(4)


def test_a_batch_larger_than_the_memory_is_not_kept() -> None:
    memory = HotMemory(1000)
    tail = HotTail(memory)
    filled(tail, 3, size=2000)
    assert (len(tail), memory.used_bytes) == (0, 0)


def test_a_gap_forgets_what_was_before_it() -> None:
    memory = HotMemory(1 << 20)
    tail = HotTail(memory)
    filled(tail, 2)
    filled(tail, 1, start=10)
    assert len(tail) == 1
    tail.clear()
    assert (len(tail), memory.used_bytes) == (0, 0)


def test_bytes_between_count_plain_bytes() -> None:
    tail = HotTail(HotMemory(1 << 20))
    batches = filled(tail, 4)
    assert tail.bytes_between(2, 8) == sum(map(len, batches[1:]))
    assert tail.bytes_between(2, 4) == len(batches[1])
    assert tail.bytes_between(1, 8) is None
    assert tail.bytes_between(2, 5) is None


def test_the_log_answers_from_it_while_the_provider_is_away() -> None:
    keys = StaticSegmentKeys()
    with broker(config=SEALED, keys=keys) as b:
        appended = b.commit(batch_of(b"1"), batch_of(b"2" * 70_000))
        result = b.log.read(0, 1 << 20, 2, at_least_one=True)
        assert result is not None and result.next_offset == 2
        assert (
            b.log.bytes_available(0, 2, 1 << 20)
            == result.size
            == sum(len(batch_of(value)) for value in (b"1", b"2" * 70_000))
        )
        assert appended[1].base_offset == 1
        assert b.log.hot_tail is not None and len(b.log.hot_tail) == 2


def test_plain_topics_need_none() -> None:
    with broker(keys=StaticSegmentKeys()) as b:
        b.commit(batch_of(b"1"))
        assert b.log.hot_tail is None


@pytest.mark.parametrize("end", ["delete", "offline"])
def test_it_goes_with_its_partition(end: str) -> None:
    with broker(config=SEALED, keys=StaticSegmentKeys()) as b:
        b.commit(batch_of(b"1"))
        log = b.log
        assert log.host.hot_memory.used_bytes > 0
        if end == "delete":
            b.run(b.directory.delete_partition(TOPIC, 0))
        else:
            log.take_offline("a test")
        assert log.host.hot_memory.used_bytes == 0
        assert log.loaded is not None and log.loaded.active.seal is None, "the key goes too"


def test_its_size_is_a_limit_of_the_directory() -> None:
    limits = replace(LIMITS, hot_tail_bytes=0)
    with broker(config=SEALED, keys=StaticSegmentKeys(), limits=limits) as b:
        b.commit(batch_of(b"1"))
        assert b.log.hot_tail is not None and len(b.log.hot_tail) == 0
        assert len(b.read_all()) == 1
