"""The group APIs at both ends of their ranges, through codec, rules and a real coordinator."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest

from rivven.errors import ErrorCode
from rivven.protocol import messages as m
from rivven.tasks import Tasks
from rivven.types import Operation, ResourceType
from tests.unit.api.coordination import NODE, Coordination

NOT_ASKED = -(2**31)


@pytest.fixture
async def world() -> AsyncIterator[Coordination]:
    tasks = Tasks()
    yield await Coordination(tasks).start()
    await tasks.cancel_all()


# -- FindCoordinator -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1, 3])
async def test_one_group_is_found_here(world: Coordination, version: int) -> None:
    answer = await world.call(version, m.FindCoordinatorRequest(key="g"))
    assert (answer.error_code, answer.node_id, answer.host, answer.port) == (0, NODE, "broker.example", 9092)


@pytest.mark.parametrize("version", [4, 5])
async def test_many_groups_are_found_one_by_one(world: Coordination, version: int) -> None:
    world.allow("bob", Operation.DESCRIBE, ResourceType.GROUP, "g")
    request = m.FindCoordinatorRequest(coordinator_keys=["g", "secret"])
    found, denied = (await world.call(version, request, "bob")).coordinators
    assert (found.key, found.error_code, found.node_id, found.host) == ("g", 0, NODE, "broker.example")
    assert (denied.key, denied.error_code) == ("secret", ErrorCode.GROUP_AUTHORIZATION_FAILED)
    assert (denied.node_id, denied.host, denied.port) == (-1, "", -1)


@pytest.mark.parametrize("version", [0, 3])
async def test_a_group_one_may_not_see(world: Coordination, version: int) -> None:
    answer = await world.call(version, m.FindCoordinatorRequest(key="secret"), "bob")
    assert (answer.error_code, answer.node_id) == (ErrorCode.GROUP_AUTHORIZATION_FAILED, -1)


async def test_transactions_are_refused_with_the_code_every_client_gives_up_at(world: Coordination) -> None:
    single = await world.call(1, m.FindCoordinatorRequest(key="tx", key_type=1))
    assert single.error_code == ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    assert "transactions are not supported" in single.error_message
    batched = await world.call(4, m.FindCoordinatorRequest(key_type=1, coordinator_keys=["tx"]), "bob")
    (entry,) = batched.coordinators
    assert entry.error_code == ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    assert "transactional.id" in entry.error_message


async def test_other_key_types_are_invalid(world: Coordination) -> None:
    answer = await world.call(5, m.FindCoordinatorRequest(key_type=2, coordinator_keys=["x"]))
    assert answer.coordinators[0].error_code == ErrorCode.INVALID_REQUEST


# -- members -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1, 3])
async def test_old_joins_become_members_at_once(world: Coordination, version: int) -> None:
    answer = await world.join(version)
    assert (answer.error_code, answer.generation_id, answer.protocol_name) == (0, 1, "range")
    assert answer.leader == answer.member_id and answer.member_id.startswith("app-")
    assert [(one.member_id, one.metadata) for one in answer.members] == [(answer.member_id, b"\0\1meta\xff")]


@pytest.mark.parametrize("version", [4, 9])
async def test_new_joins_come_back_with_their_id(world: Coordination, version: int) -> None:
    first = await world.join(version)
    assert first.error_code == ErrorCode.MEMBER_ID_REQUIRED and first.member_id
    second = await world.join(version, member_id=first.member_id)
    assert (second.error_code, second.member_id, second.generation_id) == (0, first.member_id, 1)
    assert second.protocol_type == ("consumer" if version >= 7 else None)


@pytest.mark.parametrize(("version", "name"), [(0, ""), (6, ""), (7, None), (9, None)])
async def test_a_refused_join_names_no_protocol(world: Coordination, version: int, name: str | None) -> None:
    answer = await world.join(version, session_timeout_ms=1)
    assert (answer.error_code, answer.protocol_name) == (ErrorCode.INVALID_SESSION_TIMEOUT, name)


async def test_a_static_member_comes_back(world: Coordination) -> None:
    joined = await world.join(9, group_instance_id="i")
    await world.sync(5, joined)
    again = await world.join(9, group_instance_id="i")
    assert (again.error_code, again.generation_id, again.skip_assignment) == (0, 1, True)
    assert again.members[0].group_instance_id == "i"
    beat = m.HeartbeatRequest(
        group_id="g", generation_id=1, member_id=joined.member_id, group_instance_id="i"
    )
    assert (await world.call(3, beat)).error_code == ErrorCode.FENCED_INSTANCE_ID


@pytest.mark.parametrize("version", [0, 3, 5])
async def test_sync_and_heartbeat(world: Coordination, version: int) -> None:
    joined = await world.join(3)
    synced = await world.sync(version, joined)
    assert (synced.error_code, synced.assignment) == (0, b"mine")
    assert synced.protocol_name == ("range" if version >= 5 else None)
    for beat_version in (0, 4):
        beat = m.HeartbeatRequest(group_id="g", generation_id=1, member_id=joined.member_id)
        assert (await world.call(beat_version, beat)).error_code == 0
        beat.generation_id = 2
        assert (await world.call(beat_version, beat)).error_code == ErrorCode.ILLEGAL_GENERATION


async def test_a_new_sync_must_name_its_protocol(world: Coordination) -> None:
    joined = await world.join(3)
    request = m.SyncGroupRequest(group_id="g", generation_id=1, member_id=joined.member_id)
    answer = await world.call(5, request)
    assert answer.error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL


@pytest.mark.parametrize("version", [0, 2])
async def test_old_leaves_name_one_member(world: Coordination, version: int) -> None:
    joined = await world.member()
    request = m.LeaveGroupRequest(group_id="g", member_id=joined.member_id)
    assert (await world.call(version, request)).error_code == 0
    assert (await world.call(version, request)).error_code == ErrorCode.UNKNOWN_MEMBER_ID


@pytest.mark.parametrize("version", [3, 5])
async def test_new_leaves_name_many(world: Coordination, version: int) -> None:
    joined = await world.member()
    identity = m.LeaveGroupRequest.MemberIdentity
    request = m.LeaveGroupRequest(
        group_id="g", members=[identity(member_id=joined.member_id), identity(group_instance_id="i")]
    )
    answer = await world.call(version, request)
    assert answer.error_code == 0
    assert [(one.member_id, one.group_instance_id, one.error_code) for one in answer.members] == [
        (joined.member_id, None, 0),
        ("", "i", ErrorCode.UNKNOWN_MEMBER_ID),
    ]


async def test_why_members_come_and_go_is_in_the_log(
    world: Coordination, caplog: pytest.LogCaptureFixture
) -> None:
    identity = m.LeaveGroupRequest.MemberIdentity
    with caplog.at_level(logging.INFO, "rivven.api.groups"):
        await world.join(8, reason="it is time" + "x" * 1000)
        leaving = m.LeaveGroupRequest(group_id="g", members=[identity(member_id="m", reason="bored")])
        await world.call(5, leaving)
        await world.call(4, leaving)
    joins, leaves = (record.getMessage() for record in caplog.records)
    assert "joins group 'g': it is time" in joins and len(joins) < 400
    assert leaves == "member 'm' leaves group 'g': bored"


async def test_the_empty_group_id(world: Coordination) -> None:
    assert (await world.join(9, group="")).error_code == ErrorCode.INVALID_GROUP_ID
    for request, version in (
        (m.SyncGroupRequest(protocol_type="", protocol_name=""), 5),
        (m.HeartbeatRequest(), 4),
        (m.LeaveGroupRequest(), 5),
    ):
        assert (await world.call(version, request)).error_code == ErrorCode.INVALID_GROUP_ID


async def test_members_need_read_on_the_group(world: Coordination) -> None:
    world.allow("bob", Operation.DESCRIBE, ResourceType.GROUP, "g")
    for request, version in (
        (m.JoinGroupRequest(group_id="g"), 9),
        (m.SyncGroupRequest(group_id="g"), 5),
        (m.HeartbeatRequest(group_id="g"), 4),
        (m.LeaveGroupRequest(group_id="g"), 5),
    ):
        answer = await world.call(version, request, "bob")
        assert answer.error_code == ErrorCode.GROUP_AUTHORIZATION_FAILED


# -- administration ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 6])
async def test_describe_a_group(world: Coordination, version: int) -> None:
    joined = await world.member()
    (group,) = (await world.call(version, m.DescribeGroupsRequest(groups=["g"]))).groups
    assert (group.error_code, group.group_state) == (0, "Stable")
    assert (group.protocol_type, group.protocol_data) == ("consumer", "range")
    (member,) = group.members
    assert (member.member_id, member.client_id, member.client_host) == (
        joined.member_id,
        "app",
        "/10.0.0.1",
    )
    assert (member.member_metadata, member.member_assignment) == (b"\0\1meta\xff", b"mine")
    assert group.authorized_operations == NOT_ASKED


@pytest.mark.parametrize("version", [3, 6])
async def test_describe_says_what_one_may_do(world: Coordination, version: int) -> None:
    world.allow("bob", Operation.DESCRIBE, ResourceType.GROUP, "g")
    world.allow("bob", Operation.READ, ResourceType.GROUP, "g")
    await world.member()
    request = m.DescribeGroupsRequest(groups=["secret", "g"], include_authorized_operations=True)
    groups = {group.group_id: group for group in (await world.call(version, request, "bob")).groups}
    assert groups["secret"].error_code == ErrorCode.GROUP_AUTHORIZATION_FAILED
    assert groups["secret"].authorized_operations == NOT_ASKED
    assert groups["g"].authorized_operations == 1 << Operation.READ | 1 << Operation.DESCRIBE


async def test_describe_an_unknown_group(world: Coordination) -> None:
    (old,) = (await world.call(5, m.DescribeGroupsRequest(groups=["none"]))).groups
    assert (old.error_code, old.group_state, old.members) == (0, "Dead", [])
    (new,) = (await world.call(6, m.DescribeGroupsRequest(groups=["none"]))).groups
    assert (new.error_code, new.group_state) == (ErrorCode.GROUP_ID_NOT_FOUND, "Dead")
    assert "does not exist" in new.error_message


@pytest.mark.parametrize("version", [0, 3, 4, 5])
async def test_list_groups_of_every_shard(world: Coordination, version: int) -> None:
    names = [f"group-{index}" for index in range(12)]
    for name in names:
        await world.commit(name, ("t", 0, 1))
    await world.member("busy")
    groups = {group.group_id: group for group in (await world.call(version, m.ListGroupsRequest())).groups}
    assert set(groups) == {*names, "busy"}
    assert groups["busy"].protocol_type == "consumer" and groups["group-0"].protocol_type == ""
    if version >= 4:
        assert (groups["busy"].group_state, groups["group-0"].group_state) == ("Stable", "Empty")
    if version >= 5:
        assert groups["busy"].group_type == "Classic"


async def test_list_groups_by_state_and_type(world: Coordination) -> None:
    await world.commit("idle", ("t", 0, 1))
    await world.member("busy")

    async def listed(version: int, **filters: list[str]) -> list[str]:
        answer = await world.call(version, m.ListGroupsRequest(**filters))
        return sorted(group.group_id for group in answer.groups)

    assert await listed(4, states_filter=["stable"]) == ["busy"]
    assert await listed(4, states_filter=["Empty", "Stable"]) == ["busy", "idle"]
    assert await listed(5, types_filter=["CLASSIC"], states_filter=["Empty"]) == ["idle"]
    assert await listed(5, types_filter=["consumer"]) == []


async def test_list_groups_hides_what_one_may_not_describe(world: Coordination) -> None:
    for name in ("mine", "theirs"):
        await world.commit(name, ("t", 0, 1))
    world.allow("bob", Operation.DESCRIBE, ResourceType.GROUP, "mine")
    world.allow("eve", Operation.DESCRIBE, ResourceType.CLUSTER, "kafka-cluster")
    for user, names in (("bob", {"mine"}), ("eve", {"mine", "theirs"}), ("zoe", set())):
        answer = await world.call(5, m.ListGroupsRequest(), user)
        assert answer.error_code == 0 and {group.group_id for group in answer.groups} == names


@pytest.mark.parametrize("version", [0, 2])
async def test_delete_groups(world: Coordination, version: int) -> None:
    await world.commit("idle", ("t", 0, 1))
    await world.member("busy")
    world.allow("bob", Operation.DELETE, ResourceType.GROUP, "idle")
    world.allow("bob", Operation.DELETE, ResourceType.GROUP, "busy")
    request = m.DeleteGroupsRequest(groups_names=["secret", "idle", "busy", "idle"])
    answer = await world.call(version, request, "bob")
    assert [(result.group_id, result.error_code) for result in answer.results] == [
        ("idle", 0),
        ("busy", ErrorCode.NON_EMPTY_GROUP),
        ("idle", ErrorCode.GROUP_ID_NOT_FOUND),
        ("secret", ErrorCode.GROUP_AUTHORIZATION_FAILED),
    ]


async def test_before_the_shards_are_loaded_clients_are_told_to_wait() -> None:
    tasks = Tasks()
    world = Coordination(tasks)  # not started
    loading = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    assert (await world.join(9)).error_code == loading
    for request, version in (
        (m.SyncGroupRequest(group_id="g", protocol_type="", protocol_name=""), 5),
        (m.HeartbeatRequest(group_id="g"), 4),
        (m.LeaveGroupRequest(group_id="g"), 5),
        (m.ListGroupsRequest(), 5),
        (m.OffsetDeleteRequest(group_id="g"), 0),
    ):
        assert (await world.call(version, request)).error_code == loading
    described = await world.call(6, m.DescribeGroupsRequest(groups=["g"]))
    assert described.groups[0].error_code == loading
    deleted = await world.call(2, m.DeleteGroupsRequest(groups_names=["g"]))
    assert deleted.results[0].error_code == loading
    assert await world.commit("g", ("t", 0, 1)) == [("t", 0, loading)]
    await tasks.cancel_all()
