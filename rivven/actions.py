"""The words of permissions: actions such as produce and consume as Kafka's operations, resources as
patterns, and the roles every broker knows.

The one table the roles file, dynamic roles, token scopes and the command line share. Pure: text in, values
out. Everything that cannot be read raises `WordError` with a sentence for whoever wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rivven.types import CLUSTER_NAME, WILDCARD, Operation, PatternType, ResourceType

CLUSTER = "cluster"

RESOURCE_TYPES: Mapping[str, ResourceType] = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    CLUSTER: ResourceType.CLUSTER,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
    "user": ResourceType.USER,
    "delegation-token": ResourceType.DELEGATION_TOKEN,
}
"""How resource types are written."""

TYPE_WORDS: Mapping[ResourceType, str] = {kind: word for word, kind in RESOURCE_TYPES.items()}

_EVERY_OPERATION: Mapping[str, tuple[Operation, ...]] = dict.fromkeys(RESOURCE_TYPES, (Operation.ALL,))

ACTIONS: Mapping[str, Mapping[str, tuple[Operation, ...]]] = {
    "produce": {
        "topic": (Operation.WRITE,),
        "transactional-id": (Operation.WRITE,),
        CLUSTER: (Operation.IDEMPOTENT_WRITE,),
    },
    "consume": {"topic": (Operation.READ,), "group": (Operation.READ,)},
    "create": {
        "topic": (Operation.CREATE,),
        CLUSTER: (Operation.CREATE,),
        "user": (Operation.CREATE_TOKENS,),
    },
    "delete": {"topic": (Operation.DELETE,), "group": (Operation.DELETE,)},
    "describe": {
        "topic": (Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS),
        "group": (Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS),
        CLUSTER: (Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS),
        "transactional-id": (Operation.DESCRIBE,),
        "user": (Operation.DESCRIBE_TOKENS,),
        "delegation-token": (Operation.DESCRIBE,),
    },
    "alter": {
        "topic": (Operation.ALTER, Operation.ALTER_CONFIGS),
        "group": (Operation.ALTER_CONFIGS,),
        CLUSTER: (Operation.ALTER, Operation.ALTER_CONFIGS),
    },
    "join": {"group": (Operation.READ,)},
    "list": {
        "topic": (Operation.DESCRIBE,),
        "group": (Operation.DESCRIBE,),
        CLUSTER: (Operation.DESCRIBE,),
        "transactional-id": (Operation.DESCRIBE,),
    },
    "admin": _EVERY_OPERATION,
    WILDCARD: _EVERY_OPERATION,
}
"""Action -> resource type -> Kafka operations. Kafka's rules add: read, write, delete and alter imply
describe, alter-configs implies describe-configs."""

MEMBER_TYPES: Mapping[str, str] = {"user": "User", "group": "Group"}
"""Who can be given a role: how it is written -> the type of the principal."""

NAME_LENGTH_MAX = 1_024
"""Characters of a resource's or member's name; longer ones name nothing that exists."""

ACTIONS_MAX = 100
"""Actions of one permission; there are ten."""


class WordError(ValueError):
    """Text that is not a permission, resource, action or member; one sentence."""


class Pattern(NamedTuple):
    """Which resources: `name` is literal (``*`` is every one) or a prefix."""

    resource_type: ResourceType
    name: str
    pattern_type: PatternType


class Permit(NamedTuple):
    """One permission of a role as it is written: actions on the resources of a pattern."""

    resource: str
    actions: tuple[str, ...]


class Grant(NamedTuple):
    """One operation on the resources of a pattern."""

    operation: Operation
    pattern: Pattern


BUILT_IN_ROLES: Mapping[str, tuple[Permit, ...]] = {
    "admin": (Permit("*", ("*",)),),
    "producer": (
        Permit("topic:*", ("produce",)),
        Permit("transactional-id:*", ("produce",)),
    ),
    "consumer": (
        Permit("topic:*", ("consume",)),
        Permit("group:*", ("join", "describe")),
    ),
    "readonly": (Permit("*", ("describe", "list")),),
}
"""Roles that exist without being defined; a role of the roles file with the same name replaces one."""


def operations_for(action: str, resource_type: str) -> tuple[Operation, ...]:
    """Kafka's operations for an action on a type of resource; an operation in capitals means itself."""
    by_type = ACTIONS.get(action)
    if by_type is None and action in Operation.__members__ and Operation[action] > Operation.ALL:
        return (Operation[action],)
    if by_type is None:
        raise WordError(f"No such action {action!r}; there are: {', '.join(ACTIONS)}.")
    if resource_type not in by_type:
        raise WordError(
            f"The action {action} has no meaning on a {resource_type}; it is for: {', '.join(by_type)}."
        )
    return by_type[resource_type]


