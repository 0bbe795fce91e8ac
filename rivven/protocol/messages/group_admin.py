"""Consumer groups as clients find and administrators see them.

Declarations only; field names, order and version spans are Kafka's.
"""

from __future__ import annotations

from rivven.protocol import schema as s
from rivven.protocol.api import ApiKey
from rivven.protocol.schema import Request, Response, Struct


class FindCoordinatorRequest(Request, api=ApiKey.FIND_COORDINATOR):
    key: str = s.string("0-3")
    key_type: int = s.i8("1+")
    coordinator_keys: list[str] = s.array("string", "4+")


class FindCoordinatorResponse(Response, api=ApiKey.FIND_COORDINATOR):
    class Coordinator(Struct):
        key: str = s.string()
        node_id: int = s.i32(entity="brokerId")
        host: str = s.string()
        port: int = s.i32()
        error_code: int = s.i16()
        error_message: str | None = s.string(nullable="")

    throttle_time_ms: int = s.i32("1+")
    error_code: int = s.i16("0-3")
    error_message: str | None = s.string("1-3", nullable="")
    node_id: int = s.i32("0-3", entity="brokerId")
    host: str = s.string("0-3")
    port: int = s.i32("0-3")
    coordinators: list[FindCoordinatorResponse.Coordinator] = s.array("Coordinator", "4+")


class DescribeGroupsRequest(Request, api=ApiKey.DESCRIBE_GROUPS):
    groups: list[str] = s.array("string", entity="groupId")
    include_authorized_operations: bool = s.boolean("3+")


class DescribeGroupsResponse(Response, api=ApiKey.DESCRIBE_GROUPS):
    class DescribedGroupMember(Struct):
        member_id: str = s.string()
        group_instance_id: str | None = s.string("4+", nullable="", default=None)
        client_id: str = s.string()
        client_host: str = s.string()
        member_metadata: bytes = s.blob()
        member_assignment: bytes = s.blob()

    class DescribedGroup(Struct):
        error_code: int = s.i16()
        error_message: str | None = s.string("6+", nullable="", default=None)
        group_id: str = s.string(entity="groupId")
        group_state: str = s.string()
        protocol_type: str = s.string()
        protocol_data: str = s.string()
        members: list[DescribeGroupsResponse.DescribedGroupMember] = s.array("DescribedGroupMember")
        authorized_operations: int = s.i32("3+", default=-2147483648)

    throttle_time_ms: int = s.i32("1+")
    groups: list[DescribeGroupsResponse.DescribedGroup] = s.array("DescribedGroup")


class ListGroupsRequest(Request, api=ApiKey.LIST_GROUPS):
    states_filter: list[str] = s.array("string", "4+")
    types_filter: list[str] = s.array("string", "5+")


class ListGroupsResponse(Response, api=ApiKey.LIST_GROUPS):
    class ListedGroup(Struct):
        group_id: str = s.string(entity="groupId")
        protocol_type: str = s.string()
        group_state: str = s.string("4+")
        group_type: str = s.string("5+")

    throttle_time_ms: int = s.i32("1+")
    error_code: int = s.i16()
    groups: list[ListGroupsResponse.ListedGroup] = s.array("ListedGroup")


class DeleteGroupsRequest(Request, api=ApiKey.DELETE_GROUPS):
    groups_names: list[str] = s.array("string", entity="groupId")


class DeleteGroupsResponse(Response, api=ApiKey.DELETE_GROUPS):
    class DeletableGroupResult(Struct):
        group_id: str = s.string(entity="groupId")
        error_code: int = s.i16()

    throttle_time_ms: int = s.i32()
    results: list[DeleteGroupsResponse.DeletableGroupResult] = s.array("DeletableGroupResult")
