"""Metadata answers assembled from topic entries that are encoded once.

A handler that keeps a topic's entry between requests wraps it in `SharedTopic` and puts that into
`MetadataResponse.topics`, beside plain entries if it likes; `codec` writes such answers. The bytes live
exactly as long as the entry: whoever replaces a changed entry drops them, so nothing here can be stale, and
which topics an answer contains stays the handler's decision. An entry must not be changed once it is
shared.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from struct import Struct
from typing import Final

from rivven.protocol.api import APIS, ApiKey, is_flexible
from rivven.protocol.layout import Layout
from rivven.protocol.messages import MetadataResponse
from rivven.protocol.write_compiler import Write, compile_struct_write, compile_write

Topic = MetadataResponse.MetadataResponseTopic

VERSIONS_KEPT: Final = 4
"""Encodings kept per entry: a cluster's clients are of a few kinds, and there may be 10,000 entries."""

_OPERATIONS_SINCE: Final = 8
_pack_operations: Final = Struct(">i").pack


class SharedTopic:
    """A topic entry used in many answers. `topic.topic_authorized_operations` keeps its default."""

    __slots__ = ("_encoded", "topic")

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self._encoded: dict[int, bytes] = {}

    def encoded(self, version: int) -> bytes:
        """The entry's bytes in a version of MetadataResponse, encoded on first use."""
        found = self._encoded.get(version)
        if found is None:
            if len(self._encoded) >= VERSIONS_KEPT:
                del self._encoded[next(iter(self._encoded))]
            found = self._encoded[version] = _encode(version, self.topic)
        return found

    def with_operations(self, operations: int) -> TopicWithOperations:
        """The same entry, saying what the asker may do with the topic (KIP-430)."""
        return TopicWithOperations(self, operations)


class TopicWithOperations:
    """A shared entry whose authorized operations belong to one principal."""

    __slots__ = ("_operations", "_shared")

    def __init__(self, shared: SharedTopic, operations: int) -> None:
        self._shared = shared
        self._operations = operations

    def encoded(self, version: int) -> bytes:
        """The shared bytes with the operations, the entry's last field, put in."""
        entry = self._shared.encoded(version)
        if version < _OPERATIONS_SINCE:
            return entry
        tail = 1 if is_flexible(ApiKey.METADATA, version) else 0
        return entry[: -4 - tail] + _pack_operations(self._operations) + bytes(tail)


def metadata_writer(version: int) -> Write:
    """The write function of MetadataResponse that takes shared entries as well as plain ones."""
    return compile_write(_layout(version), {"MetadataResponseTopic": partial(_encode_any, version)})


def _encode_any(version: int, topic: Topic | SharedTopic | TopicWithOperations) -> bytes | bytearray:
    return _encode(version, topic) if isinstance(topic, Topic) else topic.encoded(version)


def _encode(version: int, topic: Topic) -> bytes:
    out = bytearray()
    _topic_writer(version)(topic, out)
    return bytes(out)


@lru_cache(maxsize=APIS[ApiKey.METADATA].max + 1)
def _topic_writer(version: int) -> Callable[[Topic, bytearray], None]:
    return compile_struct_write(_layout(version), Topic)


def _layout(version: int) -> Layout:
    return Layout(MetadataResponse, version, is_flexible(ApiKey.METADATA, version))
