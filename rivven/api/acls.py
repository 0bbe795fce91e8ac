"""DescribeAcls (29), CreateAcls (30), DeleteAcls (31).

Wire codes become the vocabulary of `types`; codes unknown here become UNKNOWN, which `metadata` refuses.
"""

from __future__ import annotations

import logging
from enum import IntEnum
from typing import Any, TypeVar

from rivven.api.context import RequestContext
from rivven.api.rules import Require
from rivven.errors import ErrorCode, RivvenError
from rivven.metadata.acl_changes import check_filter, doubt_about, matching
from rivven.metadata.commands import CreateAcls, DeleteAcls
from rivven.metadata.service import MetadataService
from rivven.protocol import messages as m
from rivven.types import AclBinding, AclFilter, Operation, PatternType, Permission, ResourceType

_log = logging.getLogger("rivven.authorization")

_Resource = m.DescribeAclsResponse.DescribeAclsResource
_Description = m.DescribeAclsResponse.AclDescription
_Created = m.CreateAclsResponse.AclCreationResult
_FilterResult = m.DeleteAclsResponse.DeleteAclsFilterResult
_Matched = m.DeleteAclsResponse.DeleteAclsMatchingAcl

DENIED = "not authorised"
_Code = TypeVar("_Code", bound=IntEnum)


def _describe_failed(_request: Any, _version: int, code: ErrorCode) -> Any:
    return m.DescribeAclsResponse(error_code=code, error_message=_text(code))


def _create_failed(request: Any, _version: int, code: ErrorCode) -> Any:
    results = [_Created(error_code=code, error_message=_text(code)) for _ in request.creations]
    return m.CreateAclsResponse(results=results)


def _delete_failed(request: Any, _version: int, code: ErrorCode) -> Any:
    results = [_FilterResult(error_code=code, error_message=_text(code)) for _ in request.filters]
    return m.DeleteAclsResponse(filter_results=results)


def _text(code: ErrorCode) -> str | None:
    return DENIED if code is ErrorCode.CLUSTER_AUTHORIZATION_FAILED else None


DESCRIBE_ACLS_RULES = (Require(Operation.DESCRIBE, ResourceType.CLUSTER, denied=_describe_failed),)
CREATE_ACLS_RULES = (Require(Operation.ALTER, ResourceType.CLUSTER, denied=_create_failed),)
DELETE_ACLS_RULES = (Require(Operation.ALTER, ResourceType.CLUSTER, denied=_delete_failed),)


class AclHandlers:
    """Handles DescribeAcls, CreateAcls and DeleteAcls 1-3.

    `enabled` is whether an authorizer reads the rules; without one they would promise what nobody keeps.
    """

    def __init__(self, metadata: MetadataService, enabled: bool) -> None:
        self._metadata = metadata
        self._enabled = enabled

    async def describe_acls(self, _context: RequestContext, request: Any) -> Any:
        """Rules the filter matches, grouped by resource pattern."""
        asked = _filter(request)
        try:
            self._check_enabled()
            check_filter(asked)
        except RivvenError as error:
            return m.DescribeAclsResponse(error_code=error.code, error_message=error.message)
        resources: dict[tuple[int, str, int], Any] = {}
        for rule in matching(self._metadata.image.acls[1], asked):
            pattern = (int(rule.resource_type), rule.resource_name, int(rule.pattern_type))
            resource = resources.get(pattern)
            if resource is None:
                kind, name, how = pattern
                resource = resources[pattern] = _Resource(
                    resource_type=kind, resource_name=name, pattern_type=how
                )
            resource.acls.append(
                _Description(
                    principal=rule.principal,
                    host=rule.host,
                    operation=int(rule.operation),
                    permission_type=int(rule.permission),
                )
            )
        return m.DescribeAclsResponse(error_message=None, resources=list(resources.values()))

    async def create_acls(self, _context: RequestContext, request: Any) -> Any:
        """Add rules; one result for each, in order."""
        try:
            self._check_enabled()
        except RivvenError as error:
            return _create_failed(request, 0, error.code)
        bindings = tuple(_binding(creation) for creation in request.creations)
        replies = await self._metadata.submit(CreateAcls(bindings))
        for binding, refusal in zip(bindings, replies, strict=True):
            doubt = doubt_about(binding) if refusal is None else ""
            if doubt:
                _log.warning("a rule for %s will never match: %s", binding.principal, doubt)
        return m.CreateAclsResponse(
            results=[
                _Created(error_message=None)
                if error is None
                else _Created(error_code=error.code, error_message=error.message)
                for error in replies
            ]
        )

    async def delete_acls(self, _context: RequestContext, request: Any) -> Any:
        """Remove the rules each filter matches and name them."""
        try:
            self._check_enabled()
        except RivvenError as error:
            return _delete_failed(request, 0, error.code)
        filters = tuple(_filter(one) for one in request.filters)
        response = m.DeleteAclsResponse()
        for reply in await self._metadata.submit(DeleteAcls(filters)):
            if isinstance(reply, RivvenError):
                result = _FilterResult(error_code=reply.code, error_message=reply.message)
            else:
                matched = [_matched(rule) for rule in reply]
                result = _FilterResult(error_message=None, matching_acls=matched)
            response.filter_results.append(result)
        return response

    def _check_enabled(self) -> None:
        if not self._enabled:
            raise RivvenError("no authorizer reads ACLs on this broker", ErrorCode.SECURITY_DISABLED)


def _binding(creation: Any) -> AclBinding:
    return AclBinding(
        _code(ResourceType, creation.resource_type),
        creation.resource_name,
        _code(PatternType, creation.resource_pattern_type),
        creation.principal,
        creation.host,
        _code(Operation, creation.operation),
        _code(Permission, creation.permission_type),
    )


def _filter(asked: Any) -> AclFilter:
    return AclFilter(
        _code(ResourceType, asked.resource_type_filter),
        asked.resource_name_filter,
        _code(PatternType, asked.pattern_type_filter),
        asked.principal_filter,
        asked.host_filter,
        _code(Operation, asked.operation),
        _code(Permission, asked.permission_type),
    )


def _matched(rule: AclBinding) -> Any:
    return _Matched(
        error_message=None,
        resource_type=int(rule.resource_type),
        resource_name=rule.resource_name,
        pattern_type=int(rule.pattern_type),
        principal=rule.principal,
        host=rule.host,
        operation=int(rule.operation),
        permission_type=int(rule.permission),
    )


def _code(kind: type[_Code], code: int) -> _Code:
    try:
        return kind(code)
    except ValueError:
        return kind(0)
