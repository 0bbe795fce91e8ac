"""One partition as the API layer sees it: the log, its high watermark, who waits for it, and append order.

With a single replica the high watermark is what the log calls acknowledgeable: its durable end, or its
written end when the topic relaxes `flush.*` (architecture 2.3). It never moves back while the log is online.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from uuid import UUID

from rivven.errors import PartitionDeleted, RivvenError, StorageFailed
from rivven.log.partition_log import Appended, PartitionLog, ReadResult
from rivven.records.batch import BatchHeader, parse_header
from rivven.replication.waiting import Committed, CommitWaiters, FetchWaiter


class Turn:
    """A place in a partition's append order, held while a batch is opened or recompressed off the loop."""

    __slots__ = ("_action", "_partition")

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self._action: Callable[[], None] | None = None

    def run(self, action: Callable[[], None]) -> None:
        """The off-loop work ended: run `action` (append or report) when everyone before has run."""
        self._action = action
        self._partition._drain_turns()

    @property
    def action(self) -> Callable[[], None] | None:
        return self._action


class Partition:
    """Belongs to the event loop. `topic_name`/`topic_id` never change for one object."""

    __slots__ = (
        "_commit_waiters",
        "_fetch_waiters",
        "_turns",
        "deleted",
        "high_watermark",
        "index",
        "log",
        "offline_listener",
        "topic_id",
        "topic_name",
    )

    def __init__(self, topic_name: str, topic_id: UUID, index: int, log: PartitionLog) -> None:
        self.topic_name = topic_name
        self.topic_id = topic_id
        self.index = index
        self.log = log
        self.high_watermark: int = log.acknowledgeable_end
        self.deleted = False
        self.offline_listener: Callable[[], None] | None = None
        """Called once when the log goes offline: what was said of this partition is stale."""
        self._commit_waiters: CommitWaiters | None = None
        self._fetch_waiters: set[FetchWaiter] | None = None
        self._turns: deque[Turn] | None = None
        log.progress_listener = self._progressed
        log.failure_listener = self._taken_back

    def __repr__(self) -> str:
        return f"Partition({self.topic_name}-{self.index})"

    @property
    def leader_epoch(self) -> int:
        return self.log.leader_epoch

    @property
    def log_start_offset(self) -> int:
        return self.log.log_start_offset

    @property
    def log_end_offset(self) -> int:
        return self.log.log_end_offset

    @property
    def online(self) -> bool:
        return self.log.online and not self.deleted

    def check_online(self) -> None:
        """Raises UNKNOWN_TOPIC_OR_PARTITION after deletion, KAFKA_STORAGE_ERROR while offline."""
        if self.deleted:
            raise PartitionDeleted()
        if not self.log.online:
            raise StorageFailed("the log of this partition is offline")

    # -- appending -------------------------------------------------------------------------------------------

    def append(
        self, batch: memoryview, header: BatchHeader, now_ms: int, *, internal: bool = False
    ) -> Appended:
        """Append one validated batch now; see `PartitionLog.append` for what it raises."""
        return self.log.append(batch, header, now_ms, internal=internal)

    @property
    def has_turns(self) -> bool:
        """Whether somebody holds a place in the append order."""
        return bool(self._turns)

    def in_turn(self, action: Callable[[], None]) -> None:
        """Run an append now, or after those whose batches are still being opened."""
        if not self._turns:
            action()
            return
        turn = Turn(self)
        self._turns.append(turn)
        turn.run(action)

    def take_turn(self) -> Turn:
        """Hold a place in the append order for a batch that needs off-loop work first."""
        if self._turns is None:
            self._turns = deque()
        turn = Turn(self)
        self._turns.append(turn)
        return turn

    def _drain_turns(self) -> None:
        turns = self._turns
        while turns and turns[0].action is not None:
            action = turns.popleft().action
            assert action is not None
            action()

    # -- waiting ---------------------------------------------------------------------------------------------

    def when_committed(self, last_offset: int, callback: Committed) -> None:
        """Call back when `last_offset` is below the high watermark, at once if it already is."""
        if last_offset < self.high_watermark:
            callback(None)
            return
        if not self.online:
            callback(StorageFailed("the log of this partition is offline"))
            return
        if self._commit_waiters is None:
            self._commit_waiters = CommitWaiters()
        self._commit_waiters.add(last_offset, callback)

    def add_fetch_waiter(self, waiter: FetchWaiter) -> None:
        """Wake this fetch at every move of the high watermark until removed."""
        if self._fetch_waiters is None:
            self._fetch_waiters = set()
        self._fetch_waiters.add(waiter)

    def remove_fetch_waiter(self, waiter: FetchWaiter) -> None:
        """Stop waking; unknown waiters are ignored."""
        if self._fetch_waiters is not None:
            self._fetch_waiters.discard(waiter)
            if not self._fetch_waiters:
                self._fetch_waiters = None

    def retire(self) -> None:
        """The topic was deleted: answer everyone and refuse what comes later."""
        self.deleted = True
        self.log.progress_listener = None
        self.log.failure_listener = None
        if self._commit_waiters is not None:
            self._commit_waiters.fail(PartitionDeleted())
        self._wake_fetches()

    def _progressed(self, log: PartitionLog) -> None:
        end = log.acknowledgeable_end
        moved = end > self.high_watermark
        if moved:
            self.high_watermark = end
            if self._commit_waiters:
                self._commit_waiters.committed(end)
        if not log.online and self._commit_waiters:
            self._commit_waiters.fail(StorageFailed("the log of this partition is offline"))
        if not log.online and self.offline_listener is not None:
            self.offline_listener()
        if moved or not log.online:
            self._wake_fetches()

    def _taken_back(self, _log: PartitionLog, from_offset: int, error: RivvenError) -> None:
        """Appends that had returned could not be written: their offsets will be given to others."""
        if self._commit_waiters:
            self._commit_waiters.fail(error, from_offset)

    def _wake_fetches(self) -> None:
        if self._fetch_waiters:
            for waiter in tuple(self._fetch_waiters):
                waiter.wake(self)

    # -- the coordinator's view (PartitionStore) -------------------------------------------------------------

    def append_internal(self, batch: bytearray, now_ms: int) -> int:
        """Append a batch the broker itself built (group state); returns its last offset."""
        view = memoryview(batch)
        return self.append(view, parse_header(view), now_ms, internal=True).last_offset

    async def wait_committed(self, last_offset: int) -> None:
        """Wait until `last_offset` is below the high watermark; raises RivvenError if it never will be."""
        future = asyncio.get_running_loop().create_future()

        def done(error: RivvenError | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        self.when_committed(last_offset, done)
        await future

    async def read_from(self, offset: int, max_bytes: int) -> ReadResult:
        """Committed batches from `offset`, cold reads allowed."""
        return await self.log.read_cold(offset, max_bytes, self.high_watermark, at_least_one=True)
