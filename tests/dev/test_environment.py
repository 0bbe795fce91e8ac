"""Set-up on a fresh machine: what is missing is said in one line, what is there is left alone."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "environment.py"


@pytest.fixture
def environment() -> ModuleType:
    spec = importlib.util.spec_from_file_location("environment", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_missing_module_names_the_package_that_brings_it(
    environment: ModuleType, module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # an import of it fails, as on Debian without python3-venv
    with pytest.raises(SystemExit) as ended:
        environment.check_python()
    assert ended.value.code == 2
    assert "apt-get install python3-venv" in one_line(capsys)


def test_an_old_python_is_refused_in_one_line(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    with pytest.raises(SystemExit) as ended:
        environment.check_python()
    assert ended.value.code == 2
    assert "Python 3.11 or newer is needed, this is 3.9" in one_line(capsys)


def test_nothing_is_installed_twice() -> None:
    """The environment these tests run in is complete: a second set-up has nothing to say."""
    command = [sys.executable, SCRIPT, "dev", sys.prefix]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    again = subprocess.run(command, check=True, timeout=30, capture_output=True, text=True)
    assert again.stdout == again.stderr == ""


def test_make_help_names_every_target_of_the_readme() -> None:
    done = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    documents = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"(?m)^make (\w+)|`make (\w+)`", documents))
    assert {first or second for first, second in named} <= listed


def test_every_dependency_has_its_reason() -> None:
    """docs/adr/0001-dependencies.md names each one, and no other."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [project["project"]["dependencies"], *project["dependency-groups"].values()]
    wanted = {re.split(r"[<>=;~ \[]", line)[0].lower() for group in groups for line in group}
    text = (ROOT / "docs/adr/0001-dependencies.md").read_text().lower()
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    assert [
        name for name in sorted(wanted) if not any(re.search(rf"\b{re.escape(name)}\b", row) for row in rows)
    ] == []
