"""A partition for the coordinator's journal: batches in memory, commits and failures as a test decides."""

from __future__ import annotations

from collections.abc import Callable

from rivven.errors import RivvenError, StorageFailed
from rivven.log.reading import ReadResult
from rivven.records.batch import parse_header, patch_offset_and_epoch


class MemoryStore:
    """Satisfies `coordinator.journal.PartitionStore`. Commits at once unless `manual`."""

    def __init__(self, *, manual: bool = False) -> None:
        self.batches: list[bytearray] = []
        self.manual = manual
        self.log_start_offset = 0
        self.log_end_offset = 0
        self.high_watermark = 0
        self.full = False
        self._waiting: list[tuple[int, Callable[[RivvenError | None], None]]] = []

    def append_internal(self, batch: bytearray, now_ms: int) -> int:
        if self.full:
            raise StorageFailed("the disk is nearly full")
        patch_offset_and_epoch(batch, self.log_end_offset, 0)
        self.batches.append(batch)
        self.log_end_offset = parse_header(batch).last_offset + 1
        if not self.manual:
            self.high_watermark = self.log_end_offset
        return self.log_end_offset - 1

    def when_committed(self, last_offset: int, callback: Callable[[RivvenError | None], None]) -> None:
        if last_offset < self.high_watermark:
            callback(None)
        else:
            self._waiting.append((last_offset, callback))

    def commit(self) -> None:
        """Everything appended so far is durable."""
        self.high_watermark = self.log_end_offset
        waiting, self._waiting = self._waiting, []
        for _, callback in waiting:
            callback(None)

    def break_down(self) -> None:
        """The disk failed to sync: nobody knows what is on it."""
        waiting, self._waiting = self._waiting, []
        for _, callback in waiting:
            callback(StorageFailed("the log is offline"))

    async def read_from(self, offset: int, max_bytes: int) -> ReadResult:
        buffers: list[bytes | bytearray | memoryview] = []
        size, end = 0, offset
        for batch in self.batches:
            header = parse_header(batch)
            if header.last_offset < offset or header.last_offset >= self.high_watermark:
                continue
            if buffers and size + len(batch) > max_bytes:
                break
            buffers.append(batch)
            size += len(batch)
            end = header.last_offset + 1
        return ReadResult(buffers, size, offset, end)
