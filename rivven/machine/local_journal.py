"""A journal in one local file: the metadata of a single node, sealed when it is given a key.

Driver over the `Files` seam and the directory's committer; the bytes are `journal_frames`' and
`journal_sealing`'s business. One append is one frame, so it is atomic. `durable end` in a frame is the file
position up to which everything was on stable storage when it was written; after each commit an empty frame
(a mark) repeats it. So at the next start an unreadable frame can be judged: if a later frame says that its
bytes were durable they were damaged and the file is refused; if not, it is the torn end of a write nobody was
told about, and is cut (the cut bytes are kept in a side file).

With a key a plain file is read once more and then replaced by a sealed one, unless it must be sealed already.
Without a key a sealed file is refused.

All writing happens on the commit thread, inside commit rounds; the event loop only hands over payloads.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import struct
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from functools import partial

from rivven.log.committer import NOTHING, Committer, SyncPlan
from rivven.log.descriptors import patiently
from rivven.log.files import File, Files
from rivven.log.sealing import FrameRefused
from rivven.log.threads import Threads
from rivven.machine import journal_end, journal_frames
from rivven.machine.journal import JournalCorrupt, JournalFailed
from rivven.machine.journal_frames import (
    FILE_HEADER,
    FRAME,
    MAGIC,
    NO_RECORDS,
    PLAIN_VERSION,
    Form,
    Plain,
    frame,
    frame_at,
    payload_of,
    proof_of_damage,
    records_of,
)
from rivven.machine.journal_sealing import SEALED_VERSION, JournalKey, SealedHeaderRefused
from rivven.machine.state_machine import JournalRecord

_log = logging.getLogger("rivven.machine")

PENDING_BYTES_MAX = 64 * 1024 * 1024
"""Payloads waiting for a commit round; beyond it the disk does not keep up and appends are refused."""

COMPACTION_BYTES_MIN = 4 * 1024 * 1024
"""The file is not rewritten below this size: reading it back takes a few tens of ms."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class LocalJournal:
    """Implements `machine.journal.Journal` and `log.committer.Syncable`. Belongs to the event loop.

    `path` is a file in the directory the committer serves. With a `key` what is written is sealed; with
    `was_sealed` as well it has to be there and sealed: a plain file in its place, or none, is refused.
    """

    def __init__(
        self,
        files: Files,
        path: str,
        committer: Committer,
        threads: Threads,
        key: JournalKey | None = None,
        *,
        was_sealed: bool = False,
    ) -> None:
        self._files = files
        self._path = path
        self._committer = committer
        self._threads = threads
        self._key = key
        self._was_sealed = was_sealed
        self._form: Form = Plain()
        """How the present file stores payloads. Owned by the commit thread after `load`, as is `_end`."""
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
        there = self._files.exists(self._path)
        if not there and self._was_sealed:
            raise JournalCorrupt(f"{self._path}: is missing")
        if not there:
            journal_end.check(self._files, self._path, 0)
            self._form, self._file, self._end = self._write_file(self._path, [])
        else:
            self._file = self._files.open(self._path, "write")
            # After a failed fsync the cache may hold what the disk does not: believe the disk.
            self._file.forget_cached(0)
            data = self._file.read(self._file.size(), 0)
            self._form = self._form_of(data)
            journal_end.check(self._files, self._path, len(data))
            self._end = len(self._form.header)
            payloads: list[bytes] = []
            for payload, end in self._frames(data):
                for record in self._records(payload):
                    yield record
                self._end = end
                if payload != NO_RECORDS:
                    payloads.append(payload)
            journal_end.forget(self._files, self._path)
            if self._key is not None and isinstance(self._form, Plain):
                self._seal_file(payloads)
            else:
                if self._end < len(data):
                    self._cut(data)
                self._file.sync()  # what survived is about to be believed
        self._durable = self._base = self._end

    def _form_of(self, data: bytes) -> Form:
        if data[:4] != MAGIC or len(data) < len(FILE_HEADER):
            raise JournalCorrupt(f"{self._path}: position 0: not a metadata journal")
        version = data[4]
        if version == PLAIN_VERSION:
            if self._was_sealed:
                raise JournalCorrupt(f"{self._path}: is plain, though it was sealed before: was it replaced?")
            return Plain()
        if version != SEALED_VERSION:
            raise JournalCorrupt(
                f"{self._path}: position 4: written in format {version},"
                f" this version reads up to {SEALED_VERSION}"
            )
        if self._key is None:
            raise JournalCorrupt(f"{self._path}: is sealed, and there is no key to open it with")
        try:
            return self._key.form_of(data)
        except (SealedHeaderRefused, FrameRefused) as error:
            raise JournalCorrupt(f"{self._path}: position 0: {error}") from None

    def _frames(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        """Payload and end position of every frame up to the first invalid one."""
        form, position = self._form, self._end
        while position < len(data):
            found = frame_at(data, position)
            if found is None:
                self._refuse_damage(data, position)
                return
            stored, durable = found
            try:
                payload = form.read(stored, position, durable)
            except FrameRefused as error:
                raise JournalCorrupt(f"{self._path}: position {position}: {error}") from None
            position += FRAME.size + len(stored)
            yield payload, position

    def _records(self, payload: bytes) -> list[JournalRecord]:
        try:
            return list(records_of(payload))
        except struct.error as error:
            raise JournalCorrupt(f"{self._path}: position {self._end}: {error}") from error

    def _refuse_damage(self, data: bytes, position: int) -> None:
        """Raise if any later frame knows that the bytes at `position` were durable."""
        later = proof_of_damage(data, position)
        if later is not None:
            raise JournalCorrupt(
                f"{self._path}: position {position}: a committed frame is damaged"
                f" (the frame at {later} proves it was durable)"
            )

    def _seal_file(self, payloads: list[bytes]) -> None:
        """Put a sealed file in the place of a plain one; what was ever cut off a plain one goes too."""
        side = f"{self._path}.cut"
        if self._files.exists(side):  # first: once the file is sealed nothing tells that these bytes are not
            self._files.remove(side)
            self._files.sync_directory(self._directory)
        self._form, self._file, self._end = self._write_file(self._path, payloads)
        _log.warning("%s: was plain, is sealed from now on", self._path)

    def _cut(self, data: bytes) -> None:
        assert self._file is not None
        side = f"{self._path}.cut"
        _log.warning("%s: cut %d unfinished bytes at %d", self._path, len(data) - self._end, self._end)
        self._replace(side, [data[self._end :]])
        self._file.truncate(self._end)

    def _remove_leftover(self) -> None:
        for path in (f"{self._path}.new", f"{self._path}.cut.new", f"{self._path}{journal_end.SUFFIX}.tmp"):
            if self._files.exists(path):
                self._files.remove(path)

    # -- appending -------------------------------------------------------------------------------------------

    def append(self, records: Sequence[JournalRecord]) -> asyncio.Future[None]:
        """See `Journal.append`. Raises JournalFailed when the directory is offline or cannot keep up."""
        if self._failure is not None:
            raise JournalFailed(self._failure.message)
        if self._form.exhausted:
            raise JournalFailed("the journal's key has sealed as often as it may; it is being rewritten")
        payload = payload_of(records)
        if (
            len(payload) > journal_frames.PAYLOAD_BYTES_MAX
            or self._pending_bytes + len(payload) > PENDING_BYTES_MAX
        ):
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
        frames = _framed(self._form, payloads, self._end, self._durable)
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
        mark = _framed(self._form, (NO_RECORDS,), self._end, self._durable)
        try:
            _write_all(self._file, mark, self._end)
            self._end += len(mark)
        except OSError:
            self._file.truncate(self._end)

    # -- compacting ------------------------------------------------------------------------------------------

    @property
    def compaction_due(self) -> bool:
        """Whether the file has grown to twice what the last rewrite left, and is worth the trouble."""
        if self._failure is not None:
            return False
        return self._form.worn or self._end > max(COMPACTION_BYTES_MIN, 2 * self._base)

    async def compact(self, records: Iterable[JournalRecord]) -> None:
        """See `Journal.compact`. A full disk leaves the old file in place; raises JournalFailed otherwise."""
        if self._round or self._pending or self._since is not None:
            raise RuntimeError("compact with appends in flight")
        self._since = []
        payloads: list[bytes] = []
        try:
            for slice_of_records in journal_frames.slices(records):
                payloads.append(payload_of(slice_of_records))
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
            self._form, self._file, self._end = written
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

    def _write_file(self, path: str, payloads: Sequence[bytes]) -> tuple[Form, File, int]:
        """A whole journal file, durable under its name; returns it with its form and its end."""
        form: Form = Plain() if self._key is None else self._key.new_form()
        position = len(form.header)
        frames = _framed(form, payloads, position, 0)
        return form, self._replace(path, (form.header, frames)), position + len(frames)

    def _replace(self, path: str, parts: Sequence[bytes]) -> File:
        """Write beside, sync, rename over, sync the directory: a crash leaves the old file or the new one."""
        temporary = f"{path}.new"
        if self._files.exists(temporary):
            self._files.remove(temporary)
        file = patiently(lambda: self._files.open(temporary, "new"))
        try:
            _write_all(file, b"".join(parts), 0)
            file.sync()
        except OSError:
            self._files.remove(temporary)
            raise
        self._files.rename(temporary, path)
        patiently(lambda: self._files.sync_directory(self._directory))
        return file

    @property
    def _directory(self) -> str:
        return self._path.rpartition("/")[0] or "."

    async def close(self) -> None:
        """Wait for what is pending and for a running compaction, then let go of the file."""
        while self._round or self._pending or self._switching:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle
        if self._failure is None and self._durable:
            self._note_end()
        self._failure = self._failure or JournalFailed("the journal is closed")
        self._file = None

    def _note_end(self) -> None:
        try:
            journal_end.note(self._files, self._path, self._durable)
        except OSError as error:
            _log.warning("%s: its end is not noted, the next start does not check it: %s", self._path, error)

    def _wake_idle(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)


def _framed(form: Form, payloads: Iterable[bytes], position: int, durable_end: int) -> bytes:
    """The frames of payloads that are to follow each other from a position on."""
    parts: list[bytes] = []
    for payload in payloads:
        part = frame(form.store(payload, position, durable_end), durable_end)
        parts.append(part)
        position += len(part)
    return b"".join(parts)


def _write_all(file: File, data: bytes, position: int) -> None:
    """Write everything; a write that makes no progress is ENOSPC."""
    view = memoryview(data)
    while view:
        written = file.write((view,), position)
        if written <= 0:
            raise OSError(errno.ENOSPC, "the write made no progress")
        view = view[written:]
        position += written
