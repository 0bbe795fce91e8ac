"""Consumer groups without sockets or disk: real coordinator, authorizer, dispatch, codec; shards in RAM."""

from __future__ import annotations

from typing import Any

from rivven.api import group_offsets, groups
from rivven.api.dispatch import Call, Dispatch
from rivven.api.session import ListenerInfo, Session
from rivven.api.table import Row, Table
from rivven.clock import SystemClock
from rivven.coordinator.service import GroupCoordinator
from rivven.coordinator.settings import GroupSettings
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.protocol.codec import (
    RequestHeader,
    parse_response,
    parse_response_header,
    request_header_bytes,
    write_request,
)
from rivven.security.authn.authenticator import Authenticated
from rivven.security.authz.acl import AclAuthorizer
from rivven.security.authz.chain import AuthorizerChain
from rivven.tasks import Tasks
from rivven.types import AclBinding, Operation, PatternType, Permission, Principal, ResourceType
from tests.unit.coordinator.store import MemoryStore

NODE = 3
LISTENER = ListenerInfo("main", tls=True, sasl=True, advertised_host="broker.example", advertised_port=9092)
TOPICS = {"t": 2, "u": 1, "hidden": 1}
SHARDS = 4


class Silent:
    """Counts nothing."""

    def denied(self, api_key: int) -> None: ...
    def failed(self, api_key: int) -> None: ...


async def _no_raw_tokens(_session: Session, _token: bytes) -> list[bytes]:
    raise AssertionError("SASL is not spoken here")


