"""OffsetCommit, OffsetFetch and OffsetDelete at both ends of their ranges."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from rivven.errors import ErrorCode
from rivven.protocol import messages as m
from rivven.tasks import Tasks
from rivven.types import Operation, ResourceType
from tests.unit.api.coordination import Coordination

UNKNOWN = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
GROUP_DENIED = ErrorCode.GROUP_AUTHORIZATION_FAILED
TOPIC_DENIED = ErrorCode.TOPIC_AUTHORIZATION_FAILED

_Topic = m.OffsetFetchRequest.OffsetFetchRequestTopic
_Topics = m.OffsetFetchRequest.OffsetFetchRequestTopics
_Group = m.OffsetFetchRequest.OffsetFetchRequestGroup


@pytest.fixture
async def world() -> AsyncIterator[Coordination]:
    tasks = Tasks()
    yield await Coordination(tasks).start()
    await tasks.cancel_all()


async def fetch(
    world: Coordination,
    version: int,
    group: str,
    topics: dict[str, list[int]] | None,
    user: str = "admin",
) -> tuple[int, dict[tuple[str, int], Any]]:
    """(error of the group, entry by topic and partition), whatever the version's shape."""
    if version < 8:
        asked = None if topics is None else [
            _Topic(name=name, partition_indexes=indexes) for name, indexes in topics.items()
        ]  # fmt: skip
        answer = await world.call(version, m.OffsetFetchRequest(group_id=group, topics=asked), user)
        holder = answer
    else:
        asked_8 = None if topics is None else [
            _Topics(name=name, partition_indexes=indexes) for name, indexes in topics.items()
        ]  # fmt: skip
        request = m.OffsetFetchRequest(groups=[_Group(group_id=group, topics=asked_8)])
        answer = await world.call(version, request, user)
        (holder,) = answer.groups
        assert holder.group_id == group
    entries = {
        (topic.name, entry.partition_index): entry for topic in holder.topics for entry in topic.partitions
    }
    return holder.error_code, entries


@pytest.mark.parametrize("version", [2, 5, 6, 9])
async def test_commit_one_error_per_partition(world: Coordination, version: int) -> None:
    answer = await world.commit("g", ("t", 1, 10), ("t", 2, 10), ("none", 0, 1), ("u", 0, 5), version=version)
    assert answer == [("t", 1, 0), ("t", 2, UNKNOWN), ("none", 0, UNKNOWN), ("u", 0, 0)]
    code, entries = await fetch(world, 7, "g", None)
    assert code == 0
    assert {key: entry.committed_offset for key, entry in entries.items()} == {("t", 1): 10, ("u", 0): 5}
    assert entries["t", 1].committed_leader_epoch == (4 if version >= 6 else -1)
    assert entries["t", 1].metadata == "note"


async def test_commit_null_metadata_is_empty_metadata(world: Coordination) -> None:
    partition = m.OffsetCommitRequest.OffsetCommitRequestPartition(
        partition_index=0, committed_offset=3, committed_metadata=None
    )
    topic = m.OffsetCommitRequest.OffsetCommitRequestTopic(name="t", partitions=[partition])
    answer = await world.call(9, m.OffsetCommitRequest(group_id="g", topics=[topic]))
    assert answer.topics[0].partitions[0].error_code == 0
    assert (await fetch(world, 9, "g", {"t": [0]}))[1]["t", 0].metadata == ""


async def test_commit_by_members_and_strangers(world: Coordination) -> None:
    joined = await world.member()
    member = {"generation_id_or_member_epoch": 1, "member_id": joined.member_id}
    assert await world.commit("g", ("t", 0, 1), **member) == [("t", 0, 0)]
    stale = {**member, "generation_id_or_member_epoch": 0}
    assert await world.commit("g", ("t", 0, 1), **stale) == [("t", 0, ErrorCode.ILLEGAL_GENERATION)]
    assert await world.commit("g", ("t", 0, 1)) == [("t", 0, ErrorCode.UNKNOWN_MEMBER_ID)]
    gone = await world.commit("none", ("t", 0, 1), version=8, **member)
    assert gone == [("t", 0, ErrorCode.ILLEGAL_GENERATION)]
    gone = await world.commit("none", ("t", 0, 1), version=9, **member)
    assert gone == [("t", 0, ErrorCode.GROUP_ID_NOT_FOUND)]


