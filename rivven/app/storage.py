"""The data directory as the broker uses it: its log directory, its keys, its metadata journal, its upkeep."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import UUID

from rivven.api.encryption_rule import KeyNames
from rivven.app.failures import ExitCode, StartFailed
from rivven.app.observers import LogEventsToMetrics
from rivven.app.process import descriptor_limit
from rivven.clock import Clock
from rivven.config.models import Config
from rivven.errors import RivvenError
from rivven.log.batch_opener import WorkerBatchOpener
from rivven.log.directory import PARTITIONS_NAME, LogDirectory
from rivven.log.files import OsFiles
from rivven.log.host import LogLimits
from rivven.log.identity import DirectoryRefused
from rivven.log.threads import LoopThreads
from rivven.log.workers import WorkerPool
from rivven.machine.journal_sealing import is_sealed
from rivven.machine.local_journal import LocalJournal
from rivven.metadata.service import MetadataService
from rivven.replication.replicas import Replicas
from rivven.security.keys.key_file import PrivateFiles
from rivven.security.keys.secrets import Secrets
from rivven.tasks import Tasks
from rivven.telemetry import Metrics

if TYPE_CHECKING:  # with the crypto library
    from rivven.app.encryption import Encryption
    from rivven.security.keys.topic_keys import TopicKeys

_log = logging.getLogger("rivven.log")

METADATA_JOURNAL = "metadata.journal"

BOOTSTRAP_NAME = "encryption.key"
"""The same as `security.keys.bootstrap` says, which is not imported where nothing is encrypted."""

SEALED_MARK = "secrets/metadata-journal"
"""In the key store, where `app.encryption` puts it: the metadata is sealed."""

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
        self.encryption: Encryption | None = None
        """The keys, where anything in the directory is, was or is to be encrypted."""
        self.secrets = Secrets(PrivateFiles(), str(config.data_dir), os.urandom)
        """What the broker makes once; in the key store where there is one."""

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

    async def open_keys(self, tasks: Tasks) -> None:
        """Open the keys if there are any, before anything sealed is read. Raises StartFailed."""
        files, data_dir = PrivateFiles(), self._config.data_dir
        sealed = await asyncio.to_thread(is_sealed, self.files, f"{data_dir}/{METADATA_JOURNAL}")
        wanted = self._config.storage.encryption.enabled or sealed
        if not wanted and not files.exists(f"{data_dir}/{BOOTSTRAP_NAME}"):
            await asyncio.to_thread(self._refuse_if_sealed_before)
            return
        from rivven.app.encryption import open_encryption  # with the crypto library

        self.encryption = await open_encryption(
            self._config, files, self.cluster_id, journal_sealed=sealed, clock=self._clock, tasks=tasks
        )
        self.secrets = self.encryption.secrets
        self._opened().use_keys(self.encryption.topic_keys)

    def _refuse_if_sealed_before(self) -> None:
        """Who can write the data directory must not end encryption by removing files. Raises StartFailed."""
        store = self._config.storage.encryption.key_directory_of(self._config.data_dir)
        if os.path.lexists(store / SEALED_MARK):
            raise StartFailed(
                f"{self._config.data_dir / BOOTSTRAP_NAME}: is missing, and by the key store {store} the"
                " metadata was encrypted",
                "restore it and metadata.journal from a backup; where this is another data directory, move"
                " the key store away",
                ExitCode.KEYS,
            )

    @property
    def topic_keys(self) -> TopicKeys | None:
        """The keys of topics, None without encryption."""
        return None if self.encryption is None else self.encryption.topic_keys

    @property
    def key_names(self) -> KeyNames | None:
        """The provider's keys by name, None without encryption."""
        return None if self.encryption is None else self.encryption.key_names

    @property
    def cluster_id(self) -> str:
        """The cluster this data directory belongs to."""
        return self._opened().identity.cluster_id

    def metadata_journal(self) -> LocalJournal:
        """The journal of the metadata machine, beside the partitions and synced by the same committer.

        Raises StartFailed when it is not there though partitions are, which would be removed as unknown.
        """
        directory, encryption = self._opened(), self.encryption
        path = f"{directory.path}/{METADATA_JOURNAL}"
        if not self.files.exists(path) and self.files.list(f"{directory.path}/{PARTITIONS_NAME}"):
            raise StartFailed(
                f"{path}: is missing, and there are partitions",
                "restore it from a backup: it says which topics they belong to",
                ExitCode.STORAGE,
            )
        if encryption is None:
            return LocalJournal(directory.files, path, directory.committer, directory.threads)
        return LocalJournal(
            directory.files,
            path,
            directory.committer,
            directory.threads,
            encryption.journal_key(),
            was_sealed=encryption.journal_was_sealed,
        )

    async def metadata_opened(self) -> None:
        """The journal has been read, and is sealed now if there is a key. Raises RivvenError."""
        if self.encryption is not None:
            await self.encryption.journal_is_sealed()

    async def forget_unknown(self, known_ids: Iterable[UUID]) -> None:
        """Remove partitions and keys of topics that are gone: deletions that a crash interrupted."""
        known = list(known_ids)
        removed = await self._opened().retain_only(known)
        if self.encryption is not None:
            topics = {topic for name in removed if (topic := _topic_of(name)) is not None}
            await self.encryption.forget_removed(topics, known)

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
        if self.encryption is not None:
            self.encryption.close()
            self.encryption = None

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


def _topic_of(name: str) -> UUID | None:
    """The topic id in the name of a partition's directory."""
    try:
        return UUID(name.rpartition("-")[0])
    except ValueError:
        return None


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
        hot_tail_bytes=config.storage.encryption.hot_tail_bytes,
    )


def open_files(limit: int) -> int:
    """Files the log keeps open under a limit of descriptors (0 = unknown): an eighth.

    The log may hold three times that for a moment; the rest is for connections.
    """
    return OPEN_FILES_MAX if limit == 0 else min(OPEN_FILES_MAX, max(OPEN_FILES_MIN, limit // 8))
