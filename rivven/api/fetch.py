"""Fetch (key 1): whole batches below the high watermark, long polling, KIP-74 limits.

A parked fetch is registered with its partitions before they are looked at and counts what is there by
position;
records are read only once the answer is due. Sessions (KIP-227) are not built: every answer says session 0,
upon which all clients send full requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rivven.api.context import RequestContext
from rivven.api.memory import MemoryBudget
from rivven.api.rules import Split, keep_list, list_items
from rivven.errors import ErrorCode, OffsetOutOfRange, RivvenError, UnknownTopicOrPartition
from rivven.protocol import messages as m
from rivven.replication.partition import Partition
from rivven.replication.replicas import Replicas
from rivven.replication.waiting import FetchWaiter
from rivven.types import Operation, ResourceType

_Data = m.FetchResponse.PartitionData
_Topic = m.FetchResponse.FetchableTopicResponse
_EpochEnd = m.FetchResponse.EpochEndOffset

READ_COMMITTED = 1

TURN_BYTES = 1 << 20
"""Page-cached bytes read in one turn of the loop: about 0.3 ms of copying, so others are not held up."""

MAX_WAIT_MS = 5 * 60 * 1000
"""No fetch parks longer than this whatever it asks for: a dead peer's request must end some day."""


def _deny(response: Any, item: Any, _version: int, code: ErrorCode) -> None:
    entries = [_failed(partition.partition, code) for partition in item.partitions]
    response.responses.append(_Topic(topic=item.topic, partitions=entries))


def _failed(index: int, code: ErrorCode) -> Any:
    return _Data(partition_index=index, error_code=code, high_watermark=-1, records=b"")


FETCH_RULES = (
    Split(
        Operation.READ,
        ResourceType.TOPIC,
        items=list_items("topics", "topic"),
        keep=keep_list("topics"),
        deny=_deny,
    ),
)


class _Wanted:
    """One readable partition of a fetch."""

    __slots__ = ("available", "entry", "max_bytes", "offset", "partition")

    def __init__(self, partition: Partition, offset: int, max_bytes: int, entry: Any) -> None:
        self.partition = partition
        self.offset = offset
        self.max_bytes = max_bytes
        self.entry = entry
        self.available = 0
        """Bytes below the high watermark when it was last looked at, up to min_bytes."""

    @property
    def must_answer(self) -> bool:
        """The partition failed, or lost the offset meanwhile: there is nothing to wait for."""
        return not self.partition.online or self.offset < self.partition.log_start_offset

    def look(self, cap: int) -> int:
        """How many bytes more there are than at the last look."""
        partition, before = self.partition, self.available
        self.available = partition.log.bytes_available(self.offset, partition.high_watermark, cap)
        return self.available - before


