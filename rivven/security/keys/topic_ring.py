"""The keys of one topic in memory, and how data keys are wrapped under them. Pure but for the entropy given.

    ring        version u8 = 1 | number of keys u8 | for each, oldest first: key id 16, key 32

That is what a provider wraps: all keys of a topic at once, so that one call opens a topic. A data key is
wrapped with AES-256-GCM under the topic's newest key whatever the segment's own algorithm is; associated data
is the header's binding, so that a header moved to another segment does not open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final
from uuid import UUID

from rivven.log.sealing import (
    ALGORITHMS,
    DATA_KEY_BYTES,
    INCARNATION_BYTES,
    KEY_ID_BYTES,
    NONCE_BYTES,
    WRAPPED_KEY_BYTES,
    DataKey,
    KeyUnavailable,
    SegmentHeader,
)
from rivven.security.keys.key_store import KEYS_MAX
from rivven.security.keys.provider import KeyMismatch, KeyRefused

_VERSION: Final = 1
_WRAPPING: Final = ALGORITHMS["aes-256-gcm"]

Entropy = Callable[[int], bytes]


class TopicKey:
    """One key of a topic."""

    __slots__ = ("_aead", "_secret", "key_id")

    def __init__(self, key_id: bytes, secret: bytearray) -> None:
        self.key_id = key_id
        self._secret = secret
        self._aead = DataKey(bytes(secret), _WRAPPING)

    def wrap(self, data_key: bytearray, nonce: bytes, binding: bytes) -> bytes:
        """The data key as it stands in a segment's header."""
        wrapped = bytearray(WRAPPED_KEY_BYTES)
        wrapped[:NONCE_BYTES] = nonce
        self._aead.seal(nonce, data_key, binding, memoryview(wrapped)[NONCE_BYTES:])
        return bytes(wrapped)

    def unwrap(self, header: SegmentHeader) -> bytearray:
        """The data key of a segment; the caller overwrites it. Raises FrameRefused."""
        wrapped = memoryview(header.wrapped_key)
        return bytearray(self._aead.open(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], header.binding))

    def copy(self) -> TopicKey:
        """A key that outlives the wiping of this one."""
        return TopicKey(self.key_id, bytearray(self._secret))

    def encoded(self) -> bytes:
        """Its part of a ring."""
        return self.key_id + bytes(self._secret)

    def wipe(self) -> None:
        """Overwrite the key in memory."""
        self._secret[:] = bytes(len(self._secret))


class TopicRing:
    """All keys of one topic; never changed, replaced as a whole. Read by any thread."""

    __slots__ = ("_by_id", "keys")

    def __init__(self, keys: Sequence[TopicKey]) -> None:
        self.keys = tuple(keys)
        self._by_id = {key.key_id: key for key in self.keys}

    @property
    def newest(self) -> TopicKey:
        """The key of new segments."""
        return self.keys[-1]

    @property
    def key_ids(self) -> tuple[bytes, ...]:
        return tuple(key.key_id for key in self.keys)

    def encode(self) -> bytes:
        """What the provider wraps."""
        return b"".join((bytes((_VERSION, len(self.keys))), *(key.encoded() for key in self.keys)))

    def renewed(self, entropy: Entropy) -> TopicRing:
        """The same keys and a new one. Raises KeyRefused when there are too many."""
        if len(self.keys) >= KEYS_MAX:
            raise KeyRefused(f"segments of the topic use {KEYS_MAX} keys already: re-encrypt it first")
        return TopicRing([*(key.copy() for key in self.keys), _made(entropy)])

    def without(self, key_ids: Iterable[bytes]) -> TopicRing:
        """The keys that are left, the newest always among them."""
        gone = set(key_ids) - {self.newest.key_id}
        return TopicRing([key.copy() for key in self.keys if key.key_id not in gone])

    def create(
        self, topic_id: UUID, partition: int, algorithm: int, entropy: Entropy
    ) -> tuple[SegmentHeader, DataKey]:
        """Header and data key of a new segment."""
        newest = self.newest
        header = SegmentHeader(
            algorithm,
            topic_id,
            partition,
            entropy(INCARNATION_BYTES),
            newest.key_id,
            bytes(WRAPPED_KEY_BYTES),
        )
        secret = bytearray(entropy(DATA_KEY_BYTES))
        wrapped = newest.wrap(secret, entropy(NONCE_BYTES), header.binding)
        sealer = DataKey(bytes(secret), algorithm)
        secret[:] = bytes(DATA_KEY_BYTES)
        return header._replace(wrapped_key=wrapped), sealer

    def data_key(self, header: SegmentHeader) -> bytearray:
        """The data key of a segment; the caller overwrites it. Raises KeyUnavailable, FrameRefused."""
        key = self._by_id.get(header.topic_key_id)
        if key is None:
            raise KeyUnavailable(f"topic {header.topic_id} has no key {header.topic_key_id.hex()} any more")
        return key.unwrap(header)

    def wipe(self) -> None:
        """Overwrite every key in memory."""
        for key in self.keys:
            key.wipe()


def new_ring(entropy: Entropy) -> TopicRing:
    """The first key of a topic."""
    return TopicRing([_made(entropy)])


def decode_ring(content: bytes, key_ids: tuple[bytes, ...]) -> TopicRing:
    """The keys a provider unwrapped, which must be those the file names. Raises KeyMismatch."""
    size = KEY_ID_BYTES + DATA_KEY_BYTES
    if len(content) < 2 or content[0] != _VERSION or len(content) != 2 + content[1] * size:
        raise KeyMismatch("what was unwrapped are no topic keys of a format this version reads")
    parts = [content[at : at + size] for at in range(2, len(content), size)]
    ring = TopicRing([TopicKey(part[:KEY_ID_BYTES], bytearray(part[KEY_ID_BYTES:])) for part in parts])
    if ring.key_ids != key_ids:
        ring.wipe()
        raise KeyMismatch("the wrapped topic keys are not those that the file names")
    return ring


def _made(entropy: Entropy) -> TopicKey:
    return TopicKey(entropy(KEY_ID_BYTES), bytearray(entropy(DATA_KEY_BYTES)))
