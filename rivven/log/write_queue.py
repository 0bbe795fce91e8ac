"""Batches that have their offsets but are not yet in the file: written in order, on the loop or on the writer
thread.

A file is not written on the loop while it is being synced: such a write has been seen to stall for 126 ms.
Small batches then wait for the end of the round, which the next round would wait for anyway; large amounts go
to the writer thread, whose copying runs beside the loop. A write that fails is cut back to the last whole
batch. A batch of a sealed segment is sealed on the loop, right before it is written or given to the writer
thread: sealing keeps the interpreter, and two threads that take turns with it wake each other for each batch.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from rivven.log.file_cache import FileCache
from rivven.log.files import VECTORS_MAX, Buffer, File
from rivven.log.frame_buffers import FrameBuffers
from rivven.log.host import Host
from rivven.log.producers import ProducerEntry
from rivven.log.sealing import SEGMENT_HEADER_BYTES, new_nonces, seal_into
from rivven.log.segment import Segment


class Queued:
    """A batch in the queue, with what is needed to take it back."""

    __slots__ = (
        "_stored",
        "buffer",
        "file",
        "next_offset",
        "old_entry",
        "plain",
        "position",
        "producer_id",
        "record_count",
        "seal",
        "segment",
        "segment_before",
        "size",
    )

    def __init__(self, buffer: memoryview, segment: Segment, size: int, next_offset: int) -> None:
        self.buffer = buffer
        self.segment = segment
        self.seal = segment.seal
        """Kept here: the segment may be taken back and begun anew before this is written."""
        self.plain: list[Buffer] = []
        """The batch as buffers of their own, once it was sealed."""
        self._stored: memoryview | None = None
        self.file: File | None = None
        """Where it was written; nothing stays open for a batch that waits."""
        self.position = segment.end_position
        self.size = size
        """In the file: with its frame, and with the segment's header in front of the first."""
        self.next_offset = next_offset
        self.record_count = 0
        self.producer_id = -1
        self.old_entry: ProducerEntry | None = None
        self.segment_before = (-1, -1, 0)
        """The segment's largest timestamp, its offset, and unindexed bytes before this batch."""

    @property
    def stored(self) -> Buffer:
        """What goes into the file, once it is sealed."""
        return self.buffer if self._stored is None else self._stored

    @property
    def unsealed(self) -> bool:
        """Whether it has to be sealed before it is written."""
        return self.seal is not None and self._stored is None

    def seal_with(self, frames: FrameBuffers, nonce: bytes) -> None:
        """Right before it is written."""
        assert self.seal is not None
        header, sealer = self.seal
        stored = frames.take(self.size)
        if self.position == 0:
            stored[:SEGMENT_HEADER_BYTES] = header.encode()
        frame = stored if self.position else stored[SEGMENT_HEADER_BYTES:]
        position = self.position or SEGMENT_HEADER_BYTES
        self.plain = seal_into(sealer, header, position, self.buffer, frame, nonce)
        self._stored = stored

    def written(self, frames: FrameBuffers) -> None:
        """It is in the file; the sealed copy is not needed any more."""
        if self._stored is not None:
            frames.give_back(self._stored)
            self._stored = None


SEALED_BYTES_MAX = 1 << 20
"""Sealed before they are written together: the sealed copies are memory that no request was budgeted for."""

SEALED_AHEAD_BYTES_MAX = 4 << 20
"""The same of a whole directory while the writer thread has something else to do, 2 ms of the loop; beyond it
the thread seals."""


class WriteFailed(Exception):
    """Some of the batches could not be written. `whole` of them are in the file, which ends after the last
    one.

    `fatal`: the file could not be cut back, or the disk refused for another reason than space.
    """

    def __init__(self, error: OSError, whole: int, fatal: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.whole = whole
        self.fatal = fatal


_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE})
"""Lack of space or descriptors: the disk is sound."""


def write_all(cache: FileCache, frames: FrameBuffers, batches: Sequence[Queued]) -> None:
    """Write batches in order. Raises WriteFailed; then everything from `whole` on is not in any file."""
    done = 0
    while done < len(batches):
        group = _together(batches, done)
        try:
            file = cache.get(group[0].segment.data)
        except OSError as error:
            raise WriteFailed(error, done, error.errno not in _PASSING) from error
        for batch in group:
            batch.file = file
        _write_group(file, frames, group, done)
        for batch in group:
            batch.written(frames)
        done += len(group)


def write_one(file: File, frames: FrameBuffers, batch: Queued) -> None:
    """Write one batch. Raises WriteFailed."""
    _seal([batch], frames)
    try:
        written = file.write((batch.stored,), batch.position)
    except OSError as error:
        raise _cut_back(file, batch.position, error, 0) from error
    if written != batch.size:
        _finish(file, [batch], written, 0)
    batch.written(frames)


def _together(batches: Sequence[Queued], start: int) -> list[Queued]:
    """Batches from `start` that follow each other in one file, as many as one call takes."""
    group = [batches[start]]
    sealed_bytes = group[0].size
    for batch in batches[start + 1 : start + VECTORS_MAX]:
        sealed_bytes += batch.size
        if batch.segment is not group[0].segment or (batch.seal and sealed_bytes > SEALED_BYTES_MAX):
            break
        group.append(batch)
    return group


