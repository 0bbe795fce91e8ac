"""Whatever is in a segment's file: readers give what was written or say that it is damaged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rivven.config.topic_settings import TopicConfig
from rivven.errors import RivvenError
from rivven.log.dump import dump_segment
from rivven.log.reading import Wanted
from rivven.log.scanning import BatchDamaged
from rivven.log.sealed_reading import read_frames
from rivven.log.sealing import (
    FRAME_MAGIC,
    SEGMENT_HEADER_BYTES,
    SEGMENT_MAGIC,
    Seal,
    parse_segment_header,
    seal_batch,
)
from rivven.log.verify import verify
from rivven.records.batch import CorruptBatch, patch_offset_and_epoch
from rivven.testing.files import CrashFiles
from rivven.testing.segment_keys import StaticSegmentKeys
from tests.unit.log.harness import DIRECTORY, ROOT, TOPIC, batch_of, broker

KEYS = StaticSegmentKeys(21)
SEAL = Seal(*KEYS.create(TOPIC, 0))
SEGMENT = f"{DIRECTORY}/{0:020d}.log"
SEALED = TopicConfig(encryption_enabled=True)


def _written() -> tuple[bytes, list[bytes]]:
    content, batches = bytearray(SEAL.header.encode()), []
    for offset in range(4):
        batch = batch_of(b"%d" % offset * 60)
        patch_offset_and_epoch(batch, offset, 0)
        batches.append(bytes(batch))
        content += seal_batch(SEAL.sealer, SEAL.header, len(content), batch)
    return bytes(content), batches


CONTENT, BATCHES = _written()
Edits = list[tuple[int, bytes]]
edits = st.lists(
    st.tuples(
        st.integers(0, len(CONTENT) - 1),
        st.one_of(
            st.binary(min_size=1, max_size=9), st.sampled_from((SEGMENT_MAGIC, FRAME_MAGIC, bytes(40)))
        ),
    ),
    max_size=4,
)


def damaged(changes: Edits, length: int) -> bytes:
    content = bytearray(CONTENT)
    for at, replacement in changes:
        content[at : at + len(replacement)] = replacement
    return bytes(content[:length])


@given(edits, st.integers(0, len(CONTENT)))
def test_a_damaged_segment_gives_what_was_written_or_nothing(changes: Edits, length: int) -> None:
    content = damaged(changes, length)
    files = CrashFiles()
    for directory in (ROOT, f"{ROOT}/partitions", DIRECTORY):
        files.make_directory(directory)
    files.put(SEGMENT, content)
    with broker(files, config=SEALED, keys=KEYS) as b:
        if not b.log.online:
            return
        try:
            found = b.read_all()
        except RivvenError:
            assert not b.log.online
            return
        assert found == BATCHES[: len(found)]
        b.commit(batch_of(b"goes on"))
        assert len(b.read_all()) == len(found) + 1
        files = b.stop()
    assert not verify(files, ROOT).damaged


@given(edits, st.integers(0, len(CONTENT)), st.integers(0, 5), st.integers(0, 1000))
def test_reading_ends_in_batches_or_in_damage(changes: Edits, length: int, offset: int, limit: int) -> None:
    content = memoryview(damaged(changes, length))

    def read(size: int, position: int) -> memoryview:
        return content[position : position + size]

    wanted = Wanted(offset, limit, 4, True)
    try:
        found = read_frames(
            read, SEGMENT_HEADER_BYTES, len(content), wanted, 1 << 20, 100, SEAL, passed_max=1 << 20
        )
    except BatchDamaged:
        return
    if found is not None and found.result is not None:
        data = b"".join(found.result.buffers)
        assert data in {b"".join(BATCHES[i:j]) for i in range(5) for j in range(i, 5)}


@given(st.binary(max_size=300))
def test_any_bytes_are_a_header_a_plain_segment_or_damage(content: bytes) -> None:
    for candidate in (content, SEGMENT_MAGIC + content):
        try:
            assert parse_segment_header(candidate) is None
        except CorruptBatch:
            assert candidate[:4] == SEGMENT_MAGIC


@given(edits, st.integers(0, len(CONTENT)))
def test_the_offline_tools_report(changes: Edits, length: int) -> None:
    files = CrashFiles()
    for directory in (ROOT, f"{ROOT}/partitions", DIRECTORY):
        files.make_directory(directory)
    content = damaged(changes, length)
    files.put(SEGMENT, content)
    report = verify(files, SEGMENT)
    whole = content == CONTENT[: len(content)]
    assert report.damaged or whole or not content
    try:
        dumped = list(dump_segment(files, SEGMENT, records=True))
    except BatchDamaged:
        return
    assert all(batch.crc_matches for batch in dumped) or report.damaged
