"""Opening a batch in the right place: at once when it is small and plain, else in a worker process.

Asynchronous because of the worker; it decides nothing that `validation` and `timestamps` do not.
"""

from __future__ import annotations

from typing import Any, Protocol

from rivven.config.topic_settings import TopicConfig
from rivven.records.batch import BatchHeader, parse_header
from rivven.records.timestamps import first_offset_with_timestamp, max_timestamp_offset, may_search_inline
from rivven.records.validation import may_open_inline, open_and_validate, target_codec


class Workers(Protocol):
    """Runs a named function on plain values elsewhere (satisfied by `rivven.log.workers.WorkerPool`)."""

    async def run(self, name: str, *args: Any) -> Any: ...


async def open_batch(
    workers: Workers, batch: memoryview, header: BatchHeader, config: TopicConfig
) -> bytearray | memoryview:
    """The batch to append in place of `batch`: itself, or rewritten in the topic's codec. Always writable.

    Raises what `open_and_validate` raises, and the typed errors of the workers.
    """
    codec = target_codec(header, config)
    arguments = (config.compacted, codec, config.max_message_bytes)
    if may_open_inline(header, config):
        open_and_validate(batch, *arguments)
        return batch
    rewritten = await workers.run("open_and_validate", batch, *arguments)
    return batch if rewritten is None else bytearray(rewritten)


class WorkerBatchOpener:
    """Time lookup in one batch of the log (satisfies `rivven.log.host.BatchOpener`).

    Raises RecordsUnreadable for the client's own undecodable data, and the typed errors of the workers.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    async def first_offset_with_timestamp(self, batch: bytes, timestamp: int) -> tuple[int, int] | None:
        """(offset, timestamp) of the first record at or after `timestamp`, None when there is none."""
        if may_search_inline(parse_header(batch)):
            return first_offset_with_timestamp(batch, timestamp)
        found: tuple[int, int] | None
        found = await self._workers.run("first_offset_with_timestamp", batch, timestamp)
        return found

    async def max_timestamp_offset(self, batch: bytes) -> tuple[int, int] | None:
        """(offset, timestamp) of the first record with the largest timestamp, None without timestamps."""
        if may_search_inline(parse_header(batch)):
            return max_timestamp_offset(batch)
        found: tuple[int, int] | None = await self._workers.run("max_timestamp_offset", batch)
        return found
