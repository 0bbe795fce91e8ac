"""Erasures of tests."""

from __future__ import annotations

from uuid import UUID

from rivven.security.keys.erasure import ErasedSegment, Erasure, OldKek, partition_of

TOPIC_ID = UUID(int=7)


def an_erasure(*old: str, plaintext: bool = False) -> Erasure:
    """Of the topic `orders`, whose keys were wrapped under `old` KEKs of the default key."""
    partitions = (
        partition_of(0, plaintext, [ErasedSegment(0, 10, 400, "aa"), ErasedSegment(10, 12, 90, "bb")]),
        partition_of(1, False, [ErasedSegment(0, 3, 200, "bb")]),
    )
    return Erasure(
        id="11" * 16,
        cluster_id="cluster-1",
        topic_id=TOPIC_ID,
        topic="orders",
        principal="user:alice",
        requested_ms=1_700_000_000_123,
        provider="file",
        partitions=partitions,
        topic_key_ids=("aa", "bb"),
        old_keks=tuple(OldKek("", one) for one in old or ("k1", "k2")),
        accepted_plaintext=plaintext,
    )
