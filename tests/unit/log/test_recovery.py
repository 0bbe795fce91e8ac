"""What a start after a crash believes, cuts and refuses. `tests/simulation/log` does the same at random."""

from __future__ import annotations

import errno
import random

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.log.verify import verify
from rivven.testing.files import CrashFiles, Fault, PowerCut
from tests.unit.log.harness import DIRECTORY, NOW, ROOT, batch_of, broker

SEGMENT = f"{DIRECTORY}/00000000000000000000.log"


def _written(count: int, *, checkpoint_after: int = 0, **config: object) -> CrashFiles:
    """A disk after kill -9 of a broker with `count` batches, the checkpoint taken after so many of them."""
    with broker(config=TopicConfig(**config)) as b:  # type: ignore[arg-type]
        for number in range(count):
            b.commit(batch_of(b"%03d" % number * 10, producer_id=3, sequence=number))
            if number + 1 == checkpoint_after:
                b.threads.advance(10)
        return b.stop(clean=False)


def test_everything_synced_is_there_after_a_kill() -> None:
    files = _written(10)
    with broker(files=files) as b:
        assert len(b.read_all()) == 10
        assert b.log.leader_epoch == 0, "nothing was cut"
        assert not b.directory.was_clean


def test_cut_at_every_byte_of_the_last_batches() -> None:
    whole = _written(4, checkpoint_after=2)
    content = whole.content(SEGMENT)
    size = len(content) // 4
    assert len(content) == 4 * size
    for length in range(2 * size, len(content) + 1):
        files = _written(4, checkpoint_after=2)
        files.put(SEGMENT, content[:length])
        with broker(files=files) as b:
            expected = length // size
            assert len(b.read_all()) == expected
            torn = length % size
            assert b.log.leader_epoch == (1 if torn else 0)
            cut = [name for name in files.list(DIRECTORY) if name.startswith("cut-")]
            assert len(cut) == (1 if torn else 0)
            if cut:
                assert files.content(f"{DIRECTORY}/{cut[0]}") == content[expected * size : length]
                assert b.directory.cut_bytes == torn
            again = b.commit(batch_of(b"next", producer_id=3, sequence=expected))[0]
            assert (again.base_offset, again.duplicate) == (expected, False)


def test_missing_durable_bytes_are_refused_at_every_length() -> None:
    whole = _written(3, checkpoint_after=3)
    content = whole.content(SEGMENT)
    for length in range(0, len(content), 7):
        files = _written(3, checkpoint_after=3)
        files.put(SEGMENT, content[:length])
        with broker(files=files) as b:
            assert not b.log.online
            assert b.log.offline_reason is not None and SEGMENT in b.log.offline_reason
            assert files.content(SEGMENT) == content[:length], "nothing is truncated"
            assert b.open(1).online, "other partitions work"


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_a_flipped_bit_below_the_recovery_point_is_refused_with_file_and_position(bit: int) -> None:
    content = _written(4, checkpoint_after=4).content(SEGMENT)
    size = len(content) // 4
    for position in range(size + 16, 2 * size, 5):  # offset and epoch fields are not covered by the CRC
        files = _written(4, checkpoint_after=4)
        damaged = bytearray(content)
        damaged[position] ^= 1 << bit
        files.put(SEGMENT, bytes(damaged))
        with broker(files=files) as b:
            assert not b.log.online
            assert b.log.offline_reason is not None
            assert f"{SEGMENT}, position {size}" in b.log.offline_reason


def test_a_flipped_bit_above_the_recovery_point_cuts_there_even_if_valid_batches_follow() -> None:
    content = _written(6, checkpoint_after=2).content(SEGMENT)
    size = len(content) // 6
    for position in range(3 * size + 16, 4 * size, 5):
        files = _written(6, checkpoint_after=2)
        damaged = bytearray(content)
        damaged[position] ^= 4
        files.put(SEGMENT, bytes(damaged))
        with broker(files=files) as b:
            assert len(b.read_all()) == 3
            assert b.log.leader_epoch == 1
            assert b.log.epoch_end_offset(0) == (0, 3)
            b.commit(batch_of(b"new", producer_id=3, sequence=3))
            assert b.log.epoch_for_offset(3) == 1
            assert b.log.epoch_end_offset(1) == (1, 4)


