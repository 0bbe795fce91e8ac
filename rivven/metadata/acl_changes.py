"""Deciding about ACL rules, and which rules a filter matches (KIP-11, KIP-290). Pure.

A rule that no resource could ever be meant by (a wildcard of groups as principal) is refused: it would look
like protection and be none. What Kafka stores although it matches nothing is stored, and doubted.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from rivven.errors import ErrorCode, InvalidRequest, RivvenError
from rivven.metadata import records as r
from rivven.metadata.commands import CreateAcls, DeleteAcls
from rivven.metadata.image import MetadataImage
from rivven.metadata.topic_names import name_problem
from rivven.types import (
    CLUSTER_NAME,
    WILDCARD,
    AclBinding,
    AclFilter,
    Operation,
    PatternType,
    Permission,
    Principal,
    ResourceType,
)

RULES_MAX = 100_000
"""Rules in the cluster. They live in memory (about 300 bytes each) and are indexed anew when they change."""

PRINCIPAL_TYPES = frozenset({"User", "Group", "Role"})
"""Kafka knows users only; rules for groups and roles are an extension and read like them."""

NAME_CHARACTERS_MAX = 1_024
"""Longest resource, principal or host text of a rule; longer ones match nothing that exists."""


def create_acls(
    image: MetadataImage, command: CreateAcls
) -> tuple[tuple[r.MetadataEvent, ...], list[RivvenError | None]]:
    """See `CreateAcls`. A rule that exists already is created again without effect."""
    results: list[RivvenError | None] = []
    added: dict[AclBinding, None] = {}
    for binding in command.bindings:
        try:
            check_binding(binding)
            if not image.has_acl(binding):
                if image.acl_count + len(added) >= RULES_MAX:
                    raise RivvenError(f"there can be at most {RULES_MAX} rules", ErrorCode.POLICY_VIOLATION)
                added[binding] = None
            results.append(None)
        except RivvenError as error:
            results.append(error)
    return ((r.AclsAdded(tuple(added)),) if added else ()), results


def delete_acls(
    image: MetadataImage, command: DeleteAcls
) -> tuple[tuple[r.MetadataEvent, ...], list[RivvenError | list[AclBinding]]]:
    """See `DeleteAcls`. A rule matched by two filters is reported by both and removed once."""
    results: list[RivvenError | list[AclBinding]] = []
    removed: dict[AclBinding, None] = {}
    for asked in command.filters:
        try:
            check_filter(asked)
            matched = matching(image.acls[1], asked)
            removed.update(dict.fromkeys(matched))
            results.append(matched)
        except RivvenError as error:
            results.append(error)
    return ((r.AclsRemoved(tuple(removed)),) if removed else ()), results


def matching(bindings: Iterable[AclBinding], asked: AclFilter) -> list[AclBinding]:
    """The rules a filter matches, in their order."""
    return [binding for binding in bindings if matches(asked, binding)]


def matches(asked: AclFilter, binding: AclBinding) -> bool:
    """Whether a filter matches a rule (semantics of Kafka's AclBindingFilter)."""
    return (
        asked.resource_type in (ResourceType.ANY, binding.resource_type)
        and asked.operation in (Operation.ANY, binding.operation)
        and asked.permission in (Permission.ANY, binding.permission)
        and asked.principal in (None, binding.principal)
        and asked.host in (None, binding.host)
        and _pattern_matches(asked, binding)
    )


def _pattern_matches(asked: AclFilter, binding: AclBinding) -> bool:
    name, pattern = asked.resource_name, asked.pattern_type
    if pattern is not PatternType.MATCH:
        return pattern in (PatternType.ANY, binding.pattern_type) and name in (None, binding.resource_name)
    if name is None:
        return True
    if binding.pattern_type is PatternType.PREFIXED:
        return name.startswith(binding.resource_name)
    return binding.resource_name in (name, WILDCARD)


def check_filter(asked: AclFilter) -> None:
    """Raises InvalidRequest when a code of the filter is unknown."""
    if 0 in (asked.resource_type, asked.pattern_type, asked.operation, asked.permission):
        raise InvalidRequest("the filter holds an unknown code")


def check_binding(binding: AclBinding) -> None:
    """Raises InvalidRequest unless the rule is one that can be stored and can match."""
    if binding.resource_type in (ResourceType.UNKNOWN, ResourceType.ANY):
        raise InvalidRequest("a rule needs one known resource type")
    if binding.pattern_type not in (PatternType.LITERAL, PatternType.PREFIXED):
        raise InvalidRequest("the pattern type of a rule is literal or prefixed")
    if binding.operation in (Operation.UNKNOWN, Operation.ANY):
        raise InvalidRequest("a rule needs one known operation")
    if binding.permission not in (Permission.ALLOW, Permission.DENY):
        raise InvalidRequest("a rule allows or denies")
    _check_resource(binding)
    _check_principal(binding.principal)
    _check_host(binding.host)


def doubt_about(binding: AclBinding) -> str:
    """Why a rule that can be stored fits nothing that can exist; empty for one that can match.

    Kafka stores such rules, so they are not refused; who wrote one meant something else.
    """
    name, kind = binding.resource_name, binding.resource_type
    if name == WILDCARD and binding.pattern_type is PatternType.PREFIXED:
        return "prefixed '*' matches names that begin with '*' alone; every name is the literal '*'"
    if kind is not ResourceType.TOPIC or name == WILDCARD or name_problem(name) is None:
        return ""
    if name.endswith(WILDCARD) and binding.pattern_type is PatternType.LITERAL:
        return f"no topic can be called {name!r}; a prefix is written with the pattern type prefixed"
    return f"no topic's name can begin with or be {name!r}"


def _check_resource(binding: AclBinding) -> None:
    name = binding.resource_name
    if not 0 < len(name) <= NAME_CHARACTERS_MAX:
        raise InvalidRequest(f"the resource name must have 1 to {NAME_CHARACTERS_MAX} characters")
    if binding.resource_type is not ResourceType.CLUSTER:
        return
    if binding.pattern_type is PatternType.PREFIXED:
        raise InvalidRequest("a rule about the cluster is literal")
    if name != CLUSTER_NAME:
        raise InvalidRequest(f"the cluster's only name is {CLUSTER_NAME}")


def _check_principal(principal: str) -> None:
    try:
        kind = Principal.parse(principal).kind
    except ValueError:
        raise InvalidRequest("a principal is written Type:name") from None
    if kind not in PRINCIPAL_TYPES:
        raise InvalidRequest("principals are of type User, Group or Role (capital letter)")
    if kind != "User" and principal == f"{kind}:{WILDCARD}":
        raise InvalidRequest("everybody is User:*; a wildcard of groups or roles matches nobody")
    if len(principal) > NAME_CHARACTERS_MAX:
        raise InvalidRequest(f"a principal has at most {NAME_CHARACTERS_MAX} characters")


def _check_host(host: str) -> None:
    if host == WILDCARD:
        return
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise InvalidRequest("the host of a rule is '*' or one IP address") from None
