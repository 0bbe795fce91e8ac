"""A journal in one local file: the metadata of a single node.

Driver over the `Files` seam and the directory's committer; it knows frames and records, not what they mean.

    file    | "RVNJ" (4) | format version u8 | 0 0 0 | frame | frame | ...
    frame   | payload length u32 | crc u32 | durable end u64 | payload |                 big-endian
    payload | record count u32 | per record: key length i32 (-1 null), key, value length i32, value |

The CRC-32C covers length, durable end and payload. One append is one frame, so it is atomic. `durable end` is
the file position up to which everything was on stable storage when the frame was written; after each commit
an empty frame (a mark) repeats it. So at the next start an unreadable frame can be judged: if a later frame
says that its bytes were durable they were damaged and the file is refused; if not, it is the torn end of a
write nobody was told about, and is cut (the cut bytes are kept in a side file).

All writing happens on the commit thread, inside commit rounds; the event loop only hands over payloads.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import struct
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from functools import partial

from crc32c import crc32c

from rivven.log.committer import NOTHING, Committer, SyncPlan
from rivven.log.files import File, Files
from rivven.log.threads import Threads
from rivven.machine.journal import JournalCorrupt, JournalFailed
from rivven.machine.state_machine import JournalRecord

_log = logging.getLogger("rivven.machine")

MAGIC = b"RVNJ"
FORMAT_VERSION = 1
FILE_HEADER = MAGIC + bytes((FORMAT_VERSION, 0, 0, 0))

PAYLOAD_BYTES_MAX = 16 * 1024 * 1024
"""Largest frame: an append larger than this is refused, a longer length in the file is damage."""

PENDING_BYTES_MAX = 64 * 1024 * 1024
"""Payloads waiting for a commit round; beyond it the disk does not keep up and appends are refused."""

COMPACTION_BYTES_MIN = 4 * 1024 * 1024
"""The file is not rewritten below this size: reading it back takes a few tens of ms."""

SNAPSHOT_SLICE = 200
"""Records encoded per turn of the event loop, and per frame, when the journal is rewritten (about 1 ms)."""

_FRAME = struct.Struct(">IIQ")
_LENGTH = struct.Struct(">i")
_COUNT = struct.Struct(">I")
_NO_RECORDS = _COUNT.pack(0)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class LocalJournal:
    """Implements `machine.journal.Journal` and `log.committer.Syncable`. Belongs to the event loop.

    `path` is a file in the directory the committer serves.
    """

    def __init__(self, files: Files, path: str, committer: Committer, threads: Threads) -> None:
        self._files = files
        self._path = path
        self._committer = committer
        self._threads = threads
        self._file: File | None = None
        self._end = 0
        """Where the next frame goes. Owned by the commit thread after `load`."""
        self._durable = 0
        self._base = 0
        self._pending: list[tuple[bytes, asyncio.Future[None]]] = []
        self._pending_bytes = 0
        self._round: list[asyncio.Future[None]] = []
        self._round_error: OSError | None = None
        """Set on the commit thread when a round's frames were cut back; read on the loop at the round's end.
        """
        self._failure: JournalFailed | None = None
        self._since: list[bytes] | None = None
        """While compacting: payloads written to the old file, in order. Filled on the commit thread."""
        self._switching = False
        self._idle: asyncio.Future[None] | None = None

    # -- opening ---------------------------------------------------------------------------------------------

    async def load(self) -> AsyncIterator[JournalRecord]:
        """All records. Raises JournalCorrupt (file, position, reason) or OSError."""
        self._remove_leftover()
        if not self._files.exists(self._path):
            self._file, self._end = self._write_file(self._path, [])
        else:
            self._file = self._files.open(self._path, "write")
            # After a failed fsync the cache may hold what the disk does not: believe the disk.
            self._file.forget_cached(0)
            data = self._file.read(self._file.size(), 0)
            self._check_header(data)
            self._end = len(FILE_HEADER)
            for payload, end in self._frames(data):
                for record in self._records(payload):
                    yield record
                self._end = end
            if self._end < len(data):
                self._cut(data)
            self._file.sync()  # what survived is about to be believed
        self._durable = self._base = self._end

    def _check_header(self, data: bytes) -> None:
        if data[:4] != MAGIC or len(data) < len(FILE_HEADER):
            raise JournalCorrupt(f"{self._path}: position 0: not a metadata journal")
        if data[4] != FORMAT_VERSION:
            raise JournalCorrupt(
                f"{self._path}: written in format {data[4]}, this version reads {FORMAT_VERSION}"
            )

    def _frames(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        """Payload and end position of every frame up to the first invalid one."""
        position = len(FILE_HEADER)
        while position < len(data):
            payload = _frame_at(data, position)
            if payload is None:
                self._refuse_damage(data, position)
                return
            position += _FRAME.size + len(payload)
            yield payload, position

    def _records(self, payload: bytes) -> list[JournalRecord]:
        try:
            return list(_records(payload))
        except struct.error as error:
            raise JournalCorrupt(f"{self._path}: position {self._end}: {error}") from error

    def _refuse_damage(self, data: bytes, position: int) -> None:
        """Raise if any later frame knows that the bytes at `position` were durable."""
        for later in range(position + 1, len(data) - _FRAME.size + 1):
            _, _, durable = _FRAME.unpack_from(data, later)
            if position < durable <= later and _frame_at(data, later) is not None:
                raise JournalCorrupt(
                    f"{self._path}: position {position}: a committed frame is damaged"
                    f" (the frame at {later} proves it was durable)"
                )

    def _cut(self, data: bytes) -> None:
        assert self._file is not None
        side = f"{self._path}.cut"
        _log.warning("%s: cut %d unfinished bytes at %d", self._path, len(data) - self._end, self._end)
        self._replace(side, [data[self._end :]])
        self._file.truncate(self._end)

    def _remove_leftover(self) -> None:
        for path in (f"{self._path}.new", f"{self._path}.cut.new"):
            if self._files.exists(path):
                self._files.remove(path)

    # -- appending -------------------------------------------------------------------------------------------

    def append(self, records: Sequence[JournalRecord]) -> asyncio.Future[None]:
        """See `Journal.append`. Raises JournalFailed when the directory is offline or cannot keep up."""
        if self._failure is not None:
            raise JournalFailed(self._failure.message)
        payload = _payload(records)
        if len(payload) > PAYLOAD_BYTES_MAX or self._pending_bytes + len(payload) > PENDING_BYTES_MAX:
            raise JournalFailed("the change is too large for the journal")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((payload, future))
        self._pending_bytes += len(payload)
        if not self._switching:
            self._committer.mark_dirty(self)
        return future

    def begin_sync(self) -> SyncPlan:
        """A commit round takes over what is pending."""
        if self._switching or not self._pending:
            return NOTHING
        payloads = [payload for payload, _ in self._pending]
        self._round = [future for _, future in self._pending]
        self._pending = []
        self._pending_bytes = 0
        return SyncPlan(jobs=(partial(self._write_round, payloads),))

    def synced(self) -> None:
        """The round ended: its appends are durable, or were cut back because the disk is full."""
        error, self._round_error = self._round_error, None
        futures, self._round = self._round, []
        if error is None:
            for future in futures:
                if not future.done():
                    future.set_result(None)
        else:
            # Appends made since the round began rest on what was lost: they fail with it.
            futures += [future for _, future in self._pending]
            self._pending = []
            self._pending_bytes = 0
            self._fail(futures, JournalFailed(f"the journal could not be written: {error.strerror}"))
        self._wake_idle()

    def sync_failed(self, error: OSError) -> None:
        """The directory is offline: nothing more will be journaled until the next start."""
        self._failure = JournalFailed("the log directory is offline")
        futures = [*self._round, *(future for _, future in self._pending)]
        self._round, self._pending, self._pending_bytes = [], [], 0
        _log.error("%s: %s", self._path, error)
        self._fail(futures, self._failure)
        self._wake_idle()

    @staticmethod
    def _fail(futures: Iterable[asyncio.Future[None]], error: JournalFailed) -> None:
        for future in futures:
            if not future.done():
                future.set_exception(error)

    def _write_round(self, payloads: Sequence[bytes]) -> None:
        """On the commit thread: write, sync, mark. A full disk is cut back and reported; all else raises."""
        assert self._file is not None
        frames = b"".join(_frame(payload, self._durable) for payload in payloads)
        try:
            _write_all(self._file, frames, self._end)
        except OSError as error:
            self._file.truncate(self._end)
            if error.errno not in _FULL:
                raise
            self._file.sync()  # a frame that is reported as failed must not come back after a power failure
            self._round_error = error
            return
        self._file.sync()
        self._end += len(frames)
        self._durable = self._end
        since = self._since
        if since is not None:
            since.extend(payloads)
        self._write_mark()

    def _write_mark(self) -> None:
        """Say what is durable in a frame that itself need not be: evidence for the next start."""
        assert self._file is not None
        mark = _frame(_NO_RECORDS, self._durable)
        try:
            _write_all(self._file, mark, self._end)
            self._end += len(mark)
        except OSError:
            self._file.truncate(self._end)

    # -- compacting ------------------------------------------------------------------------------------------

    @property
    def compaction_due(self) -> bool:
        """Whether the file has grown to twice what the last rewrite left, and is worth the trouble."""
        return self._failure is None and self._end > max(COMPACTION_BYTES_MIN, 2 * self._base)

    async def compact(self, records: Iterable[JournalRecord]) -> None:
        """See `Journal.compact`. A full disk leaves the old file in place; raises JournalFailed otherwise."""
        if self._round or self._pending or self._since is not None:
            raise RuntimeError("compact with appends in flight")
        self._since = []
        payloads: list[bytes] = []
        try:
            for slice_of_records in _slices(records):
                payloads.append(_payload(slice_of_records))
                await asyncio.sleep(0)
            if self._failure is not None:
                return
            self._switching = True  # from here on appends wait for the new file
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._committer.run(partial(self._switch, payloads, done))
            await asyncio.shield(done)
        finally:
            if not self._switching:
                self._since = None

    def _switch(self, payloads: list[bytes], done: asyncio.Future[None]) -> None:
        """On the commit thread, between rounds: write the new file and put it in the old one's place."""
        assert self._since is not None
        fatal: OSError | None = None
        try:
            written = self._write_file(self._path, payloads + self._since)
        except OSError as error:
            fatal = None if error.errno in _FULL else error
            _log.warning("%s: not rewritten: %s", self._path, error)
        else:
            self._file, self._end = written
            self._durable = self._end
        self._threads.post(partial(self._switched, fatal, done))

    def _switched(self, fatal: OSError | None, done: asyncio.Future[None]) -> None:
        self._base = self._end
        self._since = None
        self._switching = False
        if fatal is not None:
            self._committer.fail(fatal)
            self.sync_failed(fatal)
        elif self._pending:
            self._committer.mark_dirty(self)
        if not done.done():
            done.set_result(None)
        self._wake_idle()

    # -- files -----------------------------------------------------------------------------------------------

    def _write_file(self, path: str, payloads: Sequence[bytes]) -> tuple[File, int]:
        """A whole journal file, durable under its name; returns it with its end."""
        position = len(FILE_HEADER)
        parts = [FILE_HEADER]
        for payload in payloads:
            frame = _frame(payload, 0)
            parts.append(frame)
            position += len(frame)
        return self._replace(path, parts), position

    def _replace(self, path: str, parts: Sequence[bytes]) -> File:
        """Write beside, sync, rename over, sync the directory: a crash leaves the old file or the new one."""
        temporary = f"{path}.new"
        if self._files.exists(temporary):
            self._files.remove(temporary)
        file = self._files.open(temporary, "new")
        try:
            _write_all(file, b"".join(parts), 0)
            file.sync()
        except OSError:
            self._files.remove(temporary)
            raise
        self._files.rename(temporary, path)
        self._files.sync_directory(path.rpartition("/")[0] or ".")
        return file

    async def close(self) -> None:
        """Wait for what is pending and for a running compaction, then let go of the file."""
        while self._round or self._pending or self._switching:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle
        self._failure = self._failure or JournalFailed("the journal is closed")
        self._file = None

    def _wake_idle(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)


