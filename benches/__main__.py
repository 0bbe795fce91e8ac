"""`python -m benches`: run scenarios and write their results beside the others. `make bench` calls it."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benches.report import Report
from benches.scenarios import Scenarios

SECONDS = 3.0  # one throughput measurement; long enough for several segment flushes


def main() -> None:
    """Run all scenarios, or those that are named."""
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    names = [
        "latency",
        "throughput",
        "stalls",
        "dirty_partitions",
        "start_and_idle",
        "compaction",
        "ten_thousand_partitions",
        "authorisation",
        "encryption",
    ]
    parser.add_argument("scenario", nargs="*", help=f"what to run, by default all of {', '.join(names)}")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of one measurement")
    parser.add_argument(
        "--print", action="store_true", dest="print_only", help="do not write the result files"
    )
    given = parser.parse_args()
    if unknown := set(given.scenario) - set(names):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    report = Report("make bench")
    report.note("memory is warmed before each throughput measurement: see benches/measures.py")
    with tempfile.TemporaryDirectory(prefix="rivven-bench-") as directory:
        scenarios = Scenarios(report, Path(directory), given.seconds)
        for name in given.scenario or names:
            getattr(scenarios, name)()
    if not given.print_only:
        report.write(Path(__file__).parent)


if __name__ == "__main__":
    main()
