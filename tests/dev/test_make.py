"""`make run`, the first line of the README, with its environment made already."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

from tests.shipped.dev import DevBroker

ROOT = Path(__file__).parents[2]
LINES_MAX = 200  # a start prints about twenty


def test_make_run_serves_in_the_foreground_and_shows_what_to_type(tmp_path: Path) -> None:
    process = subprocess.Popen(
        ["make", "-s", "run", f"ARGS=--port 0 --data-dir {tmp_path / 'data'}"],
        cwd=ROOT,
        env=DevBroker(tmp_path).environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    with process.stdout:
        for line in process.stdout:
            lines.append(line)
            if '"event"' in line or len(lines) >= LINES_MAX:
                break
        os.killpg(process.pid, signal.SIGTERM)
        process.stdout.read()
    process.wait(30)
    text = "".join(lines)
    assert '"ready"' in lines[-1], text
    assert re.search(r"^    password  \S{20,}", text, re.MULTILINE), text
    # The command as it is typed in this directory, not a name that no shell would find.
    assert re.search(
        r"^    (\.venv/bin/)?rivven --command-config \S+ topic create hello$", text, re.MULTILINE
    ), text


def test_make_alone_says_what_can_be_made() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0
    described = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert {"run", "test", "check", "bench", "clean"} <= set(described)
    assert all(len(text) > 10 for text in described.values())
