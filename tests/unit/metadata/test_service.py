"""The service: read your writes, producer ids, cluster id, restart."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from rivven.clock import SystemClock
from rivven.config.broker_settings import broker_defaults
from rivven.errors import ErrorCode, RivvenError
from rivven.machine.journal import JournalFailed
from rivven.metadata.commands import (
    AlterBrokerConfigs,
    AlterTopicConfigs,
    ConfigChange,
    CreateTopic,
    DeleteTopic,
)
from rivven.metadata.service import MetadataService
from rivven.tasks import Tasks
from rivven.testing.journal import MemoryJournal


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    owner = Tasks()
    yield owner
    await owner.cancel_all()


async def started(journal: MemoryJournal, tasks: Tasks, seed: int = 1) -> MetadataService:
    service = MetadataService(
        journal,
        SystemClock(),
        tasks,
        node_id=1,
        broker=broker_defaults(),
        entropy=random.Random(seed).randbytes,
    )
    await service.start()
    return service


async def test_the_cluster_id_is_22_characters_and_stays(tasks: Tasks) -> None:
    journal = MemoryJournal()
    first = await started(journal, tasks)
    assert len(first.image.cluster_id) == 22
    assert not first.image.cluster_id.startswith("-")
    again = await started(MemoryJournal(journal.records), tasks, seed=2)
    assert again.image.cluster_id == first.image.cluster_id


async def test_you_read_what_you_wrote(tasks: Tasks) -> None:
    service = await started(MemoryJournal(), tasks)
    created = await service.submit(CreateTopic("orders", service.new_topic_id(), 2))
    assert service.image.topics["orders"].topic_id == created.topic_id
    assert created.topic_id.int != 0
    await service.submit(DeleteTopic(created.topic_id))
    assert "orders" not in service.image.topics


async def test_everything_survives_a_restart(tasks: Tasks) -> None:
    journal = MemoryJournal()
    first = await started(journal, tasks)
    await first.create_default_topic("kept")
    gone = await first.create_default_topic("gone")
    await first.submit(DeleteTopic(gone.topic_id))
    second = await started(MemoryJournal(journal.records), tasks)
    assert list(second.image.events()) == list(first.image.events())
    assert list(second.image.topics) == ["kept"]


async def test_many_commands_give_each_its_own_answer(tasks: Tasks) -> None:
    service = await started(MemoryJournal(), tasks)
    commands = [CreateTopic(name, service.new_topic_id()) for name in ("a", "a/b", "a", "b")]
    replies = await service.submit_all(commands)
    assert [getattr(reply, "code", None) for reply in replies] == [None, 17, 36, None]


async def test_automatic_creation_takes_a_topic_that_is_already_there(tasks: Tasks) -> None:
    service = await started(MemoryJournal(), tasks)
    first, second = await asyncio.gather(
        service.create_default_topic("orders"), service.create_default_topic("orders")
    )
    assert first is second
    with pytest.raises(RivvenError) as caught:
        await service.create_default_topic("a/b")
    assert caught.value.code is ErrorCode.INVALID_TOPIC_EXCEPTION


async def test_the_internal_topic_keeps_its_first_count(tasks: Tasks) -> None:
    service = await started(MemoryJournal(), tasks)
    configs = {"cleanup.policy": "compact"}
    assert (await service.create_internal_topic("__consumer_offsets", 50, configs)).partitions == 50
    assert (await service.create_internal_topic("__consumer_offsets", 1, configs)).partitions == 50


async def test_producer_ids_are_never_given_out_twice_even_over_restarts(tasks: Tasks) -> None:
    journal = MemoryJournal()
    seen: list[int] = []
    for _ in range(3):
        service = await started(MemoryJournal(journal.records), tasks)
        seen += await asyncio.gather(*(service.next_producer_id() for _ in range(1_500)))
    assert len(set(seen)) == len(seen) == 4_500


async def test_a_producer_id_is_refused_when_its_block_cannot_be_reserved(tasks: Tasks) -> None:
    journal = MemoryJournal(manual=True)
    starting = asyncio.ensure_future(started(journal, tasks))
    await asyncio.sleep(0)
    journal.commit()
    service = await starting
    asked = asyncio.ensure_future(service.next_producer_id())
    await asyncio.sleep(0)
    journal.fail()
    with pytest.raises(JournalFailed):
        await asked


async def test_topic_settings_follow_the_brokers_dynamic_defaults(tasks: Tasks) -> None:
    service = await started(MemoryJournal(), tasks)
    topic = await service.create_default_topic("orders")
    assert service.topic_config(topic).retention_ms == 604_800_000
    defaults = service.topic_defaults
    assert service.topic_defaults is defaults
    await service.submit(AlterBrokerConfigs("", (ConfigChange("log.retention.ms", 0, "5000"),)))
    assert service.topic_defaults is not defaults
    assert service.topic_config(topic).retention_ms == 5_000
    await service.submit(AlterBrokerConfigs("1", (ConfigChange("log.retention.ms", 0, "6000"),)))
    assert service.topic_config(topic).retention_ms == 6_000
    await service.submit(AlterTopicConfigs("orders", (ConfigChange("retention.ms", 0, "7000"),)))
    assert service.topic_config(service.image.topics["orders"]).retention_ms == 7_000
    await service.submit(AlterBrokerConfigs("1", (), replace=True))
    await service.submit(AlterTopicConfigs("orders", (), replace=True))
    assert service.topic_config(service.image.topics["orders"]).retention_ms == 5_000
