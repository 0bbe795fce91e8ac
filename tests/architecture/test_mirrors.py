"""The unit tree mirrors the source: every module has its test file, or a listed place that holds it."""

from __future__ import annotations

from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, Module, file_imports, modules, reachable
from tests.architecture.tested_elsewhere import ELSEWHERE, Elsewhere

TESTS = ROOT / "tests"
TREES = {"rivven": "", "rivven_cli": "cli", "rivven_client": "client"}


def mirror(module: Module) -> Path:
    """Where the unit tests of a module are."""
    package, *parts = module.name.split(".")
    return TESTS.joinpath("unit", TREES[package], *parts[:-1], f"test_{parts[-1]}.py")


def places_of(name: str) -> list[Elsewhere]:
    return [place for place in ELSEWHERE if any(fnmatch(name, pattern) for pattern in place.modules)]


@cache
def reached_by(test: str) -> set[str]:
    """Our modules a test file imports, itself or through support modules of the tests."""
    waiting, seen, names = [TESTS / test], set[Path](), set[str]()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        names |= file_imports(path)
        support = (
            ROOT / f"{name.replace('.', '/')}.py" for name in file_imports(path) if name.startswith("tests.")
        )
        waiting.extend(candidate for candidate in support if candidate.is_file())
    return reachable(frozenset(names))


def test_every_module_is_held_by_tests() -> None:
    bare = [
        module.name
        for module in modules()
        if not module.is_package and not mirror(module).is_file() and not places_of(module.name)
    ]
    assert not bare, (
        f"write {mirror(next(m for m in modules() if m.name == bare[0]))} or list it with a reason: {bare}"
    )


@pytest.mark.parametrize("place", ELSEWHERE, ids=lambda place: place.modules[0])
def test_listed_place_holds_what_it_says(place: Elsewhere) -> None:
    assert len(place.reason) > 20
    for test in place.tests:
        assert (TESTS / test).is_file(), test
        assert "def test_" in (TESTS / test).read_text(encoding="utf-8"), test
    reached = set[str]().union(*(reached_by(test) for test in place.tests))
    for pattern in place.modules:
        named = [module.name for module in modules() if fnmatch(module.name, pattern)]
        assert named, f"no module is called {pattern}"
        if not place.through_process:
            assert not [name for name in named if name not in reached]
