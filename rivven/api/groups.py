"""Consumer groups: FindCoordinator (10), JoinGroup (11), Heartbeat (12), LeaveGroup (13), SyncGroup (14),
DescribeGroups (15), ListGroups (16), DeleteGroups (42).

Handlers translate between messages and the commands of the group coordinator; what a group does is decided
there.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import Any

from rivven.api.context import RequestContext
from rivven.api.rules import Filter, Require, Rule, Split, keep_list
from rivven.coordinator.commands import (
    DeleteGroup,
    DescribeGroup,
    GroupDescription,
    Heartbeat,
    JoinGroup,
    JoinReply,
    LeaveGroup,
    SyncGroup,
    SyncReply,
)
from rivven.coordinator.group import GroupState
from rivven.coordinator.service import GroupCoordinator
from rivven.errors import ErrorCode, RivvenError
from rivven.protocol import messages as m
from rivven.types import Operation, ResourceType

_log = logging.getLogger("rivven.api.groups")

REASON_CHARACTERS_MAX = 255
"""Of a client's own explanation in the log (KIP-800 has clients cut it there)."""

_Coordinator = m.FindCoordinatorResponse.Coordinator
_JoinedMember = m.JoinGroupResponse.JoinGroupResponseMember
_LeftMember = m.LeaveGroupResponse.MemberResponse
_Described = m.DescribeGroupsResponse.DescribedGroup
_DescribedMember = m.DescribeGroupsResponse.DescribedGroupMember
_Listed = m.ListGroupsResponse.ListedGroup
_Deleted = m.DeleteGroupsResponse.DeletableGroupResult

KEY_GROUP = 0
KEY_TRANSACTION = 1

GROUP_TYPE = "Classic"
"""The only type of group there is here (ListGroups v5)."""

NO_TRANSACTIONS = "transactions are not supported by this broker: unset transactional.id"
"""With TRANSACTIONAL_ID_AUTHORIZATION_FAILED, the one code at which Java, librdkafka and aiokafka all give
up at once: librdkafka asks again for ever after any other."""

_NOT_FOUND_TEXT = "the group does not exist"


# -- who may ------------------------------------------------------------------------------------------------


def _group_id(request: Any) -> str:
    group_id: str = request.group_id
    return group_id


def _read_group(denied: Callable[[Any, int, ErrorCode], Any]) -> tuple[Rule, ...]:
    return (Require(Operation.READ, ResourceType.GROUP, denied=denied, name=_group_id),)


def find_coordinator_failed(request: Any, version: int, code: ErrorCode) -> Any:
    """Every key that was asked answers `code`."""
    if version < 4:
        return _single(_not_found(request.key, code, ""))
    coordinators = [_not_found(key, code, "") for key in request.coordinator_keys]
    return m.FindCoordinatorResponse(coordinators=coordinators)


def list_groups_failed(_request: Any, _version: int, code: ErrorCode) -> Any:
    return m.ListGroupsResponse(error_code=code)


def _join_failed(request: Any, version: int, code: ErrorCode) -> Any:
    return _join_response(JoinReply(code, request.member_id), version)


def _heartbeat_failed(_request: Any, _version: int, code: ErrorCode) -> Any:
    return m.HeartbeatResponse(error_code=code)


def _sync_failed(_request: Any, _version: int, code: ErrorCode) -> Any:
    return m.SyncGroupResponse(error_code=code)


def _leave_failed(_request: Any, _version: int, code: ErrorCode) -> Any:
    return m.LeaveGroupResponse(error_code=code)


def _named(attribute: str) -> Callable[[Any, int], list[tuple[str, Any]]]:
    """`items` of a request whose list attribute holds the names themselves."""

    def items(request: Any, _version: int) -> list[tuple[str, Any]]:
        return [(name, name) for name in getattr(request, attribute)]

    return items


def _deny_describe(response: Any, item: Any, _version: int, code: ErrorCode) -> None:
    response.groups.append(_Described(error_code=code, group_id=item))


def _deny_delete(response: Any, item: Any, _version: int, code: ErrorCode) -> None:
    response.results.append(_Deleted(group_id=item, error_code=code))


FIND_COORDINATOR_RULES: tuple[Rule, ...] = (Filter(),)
JOIN_GROUP_RULES = _read_group(_join_failed)
HEARTBEAT_RULES = _read_group(_heartbeat_failed)
LEAVE_GROUP_RULES = _read_group(_leave_failed)
SYNC_GROUP_RULES = _read_group(_sync_failed)
LIST_GROUPS_RULES: tuple[Rule, ...] = (Filter(),)
DESCRIBE_GROUPS_RULES: tuple[Rule, ...] = (
    Split(
        Operation.DESCRIBE,
        ResourceType.GROUP,
        items=_named("groups"),
        keep=keep_list("groups"),
        deny=_deny_describe,
    ),
)
DELETE_GROUPS_RULES: tuple[Rule, ...] = (
    Split(
        Operation.DELETE,
        ResourceType.GROUP,
        items=_named("groups_names"),
        keep=keep_list("groups_names"),
        deny=_deny_delete,
    ),
)


