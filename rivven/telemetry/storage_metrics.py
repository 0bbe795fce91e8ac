"""The metrics of what is stored: commits, partitions, compaction, and the keys of what is encrypted.

The methods are what the log and the keys declare as their observers; each is O(1). It opens nothing and
sees no key: who holds a number hands it over, or a way to read it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rivven.telemetry.instruments import Gauge
from rivven.telemetry.registry import Registry

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


class StorageMetrics(Registry):
    """Counted on the event loop, except `commit_round`, which the committer thread calls."""

    def _define_storage(self) -> None:
        self._define_log()
        self._define_keys()
        self._define_compaction()

    def commit_round(self, files: int, seconds: float) -> None:
        """The committer made everything written so far durable; called on its thread."""
        self.commit_seconds.observe(seconds)
        self.commit_files.observe(files)

    def recovery_cut(self, size: int) -> None:
        """Recovery cut an incomplete tail of `size` bytes off a partition."""
        self.recovery_cuts.value += 1
        self.recovery_cut_bytes.value += size

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
        self,
        done: Callable[[], float],
        left: Callable[[], float],
        erasing: Callable[[], float],
        waiting: Callable[[], float],
        pending: Callable[[], float],
        called_off: Callable[[], float],
    ) -> None:
        """Where bytes re-encrypted and still to re-encrypt, whether a topic is being shredded, whether that
        waits, and pending certificates are read."""
        self._reencrypted.source, self._to_reencrypt.source = done, left
        self._erasing.source, self._erasing_waits.source = erasing, waiting
        self._pending_erasures.source, self._called_off_erasures.source = pending, called_off

    # --- definitions ----------------------------------------------------------------------------------------

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

    def _define_keys(self) -> None:
        self._provider_calls = self._total(
            "rivven_key_provider_calls_total",
            "Calls of the key provider; an outcome other than ok says whether trying again may help.",
            ("operation", "outcome"),
        )
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
        self._erasing_waits = self._read_gauge(
            "rivven_erasures_waiting",
            "1 while shredding comes no further and is tried again; `rivven keys list` says why.",
        )
        self._pending_erasures = self._read_gauge(
            "rivven_erasures_pending", "Erasure certificates that wait for the provider to destroy keys."
        )
        self._called_off_erasures = self._read_gauge(
            "rivven_erasures_called_off",
            "Those among them that waiting does not complete; `rivven keys certificates` says why.",
        )

    def _define_compaction(self) -> None:
        self._compaction: dict[str, Gauge] = {}
        for total, (name, doc) in COMPACTION_TOTALS.items():
            kind = self._read_counter if name.endswith("_total") else self._read_gauge
            self._compaction[total] = kind(name, doc)
