"""A development server of the test's own, started as a stranger starts it, and the tools a stranger has."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dev.runbook import Operator, blocks
from tests.dev.stranger import Stranger
from tests.interop.programs import java_programs
from tests.interop.test_kafka_tools import TOOLS
from tests.shipped.dev import DevBroker

TLS_PAGE = Path(__file__).parents[2] / "docs" / "tls.md"
FIRST_CERTIFICATES = "Runbook: the first authority and certificates"


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[DevBroker]:
    with DevBroker(tmp_path) as broker:
        yield broker


@pytest.fixture(scope="session")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """The first block of docs/tls.md typed: an authority and certificates, for operators to go on from."""
    made = Operator(tmp_path_factory.mktemp("certified"))
    made.types(blocks(TLS_PAGE, FIRST_CERTIFICATES)[0][1])
    return made


@pytest.fixture(scope="session")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a development server that was started once and ended well."""
    with DevBroker(tmp_path_factory.mktemp("left-behind")) as broker:
        pass
    return broker.directory / "data"


@pytest.fixture
def stopped(left_behind: Path, tmp_path: Path) -> DevBroker:
    """A development server that is not running, with a data directory of its own, to be changed."""
    shutil.copytree(left_behind, tmp_path / "data")  # with the modes of directories and files
    return DevBroker(tmp_path)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stranger]:
    """Somebody in the directory of a running development server, with a shell."""
    with DevBroker(tmp_path_factory.mktemp("stranger")) as broker:
        yield Stranger(broker)


@pytest.fixture(scope="session")
def kafka_scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `kafka-topics.sh` and its siblings, to be put on the path."""
    programs, reason = java_programs()
    if programs is None:
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("kafka-scripts")
    for tool, main in TOOLS.items():
        script = directory / f"{tool}.sh"
        script.write_text(f'#!/bin/sh\nexec {shlex.join(programs.tool_command(main))} "$@"\n')
        os.chmod(script, 0o755)
    return directory
