"""ListOffsets and OffsetForLeaderEpoch never show what is not committed."""

from typing import Any

import pytest

from rivven.api.offsets import EARLIEST, LATEST, MAX_TIMESTAMP, OffsetHandlers
from rivven.errors import ErrorCode as E
from rivven.protocol import messages as m
from tests.unit.api.requests import context
from tests.unit.replication.data_plane import NOW_MS, DataPlane, append


@pytest.fixture
def plane() -> DataPlane:
    return DataPlane()


async def list_offsets(plane: DataPlane, *timestamps: int, version: int = 9, index: int = 0) -> list[Any]:
    parts = [
        m.ListOffsetsRequest.ListOffsetsPartition(partition_index=index, timestamp=timestamp)
        for timestamp in timestamps
    ]
    request = m.ListOffsetsRequest(topics=[m.ListOffsetsRequest.ListOffsetsTopic(name="t", partitions=parts)])
    answer = await plane.run(OffsetHandlers(plane.replicas).list_offsets(context(version), request))
    return list(answer.topics[0].partitions)


async def test_positions_end_at_the_high_watermark(plane: DataPlane) -> None:
    partition = await plane.partition()
    append(partition, b"a")
    await plane.settle()
    append(partition, b"b")
    handler = OffsetHandlers(plane.replicas)
    part = m.ListOffsetsRequest.ListOffsetsPartition(partition_index=0, timestamp=LATEST)
    request = m.ListOffsetsRequest(
        topics=[m.ListOffsetsRequest.ListOffsetsTopic(name="t", partitions=[part])]
    )
    answer = await handler.list_offsets(context(9), request)
    assert answer.topics[0].partitions[0].offset == 1
    epoch = m.OffsetForLeaderEpochRequest.OffsetForLeaderPartition(partition=0, leader_epoch=0)
    topic = m.OffsetForLeaderEpochRequest.OffsetForLeaderTopic(topic="t", partitions=[epoch])
    ends = await handler.offset_for_leader_epoch(context(4), m.OffsetForLeaderEpochRequest(topics=[topic]))
    assert ends.topics[0].partitions[0].end_offset == 1


async def test_a_partition_named_twice_is_an_error_for_the_second(plane: DataPlane) -> None:
    await plane.partition()
    first, second = await list_offsets(plane, EARLIEST, EARLIEST)
    assert (first.error_code, second.error_code) == (0, E.INVALID_REQUEST)


async def test_what_cannot_be_answered(plane: DataPlane) -> None:
    partition = await plane.partition()
    (unknown,) = await list_offsets(plane, LATEST, index=1)
    assert (unknown.error_code, unknown.offset) == (E.UNKNOWN_TOPIC_OR_PARTITION, -1)
    (old,) = await list_offsets(plane, MAX_TIMESTAMP, version=6)
    assert old.error_code == E.UNSUPPORTED_VERSION
    (tomorrow,) = await list_offsets(plane, -7)
    assert tomorrow.error_code == E.UNSUPPORTED_VERSION
    (later,) = await list_offsets(plane, NOW_MS + 1)
    assert (later.error_code, later.offset, later.timestamp) == (0, -1, -1)
    partition.retire()
    (gone,) = await list_offsets(plane, LATEST)
    assert gone.error_code == E.UNKNOWN_TOPIC_OR_PARTITION
