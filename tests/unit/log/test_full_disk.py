"""A disk without room for the checkpoint: the old one stays, nothing goes offline or is removed too soon."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.errors import StorageFailed
from rivven.log.checkpoint_keeper import CHECKPOINT_SECONDS
from rivven.testing.files import Fault
from tests.unit.log.harness import DIRECTORY, NOW, Broker, batch_of, broker
from tests.unit.log.test_replacing import _prepare

CONFIG = TopicConfig(segment_bytes=300, index_interval_bytes=0, file_delete_delay_ms=0)
COMPACTED = replace(CONFIG, cleanup_policy=frozenset({"compact"}))
CHECKPOINT = "log-checkpoint"


def _filled(b: Broker) -> list[bytes]:
    for number in range(9):
        b.commit(batch_of(b"%d" % number * 50))
    return [bytes(batch) for batch in b.read_all()]


def _full(b: Broker, code: int = errno.ENOSPC, operation: str = "write") -> Fault:
    fault = Fault(operation, code, path=CHECKPOINT, times=1000)
    b.files.faults.append(fault)
    return fault


def _segments(b: Broker) -> list[str]:
    return [name for name in b.files.list(DIRECTORY) if name.endswith(".log")]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("operation", ["write", "create", "sync"])
def test_a_checkpoint_without_room_is_written_later(code: int, operation: str) -> None:
    with broker(config=CONFIG) as b:
        _filled(b)
        _full(b, code, operation)
        b.threads.advance(CHECKPOINT_SECONDS)
        assert b.directory.online and b.log.online
        assert b.log.usable().saved_recovery_point == 0
        b.commit(batch_of(b"goes on"))
        b.files.faults.clear()
        b.threads.advance(CHECKPOINT_SECONDS)
        assert b.log.usable().saved_recovery_point == 10


def test_another_failure_of_the_checkpoint_is_final() -> None:
    with broker(config=CONFIG) as b:
        _filled(b)
        _full(b, errno.EIO)
        b.threads.advance(CHECKPOINT_SECONDS)
        assert not b.directory.online


def test_records_whose_deletion_is_not_saved_stay_on_the_disk() -> None:
    """A file that went before the checkpoint says so would look like a loss after a crash."""
    with broker(config=CONFIG) as b:
        batches = _filled(b)
        before = _segments(b)
        _full(b)
        with pytest.raises(StorageFailed, match="full"):
            b.run(b.log.delete_records_before(6))
        with pytest.raises(StorageFailed, match="full"):
            b.run(b.log.delete_expired(NOW))
        b.threads.advance(1)
        assert _segments(b) == before
        b.files.faults.clear()
        files = b.stop(clean=False)
    with broker(files=files, config=CONFIG) as b:
        assert b.log.online
        assert [bytes(batch) for batch in b.read_all()] == batches


def test_they_go_once_there_is_room() -> None:
    with broker(config=CONFIG) as b:
        batches = _filled(b)
        before = _segments(b)
        _full(b)
        with pytest.raises(StorageFailed):
            b.run(b.log.delete_records_before(6))
        b.files.faults.clear()
        assert b.run(b.log.delete_expired(NOW)) > 0
        b.threads.advance(1)
        assert len(_segments(b)) < len(before)
        files = b.stop(clean=False)
    with broker(files=files, config=CONFIG) as b:
        assert b.log.log_start_offset == 6
        assert [bytes(batch) for batch in b.read_all()] == batches[6:]


@pytest.mark.parametrize(("code", "online"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)])
def test_a_swap_without_room_for_its_name_is_given_up(code: int, online: bool) -> None:
    """Until it is renamed the new segment counts for nothing; any other failure leaves that open."""
    with broker(config=COMPACTED) as b:
        _filled(b)
        batches = b.read_all()
        b.threads.advance(CHECKPOINT_SECONDS)
        old, prepared = _prepare(b, keep=[1, 3])
        b.files.faults.append(Fault("rename", code, path=DIRECTORY))
        assert not b.run(b.log.replace_segments(old, prepared))
        assert b.directory.online is online
        if online:
            assert b.read_all() == batches
            assert not [name for name in b.files.list(DIRECTORY) if name.endswith(".swap")]
            assert b.run(b.log.replace_segments(old, prepared)), "the next pass finds room"
            assert b.read_all() == [batches[1], batches[3], *batches[4:]]
