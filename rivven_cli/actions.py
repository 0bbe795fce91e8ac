"""The words of access rules: actions such as produce and consume as Kafka's operations, resources as
patterns.

Pure tables and parsing; nothing is asked of a broker here. docs/cli.md shows the same table (a test
compares them).
"""

from __future__ import annotations

import click

ALL = "*"
CLUSTER = "cluster"
CLUSTER_NAME = "kafka-cluster"
RESOURCE_TYPES = ("topic", "group", CLUSTER, "transactional-id")

OPERATIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "produce": {"topic": ("write",), "transactional-id": ("write",), CLUSTER: ("idempotent-write",)},
    "consume": {"topic": ("read",), "group": ("read",)},
    "create": {"topic": ("create",), CLUSTER: ("create",)},
    "delete": {"topic": ("delete",), "group": ("delete",)},
    "describe": {
        "topic": ("describe", "describe-configs"),
        "group": ("describe",),
        CLUSTER: ("describe", "describe-configs"),
        "transactional-id": ("describe",),
    },
    "alter": {"topic": ("alter", "alter-configs"), CLUSTER: ("alter", "alter-configs")},
    "join": {"group": ("read",)},
    "list": {
        "topic": ("describe",),
        "group": ("describe",),
        CLUSTER: ("describe",),
        "transactional-id": ("describe",),
    },
    "admin": dict.fromkeys(RESOURCE_TYPES, ("all",)),
    ALL: dict.fromkeys(RESOURCE_TYPES, ("all",)),
}
"""Action -> resource type -> Kafka operations. Kafka's rules add: read, write, delete and alter imply
describe."""


def operations_for(action: str, resource_type: str) -> tuple[str, ...]:
    """Kafka's operations for an action on a kind of resource; raises UsageError."""
    by_type = OPERATIONS.get(action)
    if by_type is None:
        raise click.UsageError(f"No such action {action!r}; there are: {', '.join(OPERATIONS)}.")
    if resource_type not in by_type:
        raise click.UsageError(
            f"The action {action} has no meaning on a {resource_type}; it is for: {', '.join(by_type)}."
        )
    return by_type[resource_type]


def parse_principal(text: str) -> str:
    """``user:alice`` or ``User:alice`` as Kafka writes it; ``user:*`` is everybody. Raises UsageError."""
    kind, colon, name = text.partition(":")
    if kind.lower() == "group" and colon:
        raise click.UsageError("Rules for groups of users come with roles; name a user: user:NAME.")
    if not colon or kind.lower() != "user" or not name:
        raise click.UsageError(f"A principal is written user:NAME, not {text!r}.")
    return f"User:{name}"


def parse_resource(text: str, pattern: str | None = None) -> list[tuple[str, str, str]]:
    """``topic:orders``, ``topic:orders-*`` (prefix), ``topic:*`` (all), ``cluster`` or ``*`` (everything)
    as a list of (type, name, pattern). `pattern` literal takes a trailing * as part of the name. Raises
    UsageError.
    """
    if text == ALL:
        return [(kind, CLUSTER_NAME if kind == CLUSTER else ALL, "literal") for kind in RESOURCE_TYPES]
    kind, colon, name = text.partition(":")
    kind = kind.lower()
    if kind not in RESOURCE_TYPES:
        raise click.UsageError(f"No such resource type {kind!r}; there are: {', '.join(RESOURCE_TYPES)}.")
    if kind == CLUSTER:
        if name not in ("", ALL, CLUSTER_NAME):
            raise click.UsageError(f"There is one cluster: write cluster, not {text!r}.")
        return [(CLUSTER, CLUSTER_NAME, "literal")]
    if not colon or not name:
        raise click.UsageError(f"A resource is written TYPE:NAME, not {text!r}.")
    return [(kind, *_name_pattern(name, pattern))]


def _name_pattern(name: str, pattern: str | None) -> tuple[str, str]:
    if name == ALL:
        if pattern == "prefixed":
            # Kafka accepts it and it matches only names that begin with a star: never what was meant.
            raise click.UsageError("A prefix * matches nothing; leave --pattern away to mean every name.")
        return ALL, "literal"
    if pattern is not None:
        return name, pattern
    if name.endswith(ALL):
        name, pattern = name[:-1], "prefixed"
    if ALL in name:
        raise click.UsageError(f"A * may only stand at the end of a name, not in {name!r}.")
    return name, pattern or "literal"
