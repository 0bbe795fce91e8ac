"""Produce (key 0): validate, append in arrival order, answer when the high watermark covers it.

`start` is synchronous: batches that need no opening are appended before it returns, so that pipelined
requests
of one connection keep their order while their waits overlap. Batches that must be opened (recompression, keys
on compacted topics) hold their turn in the partition's order while a worker opens them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rivven.api.context import RequestContext
from rivven.api.rules import Split, keep_list, list_items
from rivven.config.topic_settings import TopicConfig
from rivven.errors import ErrorCode, InvalidRecord, InvalidRequest, RivvenError, UnknownTopicOrPartition
from rivven.log.partition_log import Appended
from rivven.log.workers import WorkerPool
from rivven.protocol import messages as m
from rivven.records.batch import BatchHeader, parse_header
from rivven.records.limits import NO_LIMITS, RecordLimits
from rivven.records.validation import (
    may_open_inline,
    needs_opening,
    oldest_allowed,
    open_and_validate,
    target_codec,
    validate_produce,
)
from rivven.replication.partition import Partition
from rivven.replication.replicas import Replicas
from rivven.tasks import Tasks
from rivven.types import Operation, ResourceType

_Entry = m.ProduceResponse.PartitionProduceResponse
_TopicEntry = m.ProduceResponse.TopicProduceResponse
_RecordError = m.ProduceResponse.BatchIndexAndErrorMessage


def _deny(response: Any, item: Any, _version: int, code: ErrorCode) -> None:
    entries = [
        _Entry(index=partition.index, error_code=code, base_offset=-1) for partition in item.partition_data
    ]
    response.responses.append(_TopicEntry(name=item.name, partition_responses=entries))


PRODUCE_RULES = (
    Split(
        Operation.WRITE,
        ResourceType.TOPIC,
        items=list_items("topic_data", "name"),
        keep=keep_list("topic_data"),
        deny=_deny,
    ),
)


class _Pending:
    """One Produce request between its appends and its answer."""

    __slots__ = ("entries", "outstanding", "respond", "response", "silent", "timer")

    def __init__(self, response: Any, respond: Callable[[Any], None], *, silent: bool) -> None:
        self.response = response
        self.silent = silent
        """acks=0: nothing is sent, but the request ends when its batches are placed or refused."""
        self.respond: Callable[[Any], None] | None = respond
        self.outstanding = 1  # held by `start` itself until every partition has been begun
        self.entries: dict[int, Any] = {}
        """Entries not committed yet, by identity: structs compare by value."""
        self.timer: asyncio.TimerHandle | None = None

    def finish_one(self) -> None:
        self.outstanding -= 1
        if self.outstanding == 0 and self.respond is not None:
            if self.timer is not None:
                self.timer.cancel()
            respond, self.respond = self.respond, None
            respond(None if self.silent else self.response)

    def time_out(self) -> None:
        """The client's own timeout passed: what is not committed yet is reported as timed out."""
        if self.respond is None:
            return
        for entry in self.entries.values():
            entry.error_code = ErrorCode.REQUEST_TIMED_OUT
            entry.base_offset = -1
        respond, self.respond = self.respond, None
        respond(self.response)


