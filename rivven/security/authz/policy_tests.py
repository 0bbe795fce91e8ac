"""Tests of policies and roles, as people write them in YAML, and what comes of them.

    tests:
      - name: shipping reads orders            # optional
        principal: user:shipper
        groups: [warehouse]                    # optional, as are roles, scope and context
        roles: [consumer]
        action: consume                        # an action, or one of Kafka's operations
        resource: topic:orders
        context: {address: 10.0.0.1, tls: true, hour: 9, weekday: 1}
        expected: allow                        # or deny

Pure: bytes in, results out; nothing else is accepted. An action that is several operations is allowed if each
of them is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rivven.actions import ACTIONS, TYPE_WORDS, WordError, operations_for, parse_resource
from rivven.config.strict_yaml import YamlProblem, parse_mapping
from rivven.security.authz.authorizer import Action, canonical_host
from rivven.security.authz.cedar.vocabulary import CONTEXT
from rivven.security.authz.operations import VALID_OPERATIONS
from rivven.security.authz.trial import Answer, Candidate, Question
from rivven.types import Operation, PatternType, Principal, ResourceType

TESTS_MAX = 10_000
"""Tests of one file; each costs about a millisecond."""

_KEYS = frozenset(
    {"name", "principal", "groups", "roles", "scope", "action", "resource", "context", "expected"}
)
_TYPES = {"String": str, "Bool": bool, "Long": int, "ipaddr": str}
_RANGES = {"hour": range(24), "weekday": range(1, 8)}


class TestsRefused(ValueError):
    """A file that holds no tests of policies, with its name and the number of the test."""

    __test__ = False  # pytest collects by name


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """One test: every question must be allowed for `allowed`, some refused for not."""

    name: str
    questions: tuple[Question, ...]
    allowed: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a test. `reason` is the decision's, or says what the test leaves open."""

    name: str
    passed: bool
    expected: str
    actual: str
    reason: str


def parse_tests(text: bytes, source: str) -> list[PolicyTest]:
    """The tests of a file; raises TestsRefused."""
    try:
        document = parse_mapping(text)
    except YamlProblem as problem:
        raise TestsRefused(f"{source}: {problem.where or 'the file'}: {problem.reason}") from None
    entries = document.get("tests")
    if not isinstance(entries, list) or set(document) != {"tests"}:
        raise TestsRefused(f"{source}: must be a mapping with one key, tests, that holds a list")
    if not 0 < len(entries) <= TESTS_MAX:
        raise TestsRefused(f"{source}: holds {len(entries)} tests; there may be 1 to {TESTS_MAX}")
    found = []
    for number, entry in enumerate(entries, 1):
        try:
            found.append(_test(entry, number))
        except (ValueError, WordError) as error:
            raise TestsRefused(f"{source}: test {number}: {error}") from None
    return found


def run_tests(tests: list[PolicyTest], candidate: Candidate) -> Iterator[Result]:
    """The result of each test, in order."""
    for test in tests:
        expected = "allow" if test.allowed else "deny"
        answers = [_ask(candidate, question) for question in test.questions]
        decisions = [answer.decision for answer in answers if answer.decision is not None]
        refused = [decision for decision in decisions if not decision.allowed]
        if len(decisions) < len(answers) and not refused:
            missing = dict.fromkeys(name for answer in answers for name in answer.missing)
            yield Result(test.name, False, expected, "open", f"the test does not say: {', '.join(missing)}")
            continue
        actual, reason = ("deny", refused[0].reason) if refused else ("allow", decisions[0].reason)
        yield Result(test.name, actual == expected, expected, actual, reason)


def _ask(candidate: Candidate, question: Question) -> Answer:
    answer = candidate.ask(question)
    if question.scope is None or answer.decision is None or not answer.decision.allowed:
        return answer
    within = candidate.within_scope(question)
    return answer if within.allowed else Answer(within)


def _test(entry: Any, number: int) -> PolicyTest:
    if not isinstance(entry, dict):
        raise ValueError("must be a mapping")
    unknown = sorted(set(map(str, entry)) - _KEYS)
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; there are: {', '.join(sorted(_KEYS))}")
    expected = entry.get("expected")
    if expected not in ("allow", "deny"):
        raise ValueError("expected: must be allow or deny")
    kind, name = _resource(_text(entry, "resource"))
    principal = _principal(_text(entry, "principal"))
    scope = _texts(entry, "scope") if "scope" in entry else None
    context = _context(entry.get("context") or {})
    questions = tuple(
        Question(
            principal,
            Action(operation, kind, name),
            _texts(entry, "groups"),
            _texts(entry, "roles"),
            scope,
            context=context,
        )
        for operation in _operations(_text(entry, "action"), kind)
    )
    title = entry.get("name") or f"{entry['principal']} {entry['action']} {entry['resource']}"
    return PolicyTest(f"{number}: {title}", questions, expected == "allow")


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key}: must be a text")
    return value


def _texts(entry: dict[str, Any], key: str) -> tuple[str, ...]:
    values = entry.get(key) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{key}: must be a list of texts")
    return tuple(values)


def _principal(text: str) -> Principal:
    kind, colon, name = text.partition(":")
    if kind.lower() != "user" or not colon or not name:
        raise ValueError(f"principal: is written user:NAME, not {text!r}")
    return Principal("User", name)


def _resource(text: str) -> tuple[ResourceType, str]:
    """One resource by its whole name."""
    kind, colon, name = text.partition(":")
    patterns = parse_resource(text, None if not colon or kind.lower() == "cluster" else "literal")
    if len(patterns) != 1 or patterns[0].pattern_type is not PatternType.LITERAL or name == "*":
        raise ValueError(f"resource: names one resource, TYPE:NAME or cluster, not {text!r}")
    return patterns[0].resource_type, patterns[0].name


def _operations(text: str, kind: ResourceType) -> tuple[Operation, ...]:
    if text in ACTIONS:
        operations = operations_for(text, TYPE_WORDS[kind])
        return tuple(sorted(VALID_OPERATIONS[kind])) if Operation.ALL in operations else operations
    try:
        operation = Operation[text.upper().replace("-", "_")]
    except KeyError:
        raise ValueError(f"action: {text!r} is neither an action nor an operation of Kafka") from None
    if operation not in VALID_OPERATIONS[kind]:
        raise ValueError(f"action: {text} has no meaning on a {TYPE_WORDS[kind]}")
    return (operation,)


def _context(context: Any) -> dict[str, Any]:
    if not isinstance(context, dict):
        raise ValueError("context: must be a mapping")
    for name, value in context.items():
        if name not in CONTEXT:
            raise ValueError(f"context: unknown key {name!r}; there are: {', '.join(CONTEXT)}")
        kind = _TYPES[CONTEXT[name]]
        if type(value) is not kind or (name in _RANGES and value not in _RANGES[name]):
            raise ValueError(f"context.{name}: {value!r} cannot be")
    if "address" in context:
        return {**context, "address": canonical_host(context["address"])}
    return dict(context)
