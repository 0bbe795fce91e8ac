"""The metrics that exist, by name: what defines them, counts into them and renders them meets here.

A plain container. It knows no metric by name (metrics, security_metrics and storage_metrics define them) and
renders none (http.exposition does).
"""

from __future__ import annotations

from rivven.telemetry.instruments import LATENCY_BUCKETS, Counter, Family, Gauge, Histogram

AnyFamily = Family[Counter] | Family[Gauge] | Family[Histogram]


class Registry:
    """Families in the order they were defined in."""

    def __init__(self) -> None:
        self._families: dict[str, AnyFamily] = {}

    def families(self) -> list[AnyFamily]:
        """Every metric, in the order defined."""
        return list(self._families.values())

    def _counter(self, name: str, doc: str, labels: tuple[str, ...] = ()) -> Family[Counter]:
        family = Family(name, doc, "counter", Counter, labels)
        self._families[name] = family
        return family

    def _gauge(self, name: str, doc: str, labels: tuple[str, ...] = ()) -> Family[Gauge]:
        family = Family(name, doc, "gauge", Gauge, labels)
        self._families[name] = family
        return family

    def _histogram(
        self, name: str, doc: str, labels: tuple[str, ...] = (), bounds: tuple[float, ...] = LATENCY_BUCKETS
    ) -> Family[Histogram]:
        family = Family(name, doc, "histogram", lambda: Histogram(bounds), labels)
        self._families[name] = family
        return family

    def _total(self, name: str, doc: str, labels: tuple[str, ...] = ()) -> Family[Gauge]:
        """A counter whose value somebody else holds."""
        family = Family(name, doc, "counter", Gauge, labels)
        self._families[name] = family
        return family

    def _read_counter(self, name: str, doc: str) -> Gauge:
        """The one instrument of a counter without labels whose value somebody else holds."""
        return self._total(name, doc).labelled()

    def _read_gauge(self, name: str, doc: str) -> Gauge:
        """The one instrument of a gauge without labels."""
        return self._gauge(name, doc).labelled()
