"""Asks the Cedar engine about one request, with no more policies than can matter to it.

Policies are filed by the principal and the resource their scope names. Cedar joins policies as a plain "or"
(any forbid, else any permit), so asking each file that can match and joining the answers is the same as
asking all policies at once, and the cost of a question does not grow with the policies of others.

It must not remember answers (`engine` does), nor know files of policies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from rivven.security.authz.cedar import binding
from rivven.security.authz.cedar.expressions import Json, Uid, actions_of, constraint_of
from rivven.security.authz.cedar.vocabulary import ACTION, ACTIONS, GROUP, RESOURCES, ROLE, USER
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


class _File:
    """Policies whose scope names the same principal and resource."""

    __slots__ = ("actions", "handle", "policies")

    def __init__(self) -> None:
        self.policies: dict[str, Json] = {}
        self.actions: set[str] | None = set()
        """Actions some policy names, None when one names all."""
        self.handle: Any = None

    def add(self, name: str, policy: Json) -> None:
        self.policies[name] = policy
        named = actions_of(policy["action"])
        if self.actions is None:
            return
        if named is None or any(action not in _PLAIN for _type, action in named):
            self.actions = None
        else:
            self.actions.update(action for _type, action in named)


_PLAIN = frozenset(ACTIONS.values())


class Evaluator:
    """Evaluates policies (Cedar's JSON form by the id they report). Raises CedarRefused if they do not
    compile.

    `actions` are the entities of a schema's actions, for schemas that group them.
    """

    def __init__(self, policies: Mapping[str, Json], actions: Iterable[Json] = ()) -> None:
        self._actions = list(actions)
        self._files: dict[tuple[Uid | None, Uid | None], _File] = {}
        for name, policy in policies.items():
            key = (constraint_of(policy["principal"]).uid, constraint_of(policy["resource"]).uid)
            self._files.setdefault(key, _File()).add(name, policy)
        for file in self._files.values():
            file.handle = binding.compile_policies(file.policies)
        self._principal = lru_cache(PRINCIPALS_MAX)(self._parse_principal)

    def evaluate(self, asker: Asker, operation: Operation, resource_type: ResourceType, name: str) -> Outcome:
        """What the policies say about one action. Raises ValueError for names Cedar cannot take."""
        resource = (RESOURCES[resource_type], name)
        action = ACTIONS[operation]
        outcome = Outcome()
        files = self._reached(asker, action, resource)
        if not files:
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
        for file in files:
            _join(outcome, *binding.ask(file.handle, request, entities))
        return outcome

    def _reached(self, asker: Asker, action: str, resource: Uid) -> list[_File]:
        files = []
        for principal in (None, *dict.fromkeys(asker.uids)):
            for target in (None, resource):
                file = self._files.get((principal, target))
                if file is not None and (file.actions is None or action in file.actions):
                    files.append(file)
        return files

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
