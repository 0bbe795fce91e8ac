"""Where a batch is opened: inline or by a worker; the result is always writable."""

from __future__ import annotations

from typing import Any

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.errors import InvalidRecord
from rivven.records.batch import Record, build_batch, parse_header
from rivven.records.compression import GZIP, LZ4
from rivven.records.opening import open_batch
from rivven.records.validation import open_and_validate

COMPACTED = TopicConfig(cleanup_policy=frozenset({"compact"}))


class InlineWorkers:
    """Runs the job here and remembers that it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def run(self, name: str, *args: Any) -> Any:
        self.asked.append(name)
        result = open_and_validate(*args)
        return None if result is None else bytes(result)


async def test_small_plain_batches_stay_on_the_loop() -> None:
    workers = InlineWorkers()
    view = memoryview(build_batch([Record(0, 0, b"k", b"v")]))
    assert await open_batch(workers, view, parse_header(view), COMPACTED) is view
    assert workers.asked == []


async def test_compressed_ones_go_to_a_worker_and_come_back_as_they_were() -> None:
    workers = InlineWorkers()
    view = memoryview(build_batch([Record(0, 0, b"k", b"v")], codec=LZ4))
    assert await open_batch(workers, view, parse_header(view), COMPACTED) is view
    assert workers.asked == ["open_and_validate"]


async def test_a_rewritten_batch_is_writable() -> None:
    view = memoryview(build_batch([Record(0, 0, b"k", b"v")]))
    opened = await open_batch(InlineWorkers(), view, parse_header(view), TopicConfig(compression_type="gzip"))
    assert parse_header(opened).codec == GZIP
    opened[0] = 1


@pytest.mark.parametrize("codec", [0, GZIP])
async def test_refusals_arrive_either_way(codec: int) -> None:
    view = memoryview(build_batch([Record(0, 0, None, b"v")], codec=codec))
    with pytest.raises(InvalidRecord) as caught:
        await open_batch(InlineWorkers(), view, parse_header(view), COMPACTED)
    assert caught.value.record_errors
