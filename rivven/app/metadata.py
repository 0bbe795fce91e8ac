"""The metadata of one broker: opened from its journal, for a start or for an offline tool, and followed.

Driver. What it means is decided in `rivven.metadata`; here its effects are begun once it is committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from rivven.app.failures import ExitCode, StartFailed
from rivven.app.limiting import topic_names
from rivven.app.storage import Storage
from rivven.clock import Clock, SystemClock
from rivven.config.models import Config
from rivven.errors import RivvenError
from rivven.log.workers import WorkerPool
from rivven.metadata.service import MetadataService
from rivven.replication.replicas import Replicas
from rivven.tasks import Tasks
from rivven.telemetry import Metrics


def make_metadata(config: Config, storage: Storage, clock: Clock, tasks: Tasks) -> MetadataService:
    """The service over the journal of an open storage; `open_metadata` starts it."""
    return MetadataService(
        storage.metadata_journal(),
        clock,
        tasks,
        node_id=config.node.id,
        broker=config.broker,
        entropy=os.urandom,
        cluster_id=storage.cluster_id,
        topic_names=topic_names(config),
    )


async def open_metadata(metadata: MetadataService, storage: Storage) -> None:
    """Read what the journal holds. Raises StartFailed."""
    try:
        await metadata.start()
        await storage.metadata_opened()
    except (RivvenError, OSError) as error:
        raise StartFailed(
            f"the metadata cannot be read: {error}",
            "restore the file named, or the data directory, from a backup",
            ExitCode.STORAGE,
        ) from None
    if metadata.image.cluster_id != storage.cluster_id:
        raise StartFailed(
            f"the data directory belongs to cluster {storage.cluster_id}, its metadata to"
            f" {metadata.image.cluster_id}",
            "files of two data directories were mixed: restore one of them from a backup",
            ExitCode.DATA_DIRECTORY,
        )


def follow_metadata(metadata: MetadataService, replicas: Replicas, tasks: Tasks) -> None:
    """Effects follow commit: one task at a time brings the partitions up to the newest image."""
    changed = asyncio.Event()
    defaults = metadata.topic_defaults

    async def follow() -> None:
        nonlocal defaults
        while True:
            await changed.wait()
            changed.clear()
            image = metadata.image
            if metadata.topic_defaults is not defaults:
                defaults = metadata.topic_defaults
                replicas.reconfigure_all(defaults, image.topics.values())
            await replicas.sync_with(image)

    metadata.on_commit(lambda _events: changed.set())
    tasks.spawn(follow(), "follow the metadata")


@contextlib.asynccontextmanager
async def offline_metadata(config: Config) -> AsyncIterator[MetadataService]:
    """The metadata of a data directory no broker is using, for offline tools. Raises StartFailed."""
    clock, tasks, workers = SystemClock(), Tasks(), WorkerPool()
    storage = Storage(config, clock, Metrics(), workers)
    metadata: MetadataService | None = None
    try:
        storage.open()
        await storage.open_keys(tasks)
        metadata = make_metadata(config, storage, clock, tasks)
        await open_metadata(metadata, storage)
        yield metadata
    finally:
        await tasks.cancel_all()
        if metadata is not None:
            await metadata.close()
        await workers.close()
        await storage.close()
