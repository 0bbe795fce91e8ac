"""Segments read and written as a worker does it: plain and sealed, damaged and moved."""

from __future__ import annotations

import random
from dataclasses import replace
from uuid import UUID

import pytest

from rivven.errors import CorruptMessage, StorageFailed
from rivven.log import rewriting
from rivven.log.rewriting import Source, Target, read_batches, seal_for
from rivven.log.sealing import (
    FRAME_OVERHEAD_BYTES,
    SEGMENT_HEADER_BYTES,
    WRAPPED_KEY_BYTES,
    KeyUnavailable,
    SegmentHeader,
)
from rivven.records.batch import Record, build_batch, parse_header
from rivven.testing.files import CrashFiles, Fault

KEY = bytes(range(32))
HEADER = SegmentHeader(1, UUID(int=7), 3, b"i" * 16, b"k" * 16, bytes(WRAPPED_KEY_BYTES))
SECRET = b"the marker that no disk shows"


@pytest.fixture
def files() -> CrashFiles:
    made = CrashFiles()
    made.make_directory("/d")
    return made


def batches(count: int, seed: int = 1, size_max: int = 300) -> list[bytes]:
    random_ = random.Random(seed)
    return [
        bytes(build_batch([Record(n, n, b"k", SECRET + random_.randbytes(random_.randrange(size_max)), [])]))
        for n in range(count)
    ]


def write(files: CrashFiles, content: list[bytes], header: SegmentHeader | None = HEADER) -> Source:
    """A segment file with these batches, sealed unless `header` is None."""
    target = Target("/d/s") if header is None else Target("/d/s", header.encode(), KEY)
    writer = rewriting.SegmentWriter(files.open("/d/s", "new"), seal_for(target))
    for batch in content:
        writer.add(memoryview(batch))
    return Source(0, len(content), "/d/s", writer.finish(), None if header is None else KEY)


def read(files: CrashFiles, source: Source, position: int = 0) -> list[bytes]:
    return [bytes(found.batch) for found in read_batches(files.open(source.path, "read"), source, position)]


@pytest.mark.parametrize("algorithm", [1, 2])
def test_what_is_sealed_comes_back_and_is_not_on_the_disk(files: CrashFiles, algorithm: int) -> None:
    content = batches(20)
    source = write(files, content, HEADER._replace(algorithm=algorithm))
    assert read(files, source) == content
    stored = files.content("/d/s")
    assert SECRET not in stored
    assert len(stored) == SEGMENT_HEADER_BYTES + sum(len(batch) + FRAME_OVERHEAD_BYTES for batch in content)


def test_a_segment_without_batches_is_an_empty_file(files: CrashFiles) -> None:
    assert read(files, write(files, [])) == []
    assert files.content("/d/s") == b""


def test_every_batch_tells_where_the_next_one_begins(files: CrashFiles) -> None:
    for header in (None, HEADER):
        content = batches(9)
        source = write(files, content, header)
        found = list(read_batches(files.open(source.path, "read"), source))
        for number, entry in enumerate(found):
            assert read(files, source, entry.next_position) == content[number + 1 :]
        files.remove("/d/s")


def test_a_writer_goes_on_where_another_one_ended(files: CrashFiles) -> None:
    content = batches(9)
    target = Target("/d/s", HEADER.encode(), KEY)
    position = 0
    for start in range(0, 9, 3):
        file = files.open("/d/s", "new" if position == 0 else "write")
        writer = rewriting.SegmentWriter(file, seal_for(target), position)
        for batch in content[start : start + 3]:
            writer.add(memoryview(batch))
        position = writer.finish()
    assert read(files, Source(0, 9, "/d/s", position, KEY)) == content


