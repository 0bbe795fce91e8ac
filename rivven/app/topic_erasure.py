"""A topic as operations on keys see it: what it holds under which keys, new segments, and deleting it down to
the last file.

Driver. It touches no key.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Collection
from uuid import UUID

from rivven.errors import ErrorCode, RivvenError, StorageFailed
from rivven.log.segment_info import SegmentInfo
from rivven.metadata.commands import DeleteTopic
from rivven.metadata.image import Topic
from rivven.metadata.service import MetadataService
from rivven.replication.partition import Partition
from rivven.replication.replicas import Replicas
from rivven.security.keys.erasure import ErasedPartition, ErasedSegment, partition_of
from rivven.security.keys.inventory import NOTHING, Stored

PARTITIONS_PER_TURN = 8
"""Partitions looked at before other tasks get a turn: logs not used yet are opened, some 0.3 ms each."""

FILES_SECONDS_MAX = 60.0
"""How long files of a deleted topic may take to go; then the erasure is tried again."""
_POLL_SECONDS = 0.02

_log = logging.getLogger("rivven.keys")


class TopicErasure:
    """Implements `shredding.Topics`."""

    def __init__(self, metadata: MetadataService, replicas: Replicas, partitions_path: str) -> None:
        self._metadata = metadata
        self._replicas = replicas
        self._path = partitions_path

    async def delete(self, topic_id: UUID) -> None:
        """See `shredding.Topics.delete`. Raises RivvenError."""
        if topic_id in self._metadata.image.topics_by_id:
            try:
                await self._metadata.submit(DeleteTopic(topic_id))
            except RivvenError as error:
                if error.code is not ErrorCode.UNKNOWN_TOPIC_ID:
                    raise
        # Also the caches, the decrypted tail and whoever waits for records go with the partitions.
        await self._replicas.sync_with(self._metadata.image)
        await self._files_gone(topic_id)

    async def _files_gone(self, topic_id: UUID) -> None:
        for _ in range(int(FILES_SECONDS_MAX / _POLL_SECONDS)):
            if not await asyncio.to_thread(self._files_of, topic_id):
                return
            await asyncio.sleep(_POLL_SECONDS)
        raise StorageFailed("files of the deleted topic are still there; the log says why")

    def _files_of(self, topic_id: UUID) -> list[str]:
        prefix = f"{topic_id}-"
        return [name for name in os.listdir(self._path) if name.startswith(prefix)]

    # -- what it holds ---------------------------------------------------------------------------------------

    async def partitions(self, topic: Topic) -> list[ErasedPartition]:
        """Every partition with its segments, as they are now."""
        found = []
        for count, partition in enumerate(self._replicas.partitions_of(topic.name)):
            found.append(_erased(partition))
            if count % PARTITIONS_PER_TURN == PARTITIONS_PER_TURN - 1:
                await asyncio.sleep(0)
        return found

    async def begin_segments(self, topic: Topic, known: Collection[bytes], now_ms: int) -> int:
        """Begin a new segment where the newest one is sealed under a topic key that is not `known`, and so
        cannot be added to; in how many partitions. Raises RivvenError."""
        begun = 0
        for count, partition in enumerate(self._replicas.partitions_of(topic.name)):
            held = (
                [one for one in partition.log.segments_view() if one.stored_bytes] if partition.online else []
            )
            if held and not _opens(held[-1], known):
                partition.log.roll(now_ms)
                begun += 1
            if count % PARTITIONS_PER_TURN == PARTITIONS_PER_TURN - 1:
                await asyncio.sleep(0)
        return begun

    async def delete_lost(self, topic: Topic, known: Collection[bytes]) -> int:
        """Delete what stands before the end of the last segment that is sealed under a topic key that is not
        `known`; in how many partitions. Raises RivvenError."""
        shortened = 0
        for partition in self._replicas.partitions_of(topic.name):
            held = partition.log.segments_view() if partition.online else []
            lost = [one.end_offset for one in held if one.stored_bytes and not _opens(one, known)]
            if lost and max(lost) > partition.log_start_offset:
                await partition.log.delete_records_before(max(lost))
                shortened += 1
        return shortened

    def size(self, topic: Topic) -> Stored:
        """Its stored bytes, as every log knows them without being opened; segments are not counted."""
        partitions = self._replicas.partitions_of(topic.name)
        return Stored(0, sum(partition.log.size_bytes for partition in partitions))

    async def sealed(self, topic: Topic) -> tuple[dict[str | None, Stored], bool]:
        """What is sealed under each topic key (None: in plain), and whether there is a plaintext history."""
        found: dict[str | None, Stored] = {}
        partitions = await self.partitions(topic)
        for segment in (segment for one in partitions for segment in one.segments):
            key = segment.topic_key_id
            found[key] = found.get(key, NOTHING) + Stored(1, segment.stored_bytes)
        return found, any(one.plaintext_history for one in partitions)


def _opens(segment: SegmentInfo, known: Collection[bytes]) -> bool:
    return segment.topic_key_id is None or segment.topic_key_id in known


def _erased(partition: Partition) -> ErasedPartition:
    """A partition that cannot be looked at counts as one that had plaintext: nobody can tell."""
    log = partition.log
    try:
        segments = [
            ErasedSegment(
                one.base_offset,
                one.end_offset,
                one.stored_bytes,
                None if one.topic_key_id is None else one.topic_key_id.hex(),
            )
            for one in log.segments_view()
            if one.stored_bytes
        ]
    except RivvenError as error:
        _log.warning("%s: its segments cannot be listed: %s", partition, error)
        return partition_of(partition.index, True, ())
    return partition_of(partition.index, log.plaintext_history, segments)
