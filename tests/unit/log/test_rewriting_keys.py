"""The keys that go to a worker with a job: whose they are, and what happens without them."""

from __future__ import annotations

from uuid import UUID

import pytest

from rivven.errors import CorruptMessage
from rivven.log.compaction import ClosedSegment
from rivven.log.rewriting_keys import (
    key_ids_on_disk,
    plain_target,
    read_segment_header,
    sealed_target,
    source_fields,
)
from rivven.log.sealing import KeyUnavailable, SegmentHeader, parse_segment_header
from rivven.testing.files import CrashFiles
from rivven.testing.segment_keys import StaticSegmentKeys

TOPIC = UUID(int=7)


@pytest.fixture
def files() -> CrashFiles:
    made = CrashFiles()
    made.make_directory("/d")
    return made


def segment(files: CrashFiles, content: bytes) -> ClosedSegment:
    files.put("/d/s", content)
    return ClosedSegment(0, 5, "/d/s", len(content))


def header_of(keys: StaticSegmentKeys, topic_id: UUID = TOPIC, partition: int = 3) -> SegmentHeader:
    return keys.create(topic_id, partition)[0]


def test_a_plain_segment_needs_no_key(files: CrashFiles) -> None:
    plain = segment(files, b"\0" * 200)
    assert source_fields(files, None, TOPIC, 3, [plain]) == ((0, 5, "/d/s", 200, None),)
    assert read_segment_header(files, segment(files, b""), TOPIC, 3) is None
    assert plain_target("/d/t") == ("/d/t", None, None)


def test_a_sealed_segment_goes_with_its_data_key(files: CrashFiles) -> None:
    keys = StaticSegmentKeys()
    header = header_of(keys)
    sealed = segment(files, header.encode() + b"frames")
    assert source_fields(files, keys, TOPIC, 3, [sealed]) == ((0, 5, "/d/s", 134, keys.export(header)),)


def test_a_target_has_a_key_of_its_own() -> None:
    keys = StaticSegmentKeys()
    targets = [sealed_target(keys, TOPIC, 3, "/d/t") for _ in range(2)]
    assert targets[0][2] != targets[1][2]
    header = parse_segment_header(targets[0][1] or b"")
    assert header is not None
    assert (header.topic_id, header.partition, keys.export(header)) == (TOPIC, 3, targets[0][2])


def test_without_keys_nothing_sealed_is_touched(files: CrashFiles) -> None:
    sealed = segment(files, header_of(StaticSegmentKeys()).encode())
    with pytest.raises(KeyUnavailable, match=r"/d/s needs a key"):
        source_fields(files, None, TOPIC, 3, [sealed])
    with pytest.raises(KeyUnavailable, match=r"/d/t needs a key"):
        sealed_target(None, TOPIC, 3, "/d/t")


@pytest.mark.parametrize(("topic", "partition"), [(UUID(int=8), 3), (TOPIC, 4)])
def test_a_segment_of_another_partition_is_damage(files: CrashFiles, topic: UUID, partition: int) -> None:
    keys = StaticSegmentKeys()
    sealed = segment(files, header_of(keys, topic, partition).encode())
    with pytest.raises(CorruptMessage, match=f"belongs to partition {topic}-{partition}"):
        source_fields(files, keys, TOPIC, 3, [sealed])


def test_a_damaged_header_is_damage(files: CrashFiles) -> None:
    content = bytearray(header_of(StaticSegmentKeys()).encode())
    content[50] ^= 1
    with pytest.raises(CorruptMessage, match="/d/s at position 0: the CRC-32C"):
        read_segment_header(files, segment(files, bytes(content)), TOPIC, 3)


def test_a_data_key_that_does_not_open_is_damage(files: CrashFiles) -> None:
    keys = StaticSegmentKeys()
    header = header_of(keys)._replace(wrapped_key=bytes(60))
    with pytest.raises(CorruptMessage, match="/d/s at position 0: the data key"):
        source_fields(files, keys, TOPIC, 3, [segment(files, header.encode())])


def test_the_keys_that_files_of_a_topic_name_are_found_whatever_is_open(files: CrashFiles) -> None:
    keys, other = StaticSegmentKeys(), UUID(int=8)
    expected = set()
    for partition, name in (
        (0, "00000000000000000000.log"),
        (12, "00000000000000000000.00000000000000000009.swap"),
    ):
        expected.add(keys.renew(TOPIC))
        files.make_directory(f"/d/{TOPIC}-{partition}")
        files.put(f"/d/{TOPIC}-{partition}/{name}", header_of(keys, partition=partition).encode())
    files.put(f"/d/{TOPIC}-0/00000000000000000009.log", b"plain")
    files.put(f"/d/{TOPIC}-0/00000000000000000020.log", b"")
    for stranger in (f"{other}-0", f"{TOPIC}-0.deleted"):
        files.make_directory(f"/d/{stranger}")
        files.put(f"/d/{stranger}/00000000000000000000.log", header_of(keys, other).encode())
    keys.renew(TOPIC)
    assert key_ids_on_disk(files, "/d", TOPIC) == expected
