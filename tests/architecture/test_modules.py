"""What holds for every file: size, names, documentation, nothing unfinished, nothing unused."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, Module, file_imports, modules, modules_imported, reachable

LINES_MAX = 500
# A module that answers "what is in there?" with "things" has no place here.
BANNED_NAMES = frozenset(
    {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc", "stuff", "tools"}
)
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|\bNotImplementedError\b|\bunittest\.mock\b|\bMagicMock\b")
CHECKED_FOLDERS = ("rivven", "rivven_cli", "rivven_client", "tests", "benches", "tools")
# What starts a program: nobody imports it.
ENTRY_POINTS = {
    "rivven.__main__": "python -m rivven",
    "rivven.log.worker": "the worker process, started with -m",
    "rivven_cli.main": "the console script",
}


def python_files(folder: str) -> list[Path]:
    installed = {"node_modules", "target"}
    return [path for path in sorted((ROOT / folder).rglob("*.py")) if not installed & set(path.parts)]


@pytest.mark.parametrize("folder", CHECKED_FOLDERS)
def test_every_file(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {problem}"
        for path in python_files(folder)
        for problem in problems_of(path)
    ]
    assert not found, "\n".join(found)


def problems_of(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    relative = path.relative_to(ROOT)
    found = []
    lines = len(text.splitlines())
    if lines > LINES_MAX:
        found.append(f"{lines} lines: a module that needs a table of contents is two modules")
    if BANNED_NAMES & {path.stem, *relative.parts[1:-1]}:
        found.append("a name that says nothing")
    unfinished = UNFINISHED.search(text)
    if unfinished and path.parent != Path(__file__).parent:  # which must spell out what it looks for
        found.append(f"{unfinished.group(0)} in it")
    # A test file may speak through the names of its tests.
    if text.strip() and not path.name.startswith("test_") and ast.get_docstring(ast.parse(text)) is None:
        found.append("no docstring that says what it is")
    return found


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_module_says_what_it_is(module: Module) -> None:
    first = (ast.get_docstring(module.tree) or "").split("\n\n")[0]
    assert len(first) >= 20, "one sentence at least"
    assert first.rstrip().endswith((".", ":")), f"a sentence, not a title: {first!r}"


def test_packages_have_a_docstring_of_their_own() -> None:
    packages = [module for module in modules() if module.is_package]
    assert len(packages) > 15
    folders = {
        path.parent
        for package in ("rivven", "rivven_cli", "rivven_client")
        for path in (ROOT / package).rglob("*.py")
    }
    assert {(ROOT / module.path).parent for module in packages} == folders


def test_nothing_is_imported_by_nobody() -> None:
    """A module nobody imports is dead. Tests do not count, except for the fakes shipped for them."""
    importers = {name for module in modules() for name in modules_imported(module) if name != module.name}
    importers |= {name for path in python_files("tools") for name in file_imports(path)}
    loaded_by_name = named_in_strings()
    dead = [
        module.name
        for module in modules()
        if not module.is_package
        and not module.name.startswith("rivven.testing.")
        and module.name not in importers | loaded_by_name | set(ENTRY_POINTS)
    ]
    assert not dead


def named_in_strings() -> set[str]:
    """Modules that are imported lazily by a name in a string."""
    names = {module.name for module in modules()}
    return {
        node.value.partition(":")[0]
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.partition(":")[0] in names
    }


def test_shipped_fakes_are_used_by_tests() -> None:
    used = reachable(frozenset().union(*(file_imports(path) for path in python_files("tests"))))
    fakes = {module.name for module in modules() if module.name.startswith("rivven.testing.")}
    assert fakes <= used


def test_the_broker_does_not_import_what_only_tests_use() -> None:
    development = {"pytest", "hypothesis", "kio", "aiokafka", "kafka", "atheris"}
    for module in modules():
        assert not development & {name.split(".")[0] for name in module.imports()}, module.name


def test_fakes_do_not_reach_the_broker() -> None:
    """rivven.testing is shipped for tests: nothing that runs in production imports it."""
    for module in modules():
        if not module.name.startswith("rivven.testing"):
            assert not [name for name in modules_imported(module) if name.startswith("rivven.testing")], (
                module.name
            )
