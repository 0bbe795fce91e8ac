"""Every metric of the broker, by name; one object made by the composition root and handed to who counts.

The methods are what components declare as their observers; here those of connections and requests, in
security_metrics and storage_metrics the others; each is O(1). It renders nothing (http.exposition does) and
knows no protocol: API names are given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rivven.telemetry.instruments import Histogram
from rivven.telemetry.security_metrics import SecurityMetrics
from rivven.telemetry.stalls import STALL_BUCKETS, LoopStalls
from rivven.telemetry.storage_metrics import StorageMetrics


class Metrics(SecurityMetrics, StorageMetrics):
    """The broker's metrics. Belongs to the event loop except `commit_round`, which the committer thread
    calls."""

    def __init__(self, api_names: Mapping[int, str] | None = None) -> None:
        super().__init__()
        self._api_names = dict(api_names or {})
        self._define_network()
        self._define_requests()
        self._define_security()
        self._define_storage()
        self._define_loop()

    # --- what components report -----------------------------------------------------------------------------

    def connection_opened(self, listener: str) -> None:
        """A connection was accepted on a listener."""
        self._accepted.labelled(listener).value += 1
        self._open.labelled(listener).add(1)

    def connection_closed(self, listener: str) -> None:
        """An accepted connection ended."""
        self._open.labelled(listener).add(-1)

    def connection_refused(self, listener: str) -> None:
        """A connection was turned away by a limit before it was counted as open."""
        self._refused.labelled(listener).value += 1

    def received(self, size: int) -> None:
        """Bytes came from a client, frames included."""
        self.received_bytes.value += size

    def sent(self, size: int) -> None:
        """Bytes went to a client."""
        self.sent_bytes.value += size

    def answered(self, api_key: int, seconds: float) -> None:
        """A request was answered, counted from its last byte in to its answer queued."""
        self._request_seconds(api_key).observe(seconds)

    def denied(self, api_key: int) -> None:
        """A request, or a part of it, was refused by authorisation."""
        self._denied.labelled(self._api(api_key)).value += 1

    def throttled(self, quota: str, seconds: float) -> None:
        """A client was told to be silent because of a quota."""
        self._throttled.labelled(quota).value += 1
        self._throttled_seconds.labelled(quota).value += seconds

    def failed(self, api_key: int) -> None:
        """A request ended in an unexpected exception."""
        self._failed.labelled(self._api(api_key)).value += 1

    def produced(self, records: int, size: int) -> None:
        """Records were appended for a client."""
        self.produced_records.value += records
        self.produced_bytes.value += size

    def fetched(self, size: int) -> None:
        """Bytes of record batches were handed to a consumer."""
        self.fetched_bytes.value += size

    def watch_memory(self, requests: Callable[[], float], responses: Callable[[], float]) -> None:
        """Where the bytes of requests and answers in flight are read."""
        self._request_memory.source = requests
        self._response_memory.source = responses

    # --- definitions ----------------------------------------------------------------------------------------

    def _define_network(self) -> None:
        listener = ("listener",)
        self._open = self._gauge("rivven_connections", "Connections open now.", listener)
        self._accepted = self._counter("rivven_connections_accepted_total", "Connections accepted.", listener)
        self._refused = self._counter(
            "rivven_connections_refused_total", "Connections turned away by a limit.", listener
        )
        self.received_bytes = self._counter("rivven_received_bytes_total", "Bytes from clients.").labelled()
        self.sent_bytes = self._counter("rivven_sent_bytes_total", "Bytes to clients.").labelled()
        self._request_memory = self._gauge(
            "rivven_request_memory_bytes", "Memory held by requests in flight."
        ).labelled()
        self._response_memory = self._gauge(
            "rivven_response_memory_bytes", "Memory held by answers in flight."
        ).labelled()

    def _define_requests(self) -> None:
        self._latency = self._histogram(
            "rivven_request_seconds", "Time from a request's last byte to its answer.", ("api",)
        )
        self._failed = self._counter(
            "rivven_requests_failed_total", "Requests ended by an unexpected error.", ("api",)
        )
        self._by_key: dict[int, Histogram] = {}
        self.produced_records = self._counter("rivven_produced_records_total", "Records appended.").labelled()
        self.produced_bytes = self._counter(
            "rivven_produced_bytes_total", "Bytes of batches appended."
        ).labelled()
        self.fetched_bytes = self._counter(
            "rivven_fetched_bytes_total", "Bytes of batches fetched."
        ).labelled()
        self._throttled = self._counter(
            "rivven_requests_throttled_total",
            "Requests whose clients had to be silent, by quota.",
            ("quota",),
        )
        self._throttled_seconds = self._counter(
            "rivven_throttled_seconds_total", "Seconds clients were told to be silent, by quota.", ("quota",)
        )
        self._denied = self._counter(
            "rivven_requests_denied_total", "Requests with something refused by authorisation.", ("api",)
        )

    def _define_loop(self) -> None:
        self.stalls = LoopStalls(
            self._histogram(
                "rivven_loop_stall_seconds", "How late the event loop came to a timer.", bounds=STALL_BUCKETS
            ).labelled()
        )
        self._gauge(
            "rivven_loop_stall_p999_seconds", "99.9th percentile of loop stalls since start."
        ).labelled().source = self.stalls.p999
        self._gauge("rivven_loop_stall_max_seconds", "Longest loop stall since start.").labelled().source = (
            lambda: self.stalls.longest
        )
        self.loop_stall_cause = self._gauge(
            "rivven_loop_stall_cause_seconds", "Longest stalls since start by what was running.", ("cause",)
        )
        self.stalls.on_cause = lambda cause, seconds: self.loop_stall_cause.labelled(cause).set(seconds)

    def _api(self, api_key: int) -> str:
        return self._api_names.get(api_key, "other")

    def _request_seconds(self, api_key: int) -> Histogram:
        histogram = self._by_key.get(api_key)
        if histogram is None:
            histogram = self._latency.labelled(self._api(api_key))
            if api_key in self._api_names:  # unknown keys share one instrument and must not grow the cache
                self._by_key[api_key] = histogram
        return histogram
