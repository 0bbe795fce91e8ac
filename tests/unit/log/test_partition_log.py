from __future__ import annotations

import asyncio

import pytest
from crc32c import crc32c

from rivven.config.topic_settings import TopicConfig
from rivven.errors import ErrorCode, OffsetOutOfRange, RivvenError, StorageFailed
from rivven.records.batch import crc_matches, parse_header
from tests.unit.log.harness import DIRECTORY, NOW, batch_of, broker


def test_offsets_and_epoch_are_stamped_and_the_crc_still_matches() -> None:
    with broker() as b:
        first, second = b.commit(batch_of(b"a", b"b"), batch_of(b"c"))
        assert (first.base_offset, first.last_offset, second.base_offset) == (0, 1, 2)
        assert first.log_append_time_ms == -1
        for data, base in zip(b.read_all(), (0, 2), strict=True):
            header = parse_header(data)
            assert (header.base_offset, header.leader_epoch) == (base, 0)
            assert crc_matches(data, 0, header)


def test_nothing_is_acknowledgeable_before_a_round_ended() -> None:
    with broker() as b:
        moved: list[int] = []
        b.log.progress_listener = lambda log: moved.append(log.acknowledgeable_end)
        b.append(batch_of(b"a"))
        assert (b.log.log_end_offset, b.log.written_end, b.log.durable_end) == (1, 1, 0)
        assert b.log.acknowledgeable_end == 0 and moved == []
        b.settle()
        assert b.log.durable_end == 1 and moved == [1]


def test_appends_of_one_turn_share_a_round() -> None:
    with broker() as b:
        moved: list[int] = []
        b.log.progress_listener = lambda log: moved.append(log.acknowledgeable_end)
        for _ in range(10):
            b.append(batch_of(b"a"))
        b.settle()
        assert moved == [10]


def test_small_appends_during_a_round_wait_for_its_end_and_share_the_next() -> None:
    with broker() as b:
        b.append(batch_of(b"a"))
        b.threads.step()  # the round begins: the sync is now running on its thread
        assert b.log.disturbed
        b.append(batch_of(b"b"))
        b.append(batch_of(b"c"))
        assert (b.log.log_end_offset, b.log.written_end) == (3, 1)
        b.threads.step()  # the sync ends
        b.threads.step()  # its result reaches the loop, which writes what waited
        assert (b.log.written_end, b.log.durable_end) == (3, 1)
        b.settle()
        assert b.log.durable_end == 3
        assert len(b.read_all()) == 3


def test_large_appends_are_written_by_the_writer_thread_in_order() -> None:
    with broker() as b:
        large = b.config.max_message_bytes - 1000
        b.append(batch_of(b"x" * large))
        b.append(batch_of(b"small"))
        assert (b.log.log_end_offset, b.log.written_end) == (2, 0)
        b.settle()
        assert b.log.durable_end == 2
        assert [len(data) > large for data in b.read_all()] == [True, False]


def test_relaxed_flushing_acknowledges_what_is_written_and_syncs_after_n_messages() -> None:
    with broker(config=TopicConfig(flush_messages=3)) as b:
        moved: list[int] = []
        b.log.progress_listener = lambda log: moved.append(log.acknowledgeable_end)
        b.append(batch_of(b"a", b"b"))
        b.settle()
        assert moved == [2] and b.log.durable_end == 0
        b.append(batch_of(b"c"))
        b.settle()
        assert b.log.durable_end == 3


def test_flush_ms_syncs_after_the_time() -> None:
    with broker(config=TopicConfig(flush_messages=100, flush_ms=2000)) as b:
        b.append(batch_of(b"a"))
        b.threads.advance(1.9)
        assert b.log.durable_end == 0
        b.threads.advance(0.2)
        assert b.log.durable_end == 1


def test_making_flushing_strict_syncs_what_was_not() -> None:
    with broker(config=TopicConfig(flush_messages=100)) as b:
        b.append(batch_of(b"a"))
        b.log.update_config(TopicConfig())
        assert b.log.acknowledgeable_end == 0
        b.settle()
        assert b.log.acknowledgeable_end == 1


def test_log_append_time_is_stamped_and_reported() -> None:
    with broker(config=TopicConfig(message_timestamp_type="LogAppendTime")) as b:
        b.clock.ms = NOW + 5
        (appended,) = b.commit(batch_of(b"a", timestamp=1))
        assert appended.log_append_time_ms == NOW + 5
        header = parse_header(b.read_all()[0])
        assert header.max_timestamp == NOW + 5 and header.log_append_time
        assert crc_matches(b.read_all()[0], 0, header)