async def test_commit_needs_read_on_group_and_topic(world: Coordination) -> None:
    assert await world.commit("g", ("t", 0, 1), user="bob") == [("t", 0, GROUP_DENIED)]
    world.allow("bob", Operation.READ, ResourceType.GROUP, "g")
    world.allow("bob", Operation.READ, ResourceType.TOPIC, "t")
    answer = await world.commit("g", ("hidden", 0, 1), ("t", 0, 1), user="bob")
    assert sorted(answer) == [("hidden", 0, TOPIC_DENIED), ("t", 0, 0)]
    assert set((await fetch(world, 9, "g", None))[1]) == {("t", 0)}


async def test_a_retention_of_its_own_in_old_versions(world: Coordination) -> None:
    await world.commit("g", ("t", 0, 1), version=4, retention_time_ms=0)
    await world.commit("g", ("t", 1, 1), version=4)
    assert await world.coordinator.expire() == 1
    assert set((await fetch(world, 9, "g", None))[1]) == {("t", 1)}


@pytest.mark.parametrize("version", [1, 2, 5, 7, 8, 9])
async def test_fetch_named_partitions(world: Coordination, version: int) -> None:
    await world.commit("g", ("t", 0, 7))
    code, entries = await fetch(world, version, "g", {"t": [1, 0], "none": [3]})
    assert code == 0
    assert [(key, entry.committed_offset, entry.error_code) for key, entry in entries.items()] == [
        (("t", 1), -1, 0),
        (("t", 0), 7, 0),
        (("none", 3), -1, 0),
    ]
    assert [entry.metadata for entry in entries.values()] == ["", "note", ""]
    if version >= 5:
        assert [entry.committed_leader_epoch for entry in entries.values()] == [-1, 4, -1]


@pytest.mark.parametrize("version", [2, 7, 8, 9])
async def test_fetch_everything(world: Coordination, version: int) -> None:
    await world.commit("g", ("u", 0, 2), ("t", 1, 1), ("t", 0, 0))
    code, entries = await fetch(world, version, "g", None)
    assert code == 0
    assert {key: entry.committed_offset for key, entry in entries.items()} == {
        ("t", 0): 0,
        ("t", 1): 1,
        ("u", 0): 2,
    }
    assert await fetch(world, version, "unknown", None) == (0, {})


async def test_fetch_many_groups_each_with_its_error(world: Coordination) -> None:
    await world.commit("g", ("t", 0, 7))
    world.allow("bob", Operation.DESCRIBE, ResourceType.GROUP, "g")
    world.allow("bob", Operation.DESCRIBE, ResourceType.TOPIC, "t")
    topics = [_Topics(name="t", partition_indexes=[0])]
    request = m.OffsetFetchRequest(
        groups=[_Group(group_id="secret", topics=topics), _Group(group_id="g", topics=topics)],
        require_stable=True,
    )
    secret, mine = (await world.call(8, request, "bob")).groups
    assert (secret.group_id, secret.error_code, secret.topics) == ("secret", GROUP_DENIED, [])
    assert (mine.error_code, mine.topics[0].partitions[0].committed_offset) == (0, 7)


async def test_fetch_a_group_one_may_not_describe(world: Coordination) -> None:
    code, entries = await fetch(world, 1, "g", {"t": [0]}, "bob")
    assert code == 0 and entries["t", 0].error_code == GROUP_DENIED
    assert await fetch(world, 2, "g", {"t": [0]}, "bob") == (GROUP_DENIED, {})
    assert await fetch(world, 9, "g", {"t": [0]}, "bob") == (GROUP_DENIED, {})


