"""Plain or sealed: learned from the file, refused where it does not belong, recovered without a key."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from crc32c import crc32c

from rivven.config.topic_settings import TopicConfig
from rivven.log.file_cache import FileCache
from rivven.log.scanning import BatchDamaged
from rivven.log.sealing import FRAME_OVERHEAD_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader
from rivven.log.segment import UNREAD, Segment
from rivven.log.segment_kind import SegmentRefused, header_in, headers_from, learn, learn_cached
from rivven.log.verify import verify
from rivven.testing.files import CrashFiles
from rivven.testing.segment_keys import StaticSegmentKeys
from tests.unit.log.harness import DIRECTORY, ROOT, TOPIC, batch_of, broker

SEALED = TopicConfig(encryption_enabled=True)
KEYS = StaticSegmentKeys(3)
SEGMENT = f"{DIRECTORY}/00000000000000000000.log"
VALUE = b"0123456789" * 3
START = SEGMENT_HEADER_BYTES


def written(count: int, *, checkpoint_after: int = 0, clean: bool = False, **config: object) -> CrashFiles:
    """A disk after a broker with `count` sealed batches, the checkpoint taken after so many of them."""
    with broker(config=replace(SEALED, **config), keys=KEYS) as b:  # type: ignore[arg-type]
        for number in range(count):
            b.commit(batch_of(VALUE, producer_id=3, sequence=number))
            if number + 1 == checkpoint_after:
                b.threads.advance(10)
        return b.stop(clean=clean)


SIZE = len(batch_of(VALUE, producer_id=3)) + FRAME_OVERHEAD_BYTES


def test_the_kind_is_read_when_it_is_needed() -> None:
    files = written(2)
    cache = FileCache(files, 10)
    segment = Segment(DIRECTORY, 0, files.size(SEGMENT))
    assert segment.sealed is UNREAD
    assert not learn_cached(segment, None)
    assert not learn_cached(segment, files.content(SEGMENT)[: START - 1])
    header = learn(cache, segment)
    assert isinstance(header, SegmentHeader) and (header.topic_id, header.partition) == (TOPIC, 0)
    assert (segment.start, segment.overhead) == (START, FRAME_OVERHEAD_BYTES)
    assert [position for position, _ in headers_from(cache, segment)] == [START, START + SIZE]
    assert [position for position, _ in headers_from(cache, segment, START + SIZE)] == [START + SIZE]
    other = Segment(DIRECTORY, 0, files.size(SEGMENT))
    assert learn_cached(other, files.content(SEGMENT)) and other.sealed == header
    assert Segment(DIRECTORY, 0).sealed is None, "nothing is in it yet"


def test_a_plain_segment_is_told_by_its_first_bytes() -> None:
    with broker() as b:
        b.commit(batch_of(b"x"))
        files = b.stop()
    segment = Segment(DIRECTORY, 0, files.size(SEGMENT))
    assert learn(FileCache(files, 10), segment) is None
    assert (segment.start, segment.overhead) == (0, 0)


@pytest.mark.parametrize("changed", [{"topic_id": uuid4()}, {"partition": 1}])
def test_a_segment_of_another_partition_is_refused_and_never_cut(changed: dict[str, object]) -> None:
    files = written(2)
    content = files.content(SEGMENT)
    header = header_in(content, SEGMENT)
    assert header is not None
    foreign = header._replace(**changed).encode() + content[START:]  # type: ignore[arg-type]
    with pytest.raises(SegmentRefused, match="was sealed for partition"):
        header_in(foreign, SEGMENT)
    files.put(SEGMENT, foreign)
    with broker(files, config=SEALED, keys=KEYS) as b:
        assert not b.log.online and "was sealed for partition" in str(b.log.offline_reason)
        assert files.content(SEGMENT) == foreign


@pytest.mark.parametrize(("at", "value", "reason"), [(4, 2, "format 2"), (5, 9, "algorithm 9")])
def test_a_later_format_is_refused_and_never_cut(at: int, value: int, reason: str) -> None:
    files = written(2)
    content = bytearray(files.content(SEGMENT))
    content[at] = value
    content[124:128] = crc32c(bytes(content[:124])).to_bytes(4, "big")
    files.put(SEGMENT, bytes(content))
    with broker(files, config=SEALED, keys=KEYS) as b:
        assert not b.log.online and reason in str(b.log.offline_reason)
        assert files.content(SEGMENT) == bytes(content)


def test_cut_at_every_byte_without_a_key() -> None:
    whole = written(4, checkpoint_after=2)
    content = whole.content(SEGMENT)
    assert len(content) == START + 4 * SIZE
    third = START + 2 * SIZE
    for length in [*range(third, third + SIZE + 1), *range(third + SIZE, len(content), 9), len(content)]:
        files = written(4, checkpoint_after=2)
        files.put(SEGMENT, content[:length])
        with broker(files, config=SEALED) as b:
            kept, torn = divmod(length - START, SIZE)
            assert b.log.online and b.log.log_end_offset == kept
            assert b.log.leader_epoch == (1 if torn else 0)
            assert b.directory.cut_bytes == torn
            assert b.log.usable().producers.get(3) is not None, "producers are read from clear headers"
        with broker(files, config=SEALED, keys=KEYS) as b:
            assert len(b.read_all()) == kept


def test_a_torn_first_write_leaves_an_empty_segment_that_is_begun_anew() -> None:
    content = written(1).content(SEGMENT)
    for length in [*range(START + 3), START + 70, START + SIZE - 1]:
        with broker(config=SEALED, keys=KEYS) as b:
            b.log  # noqa: B018 - makes the directory
            files = b.stop(clean=False)
        files.put(SEGMENT, content[:length])
        with broker(files, config=SEALED, keys=KEYS) as b:
            assert b.log.online and b.log.log_end_offset == 0 and b.log.size_bytes == 0
            b.commit(batch_of(b"again"))
            assert len(b.read_all()) == 1
            begun = header_in(files.content(SEGMENT), SEGMENT)
            assert begun is not None and begun.incarnation != content[32:48]
            files = b.stop()
        with broker(files, config=SEALED, keys=KEYS) as b:
            assert b.directory.was_clean and len(b.read_all()) == 1


def test_a_header_without_a_batch_is_taken_away_even_if_nothing_follows() -> None:
    content = written(1).content(SEGMENT)
    with broker(config=SEALED, keys=KEYS) as b:
        b.open(0)
        files = b.stop(clean=False)
    files.put(SEGMENT, content[:START])
    for _ in range(2):
        with broker(files, config=SEALED, keys=KEYS) as b:
            assert b.log.usable().active.end_position == 0
            files = b.stop()
    assert files.content(SEGMENT) == b""


def test_a_durable_header_that_is_damaged_is_refused() -> None:
    content = written(2, checkpoint_after=2).content(SEGMENT)
    for at in range(0, START, 3):
        files = written(2, checkpoint_after=2)
        damaged = bytearray(content)
        damaged[at] ^= 8
        files.put(SEGMENT, bytes(damaged))
        with broker(files, config=SEALED, keys=KEYS) as b:
            assert not b.log.online and f"{SEGMENT}, position 0" in str(b.log.offline_reason)
            assert files.content(SEGMENT) == bytes(damaged)


@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_below_the_recovery_point_is_refused_with_file_and_position(bit: int) -> None:
    content = written(4, checkpoint_after=4).content(SEGMENT)
    at = START + SIZE
    for position in range(at, at + SIZE, 7):
        files = written(4, checkpoint_after=4)
        damaged = bytearray(content)
        damaged[position] ^= 1 << bit
        files.put(SEGMENT, bytes(damaged))
        with broker(files, config=SEALED) as b:
            assert not b.log.online
            assert f"{SEGMENT}, position {at}" in str(b.log.offline_reason)


def test_a_flipped_bit_above_the_recovery_point_cuts_there() -> None:
    content = written(5, checkpoint_after=2).content(SEGMENT)
    at = START + 3 * SIZE
    for position in range(at, at + SIZE, 5):
        files = written(5, checkpoint_after=2)
        damaged = bytearray(content)
        damaged[position] ^= 4
        files.put(SEGMENT, bytes(damaged))
        with broker(files, config=SEALED, keys=KEYS) as b:
            assert len(b.read_all()) == 3
            assert b.log.leader_epoch == 1
            b.commit(batch_of(b"new", producer_id=3, sequence=3))
            assert len(b.read_all()) == 4


def test_indexes_are_rebuilt_and_point_to_frames() -> None:
    files = written(9, clean=True, segment_bytes=START + 3 * SIZE, index_interval_bytes=0)
    names = [name for name in files.list(DIRECTORY) if name.endswith("index")]
    before = {name: files.content(f"{DIRECTORY}/{name}") for name in names}
    first = before["00000000000000000000.index"]
    assert int.from_bytes(first[4:8], "big") == START + SIZE
    for name in names:
        files.put(f"{DIRECTORY}/{name}", b"")
    with broker(files, config=replace(SEALED, index_interval_bytes=0), keys=KEYS) as b:
        for offset in reversed(range(9)):
            found = b.run(b.log.read_cold(offset, 1, 9, at_least_one=True))
            assert (found.first_offset, found.next_offset) == (offset, offset + 1)
            assert found.size == SIZE - FRAME_OVERHEAD_BYTES
        assert b.run(b.log.max_timestamp(9)) is not None
    assert not verify(files, ROOT).damaged


def test_damage_is_named_for_what_reads_headers() -> None:
    files = written(2)
    content = bytearray(files.content(SEGMENT))
    content[START + SIZE] ^= 1
    files.put(SEGMENT, bytes(content))
    with pytest.raises(BatchDamaged, match="no frame begins here"):
        list(headers_from(FileCache(files, 10), Segment(DIRECTORY, 0, len(content))))
