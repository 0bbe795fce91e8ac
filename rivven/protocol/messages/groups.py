"""Classic consumer groups as members see them: join, sync, heartbeat, leave.

Declarations only; field names, order and version spans are Kafka's.
"""

from __future__ import annotations

from rivven.protocol import schema as s
from rivven.protocol.api import ApiKey
from rivven.protocol.schema import Request, Response, Struct


class JoinGroupRequest(Request, api=ApiKey.JOIN_GROUP):
    class JoinGroupRequestProtocol(Struct):
        name: str = s.string()
        metadata: bytes = s.blob()

    group_id: str = s.string(entity="groupId")
    session_timeout_ms: int = s.i32()
    rebalance_timeout_ms: int = s.i32("1+", default=-1)
    member_id: str = s.string()
    group_instance_id: str | None = s.string("5+", nullable="", default=None)
    protocol_type: str = s.string()
    protocols: list[JoinGroupRequest.JoinGroupRequestProtocol] = s.array("JoinGroupRequestProtocol")
    reason: str | None = s.string("8+", nullable="", default=None)


class JoinGroupResponse(Response, api=ApiKey.JOIN_GROUP):
    class JoinGroupResponseMember(Struct):
        member_id: str = s.string()
        group_instance_id: str | None = s.string("5+", nullable="", default=None)
        metadata: bytes = s.blob()

    throttle_time_ms: int = s.i32("2+")
    error_code: int = s.i16()
    generation_id: int = s.i32(default=-1)
    protocol_type: str | None = s.string("7+", nullable="", default=None)
    protocol_name: str | None = s.string(nullable="7+")
    leader: str = s.string()
    skip_assignment: bool = s.boolean("9+")
    member_id: str = s.string()
    members: list[JoinGroupResponse.JoinGroupResponseMember] = s.array("JoinGroupResponseMember")


class HeartbeatRequest(Request, api=ApiKey.HEARTBEAT):
    group_id: str = s.string(entity="groupId")
    generation_id: int = s.i32()
    member_id: str = s.string()
    group_instance_id: str | None = s.string("3+", nullable="", default=None)


class HeartbeatResponse(Response, api=ApiKey.HEARTBEAT):
    throttle_time_ms: int = s.i32("1+")
    error_code: int = s.i16()


class LeaveGroupRequest(Request, api=ApiKey.LEAVE_GROUP):
    class MemberIdentity(Struct):
        member_id: str = s.string()
        group_instance_id: str | None = s.string(nullable="", default=None)
        reason: str | None = s.string("5+", nullable="", default=None)

    group_id: str = s.string(entity="groupId")
    member_id: str = s.string("0-2")
    members: list[LeaveGroupRequest.MemberIdentity] = s.array("MemberIdentity", "3+")


class LeaveGroupResponse(Response, api=ApiKey.LEAVE_GROUP):
    class MemberResponse(Struct):
        member_id: str = s.string()
        group_instance_id: str | None = s.string(nullable="")
        error_code: int = s.i16()

    throttle_time_ms: int = s.i32("1+")
    error_code: int = s.i16()
    members: list[LeaveGroupResponse.MemberResponse] = s.array("MemberResponse", "3+")


class SyncGroupRequest(Request, api=ApiKey.SYNC_GROUP):
    class SyncGroupRequestAssignment(Struct):
        member_id: str = s.string()
        assignment: bytes = s.blob()

    group_id: str = s.string(entity="groupId")
    generation_id: int = s.i32()
    member_id: str = s.string()
    group_instance_id: str | None = s.string("3+", nullable="", default=None)
    protocol_type: str | None = s.string("5+", nullable="", default=None)
    protocol_name: str | None = s.string("5+", nullable="", default=None)
    assignments: list[SyncGroupRequest.SyncGroupRequestAssignment] = s.array("SyncGroupRequestAssignment")


class SyncGroupResponse(Response, api=ApiKey.SYNC_GROUP):
    throttle_time_ms: int = s.i32("1+")
    error_code: int = s.i16()
    protocol_type: str | None = s.string("5+", nullable="", default=None)
    protocol_name: str | None = s.string("5+", nullable="", default=None)
    assignment: bytes = s.blob()
