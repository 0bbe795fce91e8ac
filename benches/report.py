"""Collects numbers, prints them as they come, and writes `RESULTS.md` and `results.json`."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import confluent_kafka

from benches.librdkafka import CLIENT_NICENESS

_LOAD_AT_START = os.getloadavg()[0]  # above 0.5 other work disturbs the numbers, latencies and stalls most


@dataclass(frozen=True, slots=True)
class Row:
    """One number."""

    group: str
    broker: str
    case: str
    value: float
    unit: str
    target: str = ""


class Report:
    """Rows in the order they were measured."""

    def __init__(self, command: str) -> None:
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self._command = command

    def add(self, group: str, broker: str, case: str, value: float, unit: str, target: str = "") -> None:
        row = Row(group, broker, case, value, unit, target)
        self.rows.append(row)
        print(f"{group:22} {broker:16} {case:58} {_number(value):>10} {unit:9} {target}", flush=True)

    def note(self, text: str) -> None:
        """Something a reader of the numbers has to know; said once."""
        if text not in self.notes:
            self.notes.append(text)
            print(f"note: {text}", flush=True)

    def write(self, directory: Path) -> None:
        """Write both files. Groups that were not measured now stay as they are, with what they were measured
        on."""
        shape = machine()
        path = directory / "results.json"
        before = json.loads(path.read_text()) if path.exists() else {"groups": {}, "notes": []}
        groups: dict[str, Any] = before["groups"]
        for group in dict.fromkeys(row.group for row in self.rows):
            rows = [asdict(row) for row in self.rows if row.group == group]
            groups[group] = {"machine": shape, "rows": rows}
        measured = {note.partition(":")[0] for note in self.notes}
        kept = [note for note in before["notes"] if note.partition(":")[0] not in measured]
        notes = kept + self.notes
        path.write_text(
            json.dumps({"command": self._command, "groups": groups, "notes": notes}, indent=1) + "\n"
        )
        (directory / "RESULTS.md").write_text(_markdown(self._command, groups, notes))


def _markdown(command: str, groups: dict[str, Any], notes: list[str]) -> str:
    lines = ["# Measurements", "", f"Written by `{command}`; do not edit. Each row is one run.", ""]
    shown: dict[str, str] = {}
    for group, measured in groups.items():
        lines += ["", f"## {group}", ""]
        if measured["machine"] != shown:
            shown = measured["machine"]
            lines += [*(f"- {name}: {value}" for name, value in shown.items()), ""]
        rows = sorted((Row(**row) for row in measured["rows"]), key=lambda row: row.case)
        lines += ["| case | broker | value | unit | target |", "| --- | --- | ---: | --- | --- |"]
        lines += [
            f"| {row.case} | {row.broker} | {_number(row.value)} | {row.unit} | {row.target} |"
            for row in rows
        ]
    if notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{os.cpu_count()} x {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "client": f"librdkafka {confluent_kafka.libversion()[0]} in confluent-kafka, at niceness "
        f"{CLIENT_NICENESS} beside the broker",
        "commit": _commit(),
        "load average at the start": f"{_LOAD_AT_START:.1f}",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
