"""Putting a compacted segment in place; `test_compactor` does it with the real compactor."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from rivven.config.topic_settings import TopicConfig
from rivven.log.compaction_swap import PreparedSegment, cleaned_path
from rivven.testing.files import Fault
from rivven.testing.segment_keys import StaticSegmentKeys
from tests.unit.log.harness import DIRECTORY, Broker, batch_of, broker

CONFIG = TopicConfig(segment_bytes=300, index_interval_bytes=0, cleanup_policy=frozenset({"compact"}))


def _filled(b: Broker) -> None:
    for number in range(9):
        b.commit(batch_of(b"%d" % number * 50))
    b.threads.advance(10)  # a checkpoint: only what is below a saved recovery point can be cleaned


def _prepare(b: Broker, keep: list[int], old: int = 2) -> tuple[list[int], PreparedSegment]:
    """A cleaned segment in place of the first `old`, holding the batches with these base offsets."""
    view = b.log.cleanable(b.clock.ms)
    assert view is not None
    replaced = view.segments[:old]
    batches = b.read_all()
    content = b"".join(batches[number] for number in keep)
    path = cleaned_path(DIRECTORY, replaced[0].base_offset, "ab")
    file = b.files.open(path, "new")
    if content:
        file.write((content,), 0)
    file.sync()
    prepared = PreparedSegment(replaced[0].base_offset, replaced[-1].end_offset, len(content), -1, path)
    return [segment.base_offset for segment in replaced], prepared


def test_only_closed_durable_segments_below_the_saved_recovery_point_are_cleanable() -> None:
    with broker(config=CONFIG) as b:
        for number in range(9):
            b.commit(batch_of(b"%d" % number * 50, producer_id=6, sequence=number))
        assert b.log.cleanable(b.clock.ms) is None, "no checkpoint yet"
        b.threads.advance(10)
        view = b.log.cleanable(b.clock.ms)
        assert view is not None
        segments = b.log.usable().segments
        assert [s.base_offset for s in view.segments] == [s.base_offset for s in segments[:-1]]
        assert view.segments[-1].end_offset == segments[-1].base_offset
        assert view.producer_last_offsets == {6: 8}
        b.log.update_config(TopicConfig(segment_bytes=300))
        assert b.log.cleanable(b.clock.ms) is None, "not compacted"


def test_a_replaced_segment_is_read_in_place_of_the_old_ones() -> None:
    with broker(config=CONFIG) as b:
        _filled(b)
        batches = b.read_all()
        old, prepared = _prepare(b, keep=[1, 3])
        assert b.run(b.log.replace_segments(old, prepared))
        expected = [batches[1], batches[3], *batches[4:]]
        assert b.read_all() == expected
        result = b.run(b.log.read_cold(0, 1, 9, at_least_one=True))
        assert result.first_offset == 1, "an offset in a hole gives the batch that follows"
        assert b.log.size_bytes == sum(len(batch) for batch in expected)
        names = b.files.list(DIRECTORY)
        assert not [name for name in names if name.endswith((".swap", ".cleaned"))]
        assert "00000000000000000002.log" not in names
        b.commit(batch_of(b"more"))
        files = b.stop()
    with broker(files=files, config=CONFIG) as b:
        assert b.read_all()[: len(expected)] == expected
        files = b.stop(clean=False)
    with broker(files=files, config=CONFIG) as b:
        assert b.read_all()[: len(expected)] == expected, "holes are accepted below the recovery point"


def test_what_was_compacted_away_is_not_answered_from_memory() -> None:
    keys = StaticSegmentKeys()
    with broker(config=replace(CONFIG, encryption_enabled=True), keys=keys) as b:
        _filled(b)
        old, prepared = _prepare(b, keep=[1])
        before = b.log.read(0, 1, 9, at_least_one=True)
        assert before is not None
        assert before.first_offset == 0, "the control: kept open in memory"
        assert b.run(b.log.replace_segments(old, prepared))
        assert b.run(b.log.read_cold(0, 1, 9, at_least_one=True)).first_offset == 1
        after = b.log.read(0, 1, 9, at_least_one=True)
        assert after is not None
        assert after.first_offset == 1


def test_everything_may_be_compacted_away() -> None:
    with broker(config=CONFIG) as b:
        _filled(b)
        batches = b.read_all()
        old, prepared = _prepare(b, keep=[], old=3)
        assert b.run(b.log.replace_segments(old, prepared))
        assert b.read_all() == batches[6:]
        assert b.log.log_start_offset == 0
        assert b.run(b.log.read_cold(1, 1000, 9, at_least_one=True)).first_offset == 6


def test_nothing_happens_when_the_old_segments_are_gone() -> None:
    with broker(config=CONFIG) as b:
        _filled(b)
        old, prepared = _prepare(b, keep=[1])
        b.run(b.log.delete_records_before(5))
        before = b.read_all()
        assert not b.run(b.log.replace_segments(old, prepared))
        assert b.read_all() == before


def test_nothing_is_deleted_while_segments_are_replaced() -> None:
    with broker(config=CONFIG) as b:
        _filled(b)
        old, prepared = _prepare(b, keep=[1, 3])
        task = b.loop.create_task(b.log.replace_segments(old, prepared))
        b.run(b.log.delete_records_before(5))
        while not task.done():
            b.run(b.log.delete_expired(b.clock.ms))
            b.threads.step()
        assert task.result()
        b.run(b.log.delete_expired(b.clock.ms))
        assert b.log.usable().segments[0].base_offset == 4
        assert len(b.read_all()) == 4


def test_deleting_the_partition_meanwhile_fails_nothing_else() -> None:
    with broker(config=CONFIG) as b:
        _filled(b)
        other = b.open(1)
        old, prepared = _prepare(b, keep=[1])
        task = b.loop.create_task(b.log.replace_segments(old, prepared))
        b.run(b.directory.delete_partition(b.log.topic_id, 0))
        for _ in range(20):
            b.settle()
            b.run(other.flush())
        assert task.done() and b.directory.online


def test_a_failing_disk_in_the_middle_takes_the_directory_offline() -> None:
    with broker(config=CONFIG) as b:
        _filled(b)
        batches = b.read_all()
        old, prepared = _prepare(b, keep=[1, 3])
        b.files.faults.append(Fault("remove"))
        assert not b.run(b.log.replace_segments(old, prepared))
        assert not b.directory.online
        files = b.stop(clean=False)
    with broker(files=files, config=CONFIG) as b:
        assert b.read_all() == [batches[1], batches[3], *batches[4:]], "the next start completes it"


def test_a_cancelled_compactor_leaves_nothing_half_way() -> None:
    """The swap is decided on a thread: whoever asked for it may be gone, the log must take part in it."""
    for steps in range(12):
        with broker(config=CONFIG) as b:
            _filled(b)
            batches = b.read_all()
            old, prepared = _prepare(b, keep=[1, 3])
            task = b.loop.create_task(b.log.replace_segments(old, prepared))
            for _ in range(steps):
                b.loop.run_until_complete(asyncio.sleep(0))
                b.threads.step()
            task.cancel()
            files = b.stop()
        with broker(files=files, config=CONFIG) as b:
            assert b.directory.was_clean
            expected = [batches[1], batches[3], *batches[4:]] if steps else batches
            assert b.read_all() == expected
