"""`rivven log verify` and `rivven log dump`, as functions."""

from __future__ import annotations

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.log.dump import BatchDamaged, dump_segment
from rivven.log.identity import DirectoryLocked
from rivven.log.sealing import parse_frame
from rivven.log.verify import verify
from rivven.testing.files import CrashFiles
from rivven.testing.segment_keys import StaticSegmentKeys
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


@pytest.fixture
def sealed() -> CrashFiles:
    """Ten sealed batches in several segments, after a clean stop."""
    config = TopicConfig(segment_bytes=800, index_interval_bytes=0, encryption_enabled=True)
    with broker(config=config, keys=StaticSegmentKeys()) as b:
        for number in range(10):
            b.commit(batch_of(b"%d" % number * 30, b"second", producer_id=1, sequence=2 * number))
        return b.stop()


def test_sealed_segments_are_verified_without_keys(sealed: CrashFiles) -> None:
    report = verify(sealed, ROOT)
    assert report.findings == []
    assert (report.batches, report.records) == (10, 20)
    assert report.sealed_segments == report.segments > 2


@pytest.mark.parametrize("path", [ROOT, DIRECTORY, SEGMENT])
def test_every_flipped_bit_of_a_sealed_segment_is_damage(sealed: CrashFiles, path: str) -> None:
    content = sealed.content(SEGMENT)
    size = parse_frame(content, 128)[1]
    for position in range(4, 128 + size):
        damaged = bytearray(content)
        damaged[position] ^= 1
        sealed.put(SEGMENT, bytes(damaged))
        report = verify(sealed, path)
        assert report.damaged
        found = report.findings[0]
        assert (found.path, found.position) == (SEGMENT, 0 if position < 128 else 128)


def test_a_segment_in_the_directory_of_another_partition_is_damage(sealed: CrashFiles) -> None:
    other = DIRECTORY.removesuffix("-0") + "-1"
    sealed.make_directory(other)
    sealed.put(SEGMENT.replace(DIRECTORY, other), sealed.content(SEGMENT))
    report = verify(sealed, ROOT)
    assert any("was sealed for partition" in finding.reason for finding in report.findings)


def test_a_dump_of_a_sealed_segment_shows_headers_and_no_records(sealed: CrashFiles) -> None:
    batches = list(dump_segment(sealed, SEGMENT, records=True))
    assert len(batches) >= 2
    assert batches[0].position == 128
    for number, batch in enumerate(batches):
        assert batch.sealed and batch.crc_matches and batch.records == ()
        assert batch.unreadable == "they are sealed"
        assert (batch.header.base_offset, batch.header.producer_id) == (2 * number, 1)
    content = bytearray(sealed.content(SEGMENT))
    content[200] ^= 1
    sealed.put(SEGMENT, bytes(content))
    assert [batch.crc_matches for batch in dump_segment(sealed, SEGMENT)] == [
        False,
        *[True] * (len(batches) - 1),
    ]
    sealed.put(SEGMENT, bytes(content[:50]))
    with pytest.raises(BatchDamaged, match="cut short"):
        list(dump_segment(sealed, SEGMENT))
