"""A log directory: its lock and identity, its checkpoint, its partitions, its free space, its end.

Driver. `open` is blocking and for start-up; afterwards everything belongs to the event loop. Partitions live
in `partitions/<topic id>-<partition>`; only the metadata knows names, so nothing here is removed unless it is
told to.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple
from uuid import UUID

from rivven.clock import Clock
from rivven.config.topic_settings import TopicConfig
from rivven.errors import StorageFailed
from rivven.log import closing, framed_file, plain_history, removal
from rivven.log.batch_opener import ThreadBatchOpener
from rivven.log.checkpoint import (
    CHECKPOINT_MAGIC,
    CHECKPOINT_NAME,
    CHECKPOINT_VERSION,
    CLEAN_FLAG,
    CheckpointTable,
    PartitionKey,
    load_table,
)
from rivven.log.checkpoint_keeper import CheckpointKeeper
from rivven.log.committer import Committer
from rivven.log.file_cache import FileCache, PatientFiles, SharingFiles
from rivven.log.files import Files, Lock
from rivven.log.framed_file import FormatTooNew, FramedFileDamaged
from rivven.log.free_space import FreeSpaceWatch
from rivven.log.host import BatchOpener, Host, LogEvents, LogLimits, NoEvents
from rivven.log.identity import (
    DirectoryRefused,
    DirectoryTooNew,
    Identity,
    load_or_create,
    lock_directory,
    refusal,
)
from rivven.log.opening import plan_of
from rivven.log.partition_log import PartitionLog
from rivven.log.recovery import NEVER_SAVED, Opened, OpenPlan, recover
from rivven.log.sealing import SegmentKeys
from rivven.log.threads import Threads
from rivven.log.waiting import on_worker, round_end

PARTITIONS_NAME = "partitions"
RECOVERIES_PER_JOB = 64
"""Partitions one thread recovers in one go: a hand-over each would cost more than an idle one takes."""

_log = logging.getLogger("rivven.log")


class _Found(NamedTuple):
    clean: bool
    synced: bool


class LogDirectory:
    """See the module. `committer`, `files` and `threads` also serve the metadata journal in the same
    directory."""

    def __init__(
        self, path: str, host: Host, keeper: CheckpointKeeper, lock: Lock, identity: Identity, state: _Found
    ) -> None:
        self.path = path
        self.identity = identity
        self.committer = host.committer
        self.files = host.files
        self.threads = host.threads
        self.was_clean = state.clean
        """Whether the last shutdown was clean."""
        self.failure: str | None = None
        """Why the directory is offline."""
        self.cut_bytes = 0
        """Bytes that recovery has cut off logs since this start."""
        self._synced = state.synced
        self._host = host
        self._keeper = keeper
        self._lock = lock
        self._logs: dict[PartitionKey, PartitionLog] = {}
        self._present: set[str] = set(host.files.list(host.partitions_path))
        self._names = removal.Names(host.partitions_path)
        self._half_removed: list[str] = []
        """Partitions whose deletion an earlier process began."""
        self._space = FreeSpaceWatch(host, path)

    @classmethod
    def open(
        cls,
        path: str,
        files: Files,
        threads: Threads,
        clock: Clock,
        *,
        node_id: int,
        cluster_id: str | None = None,
        limits: LogLimits | None = None,
        events: LogEvents | None = None,
        opener: BatchOpener | None = None,
        keys: SegmentKeys | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> LogDirectory:
        """Lock, identify and read the directory, creating it at the first start. Blocking. Without `keys`
        nothing is sealed, and what is sealed cannot be read.

        Raises DirectoryRefused (with a hint) when it is locked, too new, damaged, or not permitted.
        """
        lock = lock_directory(files, path)
        try:
            identity = load_or_create(files, path, node_id, cluster_id, entropy)
            partitions = f"{path}/{PARTITIONS_NAME}"
            if not files.exists(partitions):
                files.make_directory(partitions)
                files.sync_directory(path)
            table, clean = _load_checkpoint(files, path)
            # After a crash: what the page cache still holds reaches the disk, all at once where that works.
            found = _Found(clean, not clean and files.sync_all(path))
        except OSError as error:
            lock.release()
            raise refusal(path, error) from error
        except BaseException:
            lock.release()
            raise
        events = NoEvents() if events is None else events
        if limits is None:
            limits = LogLimits()
        cache = FileCache(files, limits.open_files)
        files = SharingFiles(files, cache)
        keeper = CheckpointKeeper(files, f"{path}/{CHECKPOINT_NAME}", threads, table)
        failed: list[Callable[[OSError], None]] = []
        committer = Committer(
            files, path, threads, on_failed=lambda error: failed[0](error), on_round=events.commit_round
        )
        keeper.attach(committer)
        if opener is None:
            opener = ThreadBatchOpener(threads)
        host = Host(files, threads, clock, committer, partitions, limits, events, opener, keeper, cache, keys)
        directory = cls(path, host, keeper, lock, identity, found)
        failed.append(directory._failed)
        directory._remove_leftovers()
        directory._space.start()
        return directory

    def use_keys(self, keys: SegmentKeys) -> None:
        """Where sealed segments get their keys from; called before the first partition is opened."""
        self._host.keys = keys

    # -- partitions ------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[PartitionLog]:
        return iter(list(self._logs.values()))

    def __len__(self) -> int:
        return len(self._logs)

    @property
    def online(self) -> bool:
        return self.failure is None

    @property
    def accepting(self) -> bool:
        """Whether clients' appends are taken: free space is above the reserve."""
        return self._host.accepting

    def get(self, topic_id: UUID, partition: int) -> PartitionLog | None:
        """An open partition."""
        return self._logs.get((topic_id, partition))

    async def open_partition(self, topic_id: UUID, partition: int, config: TopicConfig) -> PartitionLog:
        """The partition's log: opened, recovered after a crash, or newly created (durably).

        A partition that cannot be opened is returned offline, with `offline_reason`. Raises
        KAFKA_STORAGE_ERROR when the directory is offline or a new one cannot be created.
        """
        return (await self.open_partitions(topic_id, (partition,), config))[0]

    async def open_partitions(
        self, topic_id: UUID, partitions: Sequence[int], config: TopicConfig
    ) -> list[PartitionLog]:
        """Several partitions of a topic, at the price of one commit round when they are new."""
        missing = [number for number in partitions if (topic_id, number) not in self._logs]
        found: list[PartitionLog] = []
        created = False
        for partition in missing:
            new = self._make_directory(topic_id, partition, config)
            created = created or new
            saved = None if new else self._keeper.table.get((topic_id, partition))
            log = PartitionLog(self._host, topic_id, partition, config, saved or NEVER_SAVED)
            if not new and (saved is None or not self.was_clean):
                found.append(log)
            else:
                self._logs[log.key] = log
        for start in range(0, len(found), RECOVERIES_PER_JOB):
            await self._recover(found[start : start + RECOVERIES_PER_JOB])
        if created:
            self.committer.mark_dirty(self._names)
            await self._names.durable(self._host)
            self._check_online()
        return [self._logs[topic_id, partition] for partition in partitions]

    async def delete_partition(self, topic_id: UUID, partition: int) -> None:
        """Take the partition out of service and its directory out of sight durably; its files go later.

        Raises KAFKA_STORAGE_ERROR.
        """
        log = self._logs.pop((topic_id, partition), None)
        if log is not None:
            self._keeper.forget(log)
            log.delete()
        else:
            self._keeper.remove((topic_id, partition))
        name = f"{topic_id}-{partition}"
        self._present.discard(name)
        self._names.new.discard(f"{self._host.partitions_path}/{name}")
        await removal.remove_partition(self._host, name)

    async def retain_only(self, known_ids: Iterable[UUID]) -> list[str]:
        """Delete partitions of all other topics (a deletion that a crash interrupted); their names, and those
        of such that were out of sight already."""
        ids = set(known_ids)
        known = {str(topic_id) for topic_id in ids}
        strangers = sorted(name for name in self._present if name.rpartition("-")[0] not in known)
        # A crash between a deletion and the next checkpoint: nothing else would ever take such entries out.
        for gone in [key for key in self._keeper.table.keys() if key[0] not in ids]:  # noqa: SIM118
            self._keeper.remove(gone)
        for name in strangers:
            topic_id, _, partition = name.rpartition("-")
            try:
                key = UUID(topic_id), int(partition)
            except ValueError:
                continue  # not ours: somebody else's files stay
            _log.info("removing %s: its topic is gone", name)
            await self.delete_partition(*key)
        return strangers + [name for name in self._half_removed if name.rpartition("-")[0] not in known]

    async def _recover(self, logs: Sequence[PartitionLog]) -> None:
        """Open what a crash left, on one thread; a log that cannot be opened is offline."""
        host, table = self._host, self._keeper.table
        plans = [plan_of(log, table.get(log.key) or NEVER_SAVED, synced=self._synced) for log in logs]

        def job() -> list[Opened | Exception]:
            return [_try_recover(host, plan) for plan in plans]

        for log, opened in zip(logs, await on_worker(host.threads, host.readers, job), strict=True):
            self._logs[log.key] = log
            if isinstance(opened, Opened):
                self._adopt(log, opened)
            else:
                log.take_offline(str(opened))

    def _adopt(self, log: PartitionLog, opened: Opened) -> None:
        log.adopt(opened)
        self._keeper.note(log)
        if opened.cut_bytes:
            self.cut_bytes += opened.cut_bytes
            self._host.events.recovery_cut(opened.cut_bytes)
            _log.warning(
                "%s: recovery cut %d bytes after offset %d and kept them beside the log; leader epoch is %d",
                log.path,
                opened.cut_bytes,
                log.log_end_offset,
                log.leader_epoch,
            )

    def _make_directory(self, topic_id: UUID, partition: int, config: TopicConfig) -> bool:
        name = f"{topic_id}-{partition}"
        if name in self._present:
            return False
        self._check_online()
        if self._keeper.table.get((topic_id, partition)) is not None:
            return False  # it existed: recovery says what is missing
        try:
            path = f"{self._host.partitions_path}/{name}"
            self.files.make_directory(path)
            if config.encryption_enabled:
                plain_history.make_mark(self.files, path)
                self._names.new.add(path)
        except OSError as error:
            self._host.complain(f"cannot create partition {name}: {error}")
            raise StorageFailed("the broker's disk refused to create a partition") from error
        self._present.add(name)
        return True

    def _remove_leftovers(self) -> None:
        """Complete deletions that were interrupted."""
        for name in removal.leftovers(self._present):
            self._present.discard(name)
            self._half_removed.append(name.removesuffix(removal.DELETED_SUFFIX))
            self._host.tidy(partial(removal.remove_tree, self.files, f"{self._host.partitions_path}/{name}"))

    # -- failing and ending ----------------------------------------------------------------------------------

    def _check_online(self) -> None:
        if self.failure is not None:
            raise StorageFailed("the broker's log directory is offline")

    def _failed(self, error: OSError) -> None:
        self.failure = str(error)
        _log.critical("log directory %s is offline: %s", self.path, error)
        self._host.events.directory_failed(self.failure)
        for log in list(self._logs.values()):
            log.take_offline(self.failure)

    async def close(self, clean: bool = True) -> None:
        """Flush, save what makes the next start instant, release the lock. `clean` False: only stop."""
        self._keeper.close()
        self._space.stop()
        await self._host.settled()
        try:
            if clean and self.online:
                await closing.close_cleanly(self._host, self._keeper, self._logs.values(), self.path)
            elif self.committer.running:
                await round_end(self._host)
        finally:
            self.committer.close()
            self._host.close()
            self._lock.release()


def _try_recover(host: Host, plan: OpenPlan) -> Opened | Exception:
    try:
        return recover(PatientFiles(host.files, host.cache), host.cache, plan)
    except (OSError, StorageFailed) as error:
        return error


def _load_checkpoint(files: Files, path: str) -> tuple[CheckpointTable, bool]:
    """The table and whether the shutdown was clean, whose mark is taken away before anything changes."""
    name = f"{path}/{CHECKPOINT_NAME}"
    try:
        found = framed_file.read(files, name, CHECKPOINT_MAGIC, CHECKPOINT_VERSION)
        if found is None:
            return CheckpointTable(), False
        flags, payload = found
        table = load_table(name, payload)
    except FormatTooNew as error:
        raise DirectoryTooNew(error.message, "start the version of the broker that wrote it") from None
    except FramedFileDamaged as error:
        raise DirectoryRefused(
            error.message,
            "restore the file; without it every log is recovered from its start, and what is damaged is cut",
        ) from None
    clean = bool(flags & CLEAN_FLAG)
    if clean:
        framed_file.replace(files, name, table.image(clean=False))
    return table, clean
