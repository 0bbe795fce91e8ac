"""An erasure: what is being shredded, how far it has come, and how it is written down. Pure.

The record is stored before the first step and after each one, so that a crash at any point is followed by the
same steps again; none of them does harm twice.

    planned -> deleted (topic, files, caches) -> forgotten (topic keys) -> renewed (a fresh KEK)
      -> rewrapped (everything else under it) -> destroyed (the old KEKs) -> certificate written, record gone
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

RECORD_VERSION: Final = 1

SEGMENTS_LISTED_MAX: Final = 10_000
"""Segments an erasure names one by one, some 1 MB of certificate; a larger topic is summed by partition. The
state of a key store holds four."""

FORMERLY_PLAIN_MAX: Final = 10_000
"""Segments of a topic remembered one by one that stood in plain before they were re-encrypted, some 1 MB of
certificate as well; further ones are counted."""

KIND: Final = "erasure"


class Step(StrEnum):
    """The last step that is done."""

    PLANNED = "planned"
    DELETED = "deleted"
    FORGOTTEN = "forgotten"
    RENEWED = "renewed"
    REWRAPPED = "rewrapped"
    DESTROYED = "destroyed"


class MalformedErasure(ValueError):
    """A record that this version does not read."""


@dataclass(frozen=True, slots=True)
class ErasedSegment:
    """One segment file. `end_offset` is the first offset behind it; no `topic_key_id`: it was in plain."""

    base_offset: int
    end_offset: int
    stored_bytes: int
    topic_key_id: str | None


@dataclass(frozen=True, slots=True)
class FormerlyPlain:
    """A segment that stood on the disk in plain when a re-encryption was asked for, at `seen_ms`."""

    base_offset: int
    end_offset: int
    stored_bytes: int
    seen_ms: int


@dataclass(frozen=True, slots=True)
class ErasedPartition:
    """One partition and what it held. `segments` is empty when the topic has more than are listed."""

    partition: int
    segment_count: int
    stored_bytes: int
    plaintext_history: bool
    """Some record of it was once stored unencrypted, or that cannot be excluded."""
    segments: tuple[ErasedSegment, ...] = ()
    formerly_plain: tuple[FormerlyPlain, ...] = ()
    """Segments that were rewritten since, as far as they are remembered."""
    formerly_plain_more: int = 0
    """How many more there were."""


@dataclass(frozen=True, slots=True)
class OldKek:
    """A key-encryption key that wrapped, or may have wrapped, a key of the topic."""

    name: str
    """The named key it is a version of; "" is the configured default."""
    key_id: str
    done: bool = False
    """The provider was told to destroy it."""
    until_ms: int | None = None
    """When the provider will have destroyed it, if it waits."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """One erasure and how far it has come. Times are milliseconds since 1970."""

    id: str
    cluster_id: str
    topic_id: UUID
    topic: str
    principal: str
    requested_ms: int
    provider: str
    partitions: tuple[ErasedPartition, ...]
    topic_key_ids: tuple[str, ...]
    old_keks: tuple[OldKek, ...]
    accepted_plaintext: bool
    step: Step = Step.PLANNED
    finished_ms: int | None = None

    @property
    def plaintext_history(self) -> bool:
        """Whether records of the topic were ever stored unencrypted."""
        return any(one.plaintext_history for one in self.partitions)

    @property
    def names(self) -> tuple[str, ...]:
        """The named keys whose KEKs are replaced."""
        return tuple(dict.fromkeys(one.name for one in self.old_keks))

    @property
    def old_ids(self) -> frozenset[str]:
        """The KEKs that must wrap nothing before any of them is destroyed."""
        return frozenset(one.key_id for one in self.old_keks)

    @property
    def only_destroys(self) -> bool:
        """Whether all that is left is to destroy the old KEKs and to write the certificate."""
        return self.step in (Step.REWRAPPED, Step.DESTROYED)

    def ids_of(self, name: str) -> frozenset[str]:
        """The old KEKs of one named key."""
        return frozenset(one.key_id for one in self.old_keks if one.name == name)

    @property
    def pending_until_ms(self) -> int | None:
        """When the last old KEK will be gone; None when the provider confirmed all of them."""
        return max((one.until_ms for one in self.old_keks if one.until_ms is not None), default=None)

    def at(self, step: Step) -> Erasure:
        """The same with this step done."""
        return replace(self, step=step)

    def with_destroyed(self, key_id: str, until_ms: int | None) -> Erasure:
        """The same after the provider's answer for one old KEK."""
        keks = tuple(
            replace(one, done=True, until_ms=until_ms) if one.key_id == key_id else one
            for one in self.old_keks
        )
        return replace(self, old_keks=keks)


def partition_of(index: int, plaintext_history: bool, segments: Iterable[ErasedSegment]) -> ErasedPartition:
    """One partition with its sums."""
    found = tuple(segments)
    size = sum(one.stored_bytes for one in found)
    return ErasedPartition(index, len(found), size, plaintext_history, found)


def with_formerly_plain(
    partition: ErasedPartition, known: Iterable[FormerlyPlain], more: int
) -> ErasedPartition:
    """The partition with what is known to have been in plain, without what still is."""
    present = {one.base_offset for one in partition.segments if one.topic_key_id is None}
    rewritten = tuple(one for one in known if one.base_offset not in present)
    return replace(
        partition,
        plaintext_history=partition.plaintext_history or bool(rewritten) or more > 0,
        formerly_plain=rewritten,
        formerly_plain_more=more,
    )


def bounded(partitions: Iterable[ErasedPartition]) -> tuple[ErasedPartition, ...]:
    """The partitions, without their lists of segments when the topic has too many of them."""
    found = tuple(partitions)
    if sum(one.segment_count for one in found) <= SEGMENTS_LISTED_MAX:
        return found
    return tuple(replace(one, segments=()) for one in found)


def encode(erasure: Erasure) -> dict[str, Any]:
    """The record as plain values, as the key store keeps them."""
    fields = {"kind": KIND, "version": RECORD_VERSION, **asdict(erasure)}
    return {**fields, "topic_id": str(erasure.topic_id), "step": str(erasure.step)}


def decode(content: Mapping[str, Any]) -> Erasure:
    """The record back. Raises MalformedErasure."""
    try:
        fields = dict(content)
        kind, version = fields.pop("kind"), fields.pop("version")
        if kind != KIND or version != RECORD_VERSION:
            raise MalformedErasure(
                f"an operation {kind!r} of format {version!r}, this version knows {KIND} {RECORD_VERSION}"
            )
        partitions = tuple(
            ErasedPartition(
                **{
                    **one,
                    "segments": tuple(ErasedSegment(**each) for each in one["segments"]),
                    "formerly_plain": tuple(FormerlyPlain(**each) for each in one.get("formerly_plain", ())),
                }
            )
            for one in fields.pop("partitions")
        )
        return Erasure(
            topic_id=UUID(fields.pop("topic_id")),
            partitions=partitions,
            topic_key_ids=tuple(fields.pop("topic_key_ids")),
            old_keks=tuple(OldKek(**one) for one in fields.pop("old_keks")),
            step=Step(fields.pop("step")),
            **fields,
        )
    except MalformedErasure:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedErasure(f"not the record of an erasure ({type(error).__name__})") from None