# -- handlers -----------------------------------------------------------------------------------------------


class FindCoordinatorHandler:
    """Handles FindCoordinator 0-5: this node coordinates every group, at the asker's own listener."""

    def __init__(self, node_id: int) -> None:
        self._node_id = node_id

    async def find_coordinator(self, context: RequestContext, request: Any) -> Any:
        """Needs Describe on each group; a transactional id is refused for good."""
        if context.api_version < 4:
            return _single(self._find(context, request.key_type, request.key))
        return m.FindCoordinatorResponse(
            coordinators=[self._find(context, request.key_type, key) for key in request.coordinator_keys]
        )

    def _find(self, context: RequestContext, key_type: int, key: str) -> Any:
        if key_type == KEY_TRANSACTION:
            # Asked for the record: the answer is the same whether it would be allowed or not.
            context.access.allowed(Operation.DESCRIBE, ResourceType.TRANSACTIONAL_ID, key)
            return _not_found(key, ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, NO_TRANSACTIONS)
        if not context.access.allowed(Operation.DESCRIBE, ResourceType.GROUP, key):
            return _not_found(key, ErrorCode.GROUP_AUTHORIZATION_FAILED, "not authorised for this group")
        if key_type != KEY_GROUP:
            return _not_found(key, ErrorCode.INVALID_REQUEST, f"unknown coordinator key type {key_type}")
        listener = context.session.listener
        return _Coordinator(
            key=key,
            node_id=self._node_id,
            host=listener.advertised_host,
            port=listener.advertised_port,
            error_message="",
        )