class FetchHandler:
    """Handles Fetch 4-12."""

    def __init__(
        self,
        replicas: Replicas,
        budget: MemoryBudget,
        fetch_bytes_max: int,
        fetched: Callable[[int], None],
    ) -> None:
        self._fetched = fetched
        self._replicas = replicas
        self._budget = budget
        self._fetch_bytes_max = fetch_bytes_max

    async def fetch(self, context: RequestContext, request: Any) -> Any:
        """Answer when min_bytes are there, something is wrong, or max_wait_ms passed."""
        response = m.FetchResponse()
        if request.session_id != 0:
            response.error_code = ErrorCode.FETCH_SESSION_ID_NOT_FOUND
            return response
        if request.session_epoch > 0:
            response.error_code = ErrorCode.INVALID_FETCH_SESSION_EPOCH
            return response
        wanted, answer_now = self._resolve(request, response)
        if (
            wanted
            and not answer_now
            and request.max_wait_ms > 0
            and await self._wait_for_bytes(wanted, request)
        ):
            wanted = _still_allowed(context, wanted)
        await self._read(context, request, wanted)
        return response

    def _resolve(self, request: Any, response: Any) -> tuple[list[_Wanted], bool]:
        """Build every entry; returns the readable ones and whether something must be said at once."""
        wanted: list[_Wanted] = []
        answer_now = False
        committed_only = request.isolation_level == READ_COMMITTED
        for topic in request.topics:
            entries: list[Any] = []
            response.responses.append(_Topic(topic=topic.topic, partitions=entries))
            for asked in topic.partitions:
                try:
                    partition = self._check(topic.topic, asked)
                except RivvenError as error:
                    entries.append(_failed(asked.partition, error.code))
                    answer_now = True
                    continue
                entry = _Data(partition_index=asked.partition, records=b"")
                entry.aborted_transactions = [] if committed_only else None
                entries.append(entry)
                if self._diverges(partition, asked, entry):
                    answer_now = True
                    continue
                if not partition.log_start_offset <= asked.fetch_offset <= partition.high_watermark:
                    entry.error_code = ErrorCode.OFFSET_OUT_OF_RANGE
                    _fill_ends(entry, partition)
                    answer_now = True
                    continue
                wanted.append(_Wanted(partition, asked.fetch_offset, asked.partition_max_bytes, entry))
        return wanted, answer_now

    def _check(self, topic: str, asked: Any) -> Partition:
        partition = self._replicas.partition(topic, asked.partition)
        if partition is None:
            raise UnknownTopicOrPartition()
        partition.check_online()
        check_leader_epoch(partition, asked.current_leader_epoch)
        return partition

    @staticmethod
    def _diverges(partition: Partition, asked: Any, entry: Any) -> bool:
        """KIP-595 truncation detection for clients that say which epoch they last read (v12+)."""
        if asked.last_fetched_epoch < 0:
            return False
        epoch, end_offset = partition.log.epoch_end_offset(asked.last_fetched_epoch)
        if epoch < 0 or (epoch >= asked.last_fetched_epoch and end_offset >= asked.fetch_offset):
            return False
        entry.diverging_epoch = _EpochEnd(epoch=epoch, end_offset=end_offset)
        _fill_ends(entry, partition)
        return True

    async def _wait_for_bytes(self, wanted: list[_Wanted], request: Any) -> bool:
        """Park until min_bytes are below the high watermarks, a partition fails, or time is up; returns
        whether it had to."""
        min_bytes = min(request.min_bytes, request.max_bytes, self._fetch_bytes_max)
        if min_bytes <= 0:
            return False
        loop = asyncio.get_running_loop()
        waiter = FetchWaiter()
        for want in wanted:
            want.partition.add_fetch_waiter(waiter)
        timer: asyncio.TimerHandle | None = None
        timed_out = False

        def time_out() -> None:
            nonlocal timed_out
            timed_out = True
            waiter.wake()

        by_partition: dict[object, list[_Wanted]] = {}
        for want in wanted:
            by_partition.setdefault(want.partition, []).append(want)
        total = 0
        look_at = wanted
        try:
            while not timed_out:
                moved = waiter.arm()
                for want in look_at:
                    if want.must_answer:
                        return timer is not None
                    total += want.look(min_bytes)
                if total >= min_bytes:
                    return timer is not None
                if timer is None:
                    timer = loop.call_later(min(request.max_wait_ms, MAX_WAIT_MS) / 1000, time_out)
                await moved
                look_at = [want for part in waiter.take_moved() for want in by_partition[part]]
            return True
        finally:
            if timer is not None:
                timer.cancel()
            for want in wanted:
                want.partition.remove_fetch_waiter(waiter)

    async def _read(self, context: RequestContext, request: Any, wanted: list[_Wanted]) -> None:
        """Read in request order within the request's, the broker's and the memory budget's limits."""
        limit = min(request.max_bytes, self._fetch_bytes_max)
        if not wanted:
            return
        available = 0
        for want in wanted:
            partition = want.partition
            available += partition.log.bytes_available(
                want.offset, partition.high_watermark, min(want.max_bytes, limit)
            )
        largest = max(want.partition.log.config.max_message_bytes for want in wanted)
        lease = context.lease = self._budget.take_share(max(min(limit, available), 1), largest)
        left = min(limit, lease.granted)
        used = 0
        for want in wanted:
            size = await self._read_one(want, left, at_least_one=used == 0)
            used += size
            left = max(left - size, 0)
        lease.settle(used)
        self._fetched(used)

    async def _read_one(self, want: _Wanted, left: int, *, at_least_one: bool) -> int:
        partition, entry = want.partition, want.entry
        upper_bound = partition.high_watermark
        budget = min(want.max_bytes, left)
        buffers: list[Any] = []
        size, offset = 0, want.offset
        try:
            partition.check_online()
            while offset < upper_bound:
                first = at_least_one and size == 0
                chunk = min(budget - size, TURN_BYTES)
                if chunk <= 0 and not first:
                    break
                result = partition.log.read(offset, max(chunk, 0), upper_bound, at_least_one=first)
                if result is None:
                    result = await partition.log.read_cold(
                        offset, max(chunk, 0), upper_bound, at_least_one=first
                    )
                if result.size == 0:
                    break
                buffers.extend(result.buffers)
                size += result.size
                offset = result.next_offset
                if size < budget:
                    await asyncio.sleep(0)
        except OffsetOutOfRange:
            entry.error_code = ErrorCode.OFFSET_OUT_OF_RANGE
        except RivvenError as error:
            entry.error_code = error.code
        _fill_ends(entry, partition)
        entry.records = buffers or b""
        return size


def _still_allowed(context: RequestContext, wanted: list[_Wanted]) -> list[_Wanted]:
    """A fetch that was parked is authorised again: what was granted when it came may be gone by now. Nobody
    is woken for that; it is enough that nothing leaves."""
    access, topics = context.access, {want.partition.topic_name for want in wanted}
    # Only what changed is told to the audit trail: the grant was told when the request came.
    gone = topics - access.filter(Operation.READ, ResourceType.TOPIC, topics)
    denied = {topic for topic in gone if not access.allowed(Operation.READ, ResourceType.TOPIC, topic)}
    if not denied:
        return wanted
    for want in wanted:
        if want.partition.topic_name in denied:
            want.entry.error_code = ErrorCode.TOPIC_AUTHORIZATION_FAILED
            want.entry.high_watermark = -1
    return [want for want in wanted if want.partition.topic_name not in denied]


def check_leader_epoch(partition: Partition, epoch: int) -> None:
    """Raises FENCED_LEADER_EPOCH or UNKNOWN_LEADER_EPOCH when a client's epoch is not ours; -1 skips
    (KIP-320)."""
    if epoch < 0:
        return
    if epoch < partition.leader_epoch:
        raise RivvenError("an older leader epoch", ErrorCode.FENCED_LEADER_EPOCH)
    if epoch > partition.leader_epoch:
        raise RivvenError("a newer leader epoch", ErrorCode.UNKNOWN_LEADER_EPOCH)


def _fill_ends(entry: Any, partition: Partition) -> None:
    entry.high_watermark = partition.high_watermark
    entry.last_stable_offset = partition.high_watermark
    entry.log_start_offset = partition.log_start_offset
