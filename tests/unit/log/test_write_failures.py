"""A disk that refuses: what was appended before stays, what could not be written never happened."""

from __future__ import annotations

import errno

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.errors import ErrorCode, RivvenError, StorageFailed
from rivven.log.host import LogLimits
from rivven.log.partition_log import PartitionLog
from rivven.log.verify import verify
from rivven.testing.files import CrashFiles, Fault
from tests.unit.log.harness import DIRECTORY, NOW, ROOT, Broker, batch_of, broker

SEGMENT = f"{DIRECTORY}/00000000000000000000.log"


def _taken_back(b: Broker) -> list[tuple[int, ErrorCode]]:
    heard: list[tuple[int, ErrorCode]] = []

    def listen(log: PartitionLog, offset: int, error: RivvenError) -> None:
        heard.append((offset, error.code))

    b.log.failure_listener = listen
    return heard


@pytest.mark.parametrize("written", [0, 1, 60, 100])
def test_a_full_disk_refuses_the_append_cuts_back_and_stays_online(written: int) -> None:
    with broker() as b:
        b.commit(batch_of(b"kept", producer_id=4))
        size = len(b.files.content(SEGMENT))
        b.files.faults.append(Fault("write", errno.ENOSPC, SEGMENT, written=written))
        with pytest.raises(StorageFailed):
            b.append(batch_of(b"x" * 100, producer_id=4, sequence=1))
        assert len(b.files.content(SEGMENT)) == size
        assert b.log.online and b.log.log_end_offset == 1
        (appended,) = b.commit(batch_of(b"again", producer_id=4, sequence=1))
        assert appended.base_offset == 1 and not appended.duplicate
        assert len(b.read_all()) == 2


def test_a_short_write_is_continued() -> None:
    with broker() as b:
        b.files.faults.append(Fault("write", 0, SEGMENT, written=7))
        b.commit(batch_of(b"x" * 100))
        assert b.log.durable_end == 1 and len(b.read_all()) == 1


def test_a_short_write_that_cannot_be_continued_is_cut_back() -> None:
    with broker() as b:
        b.commit(batch_of(b"kept"))
        size = len(b.files.content(SEGMENT))
        b.files.faults += [
            Fault("write", 0, SEGMENT, written=7),
            Fault("write", errno.ENOSPC, SEGMENT, written=3),
        ]
        with pytest.raises(StorageFailed):
            b.append(batch_of(b"x" * 100))
        assert len(b.files.content(SEGMENT)) == size and b.log.online


def test_a_file_that_cannot_be_cut_back_takes_the_directory_offline() -> None:
    with broker() as b:
        b.commit(batch_of(b"kept"))
        b.files.faults += [Fault("write", errno.ENOSPC, SEGMENT, written=7), Fault("truncate")]
        with pytest.raises(StorageFailed):
            b.append(batch_of(b"x"))
        assert not b.log.online and not b.directory.online


def test_another_failure_than_space_takes_the_directory_offline() -> None:
    with broker() as b:
        other = b.open(1)
        b.commit(batch_of(b"kept"))
        b.files.faults.append(Fault("write", errno.EIO, SEGMENT))
        with pytest.raises(StorageFailed):
            b.append(batch_of(b"x"))
        assert not other.online
        with pytest.raises(StorageFailed):
            b.append(batch_of(b"y"), other)


def test_queued_appends_that_find_no_space_are_taken_back_together() -> None:
    with broker(limits=LogLimits(thread_write_bytes=1)) as b:
        heard = _taken_back(b)
        b.commit(batch_of(b"kept", producer_id=4))
        b.append(batch_of(b"fits", producer_id=4, sequence=1))
        b.append(batch_of(b"fails", producer_id=4, sequence=2))
        b.append(batch_of(b"follows", producer_id=5))
        assert b.log.log_end_offset == 4
        b.files.faults.append(Fault("write", errno.ENOSPC, SEGMENT, skip=1, written=80))
        b.settle()
        assert heard == [(2, ErrorCode.KAFKA_STORAGE_ERROR)]
        assert (b.log.log_end_offset, b.log.durable_end) == (2, 2)
        assert b.log.online
        assert b.log.size_bytes == len(b.files.content(SEGMENT))
        (again,) = b.commit(batch_of(b"fails", producer_id=4, sequence=2))
        assert again.base_offset == 2 and not again.duplicate
        assert len(b.read_all()) == 3


def test_a_write_of_many_keeps_the_batches_that_are_whole() -> None:
    with broker() as b:
        heard = _taken_back(b)
        b.append(batch_of(b"first"))
        b.threads.step()  # a round runs: what follows waits and is written together
        sizes = []
        for value in (b"a", b"b", b"c"):
            batch = batch_of(value)
            sizes.append(len(batch))
            b.append(batch)
        written = sizes[0] + sizes[1] - 1
        b.files.faults += [
            Fault("write", 0, SEGMENT, written=written),
            Fault("write", errno.ENOSPC, SEGMENT, written=0),
        ]
        b.settle()
        assert heard == [(2, ErrorCode.KAFKA_STORAGE_ERROR)]
        assert b.log.durable_end == 2 and len(b.read_all()) == 2


