"""Which leader epoch wrote which part of a log, and the answers OffsetForLeaderEpoch needs (KIP-101,
KIP-320).

Pure. An entry (epoch, start offset) says that batches from that offset on carry that epoch, until the next
entry.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from struct import Struct

EPOCHS_MAGIC = b"RVLE"
EPOCHS_VERSION = 1
UNKNOWN = (-1, -1)

_entry = Struct(">iq")


class LeaderEpochs:
    """Ascending epochs with strictly ascending start offsets. Never empty: a log begins with epoch 0 at 0."""

    __slots__ = ("_epochs", "_starts")

    def __init__(self, entries: Iterable[tuple[int, int]] = ((0, 0),)) -> None:
        self._epochs: list[int] = []
        self._starts: list[int] = []
        for epoch, start in entries:
            self.assign(epoch, start)
        if not self._epochs:
            self.assign(0, 0)

    @property
    def entries(self) -> list[tuple[int, int]]:
        return list(zip(self._epochs, self._starts, strict=True))

    @property
    def current(self) -> int:
        return self._epochs[-1]

    def assign(self, epoch: int, start_offset: int) -> None:
        """From `start_offset` on the epoch is `epoch`. Epochs that wrote nothing give way; going back is an
        error."""
        if self._epochs and epoch <= self._epochs[-1]:
            if epoch == self._epochs[-1]:
                return
            raise ValueError(f"leader epoch {epoch} after {self._epochs[-1]}")
        while self._starts and self._starts[-1] >= start_offset:
            self._starts.pop()
            self._epochs.pop()
        self._epochs.append(epoch)
        self._starts.append(start_offset)

    def cut_start(self, log_start_offset: int) -> None:
        """The log begins later now: entries wholly below go, the one that covers the start moves up."""
        index = bisect_right(self._starts, log_start_offset) - 1
        if index > 0:
            del self._starts[:index]
            del self._epochs[:index]
        if index >= 0:
            self._starts[0] = log_start_offset

    def cut_end(self, log_end_offset: int) -> None:
        """The log ends earlier now: epochs that begin at or after the end go, but the first stays."""
        while len(self._starts) > 1 and self._starts[-1] >= log_end_offset:
            self._starts.pop()
            self._epochs.pop()

    def epoch_for(self, offset: int) -> int:
        """The epoch a batch at `offset` carries (the first one for offsets before it)."""
        return self._epochs[max(0, bisect_right(self._starts, offset) - 1)]

    def end_offset(self, epoch: int, log_end_offset: int) -> tuple[int, int]:
        """(largest epoch <= `epoch`, where it ended), (-1, -1) when unknown here; kafka:
        OffsetForLeaderEpoch."""
        if epoch == self._epochs[-1]:
            return epoch, log_end_offset
        if epoch < 0 or epoch > self._epochs[-1]:
            return UNKNOWN
        index = bisect_right(self._epochs, epoch)
        if index == 0:
            return epoch, self._starts[0]
        return self._epochs[index - 1], self._starts[index]

    def encode(self) -> bytes:
        """The payload of the epoch file: (epoch i32, start offset i64) ascending."""
        return b"".join(_entry.pack(epoch, start) for epoch, start in self.entries)


def decode_epochs(payload: bytes) -> LeaderEpochs:
    """From the payload of an epoch file; raises ValueError when it is not one."""
    if len(payload) % _entry.size:
        raise ValueError("an epoch entry is cut")
    return LeaderEpochs(tuple(_entry.iter_unpack(payload)))
