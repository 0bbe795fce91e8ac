"""What can be seen of a broker process from outside: its memory and its log."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path

from tests.shipped.broker import ShippedBroker

LOG_SECONDS_MAX = 15.0


def resident_bytes(broker: ShippedBroker) -> int:
    """Resident set size of the broker process (Linux)."""
    for line in Path(f"/proc/{broker.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS line")


class LogTail:
    """The lines a broker logs from now on."""

    def __init__(self, broker: ShippedBroker) -> None:
        self._path = broker.log
        self._from = self._path.stat().st_size

    def lines(self, of: str = "") -> list[str]:
        """What has been logged so far, by the logger `of`."""
        with self._path.open("rb") as file:
            file.seek(self._from)
            return [line for line in file.read().decode(errors="replace").splitlines() if of in line]

    def wait_for(self, text: str) -> str:
        """The first line that holds `text`; fails when it does not come."""
        deadline = time.monotonic() + LOG_SECONDS_MAX
        while True:
            for line in self.lines():
                if text in line:
                    return line
            assert time.monotonic() < deadline, f"{text!r} is not in {self.lines()}"
            time.sleep(0.01)


def metric(broker: ShippedBroker, name: str) -> float:
    """The value of a metric without labels."""
    host, port = broker.metrics_address()
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    return float(next(line.split()[1] for line in page.splitlines() if line.split()[0] == name))
