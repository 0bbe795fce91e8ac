"""The broker's metrics in the Prometheus text format.

A collector translates telemetry's plain instruments when a scrape comes; nothing is counted here. Imported
only when the metrics listener starts: prometheus-client is not needed to serve Kafka clients.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from rivven.telemetry.instruments import Counter, Family, Gauge, Histogram
from rivven.telemetry.metrics import Metrics

CONTENT_TYPE = CONTENT_TYPE_LATEST


class MetricsCollector(Collector):
    """What prometheus-client asks for the current values."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        for family in self._metrics.families():
            yield _translate(family)


class Exposition:
    """Renders the metrics of one broker; owns its registry, so two brokers in one process do not meet."""

    def __init__(self, metrics: Metrics) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(MetricsCollector(metrics))
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """All metrics, those of the process (memory, descriptors, processor time) included."""
        return generate_latest(self._registry)


def _translate(family: Family[Counter] | Family[Gauge] | Family[Histogram]) -> Metric:
    labels = list(family.labels)
    if family.kind == "histogram":
        histograms = HistogramMetricFamily(family.name, family.doc, labels=labels)
        for values, child in family.children():
            if isinstance(child, Histogram):
                histograms.add_metric(list(values), _cumulative(child), child.total)
        return histograms
    if family.kind == "counter":
        counters = CounterMetricFamily(family.name, family.doc, labels=labels)
        for values, child in family.children():
            if isinstance(child, Counter | Gauge):  # a gauge: whoever counts holds the number
                counters.add_metric(list(values), child.value)
        return counters
    gauges = GaugeMetricFamily(family.name, family.doc, labels=labels)
    for values, child in family.children():
        if isinstance(child, Gauge):
            gauges.add_metric(list(values), child.value)
    return gauges


def _cumulative(histogram: Histogram) -> list[tuple[str, float]]:
    """Buckets as Prometheus counts them: everything up to each limit, the last limit is infinite."""
    buckets: list[tuple[str, float]] = []
    seen = 0
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        seen += count
        buckets.append((bound, seen))
    return buckets
