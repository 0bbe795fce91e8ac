"""`rivven log verify` and `rivven log dump`, as functions."""

from __future__ import annotations

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.log.dump import BatchDamaged, dump_segment
from rivven.log.identity import DirectoryLocked
from rivven.log.verify import verify
from rivven.testing.files import CrashFiles
from tests.unit.log.harness import DIRECTORY, ROOT, batch_of, broker

SEGMENT = f"{DIRECTORY}/00000000000000000000.log"


@pytest.fixture
def files() -> CrashFiles:
    """Ten batches of two records in several segments, after a clean stop."""
    with broker(config=TopicConfig(segment_bytes=500, index_interval_bytes=0)) as b:
        for number in range(10):
            b.commit(batch_of(b"%d" % number * 30, b"second", producer_id=1, sequence=2 * number))
        return b.stop()


def test_a_good_directory_has_no_findings(files: CrashFiles) -> None:
    report = verify(files, ROOT)
    assert (report.partitions, report.batches, report.records) == (1, 10, 20)
    assert report.segments > 2 and report.size_bytes > 1000
    assert report.findings == [] and not report.damaged


@pytest.mark.parametrize("path", [ROOT, DIRECTORY, SEGMENT])
def test_every_flipped_bit_of_a_segment_is_damage_at_its_batch(files: CrashFiles, path: str) -> None:
    content = files.content(SEGMENT)
    size = len(content) // 4
    for position in range(size + 16, 2 * size):
        damaged = bytearray(content)
        damaged[position] ^= 1
        files.put(SEGMENT, bytes(damaged))
        report = verify(files, path)
        assert report.damaged
        assert (report.findings[0].path, report.findings[0].position) == (SEGMENT, size)


def test_a_wrong_index_is_a_finding_but_no_damage(files: CrashFiles) -> None:
    for suffix, at in (("index", 7), ("index", 3), ("timeindex", 7)):
        path = SEGMENT.replace(".log", f".{suffix}")
        content = files.content(path)
        damaged = bytearray(content)
        damaged[at] ^= 2
        files.put(path, bytes(damaged))
        report = verify(files, ROOT)
        assert report.findings and not report.damaged
        assert report.findings[0].path == path or "index" in report.findings[0].path
        files.put(path, content)


def test_offsets_that_go_back_are_damage(files: CrashFiles) -> None:
    content = bytearray(files.content(SEGMENT))
    size = len(content) // 4
    content[size : size + 8] = (0).to_bytes(8, "big")
    files.put(SEGMENT, bytes(content))
    report = verify(files, DIRECTORY)
    assert report.damaged and "offset 0 after 1" in report.findings[0].reason


def test_less_than_what_was_durable_is_damage(files: CrashFiles) -> None:
    last = max(name for name in files.list(DIRECTORY) if name.endswith(".log"))
    files.remove(f"{DIRECTORY}/{last}")
    report = verify(files, ROOT)
    assert report.damaged
    assert any("was durable" in finding.reason for finding in report.findings)


def test_damaged_small_files_are_reported(files: CrashFiles) -> None:
    snapshot = next(name for name in files.list(DIRECTORY) if name.endswith(".snapshot"))
    files.put(f"{DIRECTORY}/{snapshot}", b"x")
    files.put(f"{DIRECTORY}/leader-epochs", b"x")
    files.put(f"{ROOT}/log-checkpoint", b"x")
    found = {finding.path.rpartition("/")[2]: finding.damage for finding in verify(files, ROOT).findings}
    assert found == {snapshot: False, "leader-epochs": False, "log-checkpoint": True}


def test_a_directory_in_use_is_refused() -> None:
    with broker() as b:
        b.commit(batch_of(b"x"))
        with pytest.raises(DirectoryLocked):
            verify(b.files, ROOT)
        assert verify(b.files, DIRECTORY).batches == 1


def test_a_file_that_is_not_a_segment_is_refused(files: CrashFiles) -> None:
    files.put(f"{DIRECTORY}/x.log", b"")
    with pytest.raises(ValueError, match="not named like a segment"):
        verify(files, f"{DIRECTORY}/x.log")


def test_a_dump_shows_headers_and_records(files: CrashFiles) -> None:
    batches = list(dump_segment(files, SEGMENT, records=True))
    assert [batch.header.base_offset for batch in batches] == [0, 2, 4, 6]
    assert all(batch.crc_matches for batch in batches)
    assert [(record.offset, record.value) for record in batches[1].records] == [
        (2, b"1" * 30),
        (3, b"second"),
    ]
    assert next(dump_segment(files, SEGMENT)).records == ()


def test_a_dump_goes_on_after_a_wrong_crc_and_stops_where_no_batch_is(files: CrashFiles) -> None:
    content = bytearray(files.content(SEGMENT))
    content[80] ^= 1
    files.put(SEGMENT, bytes(content) + b"garbage")
    seen = []
    with pytest.raises(BatchDamaged) as stopped:
        for batch in dump_segment(files, SEGMENT, records=True):
            seen.append(batch.crc_matches)
    assert seen == [False, True, True, True]
    assert stopped.value.position == len(content)
