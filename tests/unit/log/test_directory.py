from __future__ import annotations

import asyncio
import errno
import json
import random
from dataclasses import replace
from uuid import UUID

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.errors import StorageFailed
from rivven.log.directory import LogDirectory
from rivven.log.host import LogLimits
from rivven.log.identity import (
    DirectoryLocked,
    DirectoryNotPermitted,
    DirectoryOfAnother,
    DirectoryRefused,
    DirectoryTooNew,
)
from rivven.log.reading import ReadResult
from rivven.log.verify import verify
from rivven.testing.files import CrashFiles, Fault
from rivven.testing.threads import StepThreads
from tests.unit.log.harness import DIRECTORY, LIMITS, ROOT, TOPIC, Broker, ManualClock, batch_of, broker

OTHER = UUID("99999999-2222-4333-8444-555555555555")


def _open(files: CrashFiles, **kwargs: object) -> LogDirectory:
    arguments = {"node_id": 1, **kwargs}
    return LogDirectory.open(ROOT, files, StepThreads(), ManualClock(), **arguments)  # type: ignore[arg-type]


def test_the_first_start_writes_an_identity_and_later_ones_keep_it() -> None:
    files = CrashFiles()
    first = _open(files).identity
    files.restart()
    again = _open(files).identity
    assert again == first
    assert len(first.cluster_id) == 22 and not first.cluster_id.startswith("-")
    assert first.directory_id.int != 0
    fields = json.loads(files.content(f"{ROOT}/identity.json"))
    assert fields["format"] == 1 and fields["node_id"] == 1


def test_a_given_cluster_id_is_kept_and_checked() -> None:
    files = CrashFiles()
    assert _open(files, cluster_id="AAAAAAAAAAAAAAAAAAAAAA").identity.cluster_id == "A" * 22
    files.restart()
    with pytest.raises(DirectoryOfAnother, match="cluster"):
        _open(files, cluster_id="BBBBBBBBBBBBBBBBBBBBBB")


def test_another_nodes_directory_is_refused() -> None:
    files = CrashFiles()
    _open(files)
    files.restart()
    with pytest.raises(DirectoryOfAnother, match="node 1"):
        _open(files, node_id=2)
    assert _open(files).online, "the refused start gave the lock back"


def test_a_second_process_is_refused() -> None:
    files = CrashFiles()
    _open(files)
    with pytest.raises(DirectoryLocked) as refused:
        _open(files)
    assert "in use" in refused.value.message and refused.value.hint


def test_a_newer_format_is_refused() -> None:
    files = CrashFiles()
    _open(files)
    files.restart()
    fields = json.loads(files.content(f"{ROOT}/identity.json"))
    files.put(f"{ROOT}/identity.json", json.dumps({**fields, "format": 2}).encode())
    with pytest.raises(DirectoryTooNew, match="newer"):
        _open(files)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"format": "1"}', b'{"format": 1}'])
def test_a_damaged_identity_is_refused(content: bytes) -> None:
    files = CrashFiles()
    _open(files)
    files.restart()
    files.put(f"{ROOT}/identity.json", content)
    with pytest.raises(DirectoryRefused, match="damaged"):
        _open(files)


def test_wrong_permissions_are_refused_with_a_hint() -> None:
    files = CrashFiles()
    files.faults.append(Fault("make_directory", errno.EACCES))
    with pytest.raises(DirectoryNotPermitted) as refused:
        _open(files)
    assert "\n" not in refused.value.message and "chown" in refused.value.hint


def test_a_damaged_checkpoint_is_refused_and_a_newer_one_named_as_such() -> None:
    with broker() as b:
        b.commit(batch_of(b"x"))
        files = b.stop()
    path = f"{ROOT}/log-checkpoint"
    good = files.content(path)
    files.put(path, good[:-1])
    with pytest.raises(DirectoryRefused, match="log-checkpoint"):
        _open(files)
    files.put(path, good)
    assert _open(files).was_clean


def test_the_mark_of_a_clean_stop_is_gone_once_the_directory_is_open() -> None:
    with broker() as b:
        b.commit(batch_of(b"x"))
        files = b.stop()
    assert _open(files).was_clean
    files.restart()
    assert not _open(files).was_clean


def test_a_checkpoint_lags_but_never_exceeds_what_is_durable() -> None:
    with broker() as b:
        b.commit(batch_of(b"a"))
        b.append(batch_of(b"b"))
        entry = b.log.checkpoint_entry
        assert (entry.recovery_point, entry.log_end_offset) == (1, 2)
        b.settle()
        b.threads.advance(10)
        table = b.directory._keeper.table
        assert table.get((TOPIC, 0)) == b.log.checkpoint_entry


