"""What all tests share: private temporary directories, as the broker demands, and a clean environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# The broker and the CLI read these; a developer's own values must not reach a test.
_FOREIGN = ("RIVVEN_", "PYTHONWARNINGS")
# These steer the suite itself.
_OURS = ("RIVVEN_REQUIRE_INTEROP", "RIVVEN_KILL_RUNS", "RIVVEN_SIM_SEEDS", "RIVVEN_FUZZ_SECONDS")


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
