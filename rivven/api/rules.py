"""The authorisation rules an API table row can state; `dispatch` applies them.

A row has a tuple of rules, applied in order:

* `Open()`      no permission needed (SaslHandshake, ApiVersions, SaslAuthenticate).
* `Require`     one permission for the whole request; denied -> `denied(request, version, code)` is the
answer.
* `Split`       one permission per named item; denied items are taken out before the handler runs and given
                their error entry in its response afterwards.
* `Filter()`    the handler asks `ctx.access` itself (hiding, several resource types); dispatch fails the
                request if it never did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rivven.errors import ErrorCode
from rivven.types import CLUSTER_NAME, Operation, ResourceType

DENIED_CODES = {
    ResourceType.TOPIC: ErrorCode.TOPIC_AUTHORIZATION_FAILED,
    ResourceType.GROUP: ErrorCode.GROUP_AUTHORIZATION_FAILED,
    ResourceType.CLUSTER: ErrorCode.CLUSTER_AUTHORIZATION_FAILED,
    ResourceType.TRANSACTIONAL_ID: ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    ResourceType.DELEGATION_TOKEN: ErrorCode.DELEGATION_TOKEN_AUTHORIZATION_FAILED,
}
"""The error a client gets per resource type it may not use."""


def _cluster(_request: Any) -> str:
    return CLUSTER_NAME


@dataclass(frozen=True, slots=True)
class Open:
    """No permission: only what must work before authentication."""


@dataclass(frozen=True, slots=True)
class Filter:
    """The handler filters by `ctx.access`; not using it is a bug that fails the request."""


@dataclass(frozen=True, slots=True)
class Require:
    """The whole request needs `operation` on one resource (the cluster unless `name` extracts another)."""

    operation: Operation
    resource_type: ResourceType
    denied: Callable[[Any, int, ErrorCode], Any]
    name: Callable[[Any], str] = _cluster


@dataclass(frozen=True, slots=True)
class Split:
    """Every item needs `operation` on the resource it names.

    `items(request, version)` lists (resource name, item); `keep(request, version, items)` leaves only those
    items in the request; `deny(response, item, version, code)` adds the entry of a denied one.
    `unless` is a cluster-wide permission that covers every item (Create and Delete on the cluster).
    """

    operation: Operation
    resource_type: ResourceType
    items: Callable[[Any, int], Sequence[tuple[str, Any]]]
    keep: Callable[[Any, int, list[Any]], None]
    deny: Callable[[Any, Any, int, ErrorCode], None]
    unless: Operation | None = None


Rule = Open | Filter | Require | Split


def list_items(attribute: str, name: str) -> Callable[[Any, int], list[tuple[str, Any]]]:
    """`items` of the common shape: a list attribute whose elements carry the resource name."""

    def items(request: Any, _version: int) -> list[tuple[str, Any]]:
        return [(getattr(item, name), item) for item in getattr(request, attribute) or ()]

    return items


def keep_list(attribute: str) -> Callable[[Any, int, list[Any]], None]:
    """`keep` of the common shape: replace the list attribute."""

    def keep(request: Any, _version: int, items: list[Any]) -> None:
        setattr(request, attribute, items)

    return keep
