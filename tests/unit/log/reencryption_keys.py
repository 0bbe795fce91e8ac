"""Keys from a seed for tests of re-encryption."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from rivven.testing.segment_keys import StaticSegmentKeys


class ReencryptionTestKeys(StaticSegmentKeys):
    """With what `reencryption.ReencryptionKeys` needs; it outlives a broker, like a key store."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[UUID] = set()
        self.retired: list[bytes] = []
        self.unsealed: set[UUID] = set()
        """Topics that are not to be sealed any more."""
        self.held_back: list[UUID] = []

    def rewriting(self) -> list[UUID]:
        return sorted(self.asked)

    async def set_rewriting(self, topic_id: UUID, asked: bool) -> None:
        if asked:
            self.asked.add(topic_id)
        else:
            self.asked.discard(topic_id)

    def may_begin_plain(self, topic_id: UUID) -> bool:
        return super().may_begin_plain(topic_id) and topic_id not in self.held_back

    def unmarked(self) -> set[UUID]:
        return set(self._topics) - self.marked - self.unsealed

    @contextmanager
    def plain_held_back(self, topic_id: UUID) -> Iterator[None]:
        self.held_back.append(topic_id)
        try:
            yield
        finally:
            self.held_back.remove(topic_id)

    async def mark_only_sealed(self, topic_id: UUID) -> bool:
        if topic_id in self.unsealed:
            return False
        self.marked.add(topic_id)
        return True

    def older(self, topic_id: UUID) -> set[bytes]:
        return set(self._topics.get(topic_id, [])[:-1]) - set(self.retired)

    async def retire(self, topic_id: UUID, key_ids: set[bytes]) -> None:
        self.retired += key_ids
        for key_id in key_ids:
            self.destroy(key_id)
