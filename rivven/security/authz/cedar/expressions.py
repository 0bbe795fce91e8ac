"""What a policy is about, read from Cedar's JSON form: its scope, what its conditions mention, its shadow
without a resource.

Pure: values in, values out. It must not evaluate anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Uid = tuple[str, str]
"""An entity as (type, id)."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """What the scope asks of the principal or the resource; both None: anything."""

    kind: str | None = None
    """The entity type it must have."""
    uid: Uid | None = None
    """The entity it must be or be in."""

    def covers_type(self, kind: str) -> bool:
        """Whether every entity of the type satisfies it."""
        return self.uid is None and self.kind in (None, kind)

    def reaches_type(self, kind: str) -> bool:
        """Whether an entity of the type can satisfy it (resources are in no other type here)."""
        if self.kind not in (None, kind):
            return False
        return self.uid is None or self.uid[0] == kind


@dataclass(frozen=True, slots=True)
class Mentions:
    """What the conditions of a policy speak about."""

    context: frozenset[str]
    """Attributes of the context, ``*`` for the context as a whole."""
    probed: frozenset[str]
    """Attributes of the context asked for with `has`, which is false, not an error, where one is missing."""
    principal: frozenset[str]
    """Attributes of the principal."""
    resource: bool
    action: bool
    entities: frozenset[Uid]


def constraint_of(scope: Json) -> Constraint:
    """The principal or resource part of a scope."""
    op = scope["op"]
    if op == "All":
        return Constraint()
    if op == "is":
        inner = scope.get("in")
        return Constraint(scope["entity_type"], _uid(inner["entity"]) if inner else None)
    return Constraint(uid=_uid(scope["entity"]))


def actions_of(scope: Json) -> tuple[Uid, ...] | None:
    """The actions (or action groups) the scope names, None for every action."""
    match scope["op"]:
        case "All":
            return None
        case "==":
            return (_uid(scope["entity"]),)
    named = scope["entities"] if "entities" in scope else [scope["entity"]]
    return tuple(_uid(entity) for entity in named)


def mentions_of(policy: Json) -> Mentions:
    """What the conditions mention, entities of the scope included."""
    context: set[str] = set()
    probed: set[str] = set()
    entities: set[Uid] = set()
    principal: set[str] = set()
    variables: set[str] = set()
    for condition in policy["conditions"]:
        for name, node in _nodes(condition["body"]):
            if _of_context(name, node):
                attribute = str(node["attr"])
                context.add(attribute)
                if name == "has":
                    probed.add(attribute)
            elif name in (".", "has") and isinstance(node, dict) and node.get("left") == {"Var": "principal"}:
                principal.add(str(node["attr"]))
            elif name == "Var":
                variables.add(str(node))
            elif name == "__entity" and isinstance(node.get("type"), str):
                entities.add(_uid(node))
    if "context" in variables:
        context.add("*")
    for part in ("principal", "resource"):
        uid = constraint_of(policy[part]).uid
        if uid is not None:
            entities.add(uid)
    return Mentions(
        frozenset(context),
        frozenset(probed),
        frozenset(principal),
        "resource" in variables,
        "action" in variables,
        frozenset(entities),
    )


def unconditional(policy: Json) -> bool:
    """Whether no condition can keep the policy from applying within its scope."""
    return all(
        condition["body"] == {"Value": condition["kind"] == "when"} for condition in policy["conditions"]
    )


def without_resource(policy: Json) -> Json | None:
    """What a policy says about *some* resource of a type, without naming one.

    A permit may apply wherever its scope and those of its conditions that do not look at the resource let it;
    a forbid applies to all only if neither its scope nor a condition looks at one, else None.
    """
    resource = constraint_of(policy["resource"])
    blind = [c for c in policy["conditions"] if not _looks_at_resource(c["body"])]
    if policy["effect"] == "permit":
        kind = resource.kind or (resource.uid and resource.uid[0])
        scope = {"op": "is", "entity_type": kind} if kind else {"op": "All"}
        return {**policy, "resource": scope, "conditions": blind}
    if resource.uid is not None or len(blind) != len(policy["conditions"]):
        return None
    return policy


def _looks_at_resource(body: Any) -> bool:
    return any(name == "Var" and node == "resource" for name, node in _nodes(body))


def _nodes(body: Any) -> Iterator[tuple[str, Any]]:
    """Every (operator, operand) of an expression; keys of record literals look like operators.

    The ``context`` of ``context.x`` is not repeated alone.
    """
    waiting = [body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            for name, value in node.items():
                yield name, value
                if not _of_context(name, value):
                    waiting.append(value)


def _of_context(name: str, node: Any) -> bool:
    """Whether an operator reads one attribute of the context."""
    return name in (".", "has") and isinstance(node, dict) and node.get("left") == {"Var": "context"}


def _uid(entity: Json) -> Uid:
    return (str(entity["type"]), str(entity["id"]))
