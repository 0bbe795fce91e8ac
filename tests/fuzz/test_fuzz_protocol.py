"""The fuzz target on its seeds and their neighbours always, under the fuzzer where it can be installed."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.fuzz_protocol import exercise, seeds

TARGET = Path(__file__).with_name("fuzz_protocol.py")

NIGHTLY_SECONDS = os.environ.get("RIVVEN_FUZZ_SECONDS")
FUZZ_SECONDS = int(NIGHTLY_SECONDS or 5)
FUZZ_RUNS = -1 if NIGHTLY_SECONDS else 20_000  # -1: until the time is up
"""A short run to prove the target works; `make nightly` gives it longer."""


def test_every_seed_is_clean() -> None:
    for seed in seeds():
        exercise(seed)


def test_neighbours_of_the_seeds_are_clean() -> None:
    rng = random.Random(20_240)
    for seed in seeds():
        for _ in range(10):
            changed = bytearray(seed)
            for _ in range(rng.randint(1, 4)):
                changed[rng.randrange(1, len(changed))] = rng.choice([0, 1, 2, 0x7F, 0x80, 0xFF])
            exercise(bytes(changed))


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris (coverage-guided fuzzer) has no wheel here or is not installed",
)
def test_the_fuzzer_finds_nothing(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for index, seed in enumerate(seeds()):
        (corpus / f"seed-{index}").write_bytes(seed)
    command = [
        sys.executable,
        str(TARGET),
        f"-runs={FUZZ_RUNS}",
        f"-max_total_time={FUZZ_SECONDS}",
        "-seed=1",
        "-max_len=512",
        f"-artifact_prefix={tmp_path}/",
        str(corpus),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=FUZZ_SECONDS + 100, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