def test_taking_back_across_a_roll_removes_the_new_segment() -> None:
    config = TopicConfig(segment_bytes=250, index_interval_bytes=0)
    with broker(config=config, limits=LogLimits(thread_write_bytes=1)) as b:
        heard = _taken_back(b)
        b.commit(batch_of(b"x" * 50))
        b.append(batch_of(b"y" * 50))
        b.append(batch_of(b"z" * 50))
        b.append(batch_of(b"z" * 50))
        assert len(b.log.usable().segments) > 1
        b.files.faults.append(Fault("write", errno.ENOSPC, DIRECTORY))
        b.settle()
        assert heard == [(1, ErrorCode.KAFKA_STORAGE_ERROR)]
        assert [segment.base_offset for segment in b.log.usable().segments] == [0]
        assert [name for name in b.files.list(DIRECTORY) if name.endswith(".log")] == [SEGMENT.split("/")[-1]]
        b.commit(batch_of(b"y" * 50), batch_of(b"z" * 50), batch_of(b"w" * 50))
        assert len(b.read_all()) == 4
        assert b.run(b.log.max_timestamp(4)) is not None


def test_a_failed_sync_takes_everything_offline_and_is_not_tried_again() -> None:
    with broker() as b:
        other = b.open(1)
        moved: list[bool] = []
        b.log.progress_listener = lambda log: moved.append(log.online)
        b.append(batch_of(b"a"))
        b.files.faults.append(Fault("sync", errno.EIO, SEGMENT))
        b.settle()
        assert moved == [False]
        assert (b.log.durable_end, b.log.written_end) == (0, 1)
        before = b.files.operations
        for log in (b.log, other):
            with pytest.raises(StorageFailed):
                b.append(batch_of(b"b"), log)
        b.threads.advance(60)
        assert b.files.operations == before, "nothing is retried or truncated"
        assert b.directory.failure is not None


def test_running_out_of_descriptors_never_takes_a_partition_offline() -> None:
    with broker(files=CrashFiles(open_files_max=6), limits=LogLimits(open_files=100)) as b:
        logs = [b.open(number) for number in range(12)]
        for _ in range(3):
            for log in logs:
                b.append(batch_of(b"a"), log)
                b.settle()
        assert all(log.online and log.durable_end == 3 for log in logs)
        assert all(len(b.read_all(log)) == 3 for log in logs)


def test_no_descriptor_at_all_refuses_one_append_only() -> None:
    with broker() as b:
        b.commit(batch_of(b"a"))
        b.log.host.cache.clear()
        b.files.open_files_max = b.files.open_files
        with pytest.raises(StorageFailed):
            b.append(batch_of(b"b"))
        assert b.log.online
        b.files.open_files_max = 100
        b.commit(batch_of(b"b"))
        assert len(b.read_all()) == 2


def test_below_the_reserve_clients_are_refused_and_the_broker_itself_goes_on() -> None:
    files = CrashFiles(capacity_bytes=100_000)
    with broker(files=files, limits=LogLimits(reserve_bytes=50_000)) as b:
        b.commit(*(batch_of(b"x" * 10_000) for _ in range(5)))
        b.threads.advance(1)
        assert not b.directory.accepting
        with pytest.raises(StorageFailed) as refused:
            b.append(batch_of(b"x"))
        assert refused.value.code == ErrorCode.KAFKA_STORAGE_ERROR
        b.append(batch_of(b"group commit"), internal=True)
        b.settle()
        assert len(b.read_all()) == 6
        files.capacity_bytes = 200_000
        b.threads.advance(1)
        assert b.directory.accepting
        b.commit(batch_of(b"x"))


def test_an_unsaved_index_keeps_the_recovery_point_below_its_segment() -> None:
    with broker(config=TopicConfig(segment_bytes=100)) as b:
        b.files.faults.append(Fault("open", errno.ENOSPC, ".index"))
        b.commit(batch_of(b"x" * 50), batch_of(b"y" * 50))
        assert b.log.durable_end == 2
        assert b.log.recovery_point == 0
        b.commit(batch_of(b"z" * 50))  # the next roll tries again
        assert b.log.recovery_point == 3


def test_what_is_taken_back_leaves_no_trace_in_the_indexes() -> None:
    config = TopicConfig(index_interval_bytes=0)
    with broker(config=config, limits=LogLimits(thread_write_bytes=1)) as b:
        b.commit(batch_of(b"a"), batch_of(b"b", timestamp=NOW + 10))
        b.append(batch_of(b"fails", timestamp=NOW + 1000))
        b.append(batch_of(b"fails too", timestamp=NOW + 2000))
        b.files.faults.append(Fault("write", errno.ENOSPC, SEGMENT))
        b.settle()
        b.commit(batch_of(b"c", timestamp=NOW + 20), batch_of(b"d", timestamp=NOW + 5))
        assert b.run(b.log.max_timestamp(4)) == (2, NOW + 20, 0)
        assert b.run(b.log.offset_for_timestamp(NOW + 11, 4)) == (2, NOW + 20, 0)
        files = b.stop()
    assert verify(files, ROOT).findings == []
