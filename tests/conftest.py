"""What all tests share: private directories, as the broker demands, a clean environment, optional clients.

A client that is not installed skips its tests with the reason; `RIVVEN_REQUIRE_INTEROP=1` makes that fail.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.interop.programs import JavaPrograms, NodePrograms, java_programs, node_programs

# No test is about speed (benches/ is), and machines are shared.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")

# The broker and the CLI read these; a developer's own values must not reach a test. Without bytecode every
# command that a test starts would compile what it imports.
_FOREIGN = ("RIVVEN_", "PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE")
# These steer the suite itself.
_OURS = (
    "RIVVEN_REQUIRE_INTEROP",
    "RIVVEN_KILL_RUNS",
    "RIVVEN_SIM_SEEDS",
    "RIVVEN_FUZZ_SECONDS",
    "RIVVEN_REAUTH_SECONDS",
)


@pytest.fixture(autouse=True, scope="session")
def _clean_environment() -> None:
    for name in list(os.environ):
        if name.startswith(_FOREIGN) and name not in _OURS:
            del os.environ[name]


@pytest.fixture
def private_path(tmp_path: Path) -> Path:
    """A directory only its owner may enter."""
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Where every client has to be there, a skip is a failure that says what is missing."""
    report = yield
    required = os.environ.get("RIVVEN_REQUIRE_INTEROP") == "1"
    if report.skipped and required and item.get_closest_marker("interop") and not hasattr(report, "wasxfail"):
        reason = call.excinfo.value if call.excinfo else "skipped"
        report.outcome = "failed"
        report.longrepr = f"RIVVEN_REQUIRE_INTEROP=1 and this was skipped: {reason}"
    return report


@pytest.fixture(scope="session")
def kcat() -> str:
    path = shutil.which("kcat") or shutil.which("kafkacat")
    if path is None:
        pytest.skip("kcat is not installed (Debian package kcat)")
    return path


@pytest.fixture(scope="session")
def node() -> NodePrograms:
    programs, reason = node_programs()
    if programs is None:
        pytest.skip(reason)
    return programs


@pytest.fixture(scope="session")
def java() -> JavaPrograms:
    programs, reason = java_programs()
    if programs is None:
        pytest.skip(reason)
    return programs
