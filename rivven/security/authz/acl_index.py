"""Stored ACL rules arranged so that the cost of a question does not grow with their number.

Rules are grouped by (principal, host, resource type); a group keeps literal names in a dict and prefixes in a
dict per length, so a name is found by one look-up for itself, one for ``*`` and one per distinct prefix
length. Groups are arranged when first asked for: loading 10,000 rules only files them.

Pure: values in, values out. It must not cache answers (see `acl`) nor know super users.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rivven.security.authz.authorizer import canonical_host
from rivven.types import WILDCARD, AclBinding, PatternType, ResourceType

EVERYONE = "User:*"
"""The principal that matches every principal, whatever its type, as in Kafka."""


class _Patterns:
    """Rules by the pattern of their resource name."""

    __slots__ = ("lengths", "literal", "prefixed")

    def __init__(self, rules: Iterable[AclBinding]) -> None:
        self.literal: dict[str, list[AclBinding]] = {}
        self.prefixed: dict[str, list[AclBinding]] = {}
        for rule in rules:
            if rule.pattern_type is PatternType.LITERAL:
                self.literal.setdefault(rule.resource_name, []).append(rule)
            elif rule.pattern_type is PatternType.PREFIXED:
                self.prefixed.setdefault(rule.resource_name, []).append(rule)
        self.lengths = sorted({len(prefix) for prefix in self.prefixed})

    def matching(self, name: str) -> Iterator[AclBinding]:
        """Rules whose pattern covers `name`: itself, the literal ``*``, and every prefix of it."""
        yield from self.literal.get(name, ())
        if name != WILDCARD:
            yield from self.literal.get(WILDCARD, ())
        longest = len(name)
        for length in self.lengths:
            if length > longest:
                break
            yield from self.prefixed.get(name[:length], ())

    def all(self) -> Iterator[AclBinding]:
        for rules in self.literal.values():
            yield from rules
        for rules in self.prefixed.values():
            yield from rules


class AclIndex:
    """An immutable set of rules, arranged for look-up."""

    def __init__(self, bindings: Iterable[AclBinding]) -> None:
        groups: dict[tuple[str, str, int], list[AclBinding]] = {}
        hosts: dict[str, str] = {}
        for rule in bindings:
            host = hosts.get(rule.host)
            if host is None:
                host = hosts[rule.host] = canonical_host(rule.host)
            group = groups.get((rule.principal, host, rule.resource_type))
            if group is None:
                groups[rule.principal, host, rule.resource_type] = [rule]
            else:
                group.append(rule)
        self._filed = groups
        self._arranged: dict[tuple[str, str, int], _Patterns] = {}
        self._by_type: dict[int, _Patterns] = {}

    def matching(
        self, principals: Iterable[str], host: str, resource_type: ResourceType, name: str
    ) -> list[AclBinding]:
        """Rules about the named resource for any of the principals (or everyone) from `host`."""
        found: list[AclBinding] = []
        for patterns in self._groups(principals, host, resource_type):
            found.extend(patterns.matching(name))
        return found

    def of_type(self, principals: Iterable[str], host: str, resource_type: ResourceType) -> list[AclBinding]:
        """Rules about any resource of the type for any of the principals from `host`."""
        found: list[AclBinding] = []
        for patterns in self._groups(principals, host, resource_type):
            found.extend(patterns.all())
        return found

    def covers(self, resource_type: ResourceType, name: str) -> bool:
        """Whether any rule, for anybody, is about the named resource."""
        return any(True for _ in self._of_type(resource_type).matching(name))

    def covers_all(self, resource_type: ResourceType) -> bool:
        """Whether any rule, for anybody, is about every resource of the type (the literal ``*``)."""
        return WILDCARD in self._of_type(resource_type).literal

    def _of_type(self, resource_type: ResourceType) -> _Patterns:
        patterns = self._by_type.get(resource_type)
        if patterns is None:
            patterns = self._by_type[resource_type] = _Patterns(
                rule for key, rules in self._filed.items() if key[2] == resource_type for rule in rules
            )
        return patterns

    def _groups(
        self, principals: Iterable[str], host: str, resource_type: ResourceType
    ) -> Iterator[_Patterns]:
        for principal in dict.fromkeys((*principals, EVERYONE)):
            for where in dict.fromkeys((host, WILDCARD)):
                key = (principal, where, int(resource_type))
                patterns = self._arranged.get(key)
                if patterns is None:
                    rules = self._filed.get(key)
                    if rules is None:
                        continue
                    patterns = self._arranged[key] = _Patterns(rules)
                yield patterns
