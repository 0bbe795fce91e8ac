"""The audit log of a shipped broker as a test reads it: with `json` and `hashlib` alone."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.shipped.broker import RIVVEN, ShippedBroker

WAIT_SECONDS_MAX = 10.0
Event = dict[str, Any]


def log_of(broker: ShippedBroker) -> Path:
    return broker.data / "audit" / "audit.log"


def events(broker: ShippedBroker) -> list[Event]:
    """Every finished line so far."""
    content = log_of(broker).read_bytes()
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


def wait_for(broker: ShippedBroker, wanted: Callable[[Event], bool], count: int = 1) -> list[Event]:
    """The matching events, once there are `count`."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        found = [event for event in events(broker) if wanted(event)]
        if len(found) >= count:
            return found
        assert time.monotonic() < deadline, f"{len(found)} of {count} events: {broker.tail(2000)}"
        time.sleep(0.02)


def assert_chained(lines: Sequence[bytes]) -> None:
    """From the first line of a chain on, each names the SHA-256 of the one before."""
    previous, sequence = "0" * 64, 0
    for line in lines:
        fields = json.loads(line)
        assert (fields["sequence"], fields["previous"]) == (sequence, previous)
        previous, sequence = hashlib.sha256(line).hexdigest(), sequence + 1


def rivven_audit(*arguments: object, code: int = 0) -> str:
    """`rivven audit ...`; its output."""
    command = [str(RIVVEN), "audit", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, f"{command}: {done.returncode} {done.stdout}{done.stderr}"
    return done.stdout