def test_a_valid_batch_with_the_wrong_offset_is_cut() -> None:
    """What an earlier, cut back write left on the disk is intact by its CRC, but not next in order."""
    files = _written(3, checkpoint_after=1)
    content = bytearray(files.content(SEGMENT))
    size = len(content) // 3
    content[2 * size : 2 * size + 8] = (7).to_bytes(8, "big")
    files.put(SEGMENT, bytes(content))
    with broker(files=files) as b:
        assert len(b.read_all()) == 2
        assert b.log.log_end_offset == 2


def test_segments_after_a_cut_are_kept_aside() -> None:
    files = _written(8, segment_bytes=300)
    names = sorted(name for name in files.list(DIRECTORY) if name.endswith(".log"))
    assert len(names) >= 3
    second = files.content(f"{DIRECTORY}/{names[1]}")
    files.put(f"{DIRECTORY}/{names[1]}", second[:-1])
    later = [files.content(f"{DIRECTORY}/{name}") for name in names[2:]]
    with broker(files=files, config=TopicConfig(segment_bytes=300)) as b:
        assert b.log.online
        left = sorted(name for name in files.list(DIRECTORY) if name.endswith(".log"))
        assert left == names[:2]
        kept = [
            files.content(f"{DIRECTORY}/{n}") for n in sorted(files.list(DIRECTORY)) if n.startswith("cut-")
        ]
        assert kept[1:] == later[: len(kept) - 1]
        assert b.log.leader_epoch == 1, "once per recovery"
        b.commit(*(batch_of(b"x" * 50) for _ in range(3)))
        assert not verify(files, DIRECTORY).damaged


def test_a_missing_middle_segment_below_the_recovery_point_is_refused() -> None:
    files = _written(8, segment_bytes=300, checkpoint_after=8)
    names = sorted(name for name in files.list(DIRECTORY) if name.endswith(".log"))
    files.remove(f"{DIRECTORY}/{names[-1]}")
    with broker(files=files) as b:
        assert not b.log.online


def test_a_missing_directory_of_a_known_partition_is_refused() -> None:
    files = _written(2, checkpoint_after=2)
    for name in files.list(DIRECTORY):
        files.remove(f"{DIRECTORY}/{name}")
    files.remove_directory(DIRECTORY)
    with broker(files=files) as b:
        assert not b.log.online


def test_cut_files_are_bounded() -> None:
    files = _written(1)
    for _ in range(12):
        with broker(files=files) as b:
            b.commit(batch_of(b"x"))
            b.stop(clean=False)
        files.put(SEGMENT, files.content(SEGMENT) + b"torn")
    cut = [name for name in files.list(DIRECTORY) if name.startswith("cut-")]
    assert len(cut) == 8
    with broker(files=files) as b:
        assert b.log.leader_epoch == 12


def test_what_a_failed_sync_left_in_memory_is_not_taken_for_stored() -> None:
    with broker() as b:
        b.commit(batch_of(b"stored"))
        b.append(batch_of(b"only in memory" * 500))
        b.files.faults.append(Fault("sync", errno.EIO, SEGMENT))
        b.settle()
        assert not b.log.online
        files = b.stop(clean=False)
    with broker(files=files) as b:
        assert len(b.read_all()) == 1


def test_the_tail_is_synced_before_it_is_served() -> None:
    with broker(config=TopicConfig(flush_messages=1000)) as b:
        b.append(batch_of(b"written, not synced"))
        files = b.stop(clean=False)
    with broker(files=files) as b:
        assert b.log.acknowledgeable_end == 1
        files = b.stop(clean=False)

    files.crash(random.Random(1))
    with broker(files=files) as b:
        assert len(b.read_all()) == 1


def test_producers_survive_a_kill_and_a_clean_stop() -> None:
    files = _written(7, segment_bytes=300)
    for clean in (False, True, True, False):
        with broker(files=files, config=TopicConfig(segment_bytes=300)) as b:
            again = b.append(batch_of(b"006" * 10, producer_id=3, sequence=6))
            assert (again.duplicate, again.base_offset) == (True, 6)
            b.stop(clean=clean)


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_or_missing_snapshot_is_rebuilt_from_the_batches(damage: bytes | None) -> None:
    files = _written(7, segment_bytes=300)
    for name in files.list(DIRECTORY):
        if name.endswith(".snapshot"):
            if damage is None:
                files.remove(f"{DIRECTORY}/{name}")
            else:
                files.put(f"{DIRECTORY}/{name}", damage)
    with broker(files=files) as b:
        entry = dict(b.log.active_producers())[3]
        assert [sent.base_offset for sent in entry.batches] == [2, 3, 4, 5, 6]


