"""Schemathesis against the Admin API of the shipped broker: whatever fits its document, and what does not.

No answer may be a 5xx or differ from the document; the broker must live on and log no traceback. The tool runs
as a process of its own. `make nightly` gives it longer.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shipped.broker import ShippedBroker

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
SECONDS = min(int(os.environ.get("RIVVEN_FUZZ_SECONDS", "25")), 1_800)

EXCLUDED = {
    "positive_data_acceptance": "a name may fit its schema and still be of no role, topic or user",
    "ignored_auth": "conformance/test_admin_api.py does it for every route, without waiting for each refusal",
}


def fuzz(broker: ShippedBroker, directory: Path, seed: int) -> subprocess.CompletedProcess[str]:
    command = [
        SCHEMATHESIS,
        "--no-color",
        "run",
        f"{broker.admin_url()}/openapi.json",
        *("--tls-verify", broker.pki.ca),
        *("--auth", f"{broker.admin.user}:{broker.admin.password}"),
        *("--exclude-checks", ",".join(EXCLUDED)),
        *("--phases", "coverage,fuzzing"),
        *("--max-time", str(SECONDS), "--max-response-time", "10", "--request-timeout", "20"),
        *("--seed", str(seed), "--generation-database", "none", "--suppress-health-check", "all"),
        *("--warnings", "off", "--no-shrink"),
    ]
    return subprocess.run(
        list(map(str, command)),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=SECONDS * 2 + 60,
        check=False,
    )


@pytest.mark.timeout(3_700)
def test_every_answer_is_what_the_document_says(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    seed = random.randrange(2**31)
    print(f"seed {seed}")
    settings = {"connection.failed.authentication.delay.ms": 1}
    with ShippedBroker(tmp_path / "broker", settings=settings) as broker:
        done = fuzz(broker, tmp_path, seed)
        assert done.returncode == 0, f"seed {seed}\n{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
        assert "No issues found" in done.stdout, done.stdout[-3000:]
        assert broker.running, broker.tail()
        assert broker.stop() == 0
    assert "Traceback" not in broker.log.read_text(errors="replace"), broker.tail()
