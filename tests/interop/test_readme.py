"""Every snippet of the README, run as it stands there against `rivven server --dev`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.programs import NodePrograms
from tests.shipped.broker import RIVVEN
from tests.shipped.dev import DevBroker

README = Path(__file__).parents[2] / "README.md"
SNIPPET_SECONDS_MAX = 60.0


def snippet(heading: str) -> str:
    """The code block below a heading of the README."""
    _, _, rest = README.read_text().partition(f"### {heading}\n")
    match = re.search(r"```\w+\n(.*?)```", rest, re.DOTALL)
    assert match, f"the README has no code below {heading!r}"
    return match.group(1)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevBroker]:
    with DevBroker(tmp_path_factory.mktemp("readme")) as broker:
        yield broker


def output_of(command: list[str | Path], dev: DevBroker) -> str:
    done = subprocess.run(
        command,
        cwd=dev.directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=SNIPPET_SECONDS_MAX,
        env=dev.environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("heading", "greeting"),
    [
        ("Python: confluent-kafka", "hello from confluent-kafka"),
        ("Python: aiokafka", "hello from aiokafka"),
        ("Python: kafka-python", "hello from kafka-python"),
    ],
)
def test_python_snippet(dev: DevBroker, heading: str, greeting: str) -> None:
    script = dev.directory / "snippet.py"
    script.write_text(snippet(heading))
    assert greeting in output_of([sys.executable, script], dev).splitlines()


def test_kcat_snippet(dev: DevBroker, kcat: str) -> None:
    assert "hello from kcat" in output_of(["sh", "-ec", snippet("kcat")], dev).splitlines()


def test_kafkajs_snippet(dev: DevBroker, node: NodePrograms) -> None:
    script = dev.directory / "snippet.mjs"
    script.write_text(snippet("Node.js: kafkajs"))
    assert "hello from kafkajs" in node.run_file(script, dev.directory).splitlines()


def test_rivven_commands(dev: DevBroker) -> None:
    text = README.read_text()
    commands = re.findall(r"^\.venv/bin/rivven (.*)$", text, re.MULTILINE)
    assert len(commands) == 3
    outputs = [output_of(["sh", "-ec", f"{RIVVEN} {command}"], dev) for command in commands]
    assert "hello, world" in outputs[-1]