def test_a_duplicate_has_the_place_of_its_original() -> None:
    with broker() as b:
        original = b.append(batch_of(b"a", producer_id=9, sequence=0))
        b.append(batch_of(b"other"))
        repeated = b.append(batch_of(b"a", producer_id=9, sequence=0))
        assert repeated.duplicate
        assert (repeated.base_offset, repeated.last_offset) == (original.base_offset, original.last_offset)
        assert b.log.log_end_offset == 2
        assert b.log.acknowledgeable_end == 0, "its answer has to wait for the original"


@pytest.mark.parametrize(
    ("epoch", "sequence", "code"),
    [
        (0, 2, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER),
        (1, 1, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER),
    ],
)
def test_a_gap_in_sequences_is_refused_and_nothing_is_appended(
    epoch: int, sequence: int, code: ErrorCode
) -> None:
    with broker() as b:
        b.commit(batch_of(b"a", producer_id=9))
        with pytest.raises(RivvenError) as refused:
            b.append(batch_of(b"b", producer_id=9, epoch=epoch, sequence=sequence))
        assert refused.value.code == code
        assert b.log.log_end_offset == 1


def test_a_fenced_epoch_is_refused() -> None:
    with broker() as b:
        b.commit(batch_of(b"a", producer_id=9, epoch=3))
        with pytest.raises(RivvenError) as refused:
            b.append(batch_of(b"b", producer_id=9, epoch=2, sequence=1))
        assert refused.value.code == ErrorCode.INVALID_PRODUCER_EPOCH


def test_a_segment_that_is_full_is_followed_by_another_and_all_can_be_read() -> None:
    with broker(config=TopicConfig(segment_bytes=300, index_interval_bytes=0)) as b:
        for number in range(20):
            b.commit(batch_of(b"%d" % number * 20))
        logs = sorted(name for name in b.files.list(DIRECTORY) if name.endswith(".log"))
        assert len(logs) > 5
        assert logs[0] == "00000000000000000000.log"
        assert len(b.read_all()) == 20
        assert b.log.size_bytes == sum(len(b.files.content(f"{DIRECTORY}/{name}")) for name in logs)
        sealed = logs[0].removesuffix(".log")
        assert {f"{sealed}.index", f"{sealed}.timeindex"} <= set(b.files.list(DIRECTORY))


def test_a_roll_is_durable_only_with_the_directory() -> None:
    with broker(config=TopicConfig(segment_bytes=100)) as b:
        b.commit(batch_of(b"a" * 50))
        directory_syncs = b.log.usable()
        b.append(batch_of(b"b" * 50))
        assert directory_syncs.directory_dirty
        plan = b.log.begin_sync()
        assert plan.directories == (DIRECTORY,)
        assert len(plan.files) == 1, "the old segment was already synced"


def test_a_segment_is_rolled_by_age() -> None:
    with broker(config=TopicConfig(segment_ms=1000)) as b:
        b.commit(batch_of(b"a"))
        b.clock.ms += 999
        b.commit(batch_of(b"b"))
        assert len(b.log.usable().segments) == 1
        b.clock.ms += 1
        b.commit(batch_of(b"c"))
        assert len(b.log.usable().segments) == 2


def test_a_compacted_topic_is_rolled_by_its_compaction_lag() -> None:
    config = TopicConfig(cleanup_policy=frozenset({"compact"}), max_compaction_lag_ms=10)
    with broker(config=config) as b:
        b.commit(batch_of(b"a"))
        b.clock.ms += 10
        b.commit(batch_of(b"b"))
        assert len(b.log.usable().segments) == 2


def test_a_batch_larger_than_a_segment_gets_one_of_its_own() -> None:
    with broker(config=TopicConfig(segment_bytes=100)) as b:
        b.commit(batch_of(b"x" * 500), batch_of(b"y" * 500))
        assert [segment.base_offset for segment in b.log.usable().segments] == [0, 1]


def test_relative_offsets_never_exceed_what_an_index_holds() -> None:
    with broker() as b:
        b.commit(batch_of(b"a"))
        batch = batch_of(b"b")
        batch[23:27] = (2**31 - 1).to_bytes(4, "big")  # last offset delta: as compaction may leave it
        b.append(batch)
        assert [segment.base_offset for segment in b.log.usable().segments] == [0, 1]


