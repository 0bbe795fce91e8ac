"""Keys of segments made from a seed, for tests: no provider, no key store, and outages when asked for."""

from __future__ import annotations

import random
from collections.abc import Mapping
from uuid import UUID

from rivven.log.sealing import (
    DATA_KEY_BYTES,
    INCARNATION_BYTES,
    KEY_ID_BYTES,
    NONCE_BYTES,
    WRAPPED_KEY_BYTES,
    DataKey,
    KeyUnavailable,
    Sealer,
    SegmentHeader,
)

_WRAPPING = 1
"""Data keys are wrapped with AES-256-GCM whatever the segment is sealed with."""


class StaticSegmentKeys:
    """Implements `rivven.log.sealing.SegmentKeys`. It outlives the disk it is used with, like a key store."""

    def __init__(self, seed: int = 0, algorithm: int = 1) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self.algorithm = algorithm
        self.available = True
        """False: no key is at hand, as while a provider is out of reach from the start."""
        self.marked: set[UUID] = set()
        """Topics that are known to have sealed segments only."""
        self._topics: dict[UUID, list[bytes]] = {}
        self._keys: dict[bytes, bytes] = {}

    async def prepare(self, topics: Mapping[UUID, str | None]) -> None:
        """Nothing has to be fetched."""

    def create(self, topic_id: UUID, partition: int) -> tuple[SegmentHeader, Sealer]:
        """Header and sealer of a new segment. Raises KeyUnavailable."""
        self._check()
        if topic_id not in self._topics:
            self.renew(topic_id)
        key_id = self._topics[topic_id][-1]
        incarnation = self._random.randbytes(INCARNATION_BYTES)
        header = SegmentHeader(
            self.algorithm, topic_id, partition, incarnation, key_id, bytes(WRAPPED_KEY_BYTES)
        )
        data_key = self._random.randbytes(DATA_KEY_BYTES)
        nonce = self._random.randbytes(NONCE_BYTES)
        wrapped = bytearray(nonce + bytes(WRAPPED_KEY_BYTES - NONCE_BYTES))
        into = memoryview(wrapped)[NONCE_BYTES:]
        DataKey(self._keys[key_id], _WRAPPING).seal(nonce, data_key, header.binding, into)
        return header._replace(wrapped_key=bytes(wrapped)), DataKey(data_key, self.algorithm)

    def sealer(self, header: SegmentHeader) -> Sealer:
        """The sealer of an existing segment. Raises KeyUnavailable, FrameRefused."""
        return DataKey(self.export(header), header.algorithm)

    def export(self, header: SegmentHeader) -> bytes:
        """The data key of an existing segment. Raises KeyUnavailable, FrameRefused."""
        self._check()
        key = self._keys.get(header.topic_key_id)
        if key is None:
            raise KeyUnavailable("the topic key is not known")
        wrapped = header.wrapped_key
        return DataKey(key, _WRAPPING).open(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], header.binding)

    def newest(self, topic_id: UUID) -> bytes | None:
        """Id of the topic key new segments get."""
        if topic_id not in self._topics:
            return None
        return self._topics[topic_id][-1] if self.available else None

    def only_sealed(self, topic_id: UUID) -> bool:
        """Whether the topic is marked."""
        return topic_id in self.marked

    def may_begin_plain(self, topic_id: UUID) -> bool:
        """Whether it is not."""
        return topic_id not in self.marked

    def renew(self, topic_id: UUID) -> bytes:
        """A new topic key, current from now on; its id."""
        key_id = self._random.randbytes(KEY_ID_BYTES)
        self._keys[key_id] = self._random.randbytes(DATA_KEY_BYTES)
        self._topics.setdefault(topic_id, []).append(key_id)
        return key_id

    def destroy(self, key_id: bytes) -> None:
        """Forget a topic key for good."""
        del self._keys[key_id]

    def forget_newest(self, topic_id: UUID) -> None:
        """As after an older copy of the key store was put in place."""
        self.destroy(self._topics[topic_id].pop())

    def _check(self) -> None:
        if not self.available:
            raise KeyUnavailable("the provider of keys is out of reach")
