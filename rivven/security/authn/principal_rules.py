"""From the names in a client certificate to a principal's name, as ``auth.mtls_mapping`` says. Pure.

Rules are those of Kafka's ``ssl.principal.mapping.rules`` (KIP-371): the first whose pattern matches the
whole distinguished name wins; ``DEFAULT`` gives the name itself; without a match nobody gets in. It must not
read certificates, nor judge whether a name may be used here.

    RULE:pattern/replacement/        $1 is the first group; a backslash takes the next character as it is
    RULE:pattern/replacement/L       lower case; U upper case
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

RULES_MAX = 64
"""Rules of one mapping: each is tried at each login until one matches."""

RULE_CHARACTERS_MAX = 1024
"""Longer ones are a mistake in the file."""

DN_CHARACTERS_MAX = 2048
"""A longer distinguished name matches no rule: patterns are the operator's, but subjects are whoever asked
for the certificate, and backtracking costs grow with the length."""

_RULE = re.compile(r"RULE:((?:\\.|[^\\/])*)/((?:\\.|[^\\/])*)/([LU]?)")
_CASES: dict[str, Callable[[str], str]] = {"": str, "L": str.lower, "U": str.upper}


class RuleError(ValueError):
    """A rule that cannot be used, with the reason."""


@dataclass(frozen=True, slots=True)
class CertificateNames:
    """What a certificate says of its owner. `distinguished_name` is the subject as RFC 2253 text."""

    distinguished_name: str
    common_names: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mapped:
    """The name a certificate gave, and what made it: a rule's text, or where the name stood."""

    name: str
    by: str


@dataclass(frozen=True, slots=True)
class Unmapped:
    """Why a certificate gives no name."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Rule:
    text: str
    pattern: re.Pattern[str] | None
    replacement: tuple[str | int, ...] = ()
    case: str = ""

    def apply(self, name: str) -> str | None:
        if self.pattern is None:
            return name
        if self.pattern.fullmatch(name) is None:
            return None
        # Kafka asks whether all of the name matches, and then replaces every match in it.
        return _CASES[self.case](self.pattern.sub(self._expand, name))

    def _expand(self, match: re.Match[str]) -> str:
        return "".join(
            part if isinstance(part, str) else match.group(part) or "" for part in self.replacement
        )


class PrincipalRules:
    """An ordered list of rules. Raises RuleError for one that is malformed."""

    def __init__(self, rules: Sequence[str]) -> None:
        if not 0 < len(rules) <= RULES_MAX:
            raise RuleError(f"there must be 1 to {RULES_MAX} rules")
        self._rules = [_parse(rule) for rule in rules]

    def apply(self, distinguished_name: str) -> Mapped | Unmapped:
        """The name that the first matching rule makes."""
        if len(distinguished_name) > DN_CHARACTERS_MAX:
            return Unmapped(f"the subject is longer than {DN_CHARACTERS_MAX} characters")
        for rule in self._rules:
            name = rule.apply(distinguished_name)
            if name is not None:
                return Mapped(name, rule.text) if name else Unmapped(f"{rule.text} gives an empty name")
        return Unmapped(f"no rule matches {distinguished_name}")


NameMapping = Callable[[CertificateNames], Mapped | Unmapped]


def name_mapping(kind: str, rules: Sequence[str] = ()) -> NameMapping:
    """The mapping of a ``type`` of ``auth.mtls_mapping``. Raises RuleError; KeyError for another type."""
    if kind == "rules":
        return _by_rules(PrincipalRules(rules))
    return _MAPPINGS[kind]


def _by_rules(rules: PrincipalRules) -> NameMapping:
    return lambda names: rules.apply(names.distinguished_name)


def _distinguished_name(names: CertificateNames) -> Mapped | Unmapped:
    name = names.distinguished_name
    return Mapped(name, "distinguished_name") if name else Unmapped("the subject is empty")


def _the_one(kind: str, what: str, found: tuple[str, ...]) -> Mapped | Unmapped:
    """Several names would make the order in the certificate decide who somebody is."""
    if len(found) != 1:
        return Unmapped(f"the certificate has {len(found)} {what}, the mapping {kind} needs exactly one")
    return Mapped(found[0], kind) if found[0] else Unmapped(f"the {kind} is empty")


_MAPPINGS: dict[str, NameMapping] = {
    "distinguished_name": _distinguished_name,
    "common_name": lambda names: _the_one("common_name", "common names", names.common_names),
    # Host names have no case, principals do: one spelling, so that rules name it.
    "san_dns": lambda names: _the_one(
        "san_dns", "DNS names", tuple(name.lower() for name in names.dns_names)
    ),
    "san_uri": lambda names: _the_one("san_uri", "URIs", names.uris),
}


def _parse(text: str) -> _Rule:
    if text == "DEFAULT":
        return _Rule(text, None)
    if len(text) > RULE_CHARACTERS_MAX:
        raise RuleError(f"a rule is longer than {RULE_CHARACTERS_MAX} characters")
    found = _RULE.fullmatch(text)
    if found is None:
        raise RuleError(f"{text!r} is neither DEFAULT nor RULE:pattern/replacement/ with L or U at the end")
    pattern, replacement, case = found.groups()
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise RuleError(f"the pattern of {text!r}: {error}") from None
    return _Rule(text, compiled, _parse_replacement(replacement, compiled.groups), case)


def _parse_replacement(text: str, groups: int) -> tuple[str | int, ...]:
    """Literal text and numbers of groups. As in Java a number takes as many digits as still name a group; a
    reference to a group that does not exist is literal text (Kafka)."""
    parts: list[str | int] = []
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == "\\" and position < len(text):
            parts.append(text[position])
            position += 1
            continue
        digits = re.match(r"\d+", text[position:], re.ASCII) if character == "$" else None
        if digits is None:
            parts.append(character)
            continue
        reference = digits.group()
        while int(reference) > groups and len(reference) > 1:
            reference = reference[:-1]
        parts.append(int(reference) if int(reference) <= groups else f"${reference}")
        position += len(reference)
    return tuple(parts)
