"""Adapters between what components report and the metrics that count it."""

from __future__ import annotations

import logging

from rivven.telemetry import Metrics

_log = logging.getLogger("rivven.log")


class LogEventsToMetrics:
    """`log.host.LogEvents` over the metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def commit_round(self, files: int, seconds: float) -> None:
        self._metrics.commit_round(files, seconds)

    def recovery_cut(self, cut_bytes: int) -> None:
        self._metrics.recovery_cut(cut_bytes)

    def directory_failed(self, reason: str) -> None:
        _log.error("the data directory is offline until restart: %s", reason)