def test_reads_return_whole_batches_within_the_bounds() -> None:
    with broker() as b:
        b.commit(*(batch_of(b"a", b"b") for _ in range(5)))
        size = len(batch_of(b"a", b"b"))

        def read(offset: int, max_bytes: int, bound: int = 10, at_least_one: bool = True) -> tuple[int, ...]:
            result = b.log.read(offset, max_bytes, bound, at_least_one=at_least_one)
            assert result is not None
            return result.size // size, result.first_offset, result.next_offset

        assert read(0, 10_000) == (5, 0, 10)
        assert read(3, 10_000) == (4, 2, 10), "begins with the batch that contains the offset"
        assert read(2, 2 * size) == (2, 2, 6)
        assert read(2, 2 * size - 1) == (1, 2, 4)
        assert read(2, 1) == (1, 2, 4), "one batch even if it is larger"
        assert read(2, 1, at_least_one=False) == (0, 2, 2)
        assert read(2, 10_000, bound=7) == (2, 2, 6), "no batch that reaches the bound"
        assert read(6, 10_000, bound=6) == (0, 6, 6)
        assert read(10, 10_000) == (0, 10, 10)


@pytest.mark.parametrize("offset", [-1, 3])
def test_reading_outside_the_log_is_out_of_range(offset: int) -> None:
    with broker() as b:
        b.commit(batch_of(b"a"), batch_of(b"b"))
        with pytest.raises(OffsetOutOfRange):
            b.log.read(offset, 100, 2, at_least_one=True)


def test_available_bytes_are_counted_by_position() -> None:
    with broker(config=TopicConfig(segment_bytes=400, index_interval_bytes=0)) as b:
        b.commit(*(batch_of(b"x" * 50) for _ in range(10)))
        total = b.log.size_bytes
        assert b.log.bytes_available(0, 10, 1 << 30) == total
        assert b.log.bytes_available(0, 10, 200) == 200
        assert b.log.bytes_available(10, 10, 100) == 0
        assert 1 <= b.log.bytes_available(9, 10, 1 << 30) <= 400
        b.append(batch_of(b"not durable"))
        assert b.log.bytes_available(10, b.log.acknowledgeable_end, 1 << 30) == 0


def test_lookup_by_time_finds_the_record_not_the_batch() -> None:
    with broker(config=TopicConfig(segment_bytes=400, index_interval_bytes=100)) as b:
        for number in range(10):
            b.commit(batch_of(b"a", b"b", b"c", timestamp=NOW + 10 * number))
        log = b.log
        assert b.run(log.offset_for_timestamp(0, 30)) == (0, NOW, 0)
        assert b.run(log.offset_for_timestamp(NOW + 51, 30)) == (16, NOW + 51, 0)
        assert b.run(log.offset_for_timestamp(NOW + 53, 30)) == (18, NOW + 60, 0)
        assert b.run(log.offset_for_timestamp(NOW + 93, 30)) is None
        assert b.run(log.offset_for_timestamp(NOW + 90, 27)) is None, "not above the bound"
        assert b.run(log.max_timestamp(30)) == (29, NOW + 92, 0)
        assert b.run(log.max_timestamp(27)) == (26, NOW + 82, 0)


def test_lookup_by_time_with_times_out_of_order() -> None:
    with broker(config=TopicConfig(segment_bytes=300, index_interval_bytes=0)) as b:
        for timestamp in (50, 10, 70, 20, 60, 30):
            b.commit(batch_of(b"x" * 30, timestamp=NOW + timestamp))
        assert b.run(b.log.offset_for_timestamp(NOW + 55, 6)) == (2, NOW + 70, 0)
        assert b.run(b.log.offset_for_timestamp(NOW + 5, 6)) == (0, NOW + 50, 0)
        assert b.run(b.log.max_timestamp(6)) == (2, NOW + 70, 0)


def test_lookup_by_time_ignores_what_lies_before_the_log_start() -> None:
    with broker() as b:
        b.commit(batch_of(b"a", b"b", b"c"), batch_of(b"d", timestamp=NOW - 1))
        b.run(b.log.delete_records_before(2))
        assert b.run(b.log.offset_for_timestamp(0, 4)) == (2, NOW + 2, 0), "also within a batch"
        b.run(b.log.delete_records_before(3))
        assert b.run(b.log.offset_for_timestamp(0, 4)) == (3, NOW - 1, 0)


def test_unreadable_records_are_skipped_by_lookups() -> None:
    with broker() as b:
        bad = bytearray(batch_of(b"abc"))
        bad[61:] = b"\xff" * (len(bad) - 61)
        bad[17:21] = crc32c(bytes(bad[21:])).to_bytes(4, "big")
        b.commit(memoryview(bad), batch_of(b"good", timestamp=NOW + 1))
        assert b.run(b.log.offset_for_timestamp(NOW, 2)) == (1, NOW + 1, 0)