class GroupHandlers:
    """Handles JoinGroup 0-9, Heartbeat 0-4, LeaveGroup 0-5 and SyncGroup 0-5."""

    def __init__(
        self, coordinator: GroupCoordinator, fresh_id: Callable[[], str] = lambda: str(uuid.uuid4())
    ) -> None:
        self._coordinator = coordinator
        self._fresh_id = fresh_id

    async def join_group(self, context: RequestContext, request: Any) -> Any:
        """Answered when the rebalance completes."""
        version = context.api_version
        command = JoinGroup(
            group_id=request.group_id,
            member_id=request.member_id,
            fresh_id=self._fresh_id(),
            client_id=context.client_id or "",
            client_host=f"/{context.session.host}",
            session_timeout_ms=request.session_timeout_ms,
            rebalance_timeout_ms=request.rebalance_timeout_ms if version >= 1 else -1,
            protocol_type=request.protocol_type,
            protocols=tuple((protocol.name, protocol.metadata) for protocol in request.protocols),
            instance_id=request.group_instance_id,
            require_member_id=version >= 4,
            can_skip_assignment=version >= 9,
        )
        _log_reason("joins", request.group_id, request.member_id, request.reason)
        try:
            reply = await self._coordinator.submit(command)
        except RivvenError as error:
            return _join_failed(request, version, error.code)
        return _join_response(reply, version)

    async def sync_group(self, context: RequestContext, request: Any) -> Any:
        """Answered when the leader's assignments are durable."""
        if context.api_version >= 5 and (request.protocol_type is None or request.protocol_name is None):
            return m.SyncGroupResponse(error_code=ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        command = SyncGroup(
            group_id=request.group_id,
            generation=request.generation_id,
            member_id=request.member_id,
            instance_id=request.group_instance_id,
            protocol_type=request.protocol_type,
            protocol=request.protocol_name,
            assignments=tuple((entry.member_id, entry.assignment) for entry in request.assignments),
        )
        try:
            reply: SyncReply = await self._coordinator.submit(command)
        except RivvenError as error:
            return m.SyncGroupResponse(error_code=error.code)
        return m.SyncGroupResponse(
            error_code=reply.error,
            protocol_type=reply.protocol_type,
            protocol_name=reply.protocol,
            assignment=reply.assignment,
        )

    async def heartbeat(self, _context: RequestContext, request: Any) -> Any:
        command = Heartbeat(
            request.group_id, request.generation_id, request.member_id, request.group_instance_id
        )
        try:
            return m.HeartbeatResponse(error_code=await self._coordinator.submit(command))
        except RivvenError as error:
            return m.HeartbeatResponse(error_code=error.code)

    async def leave_group(self, context: RequestContext, request: Any) -> Any:
        """v0-2 name one member and get its error as the answer's; later versions an entry per member."""
        if context.api_version < 3:
            leaving = [(request.member_id, None)]
        else:
            leaving = [(member.member_id, member.group_instance_id) for member in request.members]
            for member in request.members:
                _log_reason("leaves", request.group_id, member.member_id, member.reason)
        if not request.group_id:
            return m.LeaveGroupResponse(error_code=ErrorCode.INVALID_GROUP_ID)
        try:
            errors = await self._coordinator.submit(LeaveGroup(request.group_id, tuple(leaving)))
        except RivvenError as error:
            return m.LeaveGroupResponse(error_code=error.code)
        if context.api_version < 3:
            return m.LeaveGroupResponse(error_code=errors[0])
        return m.LeaveGroupResponse(
            members=[
                _LeftMember(member_id=member_id, group_instance_id=instance_id, error_code=error)
                for (member_id, instance_id), error in zip(leaving, errors, strict=True)
            ]
        )


class GroupAdminHandlers:
    """Handles DescribeGroups 0-6, ListGroups 0-5 and DeleteGroups 0-2."""

    def __init__(self, coordinator: GroupCoordinator) -> None:
        self._coordinator = coordinator

    async def describe_groups(self, context: RequestContext, request: Any) -> Any:
        """A group that does not exist is Dead without an error before v6, GROUP_ID_NOT_FOUND since."""
        response = m.DescribeGroupsResponse()
        for group_id in request.groups:
            entry = await self._describe(group_id, context.api_version)
            if request.include_authorized_operations and entry.error_code == ErrorCode.NONE:
                entry.authorized_operations = context.access.authorized_operations(
                    ResourceType.GROUP, group_id
                )
            response.groups.append(entry)
        return response

    async def _describe(self, group_id: str, version: int) -> Any:
        try:
            group: GroupDescription | None = await self._coordinator.submit(DescribeGroup(group_id))
        except RivvenError as error:
            return _Described(error_code=error.code, group_id=group_id)
        if group is None:
            entry = _Described(group_id=group_id, group_state=GroupState.DEAD)
            if version >= 6:
                entry.error_code, entry.error_message = ErrorCode.GROUP_ID_NOT_FOUND, _NOT_FOUND_TEXT
            return entry
        return _Described(
            group_id=group_id,
            group_state=group.state,
            protocol_type=group.protocol_type,
            protocol_data=group.protocol,
            members=[
                _DescribedMember(
                    member_id=member.member_id,
                    group_instance_id=member.instance_id,
                    client_id=member.client_id,
                    client_host=member.client_host,
                    member_metadata=member.metadata,
                    member_assignment=member.assignment,
                )
                for member in group.members
            ],
        )

    async def list_groups(self, context: RequestContext, request: Any) -> Any:
        """All groups for who may describe the cluster, else those the asker may describe."""
        access = context.access
        sees_all = access.probe_cluster(Operation.DESCRIBE)
        try:
            groups = await self._coordinator.list_groups()
        except RivvenError as error:
            return m.ListGroupsResponse(error_code=error.code)
        states = _lower_set(request.states_filter)
        types = _lower_set(request.types_filter)
        if types and GROUP_TYPE.lower() not in types:
            groups = []
        if states:
            groups = [group for group in groups if group.state.lower() in states]
        if not sees_all:
            visible = access.filter(
                Operation.DESCRIBE, ResourceType.GROUP, [group.group_id for group in groups]
            )
            groups = [group for group in groups if group.group_id in visible]
        return m.ListGroupsResponse(
            groups=[
                _Listed(
                    group_id=group.group_id,
                    protocol_type=group.protocol_type,
                    group_state=group.state,
                    group_type=GROUP_TYPE,
                )
                for group in groups
            ]
        )

    async def delete_groups(self, _context: RequestContext, request: Any) -> Any:
        """Only groups without members go, and their offsets with them."""
        response = m.DeleteGroupsResponse()
        for group_id in request.groups_names:
            try:
                error = await self._coordinator.submit(DeleteGroup(group_id))
            except RivvenError as failure:
                error = failure.code
            response.results.append(_Deleted(group_id=group_id, error_code=error))
        return response


# -- shapes -------------------------------------------------------------------------------------------------


def _log_reason(what: str, group_id: str, member_id: str, reason: str | None) -> None:
    if reason:
        _log.info("member %r %s group %r: %s", member_id, what, group_id, reason[:REASON_CHARACTERS_MAX])


def _lower_set(names: list[str] | None) -> frozenset[str]:
    return frozenset(name.lower() for name in names or ())


def _not_found(key: str, code: ErrorCode, text: str) -> Any:
    return _Coordinator(key=key, node_id=-1, host="", port=-1, error_code=code, error_message=text)


def _single(found: Any) -> Any:
    """FindCoordinator v0-3 answer one key in the response itself."""
    return m.FindCoordinatorResponse(
        error_code=found.error_code,
        error_message=found.error_message,
        node_id=found.node_id,
        host=found.host,
        port=found.port,
    )


def _join_response(reply: JoinReply, version: int) -> Any:
    """Before v7 the protocol name cannot be null."""
    return m.JoinGroupResponse(
        error_code=reply.error,
        generation_id=reply.generation,
        protocol_type=reply.protocol_type,
        protocol_name=reply.protocol if reply.protocol is not None or version >= 7 else "",
        leader=reply.leader,
        skip_assignment=reply.skip_assignment,
        member_id=reply.member_id,
        members=[
            _JoinedMember(
                member_id=member.member_id,
                group_instance_id=member.instance_id,
                metadata=member.metadata,
            )
            for member in reply.members
        ],
    )