def test_a_snapshot_beyond_the_end_is_discarded() -> None:
    files = _written(4, segment_bytes=150, checkpoint_after=1)
    snapshots = [name for name in files.list(DIRECTORY) if name.endswith(".snapshot")]
    assert max(snapshots) > "00000000000000000001.snapshot"
    names = sorted(name for name in files.list(DIRECTORY) if name.endswith(".log"))
    files.put(f"{DIRECTORY}/{names[1]}", b"")
    with broker(files=files, config=TopicConfig(segment_bytes=150)) as b:
        assert b.log.log_end_offset == 1
        entry = dict(b.log.active_producers())[3]
        assert [sent.base_offset for sent in entry.batches] == [0]


def test_a_clean_stop_makes_the_next_start_read_almost_nothing() -> None:
    with broker(config=TopicConfig(index_interval_bytes=100)) as b:
        b.commit(*(batch_of(b"x" * 50, timestamp=NOW + n) for n in range(20)))
        files = b.stop()
    with broker(files=files) as b:
        assert b.directory.was_clean
        log = b.log
        assert log.loaded is None, "nothing is opened before it is used"
        assert (log.log_end_offset, log.durable_end, log.size_bytes) == (20, 20, len(files.content(SEGMENT)))
        assert len(b.read_all()) == 20
        assert b.run(log.offset_for_timestamp(NOW + 7, 20)) == (7, NOW + 7, 0)
        b.commit(batch_of(b"more"))
        files = b.stop()
    with broker(files=files) as b:
        assert len(b.read_all()) == 21


def test_files_that_changed_after_a_clean_stop_are_noticed() -> None:
    with broker() as b:
        b.commit(batch_of(b"x"))
        files = b.stop()
    files.put(SEGMENT, files.content(SEGMENT)[:-1])
    with broker(files=files) as b:
        assert b.log.online
        with pytest.raises(Exception, match="offline"):
            b.log.read(0, 100, 1, at_least_one=True)
        assert not b.log.online


@pytest.mark.parametrize("suffix", ["index", "timeindex"])
@pytest.mark.parametrize("damage", [b"", b"\0" * 24, b"\xff" * 24, b"abc"])
def test_an_index_is_never_believed(suffix: str, damage: bytes) -> None:
    config = TopicConfig(segment_bytes=600, index_interval_bytes=100)
    with broker(config=config) as b:
        b.commit(*(batch_of(b"x" * 50, timestamp=NOW + n) for n in range(20)))
        files = b.stop()
    for name in files.list(DIRECTORY):
        if name.endswith(f".{suffix}"):
            files.put(f"{DIRECTORY}/{name}", damage)
    with broker(files=files, config=config) as b:
        for offset in (0, 7, 13, 19):
            result = b.run(b.log.read_cold(offset, 1, 20, at_least_one=True))
            assert result.first_offset == offset
            assert b.run(b.log.offset_for_timestamp(NOW + offset, 20)) == (offset, NOW + offset, 0)


def test_epochs_are_rebuilt_from_the_batches_when_their_file_is_lost() -> None:
    files = _written(3)
    files.put(SEGMENT, files.content(SEGMENT)[:-1])
    with broker(files=files) as b:
        b.commit(batch_of(b"in epoch 1"))
        assert b.log.leader_epoch == 1
        files = b.stop()
    files.put(f"{DIRECTORY}/leader-epochs", b"damaged")
    with broker(files=files) as b:
        assert b.log.leader_epoch == 1
        assert b.log.epoch_end_offset(0) == (0, 2)
        assert b.log.epoch_for_offset(2) == 1


def test_a_recovered_directory_verifies() -> None:
    files = _written(10, segment_bytes=300)
    with broker(files=files, config=TopicConfig(segment_bytes=300)) as b:
        assert len(b.read_all()) == 10
        b.stop()
    report = verify(files, ROOT)
    assert report.findings == []
    assert (report.partitions, report.batches) == (1, 10)


