"""The topics a consumer's member metadata names: the front of Kafka's consumer protocol subscription.

Pure. Read only to answer whether a group still uses a topic; the metadata itself is passed on untouched.

    version i16 | count i32 | count x (length i16, topic utf-8) | whatever the version adds
"""

from __future__ import annotations

import struct

_HEAD = struct.Struct(">hi")
_LENGTH = struct.Struct(">h")

SMALLEST_TOPIC_BYTES = 3
"""A length and one letter: bounds the count by the bytes that are there."""


def topics_of(metadata: bytes) -> frozenset[str] | None:
    """The subscribed topics, None when the bytes are not a consumer subscription."""
    if len(metadata) < _HEAD.size:
        return None
    version, count = _HEAD.unpack_from(metadata)
    position = _HEAD.size
    if version < 0 or not 0 <= count <= (len(metadata) - position) // SMALLEST_TOPIC_BYTES:
        return None
    topics = set()
    for _ in range(count):
        if position + _LENGTH.size > len(metadata):
            return None
        (length,) = _LENGTH.unpack_from(metadata, position)
        position += _LENGTH.size
        name = metadata[position : position + length] if length > 0 else b""
        if len(name) != length or not name:
            return None
        position += length
        try:
            topics.add(name.decode())
        except UnicodeDecodeError:
            return None
    return frozenset(topics)
