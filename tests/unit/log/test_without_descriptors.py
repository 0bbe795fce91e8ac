"""A log on a process without a descriptor: nothing goes offline, nothing is half done."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from rivven.errors import StorageFailed
from rivven.testing.files import Fault
from tests.unit.log.harness import DIRECTORY, LIMITS, ROOT, TOPIC, batch_of, broker
from tests.unit.log.test_replacing import CONFIG, _filled, _prepare

MORE_THAN_IS_TRIED_AT_ONCE = 100
"""Closing what is cached does not help then: somebody has to wait."""


def test_a_log_that_cannot_be_opened_for_now_is_opened_by_the_next_use() -> None:
    with broker() as b:
        b.commit(batch_of(b"a"))
        files = b.stop()
    with broker(files=files) as b:
        log = b.log
        assert log.loaded is None
        for operation in ("open", "list"):
            files.faults.append(Fault(operation, errno.EMFILE, path=DIRECTORY, times=100))
            with pytest.raises(StorageFailed, match="descriptors"):
                log.usable()
            assert log.online
            files.faults.clear()
        assert len(b.read_all()) == 1
        b.commit(batch_of(b"b"))
        assert log.durable_end == 2


def test_a_failed_disk_is_no_shortage() -> None:
    with broker() as b:
        b.commit(batch_of(b"a"))
        files = b.stop()
    with broker(files=files) as b:
        files.faults.append(Fault("list", errno.EIO, path=DIRECTORY))
        with pytest.raises(StorageFailed):
            b.log.usable()
        assert not b.log.online


@pytest.mark.parametrize(
    ("operation", "skip"),
    [("open", 0), ("list", 0), ("sync_directory", 0), ("sync_directory", 1), ("sync_directory", 2)],
)
def test_a_swap_under_way_waits_and_is_finished(operation: str, skip: int) -> None:
    """A swap left behind would, at the next start, replace what came after it."""
    with broker(config=CONFIG) as b:
        _filled(b)
        batches = b.read_all()
        old, prepared = _prepare(b, keep=[1, 3])
        fault = Fault(operation, errno.ENFILE, path=DIRECTORY, skip=skip, times=MORE_THAN_IS_TRIED_AT_ONCE)
        b.files.faults.append(fault)
        assert b.run(b.log.replace_segments(old, prepared))
        assert b.files.faults == [], "it did not find one for a while"
        assert b.log.online
        assert b.read_all() == [batches[1], batches[3], *batches[4:]]
        assert not [name for name in b.files.list(DIRECTORY) if name.endswith((".swap", ".cleaned"))]


def test_a_checkpoint_waits_and_nothing_is_offline() -> None:
    with broker() as b:
        b.commit(batch_of(b"a"))
        b.files.faults.append(Fault("open", errno.EMFILE, path=".tmp", times=MORE_THAN_IS_TRIED_AT_ONCE))
        assert b.run(b.log.delete_records_before(1)) == 1
        assert b.files.faults == [], "it did not find one for a while"
        assert b.log.online and b.directory.online


def test_a_file_that_has_to_be_opened_for_its_sync_waits() -> None:
    """As more were dirty than may be kept open."""
    with broker(limits=replace(LIMITS, open_files=0)) as b:
        b.append(batch_of(b"a"))
        b.log.host.cache.clear()
        b.files.faults.append(Fault("open", errno.EMFILE, path=".log", times=MORE_THAN_IS_TRIED_AT_ONCE))
        b.settle()
        assert b.files.faults == [], "it did not find one for a while"
        assert b.log.online and b.log.durable_end == 1


def test_a_deletion_waits() -> None:
    """Given up half-way, the next start would not know of whose keys to destroy."""
    with broker() as b:
        b.commit(batch_of(b"a"))
        times = MORE_THAN_IS_TRIED_AT_ONCE
        b.files.faults.append(Fault("sync_directory", errno.EMFILE, path=f"{ROOT}/partitions", times=times))
        b.run(b.directory.delete_partition(TOPIC, 0))
        assert b.files.faults == [], "it did not find one for a while"
        b.settle()
        assert b.files.list(f"{ROOT}/partitions") == []
