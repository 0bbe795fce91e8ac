"""Shared topic entries: the same bytes as plain ones, in any mixture."""

from __future__ import annotations

from uuid import UUID

import pytest

from rivven.protocol import codec
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.protocol.metadata_cache import VERSIONS_KEPT, SharedTopic, Topic

ALL = range(14)


def topic(name: str, operations: int = -(2**31)) -> Topic:
    p = m.MetadataResponse.MetadataResponsePartition
    return Topic(
        name=name,
        topic_id=UUID(int=7),
        partitions=[p(partition_index=i, leader_id=1, replica_nodes=[1], isr_nodes=[1]) for i in range(3)],
        topic_authorized_operations=operations,
    )


def answer(*topics: object) -> m.MetadataResponse:
    broker = m.MetadataResponse.MetadataResponseBroker(node_id=1, host="h", port=9092)
    return m.MetadataResponse(brokers=[broker], cluster_id="c", controller_id=1, topics=list(topics))  # type: ignore[arg-type]


@pytest.mark.parametrize("version", ALL)
def test_shared_and_plain_entries_are_the_same_bytes(version: int) -> None:
    plain = answer(topic("a"), topic("b"), topic("c"))
    mixed = answer(SharedTopic(topic("a")), topic("b"), SharedTopic(topic("c")))
    assert codec.write_response(ApiKey.METADATA, version, mixed) == codec.write_response(
        ApiKey.METADATA, version, plain
    )


@pytest.mark.parametrize("version", ALL)
def test_operations_are_put_into_the_shared_bytes(version: int) -> None:
    shared = SharedTopic(topic("a"))
    mine = codec.write_response(ApiKey.METADATA, version, answer(shared.with_operations(0x120)))
    assert mine == codec.write_response(ApiKey.METADATA, version, answer(topic("a", 0x120)))
    assert shared.encoded(version) == SharedTopic(topic("a")).encoded(version)


def test_an_entry_is_encoded_once_per_version_and_keeps_few() -> None:
    shared = SharedTopic(topic("a"))
    assert shared.encoded(12) is shared.encoded(12)
    first = shared.encoded(12)
    for version in range(VERSIONS_KEPT):
        shared.encoded(version)
    assert shared.encoded(12) is not first
    assert shared.encoded(12) == first


def test_an_entry_that_does_not_fit_its_version_is_refused() -> None:
    nameless = SharedTopic(Topic(name=None))
    assert codec.write_response(ApiKey.METADATA, 12, answer(nameless))
    with pytest.raises(codec.ProtocolError):
        codec.write_response(ApiKey.METADATA, 11, answer(nameless))
