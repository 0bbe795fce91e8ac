"""What of topics is on the disk: sealed segments say that they had keys, when the key store has none.

Reads the first bytes of files. Blocking. It must not ask for keys, nor change anything.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import UUID

from rivven.log.files import Files
from rivven.log.sealing import SEGMENT_MAGIC
from rivven.log.segment import base_offset_of


@dataclass(frozen=True, slots=True)
class Traces:
    """Topics that have a partition's directory, and those of them with at least one sealed segment."""

    present: set[UUID] = field(default_factory=set)
    sealed: set[UUID] = field(default_factory=set)


def traces_of(files: Files, partitions_path: str, topic_ids: Collection[UUID]) -> Traces:
    """What is there of these topics. Raises OSError."""
    asked = {str(topic_id): topic_id for topic_id in topic_ids}
    found = Traces()
    for name in files.list(partitions_path):
        text, _, number = name.rpartition("-")
        topic_id = asked.get(text)
        if topic_id is None or topic_id in found.sealed or not number.isdecimal():
            continue
        found.present.add(topic_id)
        if _holds_sealed(files, f"{partitions_path}/{name}"):
            found.sealed.add(topic_id)
    return found


def _holds_sealed(files: Files, directory: str) -> bool:
    try:
        names = files.list(directory)
    except FileNotFoundError:
        return False  # deleted meanwhile
    return any(
        base_offset_of(name) is not None and _begins_sealed(files, f"{directory}/{name}") for name in names
    )


def _begins_sealed(files: Files, path: str) -> bool:
    try:
        return files.open(path, "read").read(len(SEGMENT_MAGIC), 0) == SEGMENT_MAGIC
    except FileNotFoundError:
        return False