# -- bytes ---------------------------------------------------------------------------------------------------


def _payload(records: Sequence[JournalRecord]) -> bytes:
    parts = [_COUNT.pack(len(records))]
    for record in records:
        for field in record:
            if field is None:
                parts.append(_LENGTH.pack(-1))
            else:
                parts += (_LENGTH.pack(len(field)), field)
    return b"".join(parts)


def _records(payload: bytes) -> Iterator[JournalRecord]:
    """The records of a payload whose CRC is right; struct.error for a wrong shape, which only we write."""
    (count,) = _COUNT.unpack_from(payload, 0)
    position = _COUNT.size
    for _ in range(count):
        key, position = _field(payload, position)
        value, position = _field(payload, position)
        yield JournalRecord(key, value)


def _field(payload: bytes, position: int) -> tuple[bytes | None, int]:
    (length,) = _LENGTH.unpack_from(payload, position)
    position += _LENGTH.size
    if length < 0:
        return None, position
    return payload[position : position + length], position + length


def _frame(payload: bytes, durable_end: int) -> bytes:
    crc = _crc(payload, durable_end)
    return _FRAME.pack(len(payload), crc, durable_end) + payload


def _crc(payload: bytes, durable_end: int) -> int:
    return int(crc32c(payload, crc32c(struct.pack(">IQ", len(payload), durable_end))))


def _frame_at(data: bytes, position: int) -> bytes | None:
    """The payload of the frame at a position, None if there is no valid one."""
    if position + _FRAME.size > len(data):
        return None
    length, crc, durable = _FRAME.unpack_from(data, position)
    start = position + _FRAME.size
    if length > PAYLOAD_BYTES_MAX or start + length > len(data) or durable > position:
        return None
    payload = data[start : start + length]
    return payload if _crc(payload, durable) == crc else None


def _write_all(file: File, data: bytes, position: int) -> None:
    """Write everything; a write that makes no progress is ENOSPC."""
    view = memoryview(data)
    while view:
        written = file.write((view,), position)
        if written <= 0:
            raise OSError(errno.ENOSPC, "the write made no progress")
        view = view[written:]
        position += written


def _slices(records: Iterable[JournalRecord]) -> Iterator[list[JournalRecord]]:
    part: list[JournalRecord] = []
    for record in records:
        part.append(record)
        if len(part) == SNAPSHOT_SLICE:
            yield part
            part = []
    if part:
        yield part
