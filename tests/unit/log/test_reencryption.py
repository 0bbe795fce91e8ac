"""Re-encryption of a live log: what is rewritten, what is left alone, what failures do."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from crc32c import crc32c

from rivven.config.topic_settings import TopicConfig
from rivven.errors import StorageFailed
from rivven.log import reencryption
from rivven.log.checkpoint import PartitionKey
from rivven.log.partition_log import PartitionLog
from rivven.log.reencryption import FAILURE_PAUSE_MS, FAILURE_PAUSE_MS_MAX, ROUND_SECONDS, Reencryptor
from rivven.log.reencryption_jobs import copy_part
from rivven.log.rewriting import Source, Target
from rivven.log.worker_jobs import WorkerLost
from rivven.testing.files import CrashFiles, Fault
from tests.unit.log.harness import DIRECTORY, TOPIC, Broker, batch_of, broker
from tests.unit.log.reencryption_keys import ReencryptionTestKeys as Keys

PLAIN = TopicConfig(segment_bytes=400, index_interval_bytes=0)
SEALED = replace(PLAIN, encryption_enabled=True)
SECRET = b"what nobody may read"


class Copying:
    """Runs the job here, on the files of the test. `fail_with` makes the next one fail."""

    def __init__(self, files: CrashFiles) -> None:
        self.files = files
        self.jobs = 0
        self.part_sizes: list[int] = []
        self.fail_with: Exception | None = None

    async def run(self, name: str, *args: Any) -> Any:
        assert name == "reencrypt_part"
        source, position, target, written, size = args
        self.jobs += 1
        self.part_sizes.append(size)
        if self.fail_with is not None:
            error, self.fail_with = self.fail_with, None
            raise error
        return copy_part(self.files, Source(*source), position, Target(*target), written, size)


class Site:
    """A broker with a log of several segments, and the task over it."""

    def __init__(self, b: Broker, keys: Keys, rate: int = 1 << 40) -> None:
        self.b, self.keys = b, keys
        self.claims: set[PartitionKey] = set()
        self.pauses: list[float] = []
        self.workers = Copying(b.files)
        self.logs: list[PartitionLog] = [b.log]
        self.task = Reencryptor(
            logs=lambda: [log for log in self.logs if not log.deleted],
            keys=keys,
            claims=self.claims,
            workers=self.workers,
            clock=b.clock,
            bytes_per_second=rate,
            pause=self._pause,
        )

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def fill(self, count: int = 12, log: PartitionLog | None = None) -> None:
        log = self.b.log if log is None else log
        for number in range(count):
            self.b.append(batch_of(SECRET + b"%d" % number * 30), log)
            self.b.settle()

    def reencrypt(self) -> None:
        """Ask, and one round."""
        self.b.run(self.task.request(TOPIC))
        self.b.run(self.task.run_round())

    def key_ids(self) -> list[bytes | None]:
        return [info.topic_key_id for info in self.b.log.segments_view() if info.stored_bytes]

    def segments(self) -> dict[str, bytes]:
        """Content of the segment files."""
        names = [name for name in self.b.files.list(DIRECTORY) if name.endswith(".log")]
        return {name: self.b.files.content(f"{DIRECTORY}/{name}") for name in names}

    def finished(self) -> bool:
        progress = self.task.progress(TOPIC)
        return progress is not None and progress.finished and not self.keys.asked


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def site(keys: Keys) -> Iterator[Site]:
    """Sealed segments under a first key, and a second key that is newest."""
    with broker(config=SEALED, keys=keys) as b:
        made = Site(b, keys)
        made.fill()
        keys.renew(TOPIC)
        yield made


def test_everything_goes_under_the_newest_key_and_reads_the_same(site: Site) -> None:
    (before,) = set(site.key_ids())
    batches = site.b.read_all()
    site.reencrypt()
    newest = site.keys.newest(TOPIC)
    assert len(site.key_ids()) > 3
    assert set(site.key_ids()) == {newest}
    assert site.b.read_all() == batches
    assert site.finished()
    assert site.keys.retired == [before]
    progress = site.task.progress(TOPIC)
    assert progress is not None
    assert (progress.left_bytes, progress.done_bytes, progress.problem) == (0, site.b.log.size_bytes, "")
    assert not [n for n in site.b.files.list(DIRECTORY) if n.endswith((".cleaned", ".swap"))]


def test_a_restart_afterwards_needs_only_the_newest_key(site: Site) -> None:
    site.reencrypt()
    batches = site.b.read_all()
    files = site.b.stop(clean=False)
    with broker(files=files, config=SEALED, keys=site.keys) as b:
        assert b.read_all() == batches
        b.commit(batch_of(b"more"))


def test_a_plain_topic_becomes_an_encrypted_one(keys: Keys) -> None:
    with broker(config=PLAIN, keys=keys) as b:
        site = Site(b, keys)
        site.fill()
        names = b.files.list(DIRECTORY)
        assert any(SECRET in b.files.content(f"{DIRECTORY}/{name}") for name in names), "the control"
        batches = b.read_all()
        b.log.update_config(SEALED)
        keys.renew(TOPIC)
        site.reencrypt()
        assert set(site.key_ids()) == {keys.newest(TOPIC)}
        assert b.read_all() == batches
        b.files.sync_all("/data")
        b.settle()
        for name in b.files.list(DIRECTORY):
            assert SECRET not in b.files.content(f"{DIRECTORY}/{name}"), name
        assert site.finished()
        assert b.log.plaintext_history, "what was once plain may still be on the medium"


def test_plain_segments_of_a_topic_that_is_not_encrypted_stay(keys: Keys) -> None:
    with broker(config=PLAIN, keys=keys) as b:
        site = Site(b, keys)
        site.fill()
        site.reencrypt()
        assert set(site.key_ids()) == {None}
        assert site.workers.jobs == 0
        assert site.finished()


def test_what_is_under_the_newest_key_is_not_written_again(site: Site) -> None:
    site.reencrypt()
    jobs = site.workers.jobs
    site.reencrypt()
    assert site.workers.jobs == jobs
    assert site.finished()


def test_an_empty_topic_is_finished_at_once(keys: Keys) -> None:
    with broker(config=SEALED, keys=keys) as b:
        site = Site(b, keys)
        site.reencrypt()
        assert site.finished()


def test_a_large_segment_is_copied_in_parts_at_the_pace_that_is_allowed(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reencryption, "PART_BYTES_MIN", 100)
    with broker(config=SEALED, keys=keys) as b:
        site = Site(b, keys, rate=500)
        site.fill()
        keys.renew(TOPIC)
        stored = b.log.size_bytes
        site.reencrypt()
        assert set(site.workers.part_sizes) == {500}
        assert sum(site.pauses) == pytest.approx(stored / 500, rel=0.01)
        assert site.finished()


def test_the_rest_is_done_by_the_next_process(site: Site) -> None:
    """Killed in the middle: what was asked for, and what is done, are remembered on the disk."""
    batches = site.b.read_all()
    site.b.run(site.task.request(TOPIC))
    task = site.b.loop.create_task(site.task.run_round())
    while site.workers.jobs < 2:
        site.b.loop.run_until_complete(asyncio.sleep(0))
        site.b.threads.step()
    task.cancel()
    files = site.b.stop(clean=False)
    with broker(files=files, config=SEALED, keys=site.keys) as b:
        assert b.read_all() == batches
        again = Site(b, site.keys)
        done = again.key_ids().count(site.keys.newest(TOPIC))
        assert 0 < done < len(again.key_ids())
        b.run(again.task.run_round())
        assert again.finished()
        assert set(again.key_ids()) == {site.keys.newest(TOPIC)}
        assert b.read_all() == batches
        assert again.workers.jobs == len(again.key_ids()) - done


def test_appends_and_reads_go_on_meanwhile(site: Site) -> None:
    site.b.run(site.task.request(TOPIC))
    task = site.b.loop.create_task(site.task.run_round())
    expected = site.b.read_all()
    number = 0
    while not task.done():
        site.b.loop.run_until_complete(asyncio.sleep(0))
        site.b.threads.step()
        if number < 40:
            number += 1
            site.b.commit(batch_of(b"meanwhile %d" % number))
    task.result()
    found = site.b.read_all()
    assert found[: len(expected)] == expected
    assert len(found) == len(expected) + number
    assert set(site.key_ids()) == {site.keys.newest(TOPIC)}


def test_a_load_without_gaps_does_not_keep_it_from_its_end(site: Site) -> None:
    """There is always something that is not durable yet."""
    site.b.run(site.task.request(TOPIC))
    task = site.b.loop.create_task(site.task.run_round())
    number = 0
    while not task.done():
        number += 1
        assert number < 3000, "it waits for a moment that never comes"
        for _ in range(4):  # each roll of these tiny segments is work for the threads too
            site.b.loop.run_until_complete(asyncio.sleep(0))
            site.b.threads.step()
        site.b.append(batch_of(b"%d" % number))
    task.result()
    site.b.settle()
    assert site.finished()


def test_damage_stops_the_partition_and_keeps_the_keys(site: Site) -> None:
    other = site.b.open(1)
    site.logs.append(other)
    site.fill(3, other)
    path = f"{DIRECTORY}/{0:020d}.log"
    content = bytearray(site.b.files.content(path))
    content[200] ^= 1
    site.b.files.put(path, bytes(content))
    site.reencrypt()
    progress = site.task.progress(TOPIC)
    assert progress is not None
    assert not progress.finished
    assert f"partition 0: {path} at position 128" in progress.problem
    assert progress.left_bytes
    assert site.keys.retired == []
    assert site.b.files.content(path) == content
    assert {info.topic_key_id for info in other.segments_view()} == {site.keys.newest(TOPIC)}
    jobs = site.workers.jobs
    site.b.clock.ms += 10 * FAILURE_PAUSE_MS
    site.b.run(site.task.run_round())
    assert site.workers.jobs == jobs, "not before the next start"


@pytest.mark.parametrize(
    "error", [WorkerLost("gone"), OSError(errno.ENOSPC, "No space left on device"), StorageFailed("no")]
)
def test_other_failures_are_tried_again_after_a_pause(site: Site, error: Exception) -> None:
    site.workers.fail_with = error
    site.reencrypt()
    progress = site.task.progress(TOPIC)
    assert progress is not None
    assert progress.problem
    assert not site.finished()
    assert not [n for n in site.b.files.list(DIRECTORY) if n.endswith(".cleaned")]
    assert site.task.totals.failures == 1
    site.b.clock.ms += FAILURE_PAUSE_MS - 1
    site.b.run(site.task.run_round())
    assert site.workers.jobs == 1
    site.b.clock.ms += 1
    site.b.run(site.task.run_round())
    assert site.finished()
    assert progress.problem == ""


def test_pauses_grow_to_a_bound(site: Site) -> None:
    site.b.run(site.task.request(TOPIC))
    tries = []
    for number in range(70):
        site.workers.fail_with = WorkerLost("gone")
        before = site.workers.jobs
        site.b.run(site.task.run_round())
        if site.workers.jobs > before:
            tries.append(number)
        site.b.clock.ms += FAILURE_PAUSE_MS
    assert tries == [0, 1, 3, 7, 15, 31, 47, 63]
    assert FAILURE_PAUSE_MS_MAX == 16 * FAILURE_PAUSE_MS
    site.workers.fail_with = None
    site.b.clock.ms += FAILURE_PAUSE_MS_MAX
    site.b.run(site.task.run_round())
    assert site.finished()


def test_a_new_request_does_not_wait_for_the_pause(site: Site) -> None:
    site.workers.fail_with = WorkerLost("gone")
    site.reencrypt()
    assert not site.finished()
    site.reencrypt()
    assert site.finished()


def test_without_its_keys_nothing_is_written_and_nothing_forgotten(site: Site) -> None:
    site.keys.available = False
    before = site.segments()
    site.reencrypt()
    assert not site.finished()
    assert {name: content for name, content in site.segments().items() if content} == before
    site.keys.available = True
    site.reencrypt()
    assert site.finished()


def test_a_partition_that_is_being_compacted_is_left_for_the_next_round(site: Site) -> None:
    site.claims.add(site.b.log.key)
    site.reencrypt()
    assert site.workers.jobs == 0
    assert not site.finished()
    site.claims.clear()
    site.b.run(site.task.run_round())
    assert site.finished()
    assert site.claims == set()


def test_keys_are_kept_while_a_partition_is_offline(site: Site) -> None:
    other = site.b.open(1)
    site.logs.append(other)
    site.fill(3, other)
    other.take_offline("for the test")
    site.reencrypt()
    progress = site.task.progress(TOPIC)
    assert progress is not None
    assert "partition 1 is offline" in progress.problem
    assert not site.finished()
    assert site.keys.retired == []


def test_a_key_that_only_a_closed_partition_names_is_kept(site: Site) -> None:
    """What is retired is decided by what lies on the disk, not by what happens to be open."""
    (old,) = set(site.key_ids())
    files = site.b.files
    directory = f"/data/partitions/{TOPIC}-7"
    files.make_directory(directory)
    header = files.content(f"{DIRECTORY}/{0:020d}.log")[:128]
    foreign = header[:28] + (7).to_bytes(4, "big") + header[32:124]
    files.put(f"{directory}/{0:020d}.log", foreign + crc32c(foreign).to_bytes(4, "big"))
    site.reencrypt()
    assert site.finished()
    assert site.keys.retired == []
    assert old in site.keys.older(TOPIC)


def test_a_topic_deleted_meanwhile_fails_nothing(site: Site) -> None:
    site.b.run(site.task.request(TOPIC))
    task = site.b.loop.create_task(site.task.run_round())
    while site.workers.jobs < 2:
        site.b.loop.run_until_complete(asyncio.sleep(0))
        site.b.threads.step()
    site.b.run(site.b.directory.delete_partition(TOPIC, 0))
    while not task.done():
        site.b.loop.run_until_complete(asyncio.sleep(0))
        site.b.threads.step()
    task.result()
    assert site.b.directory.online
    assert site.claims == set()


def test_a_wish_that_comes_while_the_last_one_is_crossed_off_is_kept(site: Site) -> None:
    site.b.run(site.task.request(TOPIC))
    task = site.b.loop.create_task(site.task.run_round())
    while not site.keys.retired:
        site.b.loop.run_until_complete(asyncio.sleep(0))
        site.b.threads.step()
        if task.done():
            break
    site.keys.renew(TOPIC)
    site.b.run(site.task.request(TOPIC))
    site.b.run(_done(task))
    site.b.run(site.task.run_round())
    assert site.finished()
    assert set(site.key_ids()) == {site.keys.newest(TOPIC)}


async def _done(task: asyncio.Task[None]) -> None:
    await task


def test_nothing_is_copied_onto_a_disk_that_is_nearly_full(site: Site) -> None:
    site.b.log.host.accepting = False
    site.reencrypt()
    progress = site.task.progress(TOPIC)
    assert progress is not None
    assert "nearly full" in progress.problem
    assert site.workers.jobs == 0


def test_a_failing_disk_leaves_the_old_segment(site: Site) -> None:
    batches = site.b.read_all()
    site.b.files.faults.append(Fault("write", path=".cleaned"))
    site.reencrypt()
    assert site.task.totals.failures == 1
    assert site.b.directory.online
    assert site.b.read_all() == batches
    assert not [n for n in site.b.files.list(DIRECTORY) if n.endswith(".cleaned")]


async def test_the_task_begins_when_it_is_asked() -> None:
    keys = Keys()
    made = Reencryptor(
        logs=list,
        keys=keys,
        claims=set(),
        workers=Copying(CrashFiles()),
        clock=_NoClock(),
        bytes_per_second=1,
    )
    rounds: asyncio.Queue[None] = asyncio.Queue()

    def rewriting() -> list[UUID]:
        rounds.put_nowait(None)
        return []

    keys.rewriting = rewriting  # type: ignore[method-assign]
    running = asyncio.create_task(made.run())
    await rounds.get()
    assert rounds.empty()
    await made.request(TOPIC)
    await asyncio.wait_for(rounds.get(), ROUND_SECONDS / 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class _NoClock:
    def now_ms(self) -> int:
        return 0

    def monotonic(self) -> float:
        return 0.0