def _write_group(file: File, frames: FrameBuffers, group: list[Queued], done: int) -> None:
    size = sum(batch.size for batch in group)
    _seal(group, frames)
    try:
        written = file.write([batch.stored for batch in group], group[0].position)
    except OSError as error:
        raise _cut_back(file, group[0].position, error, done) from error
    if written != size:
        _finish(file, group, written, done)


def _seal(group: Sequence[Queued], frames: FrameBuffers) -> None:
    unsealed = [batch for batch in group if batch.unsealed]
    if unsealed:
        for batch, nonce in zip(unsealed, new_nonces(len(unsealed)), strict=True):
            batch.seal_with(frames, nonce)


def _finish(file: File, group: list[Queued], written: int, done: int) -> None:
    """The write was short: go on with the rest. Every turn writes a byte at least, or fails."""
    start = group[0].position
    rest = memoryview(b"".join(batch.stored for batch in group))
    while written < len(rest):
        try:
            more = file.write((rest[written:],), start + written)
            if more <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            whole, position = _whole_batches(group, written)
            raise _cut_back(file, position, error, done + whole) from error
        written += more


def _whole_batches(group: list[Queued], written: int) -> tuple[int, int]:
    whole = 0
    position = group[0].position
    end = position + written
    for batch in group:
        if batch.position + batch.size > end:
            break
        whole += 1
        position = batch.position + batch.size
    return whole, position


def _cut_back(file: File, position: int, error: OSError, whole: int) -> WriteFailed:
    fatal = error.errno not in _PASSING
    try:
        file.truncate(position)
    except OSError:
        fatal = True
    return WriteFailed(error, whole, fatal)


class QueueOwner(Protocol):
    """Whose batches these are. All called on the loop."""

    @property
    def disturbed(self) -> bool:
        """Whether a sync that runs would stall a write."""
        ...

    def batches_written(self, batches: Sequence[Queued]) -> None: ...

    def batches_failed(self, batches: Sequence[Queued], failure: WriteFailed) -> None:
        """These are in no file, and nothing after them is: the queue is empty."""
        ...


class WriteQueue:
    """One partition's queue. Its bytes are those of requests in flight, whose memory is budgeted."""

    __slots__ = ("_host", "_in_flight", "_owner", "_waiting", "_waiting_bytes", "_waits_for_round")

    def __init__(self, host: Host, owner: QueueOwner) -> None:
        self._host = host
        self._owner = owner
        self._waiting: deque[Queued] = deque()
        self._waiting_bytes = 0
        self._in_flight = False
        self._waits_for_round = False

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is being written: the next batch may be written at once."""
        return not self._in_flight and not self._waiting

    def put(self, batch: Queued) -> None:
        """Write after everything put before."""
        self._waiting.append(batch)
        self._waiting_bytes += batch.size
        self._dispatch()

    def _dispatch(self) -> None:
        if self._in_flight or not self._waiting:
            return
        if self._host.slow or self._waiting_bytes >= self._host.limits.thread_write_bytes:
            self._submit()
        elif not self._owner.disturbed:
            self._write_here()
        elif not self._waits_for_round:
            self._waits_for_round = True
            self._host.committer.after_round(self._round_ended)

    def _round_ended(self) -> None:
        self._waits_for_round = False
        self._dispatch()

    def _take(self) -> list[Queued]:
        batches = list(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        return batches

    def _write_here(self) -> None:
        batches = self._take()
        started = self._host.clock.monotonic()
        failure = _attempt(self._host, batches)
        self._host.wrote(self._host.clock.monotonic() - started)
        self._ended(batches, failure)

    def _submit(self) -> None:
        ahead = self._seal_ahead()
        batches = self._take()
        self._in_flight = True

        def job() -> None:
            failure = _attempt(self._host, batches)
            self._host.threads.post(lambda: self._job_ended(batches, failure, ahead))

        self._host.writer.submit(job)

    def _seal_ahead(self) -> int:
        """Seal as many of the waiting batches as the directory has room for; bytes of these."""
        room = SEALED_AHEAD_BYTES_MAX - self._host.sealed_ahead_bytes
        ahead = 0
        sealing: list[Queued] = []
        for batch in self._waiting:
            if batch.seal is not None:
                if ahead + batch.size > room:
                    break
                ahead += batch.size
                sealing.append(batch)
        _seal(sealing, self._host.frames)
        self._host.sealed_ahead_bytes += ahead
        return ahead

    def _job_ended(self, batches: list[Queued], failure: WriteFailed | None, ahead: int) -> None:
        self._in_flight = False
        self._host.sealed_ahead_bytes -= ahead
        self._ended(batches, failure)
        self._dispatch()

    def _ended(self, batches: list[Queued], failure: WriteFailed | None) -> None:
        whole = len(batches) if failure is None else failure.whole
        if whole:
            self._owner.batches_written(batches[:whole])
        if failure is not None:
            self._owner.batches_failed(batches[whole:] + self._take(), failure)


def _attempt(host: Host, batches: Sequence[Queued]) -> WriteFailed | None:
    try:
        write_all(host.cache, host.frames, batches)
    except WriteFailed as failure:
        return failure
    return None
