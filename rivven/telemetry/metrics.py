"""Every metric of the broker, by name; one object made by the composition root and handed to who counts.

The methods are what components declare as their observers (dispatch, connections, authentication,
committer); each is O(1). It renders nothing (http.exposition does) and knows no protocol: API names are
given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rivven.telemetry.instruments import LATENCY_BUCKETS, Counter, Family, Gauge, Histogram
from rivven.telemetry.stalls import STALL_BUCKETS, LoopStalls

COMMIT_FILES_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

KEK_STATES = ("enabled", "disabled", "pending-destruction", "destroyed")

COMPACTION_TOTALS = {
    "passes": ("rivven_compaction_passes_total", "Compaction passes that ran to their end."),
    "failures": ("rivven_compaction_failures_total", "Compaction passes that failed."),
    "bytes_read": ("rivven_compaction_read_bytes_total", "Bytes of segments that compaction read."),
    "bytes_written": ("rivven_compaction_written_bytes_total", "Bytes of segments that compaction wrote."),
    "records_removed": ("rivven_compaction_removed_records_total", "Records that compaction removed."),
    "unreadable_batches": (
        "rivven_unparseable_batches_total",
        "Batches with a right checksum whose records compaction could not parse; they are kept.",
    ),
    "uncleanable_partitions": (
        "rivven_uncleanable_partitions",
        "Partitions that compaction leaves alone until restart because their data is damaged.",
    ),
}
"""The fields of the compactor's totals and the metrics that show them."""

AnyFamily = Family[Counter] | Family[Gauge] | Family[Histogram]


