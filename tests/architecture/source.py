"""The project's own source as the architecture tests see it: parsed once, never imported."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("rivven", "rivven_cli", "rivven_client")


@dataclass(frozen=True, slots=True)
class Module:
    """One file of the shipped packages."""

    name: str
    """Dotted, a package by its own name (`rivven.log`)."""
    path: str
    """Relative to the project, with slashes."""
    text: str
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.endswith("__init__.py")

    def imports(self) -> frozenset[str]:
        """Dotted names imported anywhere in the file, also inside functions and for type checking."""
        return _imports(self.tree)

    def uses(self) -> tuple[tuple[int, str], ...]:
        """(line, dotted name with import aliases resolved) of every name and attribute used. What is asked of
        the result of a call is written `().attribute`."""
        return _uses(self.tree)


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the shipped packages."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = path.read_text(encoding="utf-8")
            found.append(Module(name, path.relative_to(ROOT).as_posix(), text, ast.parse(text)))
    return tuple(found)


@cache
def by_name() -> dict[str, Module]:
    return {module.name: module for module in modules()}


def modules_imported(module: Module) -> set[str]:
    """Our own modules that this one imports: `from a.b import c` is a.b, and a.b.c if that is one."""
    return _own(module.imports())


@cache
def file_imports(path: Path) -> frozenset[str]:
    """Our own modules and test modules a test file imports, as dotted names."""
    return _imports(ast.parse(path.read_text(encoding="utf-8")))


def reachable(names: frozenset[str]) -> set[str]:
    """Our own modules that importing these names reaches, step by step."""
    waiting, seen = list(_own(names)), set[str]()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(modules_imported(by_name()[name]))
    return seen


def _own(names: frozenset[str]) -> set[str]:
    return {name for name in names if name in by_name()}


@cache
def _imports(tree: ast.Module) -> frozenset[str]:
    found = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


def _aliases(tree: ast.Module) -> dict[str, str]:
    """What a bare name stands for because of an import: `from os import open as o` makes o os.open."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return known


@cache
def _uses(tree: ast.Module) -> tuple[tuple[int, str], ...]:
    aliases = _aliases(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            name = _dotted(node)
            if name is not None:
                first, dot, rest = name.partition(".")
                found.append((node.lineno, aliases.get(first, first) + dot + rest))
    return tuple(found)


def _dotted(node: ast.Attribute | ast.Name) -> str | None:
    parts = []
    current: ast.expr = node
    while isinstance(current, ast.Attribute):
        parts.append(current.attr)
        current = current.value
    if isinstance(current, ast.Call) and parts:
        return ".".join(["()", *reversed(parts)])
    if not isinstance(current, ast.Name):
        return None
    return ".".join([current.id, *reversed(parts)])
