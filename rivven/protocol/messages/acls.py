"""ACL administration (KIP-140, prefixed patterns KIP-290).

Declarations only; field names, order and version spans are Kafka's.
"""

from __future__ import annotations

from rivven.protocol import schema as s
from rivven.protocol.api import ApiKey
from rivven.protocol.schema import Request, Response, Struct


class DescribeAclsRequest(Request, api=ApiKey.DESCRIBE_ACLS):
    resource_type_filter: int = s.i8()
    resource_name_filter: str | None = s.string(nullable="")
    pattern_type_filter: int = s.i8(default=3)
    principal_filter: str | None = s.string(nullable="")
    host_filter: str | None = s.string(nullable="")
    operation: int = s.i8()
    permission_type: int = s.i8()


class DescribeAclsResponse(Response, api=ApiKey.DESCRIBE_ACLS):
    class AclDescription(Struct):
        principal: str = s.string()
        host: str = s.string()
        operation: int = s.i8()
        permission_type: int = s.i8()

    class DescribeAclsResource(Struct):
        resource_type: int = s.i8()
        resource_name: str = s.string()
        pattern_type: int = s.i8(default=3)
        acls: list[DescribeAclsResponse.AclDescription] = s.array("AclDescription")

    throttle_time_ms: int = s.i32()
    error_code: int = s.i16()
    error_message: str | None = s.string(nullable="")
    resources: list[DescribeAclsResponse.DescribeAclsResource] = s.array("DescribeAclsResource")


class CreateAclsRequest(Request, api=ApiKey.CREATE_ACLS):
    class AclCreation(Struct):
        resource_type: int = s.i8()
        resource_name: str = s.string()
        resource_pattern_type: int = s.i8(default=3)
        principal: str = s.string()
        host: str = s.string()
        operation: int = s.i8()
        permission_type: int = s.i8()

    creations: list[CreateAclsRequest.AclCreation] = s.array("AclCreation")


class CreateAclsResponse(Response, api=ApiKey.CREATE_ACLS):
    class AclCreationResult(Struct):
        error_code: int = s.i16()
        error_message: str | None = s.string(nullable="")

    throttle_time_ms: int = s.i32()
    results: list[CreateAclsResponse.AclCreationResult] = s.array("AclCreationResult")


class DeleteAclsRequest(Request, api=ApiKey.DELETE_ACLS):
    class DeleteAclsFilter(Struct):
        resource_type_filter: int = s.i8()
        resource_name_filter: str | None = s.string(nullable="")
        pattern_type_filter: int = s.i8(default=3)
        principal_filter: str | None = s.string(nullable="")
        host_filter: str | None = s.string(nullable="")
        operation: int = s.i8()
        permission_type: int = s.i8()

    filters: list[DeleteAclsRequest.DeleteAclsFilter] = s.array("DeleteAclsFilter")


class DeleteAclsResponse(Response, api=ApiKey.DELETE_ACLS):
    class DeleteAclsMatchingAcl(Struct):
        error_code: int = s.i16()
        error_message: str | None = s.string(nullable="")
        resource_type: int = s.i8()
        resource_name: str = s.string()
        pattern_type: int = s.i8(default=3)
        principal: str = s.string()
        host: str = s.string()
        operation: int = s.i8()
        permission_type: int = s.i8()

    class DeleteAclsFilterResult(Struct):
        error_code: int = s.i16()
        error_message: str | None = s.string(nullable="")
        matching_acls: list[DeleteAclsResponse.DeleteAclsMatchingAcl] = s.array("DeleteAclsMatchingAcl")

    throttle_time_ms: int = s.i32()
    filter_results: list[DeleteAclsResponse.DeleteAclsFilterResult] = s.array("DeleteAclsFilterResult")
