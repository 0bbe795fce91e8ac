"""What requests and answers are charged with, by kind of request."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from rivven.api.context import RequestContext
from rivven.api.throttling import GROUP_APIS, Busy, Throttling, Usage
from rivven.clock import SystemClock
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.security.quotas import (
    FETCH_BYTES,
    MUTATIONS,
    PRODUCE_BYTES,
    REQUEST_PERCENT,
    Quotas,
    RequestRates,
)
from rivven.types import QuotaEntity
from tests.unit.api import requests


class Heard:
    def __init__(self) -> None:
        self.quotas: list[str] = []

    def throttled(self, quota: str, seconds: float) -> None:
        self.quotas.append(quota)


class World:
    def __init__(self, entity: QuotaEntity = (("user", "alice"),), **values: float) -> None:
        self.heard = Heard()
        table = {entity: values} if values else {}
        self.throttling = Throttling(
            Quotas(lambda: (1, table), RequestRates()),
            SystemClock(),
            self.heard,
            lambda name: 0,
        )

    def context(self, key: ApiKey) -> RequestContext:
        context = requests.context()
        context.api_key = key
        return context


def produce(size: int, *topics: str) -> Any:
    data = m.ProduceRequest.PartitionProduceData
    return m.ProduceRequest(
        topic_data=[
            m.ProduceRequest.TopicProduceData(
                name=topic, partition_data=[data(index=0, records=b"x" * size), data(index=1, records=None)]
            )
            for topic in topics
        ]
    )


def test_nothing_is_measured_while_nothing_is_limited() -> None:
    assert World().throttling.begin(ApiKey.PRODUCE, produce(10, "t")) is None


def test_produced_bytes_are_charged_before_the_handler_and_told_by_the_answer() -> None:
    world = World(**{PRODUCE_BYTES: 100.0})
    request, context = produce(150, "a", "b"), world.context(ApiKey.PRODUCE)
    usage = world.throttling.begin(ApiKey.PRODUCE, request)
    assert usage is not None
    assert world.throttling.charge_produced(context, usage, request) == pytest.approx(2000, abs=50)
    assert world.throttling.charge(context, usage, request, None) == usage.silence_ms
    assert world.heard.quotas == [PRODUCE_BYTES]


def test_names_longer_than_a_topics_are_charged_together_and_to_no_topic() -> None:
    world = World((("topic", None),), **{PRODUCE_BYTES: 100.0})
    topic = "t" * 249
    request, context = produce(60, topic + "xy", topic + "xz"), world.context(ApiKey.PRODUCE)
    usage = world.throttling.begin(ApiKey.PRODUCE, request)
    assert usage is not None
    assert world.throttling.charge_produced(context, usage, request) == pytest.approx(200, abs=50)
    request = produce(60, topic)
    usage = world.throttling.begin(ApiKey.PRODUCE, request)
    assert usage is not None
    assert world.throttling.charge_produced(context, usage, request) == 0


def test_a_topics_quota_counts_that_topic_only() -> None:
    world = World((("topic", "a"),), **{PRODUCE_BYTES: 100.0})
    request, context = produce(150, "a", "b"), world.context(ApiKey.PRODUCE)
    usage = world.throttling.begin(ApiKey.PRODUCE, request)
    assert usage is not None
    assert world.throttling.charge_produced(context, usage, request) == pytest.approx(500, abs=50)
    assert world.heard.quotas == [f"topic_{PRODUCE_BYTES}"]


def test_fetched_bytes_are_those_of_the_answer() -> None:
    world = World(**{FETCH_BYTES: 100.0})
    topic = m.FetchResponse.FetchableTopicResponse
    entry = m.FetchResponse.PartitionData
    answer = m.FetchResponse(
        responses=[
            topic(topic="a", partitions=[entry(records=b"x" * 100), entry(records=[b"y" * 30, b"z" * 20])]),
            topic(topic="b", partitions=[entry(records=None)]),
        ]
    )
    charged = world.throttling.charge(world.context(ApiKey.FETCH), Usage(), m.FetchRequest(), answer)
    assert charged == pytest.approx(500, abs=50)


@pytest.mark.parametrize(
    ("key", "request_", "mutations"),
    [
        (
            ApiKey.CREATE_TOPICS,
            m.CreateTopicsRequest(
                topics=[
                    m.CreateTopicsRequest.CreatableTopic(name="a", num_partitions=3),
                    m.CreateTopicsRequest.CreatableTopic(name="b", num_partitions=-1),
                ]
            ),
            4,
        ),
        (
            ApiKey.CREATE_TOPICS,
            m.CreateTopicsRequest(
                topics=[m.CreateTopicsRequest.CreatableTopic(name="a", num_partitions=3)], validate_only=True
            ),
            0,
        ),
        (
            ApiKey.CREATE_PARTITIONS,
            m.CreatePartitionsRequest(
                topics=[m.CreatePartitionsRequest.CreatePartitionsTopic(name="five", count=8)]
            ),
            3,
        ),
        (
            ApiKey.DELETE_TOPICS,
            m.DeleteTopicsRequest(topics=[m.DeleteTopicsRequest.DeleteTopicState(name="five")]),
            5,
        ),
        (ApiKey.METADATA, m.MetadataRequest(), 0),
    ],
)
def test_partitions_created_and_deleted_are_mutations(key: ApiKey, request_: Any, mutations: int) -> None:
    throttling = Throttling(
        Quotas(lambda: (1, {(("user", "alice"),): {MUTATIONS: 1.0}}), RequestRates()),
        SystemClock(),
        Heard(),
        lambda name: {"five": 5}.get(name, 0),
    )
    usage = throttling.begin(key, request_)
    assert usage is not None
    assert usage.mutations == mutations


def test_work_counts_as_percent_of_the_loop() -> None:
    world = World(**{REQUEST_PERCENT: 10.0})
    usage = Usage()
    usage.busy_s = 0.3  # three seconds' worth of a tenth
    charged = world.throttling.charge(
        world.context(ApiKey.METADATA), usage, m.MetadataRequest(), SimpleNamespace()
    )
    assert charged == pytest.approx(2000, abs=50)
    assert world.heard.quotas == [REQUEST_PERCENT]


@pytest.mark.parametrize("key", sorted(GROUP_APIS), ids=lambda key: key.name)
def test_members_of_groups_are_never_silent_for_long(key: ApiKey) -> None:
    world = World(**{REQUEST_PERCENT: 10.0})
    usage = Usage()
    usage.busy_s = 5
    assert world.throttling.charge(world.context(key), usage, SimpleNamespace(), SimpleNamespace()) == 1000
    again = world.throttling.charge(
        world.context(ApiKey.METADATA), Usage(), m.MetadataRequest(), SimpleNamespace()
    )
    assert again == 10_000, "the debt is not forgiven"


async def test_busy_counts_work_and_not_waiting() -> None:
    usage = Usage()

    async def work() -> str:
        await asyncio.sleep(0.05)
        return "done"

    assert await Busy(work(), usage) == "done"
    assert 0 < usage.busy_s < 0.04


async def test_errors_and_cancellation_pass_through_busy() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await Busy(fail(), Usage())

    async def wait() -> None:
        await asyncio.Event().wait()

    async def busy() -> None:
        await Busy(wait(), Usage())

    task = asyncio.ensure_future(busy())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