def test_deleting_records_moves_the_start_durably_and_removes_whole_segments() -> None:
    with broker(config=TopicConfig(segment_bytes=200, file_delete_delay_ms=1000)) as b:
        b.commit(*(batch_of(b"x" * 50) for _ in range(6)))
        before = len(b.log.usable().segments)
        moved: list[int] = []
        b.log.progress_listener = lambda log: moved.append(log.log_start_offset)
        assert b.run(b.log.delete_records_before(3)) == 3
        assert moved[0] == 3
        assert len(b.log.usable().segments) < before
        b.settle()
        assert any(name.endswith(".deleted") for name in b.files.list(DIRECTORY))
        b.threads.advance(1)
        assert not any(name.endswith(".deleted") for name in b.files.list(DIRECTORY))
        with pytest.raises(OffsetOutOfRange):
            b.log.read(2, 100, 6, at_least_one=True)
        assert len(b.read_all()) == 3
        assert b.run(b.log.delete_records_before(1)) == 3, "never back"
        with pytest.raises(OffsetOutOfRange):
            b.run(b.log.delete_records_before(7))


def test_retention_by_time_removes_old_segments_and_rolls_an_old_active_one() -> None:
    config = TopicConfig(segment_bytes=200, retention_ms=1000)
    with broker(config=config) as b:
        b.commit(*(batch_of(b"x" * 50, timestamp=NOW + i * 100) for i in range(6)))
        assert b.run(b.log.delete_expired(NOW + 1000)) == 0
        assert b.run(b.log.delete_expired(NOW + 1100)) > 0
        assert b.log.log_start_offset == 1
        b.run(b.log.delete_expired(NOW + 1_000_000))
        assert b.log.log_start_offset == b.log.log_end_offset == 6
        assert b.log.size_bytes == 0
        b.commit(batch_of(b"again"))
        assert len(b.read_all()) == 1


def test_retention_by_size_keeps_at_least_the_limit_and_the_active_segment() -> None:
    with broker(config=TopicConfig(segment_bytes=200, retention_ms=-1, retention_bytes=300)) as b:
        b.commit(*(batch_of(b"x" * 50) for _ in range(10)))
        b.run(b.log.delete_expired(NOW))
        assert 300 <= b.log.size_bytes < 500
        b.log.update_config(TopicConfig(retention_bytes=0, retention_ms=-1))
        b.run(b.log.delete_expired(NOW))
        assert b.log.size_bytes > 0


def test_retention_leaves_a_compacted_log_alone() -> None:
    config = TopicConfig(segment_bytes=200, retention_ms=1, cleanup_policy=frozenset({"compact"}))
    with broker(config=config) as b:
        b.commit(*(batch_of(b"x" * 50) for _ in range(5)))
        assert b.run(b.log.delete_expired(NOW + 10**9)) == 0


def test_producers_are_forgotten_after_their_time() -> None:
    with broker() as b:
        b.commit(batch_of(b"a", producer_id=5))
        assert [producer_id for producer_id, _ in b.log.active_producers()] == [5]
        b.run(b.log.delete_expired(NOW + 86_400_001))
        assert b.log.active_producers() == []


def test_epoch_lookups_of_a_log_in_its_first_epoch() -> None:
    with broker() as b:
        b.commit(batch_of(b"a"), batch_of(b"b"))
        assert b.log.epoch_end_offset(0) == (0, 2)
        assert b.log.epoch_end_offset(1) == (-1, -1)
        assert b.log.epoch_for_offset(1) == 0


def test_flush_returns_when_everything_is_durable() -> None:
    with broker(config=TopicConfig(flush_messages=100)) as b:
        b.append(batch_of(b"a"))
        b.append(batch_of(b"x" * 200_000))
        b.run(b.log.flush())
        assert b.log.durable_end == 2


def test_after_a_slow_write_the_writer_thread_writes_for_a_while() -> None:
    with broker() as b:
        b.commit(batch_of(b"quick"))
        b.log.host.wrote(0.003)
        b.append(batch_of(b"off the loop"))
        assert (b.log.log_end_offset, b.log.written_end) == (2, 1)
        b.settle()
        assert b.log.durable_end == 2
        b.threads.advance(1)
        b.append(batch_of(b"quick again"))
        assert b.log.written_end == 3


def test_what_was_read_while_the_partition_went_is_not_given_away() -> None:
    with broker() as b:
        b.commit(batch_of(b"x" * 50))

        async def read_and_delete() -> None:
            reading = asyncio.ensure_future(b.log.read_cold(0, 1000, 1, at_least_one=True))
            await asyncio.sleep(0)
            b.log.deleted = True
            await reading

        with pytest.raises(StorageFailed, match="is being deleted"):
            b.run(read_and_delete())
