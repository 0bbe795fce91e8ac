"""All partitions of this node: found by topic name, created and deleted as the committed metadata says.

Effects follow commit: `sync_with` is called with each new committed image and makes the log directory agree.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol
from uuid import UUID

from rivven.config.topic_settings import TopicConfig, topic_config
from rivven.errors import RivvenError
from rivven.log.directory import LogDirectory
from rivven.log.sealing import SegmentKeys
from rivven.replication.partition import Partition

_log = logging.getLogger("rivven.replication")

LOADS_PER_TURN = 64
"""Partitions opened before other tasks get a turn: a clean one takes well under 0.1 ms."""


class TopicView(Protocol):
    """What of a topic's metadata is needed here."""

    @property
    def name(self) -> str: ...
    @property
    def topic_id(self) -> UUID: ...
    @property
    def partitions(self) -> int: ...
    @property
    def configs(self) -> Mapping[str, str]: ...
    @property
    def internal(self) -> bool: ...
    @property
    def version(self) -> int: ...


class ImageView(Protocol):
    """What of the metadata image is needed here."""

    @property
    def topics(self) -> Mapping[str, TopicView]: ...


class TopicKeys(SegmentKeys, Protocol):
    """What of the keys is needed here, beside what the log needs of them."""

    async def forget(self, topic_id: UUID) -> None:
        """Destroy the keys of a deleted topic. Raises RivvenError."""
        ...


class _HostedTopic:
    __slots__ = ("internal", "partitions", "topic_id", "version")

    def __init__(self, topic: TopicView) -> None:
        self.topic_id = topic.topic_id
        self.internal = topic.internal
        self.version = -1
        self.partitions: list[Partition] = []


class Replicas:
    """Belongs to the event loop; creation and deletion of directories are serialised by one lock.

    `keys` are None where nothing was ever encrypted.
    """

    def __init__(
        self, directory: LogDirectory, topic_defaults: Mapping[str, str], keys: TopicKeys | None = None
    ) -> None:
        self._directory = directory
        self._keys = keys
        self._defaults = topic_defaults
        self._topics: dict[str, _HostedTopic] = {}
        self._lock = asyncio.Lock()
        self.version = 0
        """Rises with every change of what `partition` finds or of a leader epoch: caches key on it."""

    # -- finding ---------------------------------------------------------------------------------------------

    def partition(self, topic: str, index: int) -> Partition | None:
        """The partition, or None when the topic or the index does not exist here."""
        hosted = self._topics.get(topic)
        if hosted is None or not 0 <= index < len(hosted.partitions):
            return None
        return hosted.partitions[index]

    def partitions_of(self, topic: str) -> list[Partition]:
        """All partitions of a topic in order, empty when unknown. The caller must not change the list."""
        hosted = self._topics.get(topic)
        return [] if hosted is None else hosted.partitions

    def is_internal(self, topic: str) -> bool:
        """Whether the broker itself writes this topic."""
        hosted = self._topics.get(topic)
        return hosted is not None and hosted.internal

    def __iter__(self) -> Iterator[Partition]:
        for hosted in self._topics.values():
            yield from hosted.partitions

    def __len__(self) -> int:
        return sum(len(hosted.partitions) for hosted in self._topics.values())

    # -- following the metadata ------------------------------------------------------------------------------

    async def ensure(self, topic: TopicView) -> None:
        """Wait until every partition of this committed topic exists on disk and can be found.

        Raises RivvenError (KAFKA_STORAGE_ERROR) when the directory cannot hold it.
        """
        await self._prepare((topic,))
        async with self._lock:
            await self._host(topic)

    async def sync_with(self, image: ImageView) -> None:
        """Create, grow, reconfigure and delete so that what is hosted equals the image."""
        topics = image.topics
        await self._prepare([topic for topic in topics.values() if not self._up_to_date(topic)])
        async with self._lock:
            for name, hosted in list(self._topics.items()):
                current = topics.get(name)
                if current is None or current.topic_id != hosted.topic_id:
                    await self._remove(name)
            for count, topic in enumerate(list(topics.values())):
                if not self._up_to_date(topic):
                    try:
                        await self._host(topic)
                    except RivvenError as error:
                        _log.error("cannot host topic %s: %s", topic.name, error)
                if count % LOADS_PER_TURN == LOADS_PER_TURN - 1:
                    await asyncio.sleep(0)

    def _up_to_date(self, topic: TopicView) -> bool:
        known = self._topics.get(topic.name)
        return known is not None and (known.topic_id, known.version) == (topic.topic_id, topic.version)

    async def _prepare(self, topics: Iterable[TopicView]) -> None:
        """Have the keys of topics at hand; outside the lock, as a provider may take its time."""
        if self._keys is None:
            return
        wanted: dict[UUID, str | None] = {}
        for topic in topics:
            config = topic_config(topic.configs, self._defaults)
            wanted[topic.topic_id] = config.encryption_key if config.encryption_enabled else None
        if wanted:
            await self._keys.prepare(wanted)

    def reconfigure_all(self, defaults: Mapping[str, str], topics: Iterable[TopicView]) -> None:
        """Broker-wide topic defaults changed: every log takes its new configuration."""
        self._defaults = defaults
        for topic in topics:
            hosted = self._topics.get(topic.name)
            if hosted is not None:
                self._configure(hosted, topic_config(topic.configs, defaults))

    async def _host(self, topic: TopicView) -> None:
        hosted = self._topics.get(topic.name)
        if hosted is not None and hosted.topic_id != topic.topic_id:
            await self._remove(topic.name)
            hosted = None
        if hosted is None:
            hosted = _HostedTopic(topic)
        if hosted.version > topic.version:
            return  # somebody with a newer view was faster: keys are waited for outside the lock
        config = topic_config(topic.configs, self._defaults)
        if hosted.partitions and hosted.version != topic.version:
            self._configure(hosted, config)
        missing = range(len(hosted.partitions), topic.partitions)
        for index, log in zip(
            missing,
            await self._directory.open_partitions(topic.topic_id, missing, config),
            strict=True,
        ):
            partition = Partition(topic.name, topic.topic_id, index, log)
            partition.offline_listener = self._changed
            hosted.partitions.append(partition)
        hosted.version = topic.version
        self._topics[topic.name] = hosted
        self.version += 1

    def _changed(self) -> None:
        self.version += 1

    @staticmethod
    def _configure(hosted: _HostedTopic, config: TopicConfig) -> None:
        for partition in hosted.partitions:
            partition.log.update_config(config)

    async def _remove(self, name: str) -> None:
        hosted = self._topics.pop(name)
        self.version += 1
        for partition in hosted.partitions:
            partition.retire()
        gone = True
        for partition in hosted.partitions:
            try:
                await self._directory.delete_partition(hosted.topic_id, partition.index)
            except (RivvenError, OSError) as error:
                # The name is gone; `retain_only` removes what is left at the next start.
                _log.error("cannot delete %s-%d: %s", name, partition.index, error)
                gone = False
        if gone and self._keys is not None:
            try:
                await self._keys.forget(hosted.topic_id)
            except (RivvenError, OSError) as error:
                _log.error("cannot destroy the keys of the deleted topic %s: %s", name, error)