class ProduceHandler:
    """Handles Produce 3-11."""

    def __init__(
        self,
        replicas: Replicas,
        workers: WorkerPool,
        tasks: Tasks,
        produced: Callable[[int, int], None],
        limits: RecordLimits = NO_LIMITS,
    ) -> None:
        self._limits = limits if limits.any else None
        self._produced = produced
        self._replicas = replicas
        self._workers = workers
        self._tasks = tasks

    def start(self, context: RequestContext, request: Any, respond: Callable[[Any], None]) -> None:
        """Begin every partition's append; `respond` gets the response, or None for acks=0."""
        acks = request.acks
        response = m.ProduceResponse()
        pending = _Pending(response, respond, silent=acks == 0)
        for topic in request.topic_data:
            entries: list[Any] = []
            response.responses.append(_TopicEntry(name=topic.name, partition_responses=entries))
            for data in topic.partition_data:
                entry = _Entry(index=data.index, base_offset=-1)
                entries.append(entry)
                try:
                    self._begin(context, pending, topic.name, data, acks, entry)
                except RivvenError as error:
                    _report(entry, error)
        if pending.silent:
            _close_on_error(context, response)
        elif pending.outstanding > 1 and request.timeout_ms > 0:
            loop = asyncio.get_running_loop()
            pending.timer = loop.call_later(request.timeout_ms / 1000, pending.time_out)
        pending.finish_one()

    def _begin(
        self, context: RequestContext, pending: _Pending, topic: str, data: Any, acks: int, entry: Any
    ) -> None:
        if acks not in (-1, 0, 1):
            raise RivvenError("acks must be -1, 0 or 1", ErrorCode.INVALID_REQUIRED_ACKS)
        partition = self._replicas.partition(topic, data.index)
        if partition is None:
            raise UnknownTopicOrPartition()
        if self._replicas.is_internal(topic):
            raise RivvenError("clients cannot write to internal topics", ErrorCode.INVALID_TOPIC_EXCEPTION)
        partition.check_online()
        config = partition.log.config
        if acks == -1 and config.min_insync_replicas > 1:
            raise RivvenError(
                f"1 in-sync replica, {config.min_insync_replicas} needed", ErrorCode.NOT_ENOUGH_REPLICAS
            )
        records = data.records
        if records is None:
            raise InvalidRecord("no record batch")
        header = validate_produce(
            records, api_version=context.api_version, config=config, now_ms=context.now_ms
        )
        off_loop = needs_opening(header, config, self._limits) and not self._open_now(
            records, header, config, context.now_ms
        )
        pending.outstanding += 1
        pending.entries[id(entry)] = entry
        if off_loop:
            turn = partition.take_turn()
            self._tasks.spawn(
                self._open_then_append(context, pending, partition, turn, records, header, acks, entry),
                f"open batch for {topic}-{data.index}",
            )
            return

        if partition.has_turns:
            partition.in_turn(lambda: self._append(pending, partition, records, header, context, acks, entry))
        else:
            self._append(pending, partition, records, header, context, acks, entry)

    async def _open_then_append(
        self,
        context: RequestContext,
        pending: _Pending,
        partition: Partition,
        turn: Any,
        records: memoryview,
        header: BatchHeader,
        acks: int,
        entry: Any,
    ) -> None:
        """Open the batch in a worker, then append in the turn it holds (a failed one lets the next go on)."""
        try:
            view = await self._open(records, header, partition.log.config, context.now_ms)
            new_header = parse_header(view)
        except RivvenError as error:
            failure = error
            turn.run(lambda: self._refuse(context, pending, entry, acks, failure))
        except BaseException:
            turn.run(lambda: self._refuse(context, pending, entry, acks, InvalidRequest("not appended")))
            raise
        else:
            turn.run(lambda: self._append(pending, partition, view, new_header, context, acks, entry))

    def _open_now(self, records: memoryview, header: BatchHeader, config: TopicConfig, now_ms: int) -> bool:
        """Check a small plain batch here and now; False when it needs a worker. Raises RivvenError."""
        if not may_open_inline(header, config):
            return False
        oldest_ms = oldest_allowed(config, now_ms)
        open_and_validate(records, config.compacted, None, config.max_message_bytes, self._limits, oldest_ms)
        return True

    async def _open(
        self, records: memoryview, header: BatchHeader, config: TopicConfig, now_ms: int
    ) -> memoryview:
        """The batch to append: the client's own, or rewritten in the topic's codec."""
        codec = target_codec(header, config)
        limits = None if self._limits is None else tuple(self._limits)
        oldest_ms = oldest_allowed(config, now_ms)
        arguments = (config.compacted, codec, config.max_message_bytes, limits, oldest_ms)
        rewritten = await self._workers.run("open_and_validate", records, *arguments)
        return records if rewritten is None else memoryview(bytearray(rewritten))

    def _append(
        self,
        pending: _Pending,
        partition: Partition,
        records: memoryview,
        header: BatchHeader,
        context: RequestContext,
        acks: int,
        entry: Any,
    ) -> None:
        try:
            appended = partition.append(records, header, context.now_ms)
        except RivvenError as error:
            self._refuse(context, pending, entry, acks, error)
            return
        self._produced(header.record_count, len(records))
        if acks == 0:
            del pending.entries[id(entry)]
            pending.finish_one()
            return

        def committed(error: RivvenError | None) -> None:
            if error is None:
                _succeed(entry, appended, partition)
            else:
                _report(entry, error)
            del pending.entries[id(entry)]
            pending.finish_one()

        partition.when_committed(appended.last_offset, committed)

    @staticmethod
    def _refuse(
        context: RequestContext, pending: _Pending, entry: Any, acks: int, error: RivvenError
    ) -> None:
        _report(entry, error)
        if acks == 0:
            context.session.closing = f"produce with acks=0 failed: {error.code.name}"
        del pending.entries[id(entry)]
        pending.finish_one()


def _succeed(entry: Any, appended: Appended, partition: Partition) -> None:
    entry.base_offset = appended.base_offset
    entry.log_append_time_ms = appended.log_append_time_ms
    entry.log_start_offset = partition.log_start_offset


def _report(entry: Any, error: RivvenError) -> None:
    entry.error_code = error.code
    entry.error_message = error.message or None
    entry.base_offset = -1
    if isinstance(error, InvalidRecord):
        entry.record_errors = [
            _RecordError(batch_index=index, batch_index_error_message=reason)
            for index, reason in error.record_errors
        ]


def _close_on_error(context: RequestContext, response: Any) -> None:
    """acks=0 has no response: Kafka closes the connection so that the client notices."""
    for topic in response.responses:
        for entry in topic.partition_responses:
            if entry.error_code:
                name = ErrorCode(entry.error_code).name
                context.session.closing = f"produce with acks=0 failed: {name}"
                return
