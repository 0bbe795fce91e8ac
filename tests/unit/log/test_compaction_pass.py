"""A pass over real segment bytes: mapping in bounded steps, merging, damage, writing."""

from __future__ import annotations

import errno
import random
from dataclasses import replace

import pytest

from rivven.errors import CorruptMessage
from rivven.log import compaction_pass, rewriting
from rivven.log.compaction_map import ENTRY_BYTES
from rivven.log.compaction_pass import CompactionPass, PassSettings
from rivven.log.rewriting import Source, Target, read_batches
from rivven.records.batch import Record, build_batch, iterate_batches, parse_header, read_records, seal_batch
from rivven.testing.files import CrashFiles, Fault

OUT = Target("/d/out")


def disk(*segments: bytes) -> tuple[CrashFiles, list[Source]]:
    files = CrashFiles()
    files.make_directory("/d")
    found = []
    for content in segments:
        headers = [header for _, header in iterate_batches(content)]
        base, end = headers[0].base_offset, headers[-1].last_offset + 1
        path = f"/d/{base:020d}.log"
        files.put(path, content)
        found.append(Source(base, end, path, len(content)))
    return files, found


def batch(base: int, *keys: bytes, value: bytes | None = b"v", **fields: int) -> bytes:
    records = [Record(base + i, 100 + base + i, key, value, []) for i, key in enumerate(keys)]
    return bytes(build_batch(records, **fields))  # type: ignore[arg-type]


def settings(slots: int = 1000, **producers: int) -> PassSettings:
    by_id = {int(name[1:]): offset for name, offset in producers.items()}
    return PassSettings(50_000, 1000, slots * ENTRY_BYTES, by_id, b"secret")


def keys_in(files: CrashFiles, path: str) -> list[tuple[bytes | None, int]]:
    content = files.content(path)
    return [(r.key, r.offset) for pos, h in iterate_batches(content) for r in read_records(content, pos, h)]


def test_a_group_becomes_one_segment_of_latest_records() -> None:
    files, segments = disk(batch(0, b"a", b"b"), batch(2, b"a", b"c"), batch(4, b"b"))
    work = CompactionPass(files, settings())
    assert work.map_keys(segments, 0, 5) == (5, 3, 0)
    result = work.rewrite(segments, OUT)
    assert keys_in(files, "/d/out") == [(b"a", 2), (b"c", 3), (b"b", 4)]
    assert result == (True, len(files.content("/d/out")), 104, 2, 0)
    work.close()


def test_an_unchanged_segment_leaves_no_file() -> None:
    files, segments = disk(batch(0, b"a", b"b"))
    work = CompactionPass(files, settings())
    work.map_keys(segments, 0, 2)
    assert not work.rewrite(segments, OUT).changed
    assert not files.exists("/d/out")


def test_everything_may_go() -> None:
    files, segments = disk(batch(0, b"a"), batch(1, b"a"))
    work = CompactionPass(files, settings())
    work.map_keys(segments, 0, 2)
    assert work.rewrite(segments[:1], OUT) == (True, 0, -1, 1, 0)
    assert files.content("/d/out") == b""


def test_the_last_batch_of_a_producer_stays_as_an_empty_one() -> None:
    files, segments = disk(
        batch(0, b"a", producer_id=7, producer_epoch=0, base_sequence=0)
        + batch(1, b"a", producer_id=7, producer_epoch=0, base_sequence=1)
        + batch(2, b"a")
    )
    work = CompactionPass(files, settings(p7=1))
    work.map_keys(segments, 0, 3)
    work.rewrite(segments, OUT)
    headers = [header for _, header in iterate_batches(files.content("/d/out"))]
    assert [(h.base_offset, h.record_count, h.base_sequence) for h in headers] == [(1, 0, 1), (2, 1, -1)]


def test_a_small_map_takes_several_passes_and_always_moves_on() -> None:
    """One batch with more keys than the map holds: each pass must end further than the one before."""
    keys = [b"%d" % (n % 60) for n in range(300)]
    files, segments = disk(b"".join(batch(n, *keys[n : n + 100]) for n in range(0, 300, 100)))
    first, passes = 0, 0
    while first < 300:
        work = CompactionPass(files, settings(slots=16))
        mapped = work.map_keys(segments, first, 300)
        assert first < mapped.end_offset <= 300
        assert mapped.keys <= 11
        first = mapped.end_offset
        passes += 1
        if work.rewrite(segments, OUT).changed:
            files.rename("/d/out", segments[0].path)
            segments = [replace(segments[0], size_bytes=files.size(segments[0].path))]
    assert keys_in(files, segments[0].path) == [(b"%d" % n, 240 + n) for n in range(60)]
    assert 5 < passes < 40


