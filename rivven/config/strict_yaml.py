"""YAML as configuration needs it: plain values only, and a key given twice is an error.

Imported only when there is a file to read. It knows nothing about which keys exist.
"""

from __future__ import annotations

from typing import Any

import yaml

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

NESTING_MAX = 20  # the file needs five levels; some ten thousand exhaust the stack of libyaml's composer


class YamlProblem(ValueError):
    """Text that is not YAML, or not a mapping; `where` is a line and column or empty."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason


class _Loader(_SafeLoader):
    """Refuses repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise YamlProblem(_where(key.start_mark), "a key must be a plain text")
            if key.value in seen:
                raise YamlProblem(_where(key.start_mark), f"the key {key.value!r} is given twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_mapping(text: bytes) -> dict[str, Any]:
    """The mapping a YAML document holds, {} for an empty one; raises YamlProblem."""
    try:
        _check_shape(text)
        value = yaml.load(text, _Loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlProblem(_where(mark), str(error.problem or error.context)) from None
    except YamlProblem:
        raise
    except (yaml.YAMLError, ValueError):  # ValueError: not UTF-8, or a date that does not exist
        raise YamlProblem("", "is not a YAML text") from None
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise YamlProblem("", "must hold a mapping of keys to values")
    return value


def lines_of(text: bytes) -> dict[tuple[str | int, ...], int]:
    """The line of every key and list entry, by the path that leads to it; for a text `parse_mapping` took."""
    found: dict[tuple[str | int, ...], int] = {}
    _collect_lines(yaml.compose(text, _Loader), (), found)
    return found


def _collect_lines(
    node: yaml.Node | None, path: tuple[str | int, ...], found: dict[tuple[str | int, ...], int]
) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, key.value)
            found[below] = key.start_mark.line + 1
            _collect_lines(value, below, found)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            below = (*path, number)
            found[below] = value.start_mark.line + 1
            _collect_lines(value, below, found)


def _check_shape(text: bytes) -> None:
    """Refuse deep nesting and aliases (a small file could unfold to a huge one) before anything is built."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.AliasEvent):
            raise YamlProblem(_where(event.start_mark), "aliases are not accepted")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > NESTING_MAX:
            raise YamlProblem(_where(event.start_mark), f"nested deeper than {NESTING_MAX} levels")


def _where(mark: Any) -> str:
    return f"line {mark.line + 1} column {mark.column + 1}" if mark else ""