def test_new_partitions_are_durable_when_they_are_there() -> None:
    with broker() as b:
        before = b.files.operations
        logs = b.run(b.directory.open_partitions(TOPIC, range(20), b.config))
        assert len(logs) == 20
        assert b.files.operations - before == 21, "twenty directories and one sync"
        files = b.files
    files.crash(random.Random(3))
    assert len(files.list(f"{ROOT}/partitions")) == 20


def test_opening_twice_is_the_same_log() -> None:
    with broker() as b:
        assert b.open(0) is b.open(0)
        assert b.directory.get(TOPIC, 0) is b.open(0)
        assert len(b.directory) == 1


def test_a_partition_that_cannot_be_created_is_an_error() -> None:
    with broker() as b:
        b.files.faults.append(Fault("make_directory", errno.ENOSPC))
        with pytest.raises(StorageFailed):
            b.open(0)
        assert b.open(0).online


def test_deleting_takes_the_directory_out_of_sight_durably() -> None:
    with broker() as b:
        b.commit(batch_of(b"x"))
        heard: list[bool] = []
        b.log.progress_listener = lambda log: heard.append(log.deleted)
        log = b.log
        b.run(b.directory.delete_partition(TOPIC, 0))
        assert heard == [True]
        assert b.directory.get(TOPIC, 0) is None
        with pytest.raises(StorageFailed):
            b.append(batch_of(b"y"), log)
        assert f"{TOPIC}-0" not in b.files.list(f"{ROOT}/partitions")
        b.settle()
        assert b.files.list(f"{ROOT}/partitions") == []
        files = b.stop()
    with broker(files=files) as b:
        assert b.log.log_end_offset == 0, "a new one starts empty"


def test_deleting_with_appends_in_flight_fails_nobody_else() -> None:
    with broker(config=TopicConfig(segment_bytes=150)) as b:
        other = b.open(1)
        for _ in range(4):
            b.append(batch_of(b"x" * 100))
            b.append(batch_of(b"x" * 100), other)
        b.threads.step()
        b.append(batch_of(b"x" * 100))
        b.run(b.directory.delete_partition(TOPIC, 0))
        b.settle()
        assert b.directory.online and other.durable_end == 4


@pytest.mark.parametrize(
    "flushing", [{}, {"flush_messages": 1 << 40, "flush_ms": 60_000}], ids=["strict", "relaxed"]
)
@pytest.mark.parametrize("at_once", [True, False], ids=["writing", "at rest"])
def test_nothing_of_a_deleted_partition_stays_open(flushing: dict[str, int], at_once: bool) -> None:
    """An open file keeps its space on the disk: deleting topics would free none until the broker stops."""
    config = TopicConfig(segment_bytes=150, **flushing)
    limits = replace(LIMITS, thread_write_bytes=300)  # three batches go to the writer thread
    with broker(config=config, limits=limits) as b:
        b.settle()
        before, pins = b.files.open_files, b.log.host.pins.left
        for _ in range(4):
            b.append(batch_of(b"x" * 100))
            if not at_once:
                b.settle()
        if not at_once:
            assert len(b.read_all()) == 4
            assert b.files.open_files >= before + 4
            assert len(b.log.host.cache) == 4, "the control: they are kept open"
        b.run(b.directory.delete_partition(TOPIC, 0))
        b.settle()
        assert b.files.open_files == before
        assert b.log.host.pins.left == pins
        assert b.directory.online
        b.threads.advance(120)
        assert b.files.open_files == before


def test_who_still_reads_a_deleted_partition_leaves_nothing_open() -> None:
    with broker(config=TopicConfig(segment_bytes=150)) as b:
        b.commit(*[batch_of(b"x" * 100) for _ in range(3)])
        files = b.stop()
    with broker(files=files, config=TopicConfig(segment_bytes=150)) as b:
        log = b.log
        log.usable()
        before = b.files.open_files
        task = b.loop.create_task(log.read_cold(0, 1 << 20, 3, at_least_one=True))
        b.loop.run_until_complete(asyncio.sleep(0))  # a thread has it before the rename
        b.run(b.directory.delete_partition(TOPIC, 0))
        b.settle()
        b.loop.run_until_complete(asyncio.sleep(0))
        with pytest.raises(StorageFailed):
            b.run(_result(task))
        assert b.files.open_files <= before


async def _result(task: asyncio.Task[ReadResult]) -> ReadResult:
    return await task