def test_clean_offsets_are_not_mapped_again() -> None:
    files, segments = disk(batch(0, b"a", b"b", b"c"), batch(3, b"d"))
    work = CompactionPass(files, settings())
    assert work.map_keys(segments, 2, 4) == (4, 2, 0)


def test_batches_of_many_records_are_walked_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction_pass, "SPANS_HELD_MAX", 2)
    broken = bytearray(batch(3, b"x", b"y", b"z"))
    broken = seal_batch(parse_header(broken), broken[61:-1] + b"\x7f")
    files, segments = disk(batch(0, b"a", b"b", b"a") + broken + batch(6, b"b"))
    work = CompactionPass(files, settings())
    assert work.map_keys(segments, 0, 7) == (7, 2, 1)
    work.rewrite(segments, OUT)
    content = files.content("/d/out")
    assert bytes(broken) in content
    assert [r.offset for r in read_records(content, 0, parse_header(content))] == [2]


def test_unreadable_batches_of_the_dirty_part_are_counted_and_kept() -> None:
    broken = bytes(seal_batch(parse_header(batch(1, b"k")), b"\xff" * 30))
    files, segments = disk(batch(0, b"a") + broken + batch(2, b"a"))
    work = CompactionPass(files, settings())
    assert work.map_keys(segments, 0, 3) == (3, 1, 1)
    work.rewrite(segments, OUT)
    assert files.content("/d/out") == broken + batch(2, b"a")
    assert work.map_keys(segments, 2, 3).unreadable_batches == 0


@pytest.mark.parametrize(
    ("position", "reason"),
    [(70, "CRC"), (16, "magic"), (8, "impossible"), (11, "cut short")],
)
def test_damage_is_named_by_file_and_position_and_leaves_no_file(position: int, reason: str) -> None:
    good = batch(0, b"a")
    files, segments = disk(good + batch(1, b"a" * 30))
    content = bytearray(files.content(segments[0].path))
    content[len(good) + position] ^= 0x80
    files.put(segments[0].path, bytes(content))
    work = CompactionPass(files, settings())
    with pytest.raises(CorruptMessage, match=f"{segments[0].path} at position {len(good)}: .*{reason}"):
        work.map_keys(segments, 0, 2)
    with pytest.raises(CorruptMessage):
        work.rewrite(segments, OUT)
    assert not files.exists("/d/out")


def test_a_segment_cut_inside_a_header_is_damage() -> None:
    files, segments = disk(batch(0, b"a") + batch(1, b"a"))
    cut = replace(segments[0], size_bytes=len(batch(0, b"a")) + 20)
    with pytest.raises(CorruptMessage, match="fewer bytes"):
        list(read_batches(files.open(cut.path, "read"), cut))


def test_reading_in_small_windows_sees_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    random_ = random.Random(4)
    content = b""
    base = 0
    for _ in range(40):
        keys = [random_.randbytes(random_.randrange(40)) for _ in range(random_.randrange(1, 5))]
        content += batch(base, *keys)
        base += len(keys)
    files, segments = disk(content)
    file = files.open(segments[0].path, "read")
    whole = [(bytes(b), h) for b, h, _ in read_batches(file, segments[0])]
    for size in (61, 100, 333):
        monkeypatch.setattr(rewriting, "READ_BYTES", size)
        assert [(bytes(b), h) for b, h, _ in read_batches(file, segments[0])] == whole


def test_short_writes_are_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "WRITE_BUFFERS", 3)
    files, segments = disk(b"".join(batch(n, b"%d" % n) for n in range(10)) + batch(10, b"0"))
    files.faults = [Fault("write", error=0, path="out", written=n, times=1) for n in (0, 5, 200)]
    work = CompactionPass(files, settings())
    work.map_keys(segments, 0, 11)
    result = work.rewrite(segments, OUT)
    assert [offset for _, offset in keys_in(files, "/d/out")] == list(range(1, 11))
    assert result.size_bytes == files.size("/d/out")
    assert files.faults == []


@pytest.mark.parametrize("operation", ["write", "sync", "read"])
def test_a_failing_disk_ends_the_pass_and_leaves_no_file(operation: str) -> None:
    files, segments = disk(batch(0, b"a") + batch(1, b"a"))
    work = CompactionPass(files, settings())
    work.map_keys(segments, 0, 2)
    files.faults = [Fault(operation)]
    with pytest.raises(OSError, match=r".") as caught:
        work.rewrite(segments, OUT)
    assert caught.value.errno == errno.EIO
    assert not files.exists("/d/out")
