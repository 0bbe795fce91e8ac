"""Keys from a seed for tests of re-encryption."""

from __future__ import annotations

from uuid import UUID

from rivven.testing.segment_keys import StaticSegmentKeys


class ReencryptionTestKeys(StaticSegmentKeys):
    """With what `reencryption.ReencryptionKeys` needs; it outlives a broker, like a key store."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[UUID] = set()
        self.retired: list[bytes] = []

    def rewriting(self) -> list[UUID]:
        return sorted(self.asked)

    async def set_rewriting(self, topic_id: UUID, asked: bool) -> None:
        if asked:
            self.asked.add(topic_id)
        else:
            self.asked.discard(topic_id)

    def older(self, topic_id: UUID) -> set[bytes]:
        return set(self._topics.get(topic_id, [])[:-1]) - set(self.retired)

    async def retire(self, topic_id: UUID, key_ids: set[bytes]) -> None:
        self.retired += key_ids
        for key_id in key_ids:
            self.destroy(key_id)
