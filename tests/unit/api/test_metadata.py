"""Metadata: what one may describe, as it is now, whatever was cached before."""

from typing import Any

import pytest

from rivven.api.metadata import MetadataHandler
from rivven.errors import ErrorCode as E
from rivven.errors import RivvenError
from rivven.protocol import messages as m
from rivven.protocol.codec import parse_response, write_response
from rivven.testing.authorizers import DenyAll
from rivven.testing.files import Fault
from rivven.types import Operation, ResourceType
from tests.unit.api.requests import context
from tests.unit.replication.data_plane import DataPlane, append

VERSION = 12


class Asked:
    def __init__(self) -> None:
        self.plane = DataPlane()
        self.created: list[str] = []

    async def auto_create(self, name: str) -> Any:
        if name == "bad":
            raise RivvenError("no", E.INVALID_TOPIC_EXCEPTION)
        self.created.append(name)
        return await self.plane.topic(name)

    async def topics(
        self, *names: str, authorizer: Any = None, auto: bool = False, operations: bool = False
    ) -> list[Any]:
        handler = self.__dict__.setdefault(
            "handler",
            MetadataHandler(1, "cluster", lambda: self.plane.image, self.plane.replicas, self.auto_create),
        )
        request = m.MetadataRequest(
            topics=[m.MetadataRequest.MetadataRequestTopic(name=name) for name in names],
            allow_auto_topic_creation=auto,
            include_topic_authorized_operations=operations,
        )
        answer = await self.plane.run(handler.metadata(context(VERSION, authorizer), request))
        return list(parse_response(3, VERSION, write_response(3, VERSION, answer)).topics)


@pytest.fixture
def asked() -> Asked:
    return Asked()


async def test_an_entry_changes_with_its_topic_and_with_its_log(asked: Asked) -> None:
    await asked.plane.topic("t", 2)
    (topic,) = await asked.topics("t")
    assert [part.leader_id for part in topic.partitions] == [1, 1]
    partition = asked.plane.replicas.partition("t", 1)
    assert partition is not None
    asked.plane.files.faults.append(Fault("sync", path=".log"))
    append(partition, b"a")
    await asked.plane.settle()
    (topic,) = await asked.topics("t")
    offline = topic.partitions[1]
    assert (offline.error_code, offline.leader_id) == (E.LEADER_NOT_AVAILABLE, -1)
    assert (offline.replica_nodes, offline.offline_replicas) == ([1], [1])


async def test_a_topic_is_created_once_where_client_and_rights_allow(asked: Asked) -> None:
    (refused,) = await asked.topics("new")
    assert refused.error_code == E.UNKNOWN_TOPIC_OR_PARTITION
    (denied,) = await asked.topics("new", auto=True, authorizer=DenyAll())
    assert denied.error_code == E.TOPIC_AUTHORIZATION_FAILED
    (described,) = await asked.topics("new", auto=True, authorizer=MayOnlyDescribe())
    assert described.error_code == E.TOPIC_AUTHORIZATION_FAILED
    assert asked.created == []
    (made,) = await asked.topics("new", auto=True)
    assert (made.error_code, len(made.partitions)) == (0, 1)
    (again,) = await asked.topics("new", auto=True)
    assert again.topic_id == made.topic_id
    assert asked.created == ["new"]
    (bad,) = await asked.topics("bad", auto=True)
    assert bad.error_code == E.INVALID_TOPIC_EXCEPTION


async def test_a_name_no_topic_can_have_is_told_at_once(asked: Asked) -> None:
    for name in ("", ".", "with space", "a" * 250):
        for auto in (False, True):
            (answered,) = await asked.topics(name, auto=auto)
            assert (answered.error_code, answered.name) == (E.INVALID_TOPIC_EXCEPTION, name)
        (denied,) = await asked.topics(name, authorizer=DenyAll())
        assert denied.error_code == E.TOPIC_AUTHORIZATION_FAILED
    assert asked.created == []


class MayOnlyDescribe:
    """Describe on topics and nothing else."""

    def authorize(self, subject: Any, actions: Any) -> Any:
        from rivven.testing.authorizers import AllowAll

        return [
            (AllowAll() if action.operation is Operation.DESCRIBE else DenyAll()).authorize(
                subject, [action]
            )[0]
            for action in actions
        ]

    def authorize_any(self, subject: Any, operation: Operation, resource_type: ResourceType) -> Any:
        return DenyAll().authorize_any(subject, operation, resource_type)


async def test_permitted_operations_are_the_askers_own(asked: Asked) -> None:
    await asked.plane.topic("t")
    (plain,) = await asked.topics("t")
    (all_of_them,) = await asked.topics("t", operations=True)
    (few,) = await asked.topics("t", operations=True, authorizer=MayOnlyDescribe())
    assert plain.topic_authorized_operations == -(2**31)
    assert few.topic_authorized_operations == 1 << Operation.DESCRIBE
    assert all_of_them.topic_authorized_operations > few.topic_authorized_operations
    (plain,) = await asked.topics("t")
    assert plain.topic_authorized_operations == -(2**31), "the shared entry is untouched"