def test_an_interrupted_deletion_is_completed_at_the_next_start() -> None:
    with broker() as b:
        b.commit(batch_of(b"x"))
        b.stop()
        files = b.files
    files.rename(DIRECTORY, f"{DIRECTORY}.deleted")
    with broker(files=files) as b:
        b.settle()
        assert b.files.list(f"{ROOT}/partitions") == []


@pytest.mark.parametrize("known", [True, False])
def test_a_deletion_that_got_as_far_as_the_name_is_told_at_the_next_start(known: bool) -> None:
    """Its keys may be there still: who destroys them has to hear of it."""
    with broker() as b:
        b.commit(batch_of(b"x"))
        b.run(b.directory.delete_partition(TOPIC, 0))
        files = b.stop(clean=False)
    assert files.list(f"{ROOT}/partitions") == [f"{TOPIC}-0.deleted"], "the control: nobody has emptied it"
    with broker(files=files) as b:
        assert b.run(b.directory.retain_only({TOPIC} if known else {OTHER})) == [f"{TOPIC}-0"] * (not known)


def test_only_known_topics_are_retained_when_asked() -> None:
    with broker() as b:
        b.open(0)
        b.open(3, OTHER)
        files = b.stop()
    files.make_directory(f"{ROOT}/partitions/lost+found")
    with broker(files=files) as b:
        assert set(files.list(f"{ROOT}/partitions")) == {f"{TOPIC}-0", f"{OTHER}-3", "lost+found"}
        b.run(b.directory.retain_only({TOPIC}))
        b.settle()
        assert set(files.list(f"{ROOT}/partitions")) == {f"{TOPIC}-0", "lost+found"}


def test_a_topic_deleted_right_before_a_crash_leaves_the_checkpoint_too() -> None:
    """What verifies the directory afterwards would else miss the partition for ever."""
    with broker() as b:
        b.commit(batch_of(b"x"))
        files = b.stop()  # its end is in the checkpoint
    with broker(files=files) as b:
        b.open(0)
        b.run(b.directory.delete_partition(TOPIC, 0))
        files = b.stop(clean=False)  # before the next checkpoint
    with broker(files=files) as b:
        b.run(b.directory.retain_only({OTHER}))
        b.settle()
        files = b.stop()
        assert not verify(files, ROOT).damaged


def test_a_clean_stop_waits_for_what_is_in_flight() -> None:
    with broker() as b:
        b.append(batch_of(b"a"))
        b.append(batch_of(b"x" * 300_000))
        files = b.stop()
    with broker(files=files) as b:
        assert b.directory.was_clean and len(b.read_all()) == 2


def test_a_stop_that_cannot_save_everything_is_not_clean() -> None:
    with broker() as b:
        b.commit(batch_of(b"a", producer_id=1))
        b.files.faults.append(Fault("open", errno.ENOSPC, ".snapshot"))
        files = b.stop()
    with broker(files=files) as b:
        assert not b.directory.was_clean and len(b.read_all()) == 1


def test_after_a_failure_a_stop_is_not_clean() -> None:
    with broker() as b:
        b.append(batch_of(b"a"))
        b.files.faults.append(Fault("sync"))
        b.settle()
        files = b.stop()
    with broker(files=files) as b:
        assert not b.directory.was_clean


def test_the_oldest_timestamp_survives_so_that_retention_need_not_open_idle_logs() -> None:
    config = TopicConfig(retention_ms=1000)
    with broker(config=config) as b:
        b.commit(batch_of(b"x"))
        files = b.stop()
    with broker(files=files, config=config) as b:
        now = b.clock.now_ms()
        assert b.run(b.log.delete_expired(now + 1000)) == 0
        assert b.log.loaded is None
        assert b.run(b.log.delete_expired(now + 1001)) > 0


def test_a_closed_directory_gives_its_lock_back() -> None:
    b = Broker(limits=LogLimits(reserve_bytes=1))
    b.open(0)
    b.run(b.directory.close())
    assert _open(b.files).online
    b.loop.run_until_complete(asyncio.sleep(0))
    b.loop.close()
    assert LIMITS.reserve_bytes == 0


def test_a_saved_recovery_point_is_the_one_in_the_file() -> None:
    """The log becomes durable in the very round in which the checkpoint says where it was before."""
    with broker() as b:
        b.commit(batch_of(b"a"))
        b.append(batch_of(b"b"))
        b.run(b.log.delete_records_before(0))
        entry = b.directory._keeper.table.get((TOPIC, 0))
        assert entry is not None
        assert b.log.durable_end == 2
        assert b.log.usable().saved_recovery_point == entry.recovery_point == 1
