"""`make pythons`: which interpreters it finds, and what it says of each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"
OTHER = next(one for one in ("3.12", "3.13") if one != OWN)


def outcomes(place: Path, *, python: str | None, make: str) -> tuple[int, dict[str, str]]:
    """Exit code and the last lines, on a machine with these commands as the only ones."""
    commands = {f"python{OTHER}": python, "make": make}
    place.joinpath("bin").mkdir()
    for name, script in commands.items():
        if script is not None:
            path = place / "bin" / name
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "pythons.py"],
        env={"PATH": str(place / "bin"), "HOME": str(place), "PYENV_ROOT": str(place)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not done.stderr, done.stderr
    said = [
        line.removeprefix("rivven: Python ") for line in done.stdout.splitlines() if "rivven: Python" in line
    ]
    return done.returncode, dict(line.split(": ", 1) for line in said)


@pytest.mark.parametrize(
    "python", [None, "echo 'command not found' >&2; exit 127", "echo 3.1"], ids=["none", "shim", "another"]
)
def test_what_is_not_there_is_said(tmp_path: Path, python: str | None) -> None:
    code, said = outcomes(tmp_path, python=python, make="exit 1")
    assert code == 0
    assert said[OWN] == "make test runs with it"
    assert said[OTHER] == "not on this machine"


@pytest.mark.parametrize(("code", "outcome"), [(0, "passed"), (1, "FAILED")], ids=["passed", "failed"])
def test_each_version_has_an_environment_of_its_own(tmp_path: Path, code: int, outcome: str) -> None:
    make = f'echo "$@" > {tmp_path}/called; exit {code}'
    ended, said = outcomes(tmp_path, python=f"echo {OTHER}", make=make)
    assert (ended, said[OTHER]) == (code, outcome)
    called = (tmp_path / "called").read_text()
    assert f"VENV=.venv/pythons/{OTHER}" in called
    assert "tests/conformance/test_tls_reload.py" in called and "test_produce" not in called
