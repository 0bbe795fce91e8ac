"""Asks the Cedar engine about one request, with no more policies than can matter to it.

Policies are filed by the principal, the resource and the actions their scope names. Cedar joins policies as a
plain "or" (any forbid, else any permit), so asking each file that can match and joining the answers is the
same as asking all policies at once, and the cost of a question does not grow with the policies of others.

It must not remember answers (`engine` does), nor know files of policies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from rivven.security.authz.cedar import binding
from rivven.security.authz.cedar.expressions import Json, Uid, actions_of, constraint_of, mentions_of
from rivven.security.authz.cedar.vocabulary import ACTION, ACTIONS, GROUP, RESOURCES, ROLE, USER
from rivven.security.authz.operations import VALID_OPERATIONS
from rivven.types import Operation, ResourceType

PRINCIPALS_MAX = 4_096
"""Parsed entities of principals kept for the next question; about 2 KB each."""

_POLICY_OF_ERROR = re.compile(r"error while evaluating policy `([^`]+)`: (.*)", re.DOTALL)

_Principal = tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...] | None]


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks and how: a user's name, its groups, roles and scope, and the context in Cedar's JSON.

    An attribute that is not known is left away: a policy that reads it fails, and failing denies.
    """

    user: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    scope: tuple[str, ...] | None
    context: Json

    @property
    def uids(self) -> list[Uid]:
        """The entities the principal is or is in."""
        groups = [(GROUP, group) for group in self.groups]
        return [(USER, self.user), *groups, *((ROLE, role) for role in self.roles)]


@dataclass(slots=True)
class Outcome:
    """What the policies say: ids of the forbids and permits that apply, and what failed (policy, reason)."""

    forbids: list[str] = field(default_factory=list)
    permits: list[str] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)

    @property
    def permitted(self) -> bool:
        return bool(self.permits) and not self.forbids and not self.errors


class Compiled:
    """Policies compiled together; the same object wherever the same policies can speak."""

    __slots__ = ("handle",)

    def __init__(self, policies: Mapping[str, Json]) -> None:
        self.handle = binding.compile_policies(policies)


_PLAIN = frozenset(ACTIONS.values())
_File = dict[tuple[str, str], Compiled]
"""By action and resource type, for policies whose scope names one principal and one resource."""


def _compile_file(policies: Mapping[str, Json]) -> _File:
    """Cedar looks at every policy it is given, so each question gets those of its action and type only."""
    named = {name: actions_of(policy["action"]) for name, policy in policies.items()}
    targets = {name: constraint_of(policy["resource"]) for name, policy in policies.items()}
    compiled: dict[tuple[str, ...], Compiled] = {}
    file: _File = {}
    for resource_type, operations in VALID_OPERATIONS.items():
        kind = RESOURCES[resource_type]
        for action in (ACTIONS[operation] for operation in operations):
            names = tuple(
                name for name in policies if _names(named[name], action) and targets[name].reaches_type(kind)
            )
            if names:
                if names not in compiled:
                    compiled[names] = Compiled({name: policies[name] for name in names})
                file[action, kind] = compiled[names]
    return file


def _names(actions: tuple[Uid, ...] | None, action: str) -> bool:
    """Whether a scope can mean the action: a group of actions, of a schema of one's own, may."""
    return actions is None or any(name == action or name not in _PLAIN for _type, name in actions)


def _reads_action(policy: Json) -> bool:
    """Whether the answer can differ between two actions the policy is filed under."""
    named = actions_of(policy["action"]) or ()
    return mentions_of(policy).action or any(name not in _PLAIN for _type, name in named)


class Evaluator:
    """Evaluates policies (Cedar's JSON form by the id they report). Raises CedarRefused if they do not
    compile.

    `actions` are the entities of a schema's actions, for schemas that group them.
    """

    def __init__(self, policies: Mapping[str, Json], actions: Iterable[Json] = ()) -> None:
        self._actions = list(actions)
        filed: dict[tuple[Uid | None, Uid | None], dict[str, Json]] = {}
        for name, policy in policies.items():
            key = (constraint_of(policy["principal"]).uid, constraint_of(policy["resource"]).uid)
            filed.setdefault(key, {})[name] = policy
        self._files = {key: _compile_file(found) for key, found in filed.items()}
        self.reads_action = any(map(_reads_action, policies.values()))
        """Whether the same policies may answer otherwise about another action."""
        self._principal = lru_cache(PRINCIPALS_MAX)(self._parse_principal)

    def evaluate(self, asker: Asker, operation: Operation, resource_type: ResourceType, name: str) -> Outcome:
        """What the policies say about one action. Raises ValueError for names Cedar cannot take."""
        resource = (RESOURCES[resource_type], name)
        action = ACTIONS[operation]
        outcome = Outcome()
        reached = self.reached(asker, operation, resource_type, name)
        if not reached:
            return outcome
        request = {
            "principal": _json_uid((USER, asker.user)),
            "action": _json_uid((ACTION, action)),
            "resource": _json_uid(resource),
            "context": asker.context,
        }
        entities = self._principal((asker.user, asker.groups, asker.roles, asker.scope))
        if resource != (USER, asker.user):
            entities = entities.with_added_json_str(binding.as_json([_resource_entity(resource)]))
        for compiled in reached:
            _join(outcome, *binding.ask(compiled.handle, request, entities))
        return outcome

    def reached(
        self, asker: Asker, operation: Operation, resource_type: ResourceType, name: str
    ) -> tuple[Compiled, ...]:
        """The policies that can speak about one action; the same ones are the same objects."""
        kind = RESOURCES[resource_type]
        found, question = [], (ACTIONS[operation], kind)
        for principal in (None, *dict.fromkeys(asker.uids)):
            for target in (None, (kind, name)):
                file = self._files.get((principal, target))
                if file is not None and question in file:
                    found.append(file[question])
        return tuple(found)

    def _parse_principal(self, principal: _Principal) -> Any:
        user, groups, roles, scope = principal
        attributes: Json = {"name": user}
        if scope is not None:
            attributes["scope"] = list(scope)
        parents = [(GROUP, group) for group in groups] + [(ROLE, role) for role in roles]
        entity = {
            "uid": _json_uid((USER, user)),
            "attrs": attributes,
            "parents": [_json_uid(uid) for uid in dict.fromkeys(parents)],
        }
        return binding.parse_entities([entity, *self._actions])


def _join(outcome: Outcome, allowed: bool, reasons: list[str], errors: list[str]) -> None:
    (outcome.permits if allowed else outcome.forbids).extend(reasons)
    for error in errors:
        known = _POLICY_OF_ERROR.match(error)
        outcome.errors.append(
            (known[1], binding.one_line(known[2])) if known else ("", binding.one_line(error))
        )


def _json_uid(uid: Uid) -> Json:
    return {"type": uid[0], "id": uid[1]}


def _resource_entity(resource: Uid) -> Json:
    attributes = {} if resource[0] == RESOURCES[ResourceType.CLUSTER] else {"name": resource[1]}
    return {"uid": _json_uid(resource), "attrs": attributes, "parents": []}