def test_small_windows_see_the_same(files: CrashFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    content = batches(40)
    source = write(files, content)
    for size in (77, 100, 333):
        monkeypatch.setattr(rewriting, "READ_BYTES", size)
        assert read(files, source) == content


def test_any_changed_byte_of_a_sealed_segment_is_damage_with_file_and_position(files: CrashFiles) -> None:
    content = batches(3, size_max=20)
    source = write(files, content)
    stored = files.content("/d/s")
    for at in range(4, len(stored)):  # the first four: a file that no longer says it is sealed, below
        changed = bytearray(stored)
        changed[at] ^= 0x10
        files.put("/d/s", bytes(changed))
        with pytest.raises(CorruptMessage, match=r"/d/s at position \d+: "):
            read(files, source)


def test_a_header_that_is_gone_is_damage_and_not_a_plain_segment(files: CrashFiles) -> None:
    source = write(files, batches(3))
    files.put("/d/s", bytes(4) + files.content("/d/s")[4:])
    with pytest.raises(CorruptMessage, match="header of a sealed segment is gone"):
        read(files, source)


def test_frames_that_were_moved_or_are_of_another_key_are_refused(files: CrashFiles) -> None:
    size = len(build_batch([Record(0, 0, b"k", b"v", [])])) + FRAME_OVERHEAD_BYTES
    content = [bytes(build_batch([Record(n, 0, b"k", b"v", [])])) for n in range(2)]
    source = write(files, content)
    stored = files.content("/d/s")
    head, one, two = stored[:128], stored[128 : 128 + size], stored[128 + size :]
    files.put("/d/s", head + two + one)
    with pytest.raises(CorruptMessage, match="position 128: sealed bytes do not open"):
        read(files, source)
    files.put("/d/s", HEADER._replace(incarnation=b"j" * 16).encode() + one + two)
    with pytest.raises(CorruptMessage, match="do not open"):
        read(files, source)
    files.put("/d/s", stored)
    with pytest.raises(CorruptMessage, match="do not open"):
        read(files, replace(source, key=bytes(32)))
    assert read(files, source) == content


def test_a_frame_whose_batch_does_not_fit_its_own_checksum_is_damage(files: CrashFiles) -> None:
    broken = bytearray(batches(1)[0])
    broken[-1] ^= 1
    source = write(files, [bytes(broken)])
    with pytest.raises(CorruptMessage, match="position 128: CRC-32C does not match"):
        read(files, source)


def test_a_sealed_segment_is_not_read_without_its_key(files: CrashFiles) -> None:
    source = replace(write(files, batches(1)), key=None)
    with pytest.raises(KeyUnavailable, match="/d/s is sealed"):
        read(files, source)


def test_a_segment_cut_anywhere_is_damage(files: CrashFiles) -> None:
    source = write(files, batches(2, size_max=20))
    stored = files.content("/d/s")
    boundary = SEGMENT_HEADER_BYTES + parse_header(stored, 128 + 16).size_bytes + FRAME_OVERHEAD_BYTES
    for cut in range(5, len(stored)):
        if cut in (SEGMENT_HEADER_BYTES, boundary):
            continue
        files.put("/d/s", stored[:cut])
        with pytest.raises(CorruptMessage):
            read(files, replace(source, size_bytes=cut))


def test_nothing_is_written_that_an_index_could_not_point_behind(
    files: CrashFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewriting, "POSITION_MAX", 1000)
    with pytest.raises(StorageFailed, match="too large"):
        write(files, batches(20))


def test_short_writes_are_continued(files: CrashFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "WRITE_BUFFERS", 3)
    files.faults = [Fault("write", error=0, path="/d/s", written=n, times=1) for n in (0, 5, 200)]
    content = batches(10)
    source = write(files, content)
    assert read(files, source) == content
    assert files.faults == []


def test_keys_are_not_shown() -> None:
    key = b"DATA-KEY-CANARY-1234567890123456"
    shown = f"{Source(0, 1, '/d/s', 5, key)!r} {Target('/d/s', b'', key)!r}"
    assert "CANARY" not in shown
