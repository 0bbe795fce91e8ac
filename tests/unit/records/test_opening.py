"""Where a batch is opened: inline or by a worker; the result is always writable."""

from __future__ import annotations

from typing import Any

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.errors import InvalidRecord
from rivven.records import timestamps, validation
from rivven.records.batch import Record, build_batch, parse_header
from rivven.records.compression import GZIP, LZ4
from rivven.records.opening import WorkerBatchOpener, open_batch

COMPACTED = TopicConfig(cleanup_policy=frozenset({"compact"}))


class InlineWorkers:
    """Runs the job here and remembers that it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def run(self, name: str, *args: Any) -> Any:
        self.asked.append(name)
        module = validation if hasattr(validation, name) else timestamps
        result = getattr(module, name)(*args)
        return bytes(result) if isinstance(result, bytearray) else result


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


async def test_time_lookup_goes_to_a_worker_only_for_what_is_large_or_compressed() -> None:
    workers = InlineWorkers()
    opener = WorkerBatchOpener(workers)
    records = [Record(5, 100, b"k", b"v"), Record(6, 300, b"k", b"v")]
    plain, squeezed = bytes(build_batch(records)), bytes(build_batch(records, codec=LZ4))
    assert await opener.first_offset_with_timestamp(plain, 200) == (6, 300)
    assert await opener.max_timestamp_offset(plain) == (6, 300)
    assert workers.asked == []
    assert await opener.first_offset_with_timestamp(squeezed, 301) is None
    assert await opener.first_offset_with_timestamp(squeezed, 1) == (5, 100)
    assert await opener.max_timestamp_offset(squeezed) == (6, 300)
    assert workers.asked == ["first_offset_with_timestamp"] * 2 + ["max_timestamp_offset"]
