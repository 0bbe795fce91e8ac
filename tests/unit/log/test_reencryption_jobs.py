"""A segment copied part by part under another key."""

from __future__ import annotations

import random
from pathlib import Path
from uuid import UUID

import pytest

from rivven.errors import CorruptMessage, RivvenError
from rivven.log.reencryption_jobs import copy_part, reencrypt_part
from rivven.log.rewriting import SegmentWriter, Source, Target, read_batches, seal_for
from rivven.log.worker_jobs import find_job
from rivven.log.workers import WorkerPool
from rivven.records.batch import Record, build_batch
from rivven.testing.canary import leaks
from rivven.testing.files import CrashFiles
from rivven.testing.segment_keys import StaticSegmentKeys

TOPIC = UUID(int=7)


def batches(count: int) -> list[bytes]:
    random_ = random.Random(count)
    return [
        bytes(build_batch([Record(n, n, b"k", random_.randbytes(random_.randrange(2000)), [])]))
        for n in range(count)
    ]


def target_of(keys: StaticSegmentKeys, path: str) -> Target:
    header, _ = keys.create(TOPIC, 0)
    return Target(path, header.encode(), keys.export(header))


def source_of(files: CrashFiles, target: Target, content: list[bytes]) -> Source:
    writer = SegmentWriter(files.open(target.path, "new"), seal_for(target))
    for batch in content:
        writer.add(memoryview(batch))
    return Source(0, len(content), target.path, writer.finish(), target.key)


@pytest.fixture
def files() -> CrashFiles:
    made = CrashFiles()
    made.make_directory("/d")
    return made


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("size", [1, 3000, 1 << 20])
def test_parts_make_the_same_batches_under_another_key(files: CrashFiles, sealed: bool, size: int) -> None:
    keys, content = StaticSegmentKeys(), batches(30)
    source = source_of(files, target_of(keys, "/d/old") if sealed else Target("/d/old"), content)
    keys.renew(TOPIC)
    target = target_of(keys, "/d/new")
    position = written = parts = 0
    while position < source.size_bytes:
        before = position
        position, written = copy_part(files, source, position, target, written, size)
        assert before < position
        assert files.size("/d/new") == written
        parts += 1
    assert parts == 30 if size == 1 else parts <= 30
    new = Source(0, 30, "/d/new", written, target.key)
    assert [bytes(found.batch) for found in read_batches(files.open("/d/new", "read"), new)] == content
    with pytest.raises(CorruptMessage):
        list(read_batches(files.open("/d/new", "read"), Source(0, 30, "/d/new", written, bytes(32))))


def test_damage_stops_at_the_damaged_batch(files: CrashFiles) -> None:
    keys = StaticSegmentKeys()
    source = source_of(files, target_of(keys, "/d/old"), batches(3))
    stored = bytearray(files.content("/d/old"))
    stored[-1] ^= 1
    files.put("/d/old", bytes(stored))
    with pytest.raises(CorruptMessage, match="/d/old at position"):
        copy_part(files, source, 0, target_of(keys, "/d/new"), 0, 1 << 20)


def test_the_job_works_on_the_real_disk(tmp_path: Path) -> None:
    content = b"".join(batches(3))
    (tmp_path / "old").write_bytes(content)
    target = target_of(StaticSegmentKeys(), str(tmp_path / "new"))
    assert find_job("reencrypt_part") is reencrypt_part
    source = (0, 3, str(tmp_path / "old"), len(content), None)
    position, written = reencrypt_part(source, 0, (target.path, target.header, target.key), 0, 1 << 20)
    assert position == len(content)
    assert (tmp_path / "new").stat().st_size == written


async def test_no_failure_of_a_worker_shows_a_key(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Missing files, damage, a key of a length that nothing expects: what a worker and its pool say."""
    caplog.set_level("DEBUG")
    keys = [b"canary-data-key-of-the-source-32", b"canary-data-key-of-the-target-32"]
    header = StaticSegmentKeys().create(TOPIC, 0)[0].encode()
    (tmp_path / "sealed").write_bytes(header + b"no frame" * 30)
    said = []
    pool = WorkerPool()
    try:
        for path, target_key in (("missing", keys[1]), ("sealed", keys[1]), ("sealed", keys[1][:20])):
            source = (0, 9, str(tmp_path / path), 300, keys[0])
            target = (str(tmp_path / f"new-{len(said)}"), header, target_key)
            with pytest.raises((OSError, RivvenError)) as failed:
                await pool.run("reencrypt_part", source, 0, target, 0, 1000)
            said.append(str(failed.value))
    finally:
        await pool.close()
    out, err = capfd.readouterr()
    assert "AESGCM key must be" in said[2] + err, "the control: the unexpected failure is one of a key"
    outputs = {"errors": "\n".join(said), "stdout": out, "stderr": err, "log": caplog.text}
    assert leaks([*keys, keys[1][:20]], outputs) == []