def test_a_plausible_but_wrong_index_is_found_out_when_used() -> None:
    """Ascending entries that point into the middle of batches, with the last entry right."""
    config = TopicConfig(segment_bytes=3000, index_interval_bytes=200)
    with broker(config=config) as b:
        b.commit(*(batch_of(b"x" * 50, timestamp=NOW + n) for n in range(60)))
        files = b.stop()
    index_path = f"{DIRECTORY}/00000000000000000000.index"
    time_path = f"{DIRECTORY}/00000000000000000000.timeindex"
    index, times = bytearray(files.content(index_path)), bytearray(files.content(time_path))
    for at in range(0, len(index) - 8, 8):
        index[at + 7] += 1
    for at in range(0, len(times) - 12, 12):
        times[at + 7] += 1
    for wrong in ({index_path: index}, {time_path: times}, {index_path: index, time_path: times}):
        for path, content in wrong.items():
            files.put(path, bytes(content))
        with broker(files=files, config=config) as b:
            for offset in range(20):
                found = b.run(b.log.offset_for_timestamp(NOW + offset, 60))
                assert found == (offset, NOW + offset, 0)
                result = b.log.read(offset, 1, 60, at_least_one=True)
                if result is None:
                    result = b.run(b.log.read_cold(offset, 1, 60, at_least_one=True))
                assert result.first_offset == offset
            assert b.log.online
            files = b.stop()


@pytest.mark.parametrize("seed", range(4))
def test_the_power_goes_at_every_step_of_a_recovery(seed: int) -> None:
    """However often it begins again: what was durable is there, and a cut log is in a later epoch."""
    step = 1
    while True:
        files = _written(8, checkpoint_after=2, segment_bytes=300)
        damaged = sorted(name for name in files.list(DIRECTORY) if name.endswith(".log"))[1]
        files.put(f"{DIRECTORY}/{damaged}", files.content(f"{DIRECTORY}/{damaged}")[:-3])
        files.operations = 0
        files.cut_power_at = step
        try:
            with broker(files=files, config=TopicConfig(segment_bytes=300)) as b:
                b.open(0)
        except PowerCut:
            files.crash(random.Random(seed))
        else:
            assert step > 10, "every step was reached"
            return
        with broker(files=files, config=TopicConfig(segment_bytes=300)) as b:
            assert b.log.online and b.log.log_end_offset == 5
            assert b.log.leader_epoch >= 1
            assert len(b.read_all()) == 5
        step += 1


def test_a_discarded_snapshot_does_not_come_back_with_the_next_crash() -> None:
    for seed in range(20):
        files = _written(4, segment_bytes=150, checkpoint_after=1)
        names = sorted(name for name in files.list(DIRECTORY) if name.endswith(".log"))
        files.put(f"{DIRECTORY}/{names[1]}", b"")
        with broker(files=files, config=TopicConfig(segment_bytes=150)) as b:
            assert b.log.log_end_offset == 1
            b.stop(clean=False)
        files.crash(random.Random(seed))
        snapshots = [name for name in files.list(DIRECTORY) if name.endswith(".snapshot")]
        assert all(name <= "00000000000000000001.snapshot" for name in snapshots)


@pytest.mark.parametrize("syncfs", [True, False])
def test_what_a_recovery_believed_survives_the_next_crash(syncfs: bool) -> None:
    """Bytes and the names of new segments were only in memory when the process was killed."""
    for seed in range(20):
        config = TopicConfig(segment_bytes=150, flush_messages=1000)
        files = CrashFiles()
        files.syncfs = syncfs
        with broker(files=files, config=config) as b:
            for _ in range(4):
                b.append(batch_of(b"x" * 50))
            b.stop(clean=False)
        with broker(files=files, config=config) as b:
            assert b.log.acknowledgeable_end == 4
            b.stop(clean=False)
        files.crash(random.Random(seed))
        with broker(files=files, config=config) as b:
            assert len(b.read_all()) == 4


def test_a_partition_that_is_offline_keeps_a_stop_from_being_clean() -> None:
    files = _written(3, checkpoint_after=3)
    content = files.content(SEGMENT)
    files.put(SEGMENT, content[:-1])
    for _ in range(2):
        with broker(files=files) as b:
            assert not b.log.online and not b.directory.was_clean
            b.stop()
    files.put(SEGMENT, content)
    with broker(files=files) as b:
        assert len(b.read_all()) == 3, "once it is repaired it is served again"
