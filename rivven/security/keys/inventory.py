"""What is sealed under which key: KEKs, topic keys, segments and bytes, and how much is under the newest.

Pure: the counts of one moment in, sums out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from rivven.security.keys.provider import KekInfo


@dataclass(frozen=True, slots=True)
class Stored:
    """Segments and their bytes on the disk."""

    segments: int = 0
    stored_bytes: int = 0

    def __add__(self, other: Stored) -> Stored:
        return Stored(self.segments + other.segments, self.stored_bytes + other.stored_bytes)


NOTHING = Stored()


@dataclass(frozen=True, slots=True)
class TopicKeyUse:
    """One topic: which keys it has and what is sealed under them."""

    topic: str
    topic_id: UUID
    key_name: str
    """The named KEK of its `encryption.key`; "" is the configured default."""
    encrypted: bool
    """Whether new segments are sealed."""
    newest: str | None
    """Id of the topic key of new segments, hex; None while it has none."""
    keks: Mapping[str, str]
    """Topic key id, hex, to the id of the KEK that wraps it."""
    sealed: Mapping[str | None, Stored]
    """Topic key id to what is sealed under it; None for what is stored in plain."""
    plaintext_history: bool
    rewriting: bool = False
    problem: str = ""
    """Why its keys cannot be had; empty when they are here."""
    only_sealed: bool = False
    """Every segment is known to be sealed, and one in plain is refused."""

    @property
    def total(self) -> Stored:
        """All segments."""
        return sum(self.sealed.values(), NOTHING)

    @property
    def plain(self) -> Stored:
        """Segments stored unencrypted now."""
        return self.sealed.get(None, NOTHING)

    @property
    def newest_percent(self) -> float:
        """Bytes under the newest topic key, of all bytes; 100 when there are none."""
        newest = self.sealed.get(self.newest, NOTHING) if self.newest is not None else NOTHING
        return percent(newest.stored_bytes, self.total.stored_bytes)


@dataclass(frozen=True, slots=True)
class KekUse:
    """One KEK and what rests on it."""

    name: str
    key_id: str
    state: str
    current: bool
    created_ms: int | None
    topics: int
    topic_keys: int
    wraps_metadata_key: bool
    stored: Stored

    @property
    def retirable(self) -> bool:
        """Nothing here needs it any more; backups and tiered copies may."""
        return (
            not self.current
            and self.state in ("enabled", "disabled")
            and not self.topic_keys
            and not self.wraps_metadata_key
        )


@dataclass(frozen=True, slots=True)
class KeyInventory:
    """Everything at one moment."""

    provider: str
    keks: tuple[KekUse, ...]
    topics: tuple[TopicKeyUse, ...] = field(repr=False)

    @property
    def plain(self) -> Stored:
        """Segments stored unencrypted."""
        return sum((one.plain for one in self.topics), NOTHING)

    @property
    def newest_percent(self) -> float:
        """Sealed bytes whose topic key is wrapped by a current KEK, of all sealed bytes; without any bytes
        the same of the keys."""
        total = sum(one.stored.stored_bytes for one in self.keks)
        if total:
            return percent(sum(one.stored.stored_bytes for one in self.keks if one.current), total)
        keys = sum(one.topic_keys for one in self.keks)
        return percent(sum(one.topic_keys for one in self.keks if one.current), keys)

    @property
    def older_keys(self) -> int:
        """Topic keys that rewrapping would move."""
        return sum(one.topic_keys for one in self.keks if not one.current)


def take_inventory(
    provider: str,
    described: Mapping[str, Sequence[KekInfo]],
    known: Mapping[str, str],
    topics: Iterable[TopicKeyUse],
    metadata_kek: str,
) -> KeyInventory:
    """Sum up. `described` are the provider's KEKs by key name, `known` names of KEKs ever used here by id:
    those the provider does not list any more are shown when something rests on them."""
    found = tuple(topics)
    keys: Counter[str] = Counter()
    topic_count: Counter[str] = Counter()
    stored: dict[str, Stored] = {}
    for topic in found:
        topic_count.update(set(topic.keks.values()))
        for topic_key, kek in topic.keks.items():
            keys[kek] += 1
            stored[kek] = stored.get(kek, NOTHING) + topic.sealed.get(topic_key, NOTHING)
    infos = [(name, info) for name, listed in described.items() for info in listed]
    listed_ids = {info.key_id for _, info in infos}
    unlisted = [kek for kek in dict.fromkeys((*keys, metadata_kek)) if kek not in listed_ids]
    infos += [(known.get(kek, ""), KekInfo(kek, None, "enabled", False)) for kek in unlisted]
    uses = tuple(
        KekUse(
            name,
            info.key_id,
            info.state,
            info.current,
            info.created_ms,
            topic_count[info.key_id],
            keys[info.key_id],
            info.key_id == metadata_kek,
            stored.get(info.key_id, NOTHING),
        )
        for name, info in infos
    )
    return KeyInventory(provider, uses, found)


def percent(part: int, whole: int) -> float:
    """`part` of `whole` in percent, one decimal, never rounded up to 100; 100 of nothing."""
    if part >= whole:
        return 100.0
    return min(99.9, round(100 * part / whole, 1))
