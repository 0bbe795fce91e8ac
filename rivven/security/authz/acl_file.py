"""Access rules in a file, for trying them: what ``rivven acl list -o json`` prints.

    [{"principal": "User:alice", "host": "*", "resource_type": "topic", "resource": "orders-",
      "pattern": "prefixed", "operation": "read", "permission": "allow"}]

Pure: bytes in, rules out; nothing else is accepted, and every problem names the number of its rule. The rules
in force are never read from a file: they are the metadata's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, TypeVar

from rivven.actions import RESOURCE_TYPES
from rivven.types import AclBinding, Operation, PatternType, Permission, Principal, ResourceType

FILE_BYTES_MAX = 32 << 20
"""Some 150,000 rules; parsing takes half a second, on a thread where a broker serves."""

RULES_MAX = 100_000
"""Rules of one candidate, which are arranged anew when they change."""

_KEYS = ("principal", "host", "resource_type", "resource", "pattern", "operation", "permission")
_PRINCIPAL_KINDS = ("User", "Group", "Role")

_NAMELESS = (ResourceType.USER, ResourceType.DELEGATION_TOKEN)
"""What the command, whose library has no names for these two, lists as ``unknown``."""

_Word = TypeVar("_Word", bound=IntEnum)


class AclFileProblem(ValueError):
    """What is wrong with a file of access rules, with its name and the number of the rule."""


def parse_rules(text: bytes, name: str) -> tuple[AclBinding, ...]:
    """The rules a file holds; `name` stands in messages. Raises AclFileProblem."""
    if len(text) > FILE_BYTES_MAX:
        raise AclFileProblem(f"{name}: larger than {FILE_BYTES_MAX} bytes")
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AclFileProblem(f"{name}: not JSON: {error}") from None
    if not isinstance(entries, list):
        raise AclFileProblem(f"{name}: must be a list of rules, as `rivven acl list -o json` prints them")
    if len(entries) > RULES_MAX:
        raise AclFileProblem(f"{name}: more than {RULES_MAX} rules")
    found = []
    for number, entry in enumerate(entries, 1):
        try:
            found.extend(_rules(entry))
        except ValueError as error:
            raise AclFileProblem(f"{name}: rule {number}: {error}") from None
    return tuple(dict.fromkeys(found))


def _rules(entry: Any) -> list[AclBinding]:
    if not isinstance(entry, dict) or sorted(entry) != sorted(_KEYS):
        raise ValueError(f"must have the keys {', '.join(_KEYS)}")
    for key, value in entry.items():
        if not isinstance(value, str) or not value:
            raise ValueError(f"{key}: must be a text")
    return [
        AclBinding(
            kind,
            entry["resource"],
            _word(entry, "pattern", {"literal": PatternType.LITERAL, "prefixed": PatternType.PREFIXED}),
            _principal(entry["principal"]),
            entry["host"],
            _word(entry, "operation", _OPERATIONS),
            _word(entry, "permission", {"allow": Permission.ALLOW, "deny": Permission.DENY}),
        )
        for kind in _kinds(entry["resource_type"].replace("_", "-"))
    ]


def _kinds(word: str) -> tuple[ResourceType, ...]:
    if word == "unknown":
        return _NAMELESS
    if word not in RESOURCE_TYPES:
        raise ValueError(f"resource_type: there are {', '.join(RESOURCE_TYPES)}")
    return (RESOURCE_TYPES[word],)


_OPERATIONS = {
    operation.name.lower().replace("_", "-"): operation
    for operation in Operation
    if operation >= Operation.ALL
}


def _word(entry: Mapping[str, str], key: str, words: Mapping[str, _Word]) -> _Word:
    found = words.get(entry[key].lower().replace("_", "-"))
    if found is None:
        raise ValueError(f"{key}: there are {', '.join(words)}")
    return found


def _principal(text: str) -> str:
    principal = Principal.parse(text)
    if principal.kind not in _PRINCIPAL_KINDS or not principal.name:
        raise ValueError(f"principal: is written User:NAME, Group:NAME or Role:NAME, not {text!r}")
    return text
