"""Which topics have sealed segments on the disk: evidence that they had keys, when the key store has none.

Reads the first bytes of files. Blocking. It must not ask for keys, nor change anything.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from rivven.log.files import Files
from rivven.log.sealing import SEGMENT_MAGIC
from rivven.log.segment import base_offset_of


def sealed_topics(files: Files, partitions_path: str, topic_ids: Collection[UUID]) -> set[UUID]:
    """Those of the topics that have at least one sealed segment. Raises OSError."""
    asked = {str(topic_id): topic_id for topic_id in topic_ids}
    found: set[UUID] = set()
    for name in files.list(partitions_path):
        text, _, number = name.rpartition("-")
        topic_id = asked.get(text)
        if topic_id is None or topic_id in found or not number.isdecimal():
            continue
        if _holds_sealed(files, f"{partitions_path}/{name}"):
            found.add(topic_id)
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
