"""Keys for rewriting that come from a counter, so that tests need no key store."""

from __future__ import annotations

from hashlib import sha256
from uuid import UUID

from rivven.log.sealing import WRAPPED_KEY_BYTES, DataKey, KeyUnavailable, Sealer, SegmentHeader


class DerivedKeys:
    """Satisfies `rewriting_keys.RewritingKeys`. A data key is the hash of its header; `down` refuses all."""

    def __init__(self) -> None:
        self.topic_key = b"1" * 16
        self.down = False
        self._made = 0

    def create(self, topic_id: UUID, partition: int) -> tuple[SegmentHeader, Sealer]:
        self._made += 1
        incarnation = self._made.to_bytes(16, "big")
        wrapped = bytes(WRAPPED_KEY_BYTES)
        header = SegmentHeader(1, topic_id, partition, incarnation, self.topic_key, wrapped)
        return header, DataKey(self.export(header), 1)

    def export(self, header: SegmentHeader) -> bytes:
        if self.down:
            raise KeyUnavailable("the key provider is out of reach")
        return sha256(b"data key" + header.encode()).digest()