@pytest.mark.parametrize("version", [2, 9])
async def test_fetch_hides_topics_one_may_not_describe(world: Coordination, version: int) -> None:
    await world.commit("g", ("t", 0, 7), ("hidden", 0, 8))
    world.allow("bob", Operation.READ, ResourceType.GROUP, "g")
    world.allow("bob", Operation.READ, ResourceType.TOPIC, "t")
    code, entries = await fetch(world, version, "g", None, "bob")
    assert code == 0 and set(entries) == {("t", 0)}
    code, entries = await fetch(world, version, "g", {"hidden": [0], "t": [0]}, "bob")
    assert code == 0
    assert (entries["hidden", 0].error_code, entries["hidden", 0].committed_offset) == (TOPIC_DENIED, -1)
    assert entries["t", 0].committed_offset == 7


async def test_fetch_while_loading() -> None:
    tasks = Tasks()
    world = Coordination(tasks)
    loading = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    code, entries = await fetch(world, 1, "g", {"t": [0]})
    assert code == 0 and entries["t", 0].error_code == loading
    assert await fetch(world, 7, "g", None) == (loading, {})
    assert await fetch(world, 9, "g", None) == (loading, {})
    await tasks.cancel_all()


def deletion(group: str, topics: dict[str, list[int]]) -> Any:
    partition = m.OffsetDeleteRequest.OffsetDeleteRequestPartition
    return m.OffsetDeleteRequest(
        group_id=group,
        topics=[
            m.OffsetDeleteRequest.OffsetDeleteRequestTopic(
                name=name, partitions=[partition(partition_index=index) for index in indexes]
            )
            for name, indexes in topics.items()
        ],
    )


def deleted(answer: Any) -> dict[tuple[str, int], int]:
    return {
        (topic.name, entry.partition_index): entry.error_code
        for topic in answer.topics
        for entry in topic.partitions
    }


async def test_delete_offsets(world: Coordination) -> None:
    await world.commit("g", ("t", 0, 7), ("t", 1, 8), ("hidden", 0, 9))
    world.allow("bob", Operation.DELETE, ResourceType.GROUP, "g")
    world.allow("bob", Operation.READ, ResourceType.TOPIC, "t")
    request = deletion("g", {"t": [0, 5], "hidden": [0]})
    answer = await world.call(0, request, "bob")
    assert answer.error_code == 0
    assert deleted(answer) == {("t", 0): 0, ("t", 5): UNKNOWN, ("hidden", 0): TOPIC_DENIED}
    assert set((await fetch(world, 9, "g", None))[1]) == {("t", 1), ("hidden", 0)}


async def test_delete_offsets_that_are_in_use(world: Coordination) -> None:
    subscription = b"\0\0" + b"\0\0\0\1" + b"\0\1t" + b"\xff\xff\xff\xff"
    protocol = m.JoinGroupRequest.JoinGroupRequestProtocol(name="range", metadata=subscription)
    joined = await world.join(3, protocols=[protocol])
    await world.sync(3, joined)
    member = {"generation_id_or_member_epoch": 1, "member_id": joined.member_id}
    await world.commit("g", ("t", 0, 7), ("u", 0, 8), **member)
    answer = await world.call(0, deletion("g", {"t": [0], "u": [0]}))
    assert deleted(answer) == {("t", 0): ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC, ("u", 0): 0}


async def test_delete_offsets_refused_as_a_whole(world: Coordination) -> None:
    request = deletion("none", {"t": [0]})
    answer = await world.call(0, request)
    assert (answer.error_code, answer.topics) == (ErrorCode.GROUP_ID_NOT_FOUND, [])
    answer = await world.call(0, request, "bob")
    assert (answer.error_code, answer.topics) == (GROUP_DENIED, [])
    assert (await world.call(0, deletion("", {}))).error_code == ErrorCode.INVALID_GROUP_ID
