"""Opening a produced batch in the right place: at once when it is small and plain, else in a worker process.

Asynchronous because of the worker; it decides nothing that `validation` does not.
"""

from __future__ import annotations

from typing import Any, Protocol

from rivven.config.topic_settings import TopicConfig
from rivven.records.batch import BatchHeader
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
