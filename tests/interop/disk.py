"""What the broker has on disk, read by Kafka's published batch format and nothing of ours."""

from __future__ import annotations

import uuid
from pathlib import Path

from tests.shipped.on_disk import segments

_CODECS = {0: "none", 1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
_HEAD_BYTES = 12  # base offset int64, batch length int32
_ATTRIBUTES_AT = 21  # int16; the low three bits name the codec


def codecs_on_disk(data: Path, topic_id: uuid.UUID) -> set[str]:
    """The codecs of all batches of a topic."""
    stored = [content for _, content in segments(data, f"{topic_id}-*")]
    assert stored, f"no segment of topic {topic_id} under {data}"
    return {codec for content in stored for codec in _codecs_in(content)}


def _codecs_in(segment: bytes) -> set[str]:
    found, at = set(), 0
    while at + _HEAD_BYTES < len(segment):
        found.add(_CODECS[segment[at + _ATTRIBUTES_AT + 1] & 0b111])
        at += _HEAD_BYTES + int.from_bytes(segment[at + 8 : at + _HEAD_BYTES], "big")
    return found