class Coordination:
    """``User:admin`` is a super user; others need rules."""

    def __init__(self, tasks: Tasks, settings: GroupSettings | None = None) -> None:
        self.stores = [MemoryStore() for _ in range(SHARDS)]
        self.coordinator = GroupCoordinator(
            SHARDS,
            self.stores.__getitem__,
            settings or GroupSettings(initial_delay_ms=0),
            SystemClock(),
            tasks,
            TOPICS.__contains__,
        )
        self.rules: list[AclBinding] = []
        authorizer = AclAuthorizer(lambda: (len(self.rules), self.rules))
        table = Table(self._rows())
        self._dispatch = Dispatch(
            table,
            AuthorizerChain({"test": authorizer}, ["User:admin"]),
            SystemClock(),
            Silent(),
            _no_raw_tokens,
        )

    async def start(self) -> Coordination:
        self.coordinator.start()
        await self.coordinator.wait_loaded()
        return self

    def _rows(self) -> list[Row]:
        find = groups.FindCoordinatorHandler(NODE)
        member = groups.GroupHandlers(self.coordinator)
        admin = groups.GroupAdminHandlers(self.coordinator)
        offsets = group_offsets.GroupOffsetHandlers(self.coordinator, lambda topic: TOPICS.get(topic, 0))
        return [
            Row(
                ApiKey.FIND_COORDINATOR,
                groups.FIND_COORDINATOR_RULES,
                find.find_coordinator,
                failed=groups.find_coordinator_failed,
            ),
            Row(ApiKey.JOIN_GROUP, groups.JOIN_GROUP_RULES, member.join_group),
            Row(ApiKey.SYNC_GROUP, groups.SYNC_GROUP_RULES, member.sync_group),
            Row(ApiKey.HEARTBEAT, groups.HEARTBEAT_RULES, member.heartbeat),
            Row(ApiKey.LEAVE_GROUP, groups.LEAVE_GROUP_RULES, member.leave_group),
            Row(ApiKey.DESCRIBE_GROUPS, groups.DESCRIBE_GROUPS_RULES, admin.describe_groups),
            Row(
                ApiKey.LIST_GROUPS,
                groups.LIST_GROUPS_RULES,
                admin.list_groups,
                failed=groups.list_groups_failed,
            ),
            Row(ApiKey.DELETE_GROUPS, groups.DELETE_GROUPS_RULES, admin.delete_groups),
            Row(ApiKey.OFFSET_COMMIT, group_offsets.OFFSET_COMMIT_RULES, offsets.offset_commit),
            Row(
                ApiKey.OFFSET_FETCH,
                group_offsets.OFFSET_FETCH_RULES,
                offsets.offset_fetch,
                failed=group_offsets.offset_fetch_failed,
            ),
            Row(ApiKey.OFFSET_DELETE, group_offsets.OFFSET_DELETE_RULES, offsets.offset_delete),
        ]

    async def call(self, version: int, request: Any, user: str = "admin") -> Any:
        """One request through codec and dispatch; the decoded answer."""
        key = ApiKey(request.__api_key__)
        session = Session(LISTENER, "10.0.0.1", None)
        session.become(Authenticated(Principal("User", user)), "PLAIN")
        header = request_header_bytes(RequestHeader(key, version, 3, "app"))
        frame = memoryview(bytearray(header + write_request(key, version, request)))
        call = self._dispatch.accept(session, frame)
        assert isinstance(call, Call)
        buffers = self._dispatch.encode(call, await self._dispatch.perform(call))
        answer = b"".join(buffers)[4:]
        correlation, position = parse_response_header(key, version, answer)
        assert correlation == 3
        return parse_response(key, version, answer, position)

    def allow(self, user: str, operation: Operation, resource_type: ResourceType, name: str) -> None:
        """Add an ALLOW rule."""
        self.rules.append(
            AclBinding(
                resource_type,
                name,
                PatternType.LITERAL,
                f"User:{user}",
                "*",
                operation,
                Permission.ALLOW,
            )
        )

    async def join(self, version: int, group: str = "g", **fields: Any) -> Any:
        """JoinGroup of a consumer with the range assignor."""
        protocol = m.JoinGroupRequest.JoinGroupRequestProtocol(name="range", metadata=b"\0\1meta\xff")
        defaults: dict[str, Any] = {
            "group_id": group,
            "session_timeout_ms": 10_000,
            "rebalance_timeout_ms": 20_000,
            "protocol_type": "consumer",
            "protocols": [protocol],
        }
        return await self.call(version, m.JoinGroupRequest(**{**defaults, **fields}))

    async def sync(self, version: int, joined: Any, group: str = "g", assignment: bytes = b"mine") -> Any:
        """SyncGroup of the only member of a group."""
        entry = m.SyncGroupRequest.SyncGroupRequestAssignment(
            member_id=joined.member_id, assignment=assignment
        )
        request = m.SyncGroupRequest(
            group_id=group,
            generation_id=joined.generation_id,
            member_id=joined.member_id,
            protocol_type="consumer",
            protocol_name="range",
            assignments=[entry],
        )
        return await self.call(version, request)

    async def member(self, group: str = "g") -> Any:
        """A stable group of one; its JoinGroup answer."""
        joined = await self.join(3, group)
        assert (await self.sync(3, joined, group)).error_code == 0
        return joined

    async def commit(
        self, group: str, *offsets: tuple[str, int, int], version: int = 9, **fields: Any
    ) -> Any:
        """OffsetCommit; (topic, partition, error code) of each answer."""
        topics = [
            m.OffsetCommitRequest.OffsetCommitRequestTopic(
                name=topic,
                partitions=[
                    m.OffsetCommitRequest.OffsetCommitRequestPartition(
                        partition_index=partition,
                        committed_offset=offset,
                        committed_leader_epoch=4,
                        committed_metadata="note",
                    )
                ],
            )
            for topic, partition, offset in offsets
        ]
        user = fields.pop("user", "admin")
        request = m.OffsetCommitRequest(group_id=group, topics=topics, **fields)
        answer = await self.call(version, request, user)
        return [
            (topic.name, entry.partition_index, entry.error_code)
            for topic in answer.topics
            for entry in topic.partitions
        ]
