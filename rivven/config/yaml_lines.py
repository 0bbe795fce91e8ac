"""Where the keys of a YAML text stand, so that a refused value can be told with its line.

Pure. Only for text that `strict_yaml.parse_mapping` has accepted: its checks bound what is built here.
"""

from __future__ import annotations

import yaml

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

KeyPath = tuple[str | int, ...]


def key_lines(text: bytes) -> dict[KeyPath, int]:
    """Line (from 1) of every key and list entry, by its path: ``("users", "alice", "roles", 0)``."""
    root = yaml.compose(text, _SafeLoader)
    lines: dict[KeyPath, int] = {}
    waiting: list[tuple[KeyPath, yaml.Node | None]] = [((), root)]
    while waiting:
        path, node = waiting.pop()
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                lines[*path, key.value] = key.start_mark.line + 1
                waiting.append(((*path, key.value), value))
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                lines[*path, index] = value.start_mark.line + 1
                waiting.append(((*path, index), value))
    return lines