def parse_resource(text: str, pattern: str | None = None) -> list[Pattern]:
    """``topic:orders``, ``topic:orders-*`` (prefix), ``topic:*`` (all), ``cluster`` or ``*`` (everything).

    `pattern` literal takes a trailing * as part of the name, prefixed takes the name as it is for a prefix.
    """
    if text == WILDCARD:
        return [Pattern(kind, _every(kind), PatternType.LITERAL) for kind in RESOURCE_TYPES.values()]
    word, colon, name = text.partition(":")
    kind = RESOURCE_TYPES.get(word.lower())
    if kind is None:
        raise WordError(f"No such resource type {word!r}; there are: {', '.join(RESOURCE_TYPES)}.")
    if kind is ResourceType.CLUSTER:
        if name not in ("", WILDCARD, CLUSTER_NAME):
            raise WordError(f"There is one cluster: write cluster, not {text!r}.")
        return [Pattern(kind, CLUSTER_NAME, PatternType.LITERAL)]
    if not colon or not name:
        raise WordError(f"A resource is written TYPE:NAME, not {text!r}.")
    if len(name) > NAME_LENGTH_MAX:
        raise WordError(f"A name has at most {NAME_LENGTH_MAX} characters.")
    return [Pattern(kind, *_name_pattern(name, pattern))]


def grants_of(permit: Permit) -> list[Grant]:
    """What a permission grants, without repetition. On ``*`` an action means every type it is for."""
    if not permit.actions:
        raise WordError(f"The permission on {permit.resource!r} names no action.")
    if len(permit.actions) > ACTIONS_MAX:
        raise WordError(f"A permission has at most {ACTIONS_MAX} actions.")
    patterns = parse_resource(permit.resource)
    found: dict[Grant, None] = {}
    for action in permit.actions:
        for pattern in patterns:
            word = TYPE_WORDS[pattern.resource_type]
            if len(patterns) > 1 and word not in ACTIONS.get(action, {word: ()}):
                continue  # "everything" means everything the action is for
            found.update((Grant(operation, pattern), None) for operation in operations_for(action, word))
    return list(found)


def parse_member(text: str) -> str:
    """``user:alice`` or ``group:staff`` as the principal it names, ``User:alice`` or ``Group:staff``."""
    word, colon, name = text.partition(":")
    kind = MEMBER_TYPES.get(word.lower())
    if kind is None or not colon or not name or len(name) > NAME_LENGTH_MAX:
        raise WordError(f"A member is written user:NAME or group:NAME, not {text!r}.")
    return f"{kind}:{name}"


def check_role_name(name: str) -> str:
    """The name, if a role can be called so: letters, digits, ``.``, ``_`` and ``-``, at most 100."""
    if not 0 < len(name) <= 100 or not all(c.isascii() and (c.isalnum() or c in "._-") for c in name):
        raise WordError(f"A role's name is up to 100 letters, digits, '.', '_' and '-', not {name[:120]!r}.")
    return name


def words_of(grants: Iterable[Operation], resource_type: ResourceType) -> list[str]:
    """The shortest list of actions on one type of resource that together grant `grants` and nothing else;
    operations no action fits are written in capitals, as Kafka names them.
    """
    wanted = set(grants)
    if Operation.ALL in wanted:
        return [WILDCARD]
    word, found, left = TYPE_WORDS[resource_type], [], set(wanted)
    for action, by_type in ACTIONS.items():
        operations = set(by_type.get(word, ()))
        if operations and operations <= wanted and operations & left:
            found.append(action)
            left -= operations
    return found + sorted(operation.name for operation in left)


def pattern_text(resource_type: ResourceType, name: str, pattern_type: PatternType) -> str:
    """A pattern as it is written in a permission."""
    if resource_type is ResourceType.CLUSTER:
        return CLUSTER
    star = WILDCARD if pattern_type is PatternType.PREFIXED else ""
    return f"{TYPE_WORDS[resource_type]}:{name}{star}"


def _every(kind: ResourceType) -> str:
    return CLUSTER_NAME if kind is ResourceType.CLUSTER else WILDCARD


def _name_pattern(name: str, pattern: str | None) -> tuple[str, PatternType]:
    if name == WILDCARD:
        if pattern == "prefixed":
            # Kafka accepts it and it matches only names that begin with a star: never what was meant.
            raise WordError("A prefix * matches nothing; leave --pattern away to mean every name.")
        return WILDCARD, PatternType.LITERAL
    if pattern is not None:
        return name, PatternType[pattern.upper()]
    prefixed = name.endswith(WILDCARD)
    name = name[:-1] if prefixed else name
    if WILDCARD in name:
        raise WordError(f"A * may only stand at the end of a name, not in {name!r}.")
    return name, PatternType.PREFIXED if prefixed else PatternType.LITERAL
