"""Changes between the audit trail's two records: nothing is changed unrecorded, and what happened is said."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from rivven.api.audited import CREATE_ACLS, CREATE_TOPICS, DELETE_RECORDS, DELETE_TOPICS, Audited
from rivven.api.dispatch import Call, Dispatch
from rivven.api.rules import Split, keep_list, list_items
from rivven.api.table import UNAUDITED, Row, Table
from rivven.audit.events import AuditEvent
from rivven.audit.sinks import SinkFailed
from rivven.audit.trail import TrailSettings
from rivven.clock import SystemClock
from rivven.errors import ErrorCode
from rivven.protocol import messages as m
from rivven.protocol.api import APIS, ApiKey
from rivven.security.authz.chain import AuthorizerChain
from rivven.testing.authorizers import AllowAll, DenyAll
from rivven.types import Operation, ResourceType
from tests.unit.api.test_dispatch import Observer, frame, raw_token, session
from tests.unit.audit.world import MemorySink, World, memory_world

_Topic = m.CreateTopicsRequest.CreatableTopic
_Created = m.CreateTopicsResponse.CreatableTopicResult


def row(handler: Any, audited: Audited | None = CREATE_TOPICS) -> Row:
    def deny(response: Any, item: Any, _version: int, code: ErrorCode) -> None:
        response.topics.append(_Created(name=item.name, error_code=code))

    rule = Split(
        Operation.CREATE,
        ResourceType.TOPIC,
        items=list_items("topics", "name"),
        keep=keep_list("topics"),
        deny=deny,
    )
    return Row(ApiKey.CREATE_TOPICS, (rule,), handler, audited=audited)


def dispatch(world: World, made: Row, *, allow: bool = True) -> Dispatch:
    chain = AuthorizerChain({"test": AllowAll() if allow else DenyAll()}, observer=world.trail)
    return Dispatch(Table([made]), chain, SystemClock(), Observer(), raw_token, world.trail)


def request(*names: str, validate_only: bool = False) -> m.CreateTopicsRequest:
    topics = [_Topic(name=name, num_partitions=1, replication_factor=1) for name in names]
    return m.CreateTopicsRequest(topics=topics, timeout_ms=1, validate_only=validate_only)


async def call(world: World, made: Dispatch, asked: Any) -> Any:
    accepted = made.accept(session(), frame(ApiKey.CREATE_TOPICS, 7, asked))
    assert isinstance(accepted, Call)
    return await world.done(made.perform(accepted))


def told(sink: MemorySink) -> list[tuple[str, str, str | None]]:
    return [
        (event["resource"], event["result"], event["reason"])
        for event in sink.events
        if event["event_type"] == "topic_create"
    ]


async def test_the_intent_is_stored_before_the_handler_and_the_result_before_the_answer() -> None:
    sink = MemorySink()
    world = await memory_world((sink, True))

    async def handler(_context: Any, asked: Any) -> Any:
        assert told(sink) == [("topic:a", "intent", None), ("topic:b", "intent", None)]
        return m.CreateTopicsResponse(
            topics=[_Created(name="a"), _Created(name="b", error_code=ErrorCode.TOPIC_ALREADY_EXISTS)]
        )

    await call(world, dispatch(world, row(handler)), request("a", "b"))
    assert told(sink)[2:] == [("topic:a", "success", None), ("topic:b", "failure", "TOPIC_ALREADY_EXISTS")]
    assert {event["request_id"] for event in sink.events if event["event_type"] == "topic_create"} != {None}


async def test_without_a_stored_intent_the_handler_does_not_run() -> None:
    sink = MemorySink()
    world = await memory_world((sink, True))
    sink.failure = SinkFailed("the disk is full")

    async def never(_context: Any, _asked: Any) -> Any:
        raise AssertionError("the handler must not run")

    answer = await call(world, dispatch(world, row(never)), request("a"))
    assert [one.error_code for one in answer.topics] == [ErrorCode.POLICY_VIOLATION]


async def test_a_result_that_cannot_be_stored_does_not_change_the_answer() -> None:
    sink = MemorySink()
    world = await memory_world((sink, True))

    async def handler(_context: Any, _asked: Any) -> Any:
        sink.failure = SinkFailed("the disk is full")
        return m.CreateTopicsResponse(topics=[_Created(name="a")])

    answer = await call(world, dispatch(world, row(handler)), request("a"))
    assert [one.error_code for one in answer.topics] == [0]


async def test_what_is_denied_leaves_a_denial_and_no_intent() -> None:
    sink = MemorySink()
    world = await memory_world((sink, True))

    async def handler(_context: Any, _asked: Any) -> Any:
        return m.CreateTopicsResponse()

    await call(world, dispatch(world, row(handler), allow=False), request("a"))
    await world.run()
    assert told(sink) == []
    assert [event["result"] for event in sink.events] == ["denied"]


async def test_a_dry_run_leaves_nothing() -> None:
    sink = MemorySink()
    world = await memory_world((sink, True), settings=TrailSettings(types=frozenset({"topic_create"})))

    async def handler(_context: Any, _asked: Any) -> Any:
        return m.CreateTopicsResponse()

    await call(world, dispatch(world, row(handler)), request("a", validate_only=True))
    assert sink.lines == []


async def test_a_change_whose_connection_went_away_is_said_to_be_unknown() -> None:
    sink = MemorySink()
    world = await memory_world((sink, True))
    started = asyncio.Event()

    async def handler(_context: Any, _asked: Any) -> Any:
        started.set()
        await asyncio.Event().wait()

    made = dispatch(world, row(handler))
    accepted = made.accept(session(), frame(ApiKey.CREATE_TOPICS, 7, request("a")))
    assert isinstance(accepted, Call)
    task = asyncio.ensure_future(made.perform(accepted))
    while not started.is_set():
        await world.run()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await world.run()
    assert [result for _, result, _ in told(sink)] == ["intent", "unknown"]


async def test_requests_are_held_back_while_the_trail_is_full() -> None:
    sink = MemorySink()
    world = await memory_world((sink, True), settings=TrailSettings(backlog_max=1, block=True))
    made = dispatch(world, row(lambda *_: None))
    resumed: list[int] = []
    assert not made.holds_back(lambda: resumed.append(1))
    sink.failure = SinkFailed("slow")
    world.trail.event(AuditEvent("authorization", "produce", result="denied"))
    await world.run()
    assert made.holds_back(lambda: resumed.append(1))
    sink.failure = None
    world.threads.advance(1)
    await world.run()
    assert resumed == [1] and not made.holds_back(lambda: None)


def test_topics_named_by_id_and_values_of_settings() -> None:
    one = m.DeleteTopicsRequest.DeleteTopicState(name=None, topic_id=UUID(int=7))
    assert (
        DELETE_TOPICS.changes(m.DeleteTopicsRequest(topics=[one]), 6)[0].resource == f"topic-id:{UUID(int=7)}"
    )
    config = m.CreateTopicsRequest.CreatableTopicConfig(name="retention.ms", value="a-secret-by-mistake")
    topic = _Topic(name="t", num_partitions=1, replication_factor=1, configs=[config])
    changes = CREATE_TOPICS.changes(m.CreateTopicsRequest(topics=[topic]), 7)
    assert "a-secret-by-mistake" not in repr(changes) and "retention.ms" in repr(changes)


def test_odd_codes_and_lengths_do_not_break_the_record() -> None:
    creation = m.CreateAclsRequest.AclCreation(
        resource_type=99,
        resource_name="x",
        resource_pattern_type=99,
        principal="p",
        host="h",
        operation=99,
        permission_type=99,
    )
    asked = m.CreateAclsRequest(creations=[creation] * 3)
    assert CREATE_ACLS.changes(asked, 3)[0].resource == "resource-99:x"
    assert CREATE_ACLS.outcomes(asked, m.CreateAclsResponse(), 3) == []
    assert DELETE_RECORDS.changes(m.DeleteRecordsRequest(topics=[]), 2) == []


def test_every_api_either_changes_nothing_or_is_audited() -> None:
    assert set(APIS) >= UNAUDITED
