"""A topic that has sealed segments only: when that is known, and what becomes of a plain one then."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.errors import CorruptMessage, StorageFailed
from rivven.log.compaction import ClosedSegment
from rivven.log.compaction_swap import PreparedSegment, cleaned_path
from rivven.log.compactor import Workers
from rivven.log.only_sealed import LOOK_SECONDS, SealedSurvey, mark_if_only_sealed
from rivven.log.reencryption import Reencryptor
from rivven.log.reencryption_jobs import copy_part
from rivven.log.rewriting import Source, Target
from rivven.log.rewriting_keys import source_fields
from rivven.log.segment import UNREAD, segment_path
from rivven.records.batch import patch_offset_and_epoch
from rivven.testing.files import CrashFiles
from tests.unit.log.harness import DIRECTORY, TOPIC, Broker, batch_of, broker
from tests.unit.log.reencryption_keys import ReencryptionTestKeys

SEALED = TopicConfig(encryption_enabled=True, flush_messages=1)
PLAIN = TopicConfig(flush_messages=1)
FIRST, SECOND = segment_path(DIRECTORY, 0), segment_path(DIRECTORY, 2)
FORGED = b"nobody ever wrote this"


def forged(size: int, base: int) -> bytes:
    """A plain batch of a size with two records, whose checksum and offsets fit."""
    for length in range(size):
        batch = batch_of(b"", FORGED + bytes(length))
        if len(batch) == size:
            patch_offset_and_epoch(batch, base, 0)
            return bytes(batch)
    raise AssertionError(f"no batch has {size} bytes")


def put_forged(files: CrashFiles, path: str, base: int) -> None:
    files.put(path, forged(len(files.content(path)), base))


def survey(b: Broker, keys: ReencryptionTestKeys) -> None:
    b.run(SealedSurvey(lambda: b.directory, keys).look())


@pytest.fixture
def keys() -> ReencryptionTestKeys:
    return ReencryptionTestKeys()


@pytest.fixture
def disk(keys: ReencryptionTestKeys) -> CrashFiles:
    """Two sealed segments of two batches each, in partition 0, the same in partition 1; closed cleanly."""
    with broker(config=SEALED, keys=keys) as b:
        for log in (b.open(0), b.open(1)):
            for value in (b"0", b"1", b"2", b"3"):
                if value == b"2":
                    log.roll(b.clock.ms)
                b.append(batch_of(value), log)
                b.settle()
        return b.stop()


@pytest.fixture
def reopened(keys: ReencryptionTestKeys, disk: CrashFiles) -> Iterator[Callable[[], Broker]]:
    made: list[Broker] = []

    def opened(config: TopicConfig = SEALED) -> Broker:
        made.append(Broker(disk, config=config, keys=keys))
        return made[-1]

    yield opened
    for b in made:
        if not b.loop.is_closed():
            b.stop(clean=False)


# -- finding out ---------------------------------------------------------------------------------------------


def test_sealed_segments_only_are_marked(
    keys: ReencryptionTestKeys, reopened: Callable[[], Broker], caplog: pytest.LogCaptureFixture
) -> None:
    b = reopened()
    b.open(0), b.open(1)
    caplog.set_level(logging.INFO)
    survey(b, keys)
    assert keys.marked == {TOPIC} and not keys.held_back
    assert f"topic {TOPIC} has sealed segments only" in caplog.text
    assert len(b.read_all()) == 4


@pytest.mark.parametrize("where", [0, 1])
def test_one_plain_segment_of_any_partition_is_enough_not_to(
    keys: ReencryptionTestKeys, disk: CrashFiles, reopened: Callable[[], Broker], where: int
) -> None:
    path = segment_path(f"{DIRECTORY[:-1]}{where}", 0)
    put_forged(disk, path, 0)
    b = reopened()
    b.open(0), b.open(1)
    survey(b, keys)
    assert not keys.marked and not keys.held_back


def test_what_waits_to_be_written_in_plain_counts(keys: ReencryptionTestKeys) -> None:
    with broker(config=PLAIN, keys=keys) as b:
        keys.renew(TOPIC)
        large = batch_of(bytes(100_000))
        b.append(large)
        assert b.log.written_end == 0 and b.files.content(FIRST) == b"", "it is queued"
        b.log.update_config(SEALED)
        survey(b, keys)
        assert not keys.marked


def test_not_while_its_settings_allow_plain_ones(
    keys: ReencryptionTestKeys, reopened: Callable[[], Broker]
) -> None:
    b = reopened()
    b.open(0).update_config(PLAIN)
    survey(b, keys)
    assert not keys.marked
    b.log.update_config(SEALED)
    keys.unsealed.add(TOPIC)
    assert not b.run(mark_if_only_sealed(keys, TOPIC, [b.log]))
    assert not b.run(mark_if_only_sealed(keys, TOPIC, [])), "nothing is known of no partitions"
    keys.unsealed.clear()
    b.log.take_offline("the test says so")
    survey(b, keys)
    assert not keys.marked, "nobody can look at it"


def test_not_while_segments_are_exchanged(keys: ReencryptionTestKeys, reopened: Callable[[], Broker]) -> None:
    b = reopened()
    b.open(0).usable().replacing = True
    survey(b, keys)
    assert not keys.marked
    b.log.usable().replacing = False
    survey(b, keys)
    assert keys.marked


def test_a_commit_round_that_began_before_is_not_enough(
    keys: ReencryptionTestKeys, reopened: Callable[[], Broker]
) -> None:
    """A plain file that was taken back must not be there again after a crash."""
    b, states = reopened(), []
    log, other = b.open(0), b.open(1)
    assert len(b.read_all(log)) == len(b.read_all(other)) == 4, "nothing has to be learned from the disk"
    b.append(batch_of(b"4"), other)
    while not b.directory.committer.running:
        b.threads.step()
    loaded = log.usable()
    loaded.directory_dirty = True

    async def mark(topic_id: UUID) -> bool:
        states.append((loaded.directory_dirty, loaded.syncing))
        return False

    keys.mark_only_sealed = mark  # type: ignore[method-assign]
    b.run(mark_if_only_sealed(keys, TOPIC, [log]))
    assert states == [(False, False)]


def test_nothing_plain_is_begun_from_the_look_to_the_mark(
    keys: ReencryptionTestKeys, reopened: Callable[[], Broker]
) -> None:
    b, allowed = reopened(), []
    log = b.open(0)

    async def mark(topic_id: UUID) -> bool:
        allowed.append(keys.may_begin_plain(topic_id))
        log.update_config(PLAIN)
        with pytest.raises(StorageFailed):
            b.append(batch_of(b"plain"), log)
        return False

    keys.mark_only_sealed = mark  # type: ignore[method-assign]
    assert not b.run(mark_if_only_sealed(keys, TOPIC, [log]))
    assert allowed == [False] and keys.may_begin_plain(TOPIC)


def test_a_plain_segment_that_retention_deleted_is_none_any_more(keys: ReencryptionTestKeys) -> None:
    with broker(config=replace(PLAIN, retention_ms=1_000_000), keys=keys) as b:
        b.commit(batch_of(b"plain"))
        b.log.update_config(replace(SEALED, retention_ms=1))
        b.commit(batch_of(b"sealed", timestamp=b.clock.ms + 100_000))
        survey(b, keys)
        assert not keys.marked
        b.clock.ms += 50_000
        b.run(b.log.delete_expired(b.clock.ms))
        survey(b, keys)
        assert keys.marked and len(b.read_all()) == 1
        files = b.stop(clean=False)
    with broker(files, config=SEALED, keys=keys) as b:
        assert len(b.read_all()) == 1


def test_a_mark_that_cannot_be_stored_is_tried_again(
    keys: ReencryptionTestKeys, reopened: Callable[[], Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    b = reopened()
    b.open(0)

    async def full(_topic: object) -> bool:
        raise StorageFailed("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(keys, "mark_only_sealed", full)
        survey(b, keys)
        assert not keys.marked and not keys.held_back
    survey(b, keys)
    assert keys.marked


def test_it_looks_now_and_then(keys: ReencryptionTestKeys, reopened: Callable[[], Broker]) -> None:
    b, pauses = reopened(), []
    b.open(0)

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        b.run(SealedSurvey(lambda: b.directory, keys, pause).run())
    assert pauses == [LOOK_SECONDS] * 2 and keys.marked


@pytest.mark.parametrize("sealed", [True, False])
def test_a_re_encryption_marks_before_it_is_finished(keys: ReencryptionTestKeys, sealed: bool) -> None:
    """Not while the topic may have plain ones again."""
    with broker(config=PLAIN, keys=keys) as b:
        if sealed:
            b.commit(batch_of(b"plain"))
        b.log.update_config(SEALED)
        b.commit(batch_of(b"sealed"))
        keys.renew(TOPIC)
        if not sealed:
            b.log.update_config(PLAIN)
        task = reencryption(b, keys, Copying(b.files))
        b.run(task.request(TOPIC))
        finished: list[bool] = []

        async def cross_off(topic_id: UUID, asked: bool) -> None:
            assert not asked
            finished.append(keys.only_sealed(topic_id))
            keys.asked.discard(topic_id)

        keys.set_rewriting = cross_off  # type: ignore[method-assign]
        keys.unsealed.add(TOPIC)
        b.run(task.run_round())
        assert finished == [False] * (not sealed), "the key store is asked in vain as yet"
        keys.unsealed.clear()
        b.run(task.run_round())
        assert finished == [sealed]
        assert len(b.read_all()) == 1 + sealed


class Copying:
    """The job of the worker process, here."""

    def __init__(self, files: CrashFiles) -> None:
        self._files = files

    async def run(self, name: str, *args: Any) -> Any:
        source, position, target, written, size = args
        return copy_part(self._files, Source(*source), position, Target(*target), written, size)


def reencryption(b: Broker, keys: ReencryptionTestKeys, workers: Workers) -> Reencryptor:
    return Reencryptor(
        logs=lambda: b.directory,
        keys=keys,
        claims=set(),
        workers=workers,
        clock=b.clock,
        bytes_per_second=1 << 30,
    )


# -- refusing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize(("path", "base"), [(FIRST, 0), (SECOND, 2)])
@pytest.mark.parametrize("clean", [True, False])
def test_a_plain_segment_in_place_of_a_sealed_one(
    keys: ReencryptionTestKeys,
    disk: CrashFiles,
    reopened: Callable[[], Broker],
    caplog: pytest.LogCaptureFixture,
    marked: bool,
    path: str,
    base: int,
    clean: bool,
) -> None:
    """Without the mark it is believed, which is the control."""
    if marked:
        keys.marked.add(TOPIC)
    if not clean:
        b = reopened()
        b.open(0), b.open(1)
        disk = b.stop(clean=False)
    put_forged(disk, path, base)
    b = reopened()
    if not marked:
        read = b.run(b.log.read_cold(base, 1 << 20, base + 2, at_least_one=True))
        assert FORGED in b"".join(map(bytes, read.buffers))
        return
    with pytest.raises(StorageFailed):
        for offset in (0, 2):
            b.run(b.log.read_cold(offset, 1 << 20, offset + 2, at_least_one=True))
    assert not b.log.online
    name = path.rpartition("/")[2]
    said = [one.getMessage() for one in caplog.records if "is offline" in one.getMessage()]
    assert len(said) == 1 and f"{path}, position 0: {name} is not sealed" in said[0]
    assert len(b.read_all(b.open(1))) == 4, "others go on"


def test_while_it_runs(keys: ReencryptionTestKeys, disk: CrashFiles, reopened: Callable[[], Broker]) -> None:
    """The mark is made after the segments were opened."""
    b = reopened()
    first = b.open(0).usable().segments[0]
    b.open(1)
    survey(b, keys)
    b.log.host.cache.drop(first.data)
    put_forged(disk, FIRST, 0)
    first.sealed = UNREAD  # as of a partition so large that its beginning was not looked at yet
    with pytest.raises(StorageFailed):
        b.run(b.log.read_cold(0, 1 << 20, 4, at_least_one=True))
    assert not b.log.online


def test_what_was_believed_while_the_mark_was_made(
    keys: ReencryptionTestKeys, reopened: Callable[[], Broker]
) -> None:
    b = reopened()
    log = b.open(0)
    segment = log.usable().segments[0]

    async def mark(topic_id: object) -> bool:
        segment.sealed = None  # as a reader finds it that looks at what was put there meanwhile
        return True

    keys.mark_only_sealed = mark  # type: ignore[method-assign]
    assert b.run(mark_if_only_sealed(keys, TOPIC, [log]))
    assert not log.online and "is not sealed" in (log.offline_reason or "")


def test_a_first_page_that_a_crash_took_is_cut_and_not_refused(keys: ReencryptionTestKeys) -> None:
    """Behind the recovery point: nothing in it was durable, and nothing plain is believed."""
    keys.marked.add(TOPIC)
    with broker(config=SEALED, keys=keys) as b:
        b.commit(batch_of(b"kept"))
        files = b.stop()
    with broker(files, config=SEALED, keys=keys) as b:
        b.log.roll(b.clock.ms)
        b.commit(batch_of(b"torn"))
        files = b.stop(clean=False)
    path = segment_path(DIRECTORY, 1)
    torn = files.content(path)
    files.put(path, bytes(128) + torn[128:])
    with broker(files, config=SEALED, keys=keys) as b:
        assert b.log.online and len(b.read_all()) == 1
        assert not b.log.plaintext_history, "it was sealed: no plain one was begun"
        b.commit(batch_of(b"next"))
        assert len(b.read_all()) == 2


def test_a_plain_tail_is_refused_and_not_cut(keys: ReencryptionTestKeys) -> None:
    keys.marked.add(TOPIC)
    with broker(config=SEALED, keys=keys) as b:
        b.commit(batch_of(b"kept"))
        files = b.stop(clean=False)
    put_forged(files, FIRST, 0)
    before = files.content(FIRST)
    with broker(files, config=SEALED, keys=keys) as b:
        assert not b.log.online and files.content(FIRST) == before


def test_listings_find_it_too(
    keys: ReencryptionTestKeys, disk: CrashFiles, reopened: Callable[[], Broker]
) -> None:
    keys.marked.add(TOPIC)
    put_forged(disk, FIRST, 0)
    b = reopened()
    with pytest.raises(StorageFailed):
        b.log.segments_view()
    assert not b.log.online


def test_epochs_are_not_taken_from_it(
    keys: ReencryptionTestKeys, disk: CrashFiles, reopened: Callable[[], Broker]
) -> None:
    """Their file may be gone as well."""
    keys.marked.add(TOPIC)
    b = reopened()
    b.log.usable().epochs.assign(7, 4)
    b.log.leader_epoch = 7
    b.commit(batch_of(b"4"))
    disk = b.stop()
    active = sorted(name for name in disk.list(DIRECTORY) if name.endswith(".log"))[-1]
    put_forged(disk, f"{DIRECTORY}/{active}", 2)
    if "leader-epochs" in disk.list(DIRECTORY):
        disk.remove(f"{DIRECTORY}/leader-epochs")
    b = reopened()
    with pytest.raises(StorageFailed):
        b.read_all()
    assert not b.log.online


# -- nothing plain is begun ----------------------------------------------------------------------------------


def test_no_plain_segment_is_begun_while_there_is_a_mark(
    keys: ReencryptionTestKeys, reopened: Callable[[], Broker]
) -> None:
    keys.marked.add(TOPIC)
    b = reopened()
    b.open(0).update_config(PLAIN)
    names = b.files.list(DIRECTORY)
    with pytest.raises(StorageFailed, match="does not say yet"):
        b.append(batch_of(b"plain"))
    assert b.files.list(DIRECTORY) == names and b.log.online
    keys.marked.clear()
    b.commit(batch_of(b"plain"))
    assert len(b.read_all()) == 5


def rewritten(b: Broker) -> PreparedSegment:
    """A plain segment that would take the place of the first one."""
    b.open(0).usable()
    content, path = forged(300, 0), cleaned_path(DIRECTORY, 0, "ab")
    file = b.files.open(path, "new")
    file.write((content,), 0)
    file.sync()
    return PreparedSegment(0, 2, len(content), -1, path)


def test_a_plain_rewrite_is_not_put_in_place(
    keys: ReencryptionTestKeys, reopened: Callable[[], Broker]
) -> None:
    keys.marked.add(TOPIC)
    b = reopened()
    prepared = rewritten(b)
    assert not b.run(b.log.replace_segments([0], prepared))
    assert len(b.read_all()) == 4
    keys.marked.clear()
    assert b.run(b.log.replace_segments([0], prepared)), "the control"


def test_what_takes_its_place_while_it_is_sealed_is_refused_when_it_is_not(
    keys: ReencryptionTestKeys, reopened: Callable[[], Broker]
) -> None:
    keys.marked.add(TOPIC)
    b = reopened()
    prepared = rewritten(b)
    assert b.run(b.log.replace_segments([0], replace(prepared, sealed=True)))
    with pytest.raises(StorageFailed):
        b.read_all()
    assert not b.log.online


def test_a_rewrite_does_not_seal_what_was_forged(
    keys: ReencryptionTestKeys, disk: CrashFiles, reopened: Callable[[], Broker]
) -> None:
    put_forged(disk, FIRST, 0)
    b = reopened()
    view = b.open(0).usable().segments[0]
    closed = [ClosedSegment(0, 2, FIRST, view.end_position)]
    [source] = source_fields(disk, keys, TOPIC, 0, closed)
    assert source[4] is None, "the control: plain, and to be read as such"
    task = reencryption(b, keys, NoWorkers())
    assert b.run(task.request(TOPIC)).left_bytes, "the control: it would be sealed"
    keys.marked.add(TOPIC)
    with pytest.raises(CorruptMessage, match="is not sealed"):
        source_fields(disk, keys, TOPIC, 0, closed)
    b.run(task.run_round())
    progress = task.progress(TOPIC)
    assert progress is not None and "is not sealed" in progress.problem and not progress.finished
    assert keys.asked == {TOPIC}


class NoWorkers:
    """Whoever asks for a job has believed what was forged."""

    async def run(self, name: str, *args: Any) -> Any:
        raise AssertionError(name)
