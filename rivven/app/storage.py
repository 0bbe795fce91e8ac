"""The data directory as the broker uses it: its log directory, its metadata journal, its upkeep."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from uuid import UUID

from rivven.app.failures import ExitCode, StartFailed
from rivven.app.observers import LogEventsToMetrics
from rivven.app.process import descriptor_limit
from rivven.clock import Clock
from rivven.config.models import Config
from rivven.errors import RivvenError
from rivven.log.batch_opener import WorkerBatchOpener
from rivven.log.directory import LogDirectory
from rivven.log.files import OsFiles
from rivven.log.host import LogLimits
from rivven.log.identity import DirectoryRefused
from rivven.log.threads import LoopThreads
from rivven.log.workers import WorkerPool
from rivven.machine.local_journal import LocalJournal
from rivven.metadata.service import MetadataService
from rivven.replication.replicas import Replicas
from rivven.telemetry import Metrics

_log = logging.getLogger("rivven.log")

METADATA_JOURNAL = "metadata.journal"

OPEN_FILES_MIN, OPEN_FILES_MAX = 64, 4096
"""Few enough for the smallest limits in use (1,024), many enough that the hot partitions of a large node stay
open; each costs about 200 bytes."""

TIDY_LOGS_PER_TURN = 32
"""Logs looked at by retention before other tasks get a turn: a look without a deletion takes some 10 µs."""


class Storage:
    """Owns the log directory between `open` and `close`; implements `cluster_admin.DiskView`."""

    def __init__(self, config: Config, clock: Clock, metrics: Metrics, workers: WorkerPool) -> None:
        self._config = config
        self._clock = clock
        self._metrics = metrics
        self._workers = workers
        self.files = OsFiles()
        self.directory: LogDirectory | None = None

    def open(self) -> LogDirectory:
        """Lock and open the directory. Raises StartFailed."""
        config = self._config
        try:
            self.directory = LogDirectory.open(
                str(config.data_dir),
                self.files,
                LoopThreads(asyncio.get_running_loop()),
                self._clock,
                node_id=config.node.id,
                limits=_limits(config),
                events=LogEventsToMetrics(self._metrics),
                opener=WorkerBatchOpener(self._workers),
            )
        except DirectoryRefused as error:
            raise StartFailed(error.message, error.hint, ExitCode.DATA_DIRECTORY) from None
        return self.directory

    @property
    def cluster_id(self) -> str:
        """The cluster this data directory belongs to."""
        return self._opened().identity.cluster_id

    def metadata_journal(self) -> LocalJournal:
        """The journal of the metadata machine, beside the partitions and synced by the same committer."""
        directory = self._opened()
        path = f"{directory.path}/{METADATA_JOURNAL}"
        return LocalJournal(directory.files, path, directory.committer, directory.threads)

    async def forget_unknown(self, known_ids: Iterable[UUID]) -> None:
        """Remove partitions whose topic is gone: deletions that a crash interrupted."""
        await self._opened().retain_only(known_ids)

    async def keep_tidy(self, replicas: Replicas, metadata: MetadataService) -> None:
        """Retention for ever: delete expired segments and producers, partition by partition."""
        broker = metadata.static_broker_values
        interval_ms = broker["log.retention.check.interval.ms"]
        producers_ms = broker["producer.id.expiration.check.interval.ms"]
        assert isinstance(interval_ms, int)
        assert isinstance(producers_ms, int)
        while True:
            await asyncio.sleep(min(interval_ms, producers_ms) / 1000)
            for count, partition in enumerate(list(replicas)):
                if not partition.online:
                    continue
                try:
                    await partition.log.delete_expired(self._clock.now_ms())
                except RivvenError as error:
                    _log.error("retention of %s failed: %s", partition, error)
                if count % TIDY_LOGS_PER_TURN == TIDY_LOGS_PER_TURN - 1:
                    await asyncio.sleep(0)

    async def close(self) -> None:
        """Flush and leave the mark of a clean shutdown."""
        if self.directory is not None:
            await self.directory.close()
            self.directory = None

    # -- DiskView --------------------------------------------------------------------------------------------

    @property
    def log_dir(self) -> str:
        """The absolute path of the data directory."""
        return os.path.abspath(self._config.data_dir)

    @property
    def online(self) -> bool:
        return self.directory is not None and self.directory.online

    async def space(self) -> tuple[int, int]:
        """(total bytes, usable bytes) of the volume."""
        found = await asyncio.to_thread(os.statvfs, self._config.data_dir)
        return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize

    def free_bytes(self) -> float:
        """Usable bytes of the volume, for a gauge."""
        return self.files.free_bytes(self.log_dir)

    def _opened(self) -> LogDirectory:
        assert self.directory is not None, "the data directory is not open"
        return self.directory


def _limits(config: Config) -> LogLimits:
    broker = config.broker
    producers = broker["max.producer.ids.per.partition"]
    expiration = broker["producer.id.expiration.ms"]
    reserve = broker["log.dir.reserve.bytes"]
    assert isinstance(producers, int)
    assert isinstance(expiration, int)
    assert isinstance(reserve, int)
    return LogLimits(
        producers_per_partition=producers,
        producer_expiration_ms=expiration,
        reserve_bytes=reserve,
        open_files=open_files(descriptor_limit()),
    )


def open_files(limit: int) -> int:
    """Files the log keeps open under a limit of descriptors (0 = unknown): an eighth.

    The log may hold three times that for a moment; the rest is for connections.
    """
    return OPEN_FILES_MAX if limit == 0 else min(OPEN_FILES_MAX, max(OPEN_FILES_MIN, limit // 8))
