"""The manual page of the metrics, made from the metrics themselves. Pure text; `tools/write_docs.py`
writes it."""

from __future__ import annotations

from rivven.telemetry.metrics import Metrics


def metrics_page() -> str:
    """docs/metrics.md."""
    rows = [
        f"| `{family.name}` | {family.kind} | {', '.join(f'`{label}`' for label in family.labels)}"
        f" | {family.doc} |"
        for family in Metrics().families()
    ]
    return "\n".join(
        [
            "# Metrics and health",
            "",
            "This page is made from the code by `python tools/write_docs.py`; a test checks that "
            "it is up to date.",
            "",
            "`metrics.bind` (127.0.0.1:9644) serves, over HTTP and without authentication, "
            "therefore on loopback only:",
            "",
            "- `/metrics`: the Prometheus text format. Besides the table below, `process_*`: "
            "memory, descriptors and",
            "  processor time of the process.",
            "- `/healthz`: 200 and a JSON object while the log is online, 503 when it is not.",
            "- `/readyz`: 200 while clients are served, 503 before that and while stopping.",
            "",
            "Labels hold names from the protocol and the configuration, never names chosen by clients.",
            "",
            "| metric | kind | labels | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )
