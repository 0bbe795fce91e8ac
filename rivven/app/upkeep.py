"""What keeps the logs of one broker small and counted: compaction, and the metrics of what is stored."""

from __future__ import annotations

from functools import partial

from rivven.app.storage import Storage
from rivven.clock import Clock
from rivven.log.checkpoint import PartitionKey
from rivven.log.compactor import Compactor
from rivven.log.workers import WorkerPool
from rivven.metadata.service import MetadataService
from rivven.replication.replicas import Replicas
from rivven.tasks import Tasks
from rivven.telemetry import Metrics
from rivven.telemetry.storage_metrics import COMPACTION_TOTALS


def start_compaction(
    metadata: MetadataService,
    replicas: Replicas,
    storage: Storage,
    *,
    claims: set[PartitionKey],
    workers: WorkerPool,
    clock: Clock,
    tasks: Tasks,
    metrics: Metrics,
) -> None:
    """Compact in the background; `claims` are the partitions whose segments somebody is exchanging."""
    broker = metadata.static_broker_values
    dedupe, backoff = broker["log.cleaner.dedupe.buffer.size"], broker["log.cleaner.backoff.ms"]
    assert isinstance(dedupe, int)
    assert isinstance(backoff, int)
    compactor = Compactor(
        logs=lambda: [partition.log for partition in replicas],
        workers=workers,
        files=storage.files,
        keys=storage.topic_keys,
        claims=claims,
        clock=clock,
        dedupe_buffer_bytes=dedupe,
        backoff_ms=backoff,
    )
    totals = compactor.totals
    metrics.watch_compaction({name: partial(getattr, totals, name) for name in COMPACTION_TOTALS})
    tasks.spawn(compactor.run(), "compaction")


def watch_stored(replicas: Replicas, storage: Storage, metrics: Metrics) -> None:
    """Have metrics read what is stored, and how much room there is."""
    metrics.watch_log(
        lambda: len(replicas),
        lambda: sum(not partition.online for partition in replicas),
        lambda: sum(partition.log.size_bytes for partition in replicas),
        storage.free_bytes,
    )
