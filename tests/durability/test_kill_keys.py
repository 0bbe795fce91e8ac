"""kill -9 while keys are made, rotated, rewrapped, destroyed and forgotten: nothing that was used is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNS = int(os.environ.get("RIVVEN_KILL_RUNS", "20"))


@pytest.mark.durability
def test_no_key_is_lost_wherever_the_process_is_killed(private_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    ended = subprocess.run(
        [sys.executable, "-m", "tests.durability.keys_under_kill", str(private_path), str(RUNS), str(seed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60 + RUNS,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    sums = dict(word.split("=") for word in ended.stdout.split())
    print(sums)
    assert int(sums["sealed"]) >= 5, "the victims did nothing"
    assert int(sums.get("plain", 0)) + int(sums.get("marked", 0)) >= 5, "no mark was changed"