class Metrics:
    """The broker's metrics. Belongs to the event loop except `commit_round`, which the committer thread
    calls."""

    def __init__(self, api_names: Mapping[int, str] | None = None) -> None:
        self._families: dict[str, AnyFamily] = {}
        self._api_names = dict(api_names or {})
        self._define_network()
        self._define_requests()
        self._define_security()
        self._define_users()
        self._define_tls()
        self._define_policies()
        self._define_audit()
        self._define_log()
        self._define_keks()
        self._define_compaction()
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

    def families(self) -> list[AnyFamily]:
        """Every metric, in the order defined."""
        return list(self._families.values())

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

    def authenticated(self, mechanism: str) -> None:
        """A client proved who it is."""
        self._authenticated.labelled(mechanism).value += 1

    def authentication_failed(self, mechanism: str) -> None:
        """A client failed to."""
        self._authentication_failed.labelled(mechanism).value += 1

    def keys_fetched(self, issuer: str, ok: bool) -> None:
        """An identity provider's keys were fetched, or could not be."""
        self._key_fetches.labelled(issuer, "success" if ok else "failure").value += 1

    def policies_loaded(self, count: int, now_ms: int) -> None:
        """Other policies came into force."""
        self._policies.set(count)
        self._policies_loaded.set(now_ms / 1000)

    def policy_reload_failed(self) -> None:
        """Changed policies were refused; those from before stay in force."""
        self._policy_failures.value += 1

    def users_file_reloaded(self, taken: bool) -> None:
        """The users file was taken over, or is refused as it is now."""
        self._users_file_refused.set(0 if taken else 1)

    def watch_passwords(
        self, waiting: Callable[[], float], derivations: Callable[[], float], refused: Callable[[], float]
    ) -> None:
        """Where waiting, checked and turned away passwords of PLAIN and Basic are read."""
        self._passwords_waiting.source = waiting
        self._password_derivations.source = derivations
        self._passwords_refused.source = refused

    def shadow_compared(self, outcome: str) -> None:
        """The candidate of `authorization.shadow` was asked what had been decided."""
        self._shadow.labelled(outcome).value += 1

    def shadow_dropped(self) -> None:
        """A decision was not compared, because too many waited."""
        self._shadow_dropped.value += 1

    def commit_round(self, files: int, seconds: float) -> None:
        """The committer made everything written so far durable; called on its thread."""
        self.commit_seconds.observe(seconds)
        self.commit_files.observe(files)

    def produced(self, records: int, size: int) -> None:
        """Records were appended for a client."""
        self.produced_records.value += records
        self.produced_bytes.value += size

    def fetched(self, size: int) -> None:
        """Bytes of record batches were handed to a consumer."""
        self.fetched_bytes.value += size

    def recovery_cut(self, size: int) -> None:
        """Recovery cut an incomplete tail of `size` bytes off a partition."""
        self.recovery_cuts.value += 1
        self.recovery_cut_bytes.value += size

    def tls_section(self, section: str) -> None:
        """A section of the configuration with certificates is in use."""
        for outcome in ("success", "failure"):
            self._tls_reloads.labelled(section, outcome)
        self.tls_refused(section, False)

    def tls_reloaded(self, section: str, ok: bool) -> None:
        """A changed file of TLS was put in force, or refused."""
        self._tls_reloads.labelled(section, "success" if ok else "failure").value += 1

    def tls_refused(self, section: str, refused: bool) -> None:
        """Whether files of TLS are refused as they are now."""
        self._tls_refused.labelled(section).set(1 if refused else 0)

    def watch_chain(self, file: str, days: Callable[[], float]) -> None:
        """Where the days until a chain ends are read."""
        self._chain_days.labelled(file).source = days

    def watch_crl(self, file: str, days: Callable[[], float]) -> None:
        """Where the days until the next revocation list is due are read."""
        self._crl_days.labelled(file).source = days

    def watch_memory(self, requests: Callable[[], float], responses: Callable[[], float]) -> None:
        """Where the bytes of requests and answers in flight are read."""
        self._request_memory.source = requests
        self._response_memory.source = responses

    def watch_log(
        self,
        partitions: Callable[[], float],
        offline: Callable[[], float],
        size: Callable[[], float],
        free: Callable[[], float],
    ) -> None:
        """Where partitions, offline partitions, bytes stored and bytes free of the log directory are read."""
        self._partitions.source = partitions
        self._offline.source = offline
        self._log_size.source = size
        self._free.source = free

    def watch_compaction(self, sources: Mapping[str, Callable[[], float]]) -> None:
        """Where the compactor's totals are read, by the names of `COMPACTION_TOTALS`."""
        for name, source in sources.items():
            self._compaction[name].source = source

    def keys_counted(
        self,
        keks: Mapping[str, int],
        *,
        topic_keys: int,
        older_topic_keys: int,
        newest_percent: float,
    ) -> None:
        """Keys of encryption at rest were counted; `keks` by their state."""
        for state in KEK_STATES:
            self._keks.labelled(state).set(keks.get(state, 0))
        self._topic_keys.set(topic_keys)
        self._older_topic_keys.set(older_topic_keys)
        self._newest_percent.set(newest_percent)

    def watch_keys(
        self,
        calls: Mapping[tuple[str, str], Callable[[], float]],
        waiting_topics: Callable[[], float],
        data_keys: Callable[[], float],
    ) -> None:
        """Where calls of the key provider by operation and outcome, topics whose keys could not be had, and
        data keys in memory are read."""
        for (operation, outcome), source in calls.items():
            self._provider_calls.labelled(operation, outcome).source = source
        self._waiting_topics.source, self._data_keys.source = waiting_topics, data_keys

    def watch_key_work(
        self, done: Callable[[], float], left: Callable[[], float], erasing: Callable[[], float]
    ) -> None:
        """Where re-encrypted bytes, bytes still to re-encrypt, and whether a topic is being shredded are
        read."""
        self._reencrypted.source, self._to_reencrypt.source, self._erasing.source = done, left, erasing

    def watch_audit(
        self,
        lines: Callable[[], float],
        dropped: Callable[[], float],
        backlog: Callable[[], float],
        sinks: Mapping[str, tuple[Callable[[], float], Callable[[], float], Callable[[], float]]],
    ) -> None:
        """Where the audit trail's totals are read, and of each output failures, missed lines and health."""
        self._audit_lines.source, self._audit_dropped.source = lines, dropped
        self._audit_backlog.source = backlog
        for name, (failures, missed, healthy) in sinks.items():
            self._audit_failures.labelled(name).source = failures
            self._audit_missed.labelled(name).source = missed
            self._audit_healthy.labelled(name).source = healthy

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

    def _define_security(self) -> None:
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
        self._authenticated = self._counter(
            "rivven_authentications_total", "Successful authentications.", ("mechanism",)
        )
        self._authentication_failed = self._counter(
            "rivven_authentication_failures_total", "Failed authentications.", ("mechanism",)
        )
        self._key_fetches = self._counter(
            "rivven_oidc_key_fetches_total",
            "Fetches of identity providers' keys; after failures the last good keys stay in use.",
            ("issuer", "outcome"),
        )

    def _define_tls(self) -> None:
        self._tls_reloads = self._counter(
            "rivven_tls_reloads_total",
            "Changed certificates, keys, authorities and revocation lists: put in force, or refused.",
            ("section", "outcome"),
        )
        self._tls_refused = self._gauge(
            "rivven_tls_refused", "1 while TLS files on disk are refused and older ones count.", ("section",)
        )
        self._chain_days = self._gauge(
            "rivven_tls_expiry_days",
            "Days until the earliest certificate of a file in force ends; negative: since it has.",
            ("file",),
        )
        self._crl_days = self._gauge(
            "rivven_tls_crl_days", "Days until the first revocation list of a file runs out.", ("file",)
        )

    def _define_policies(self) -> None:
        self._policies = self._gauge("rivven_policies", "Cedar policies in force.").labelled()
        self._policies_loaded = self._gauge(
            "rivven_policy_last_success_timestamp_seconds", "When policies last came into force; 0: never."
        ).labelled()
        self._policy_failures = self._counter(
            "rivven_policy_reload_failures_total", "Changed policies that were refused."
        ).labelled()
        self._shadow = self._counter(
            "rivven_shadow_decisions_total",
            "Decisions compared with the candidate's: same, would_deny, would_allow, outdated.",
            ("outcome",),
        )
        self._shadow_dropped = self._counter(
            "rivven_shadow_dropped_total", "Decisions not compared with the candidate's; too many waited."
        ).labelled()

    def _define_users(self) -> None:
        self._users_file_refused = self._gauge(
            "rivven_users_file_refused", "1 while the users file on disk is refused and an older one counts."
        ).labelled()
        self._passwords_waiting = self._gauge(
            "rivven_passwords_waiting", "Passwords of PLAIN and Basic that wait to be checked."
        ).labelled()
        self._password_derivations = self._read_counter(
            "rivven_password_derivations_total", "Key derivations for passwords of PLAIN and Basic."
        )
        self._passwords_refused = self._read_counter(
            "rivven_passwords_refused_total", "Passwords turned away because too many were waiting."
        )

    def _define_log(self) -> None:
        self.commit_seconds = self._histogram(
            "rivven_commit_seconds", "Time of one round of syncs to stable storage."
        ).labelled()
        self.commit_files = self._histogram(
            "rivven_commit_files", "Files made durable by one round.", bounds=COMMIT_FILES_BUCKETS
        ).labelled()
        self.recovery_cuts = self._counter(
            "rivven_recovery_cuts_total", "Partitions whose incomplete tail recovery cut."
        ).labelled()
        self.recovery_cut_bytes = self._counter(
            "rivven_recovery_cut_bytes_total", "Bytes recovery cut and kept in side files."
        ).labelled()
        self._partitions = self._gauge("rivven_partitions", "Partitions on this node.").labelled()
        self._offline = self._gauge(
            "rivven_partitions_offline", "Partitions whose log is offline."
        ).labelled()
        self._log_size = self._gauge("rivven_log_bytes", "Bytes of all segments.").labelled()
        self._free = self._gauge(
            "rivven_disk_free_bytes", "Free bytes of the data directory's disk."
        ).labelled()

    def _define_keks(self) -> None:
        self._provider_calls: Family[Gauge] = Family(
            "rivven_key_provider_calls_total",
            "Calls of the key provider; an outcome other than ok says whether trying again may help.",
            "counter",
            Gauge,
            ("operation", "outcome"),
        )
        self._families["rivven_key_provider_calls_total"] = self._provider_calls
        self._waiting_topics = self._read_gauge(
            "rivven_topics_without_keys", "Topics that are offline because their keys could not be had yet."
        )
        self._data_keys = self._read_gauge("rivven_data_keys", "Keys of segments in memory.")
        self._keks = self._gauge("rivven_keks", "Key-encryption keys, by state.", ("state",))
        self._topic_keys = self._read_gauge("rivven_topic_keys", "Keys of topics.")
        self._older_topic_keys = self._read_gauge(
            "rivven_topic_keys_older", "Keys of topics that are not under the newest key-encryption key."
        )
        self._newest_percent = self._read_gauge(
            "rivven_keys_newest_percent",
            "Bytes of encrypted topics under the newest key-encryption keys, percent.",
        )
        self._reencrypted = self._read_gauge(
            "rivven_reencryption_done_bytes", "Bytes of topics in re-encryption that are done."
        )
        self._to_reencrypt = self._read_gauge(
            "rivven_reencryption_left_bytes", "Bytes of topics in re-encryption that are left."
        )
        self._erasing = self._read_gauge("rivven_erasures_running", "1 while a topic is being shredded.")

    def _define_compaction(self) -> None:
        self._compaction: dict[str, Gauge] = {}
        for total, (name, doc) in COMPACTION_TOTALS.items():
            kind = self._read_counter if name.endswith("_total") else self._read_gauge
            self._compaction[total] = kind(name, doc)

    def _read_counter(self, name: str, doc: str) -> Gauge:
        """A counter whose value somebody else holds."""
        family = Family(name, doc, "counter", Gauge, ())
        self._families[name] = family
        return family.labelled()

    def _read_gauge(self, name: str, doc: str) -> Gauge:
        return self._gauge(name, doc).labelled()

    def _define_audit(self) -> None:
        self._audit_lines = self._total("rivven_audit_lines_total", "Lines of the audit trail.").labelled()
        self._audit_dropped = self._total(
            "rivven_audit_dropped_total", "Audit events counted instead of recorded."
        ).labelled()
        self._audit_backlog = self._gauge(
            "rivven_audit_backlog", "Audit events that a required output has not taken yet."
        ).labelled()
        self._audit_failures = self._total(
            "rivven_audit_output_failures_total", "Failed attempts to write to an audit output.", ("output",)
        )
        self._audit_missed = self._total(
            "rivven_audit_output_missed_total", "Lines an audit output did not get.", ("output",)
        )
        self._audit_healthy = self._gauge(
            "rivven_audit_output_healthy", "Whether an audit output took the last lines.", ("output",)
        )

    def _total(self, name: str, doc: str, labels: tuple[str, ...] = ()) -> Family[Gauge]:
        """A counter whose owner keeps it."""
        family = Family(name, doc, "counter", Gauge, labels)
        self._families[name] = family
        return family

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

    def _api(self, api_key: int) -> str:
        return self._api_names.get(api_key, "other")

    def _request_seconds(self, api_key: int) -> Histogram:
        histogram = self._by_key.get(api_key)
        if histogram is None:
            histogram = self._latency.labelled(self._api(api_key))
            if api_key in self._api_names:  # unknown keys share one instrument and must not grow the cache
                self._by_key[api_key] = histogram
        return histogram
