"""Which topics are on the disk, and which have sealed segments, by the first bytes of their files."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

import pytest

from rivven.log.files import OsFiles
from rivven.log.sealed_traces import Traces, traces_of

SEALED = b"RVNS" + bytes(200)


def segment(
    place: Path, topic: UUID, partition: object, base: int, content: bytes, suffix: str = "log"
) -> None:
    directory = place / f"{topic}-{partition}"
    directory.mkdir(exist_ok=True)
    (directory / f"{base:020d}.{suffix}").write_bytes(content)


def test_any_sealed_segment_of_any_partition_counts(tmp_path: Path) -> None:
    plain, first, last, empty, other = (uuid4() for _ in range(5))
    for partition in range(3):
        for base in range(3):
            for topic in (plain, first, last, other):
                segment(tmp_path, topic, partition, base, bytes(100))
    segment(tmp_path, first, 0, 0, SEALED)
    segment(tmp_path, last, 2, 2, SEALED)
    segment(tmp_path, other, 1, 1, SEALED)
    segment(tmp_path, empty, 0, 0, b"")
    (tmp_path / "strange").mkdir()
    asked = {plain, first, last, empty, uuid4()}
    found = traces_of(OsFiles(), str(tmp_path), asked)
    assert found == Traces({plain, first, last, empty}, {first, last})


@pytest.mark.parametrize(
    ("partition", "suffix"), [("0.deleted", "log"), ("0", "index"), ("0", "log.deleted")]
)
def test_what_is_deleted_or_no_segment_does_not_count(tmp_path: Path, partition: str, suffix: str) -> None:
    topic = uuid4()
    segment(tmp_path, topic, partition, 0, SEALED, suffix)
    assert traces_of(OsFiles(), str(tmp_path), [topic]).sealed == set()


def test_what_cannot_be_read_is_not_taken_for_plain(tmp_path: Path) -> None:
    topic = uuid4()
    (tmp_path / f"{topic}-0").mkdir()
    (tmp_path / f"{topic}-0" / f"{0:020d}.log").mkdir()
    with pytest.raises(OSError):
        traces_of(OsFiles(), str(tmp_path), [topic])
