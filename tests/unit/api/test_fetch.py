"""Fetch parks, wakes, reads and accounts for every byte it holds."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from rivven.api.fetch import FetchHandler, check_leader_epoch
from rivven.api.memory import MemoryBudget
from rivven.errors import ErrorCode as E
from rivven.errors import RivvenError
from rivven.security.authz.authorizer import Action, Decision, Subject
from rivven.testing.files import Fault
from rivven.types import Operation, ResourceType
from tests.unit.api.requests import context, fetch
from tests.unit.replication.data_plane import DataPlane, append


class Fetched:
    """A handler over a data plane."""

    def __init__(self) -> None:
        self.plane = DataPlane()
        self.budget = MemoryBudget(1 << 20)
        self.counted: list[int] = []
        self.handler = FetchHandler(self.plane.replicas, self.budget, 1 << 20, self.counted.append)

    def begin(self, request: Any) -> "asyncio.Task[Any]":
        self.context = context(12)
        return asyncio.ensure_future(self.handler.fetch(self.context, request))

    async def fetch(self, request: Any) -> Any:
        """The entry of the only partition."""
        answer = await self.plane.run(self.handler.fetch(self.context_of(), request))
        return answer.responses[0].partitions[0]

    def context_of(self) -> Any:
        self.context = context(12)
        return self.context


class DenyLater:
    """An engine that allows until `denied`, and counts what it is asked."""

    def __init__(self) -> None:
        self.denied = False
        self.asked = 0

    def authorize(self, _subject: Subject, actions: Sequence[Action]) -> list[Decision]:
        self.asked += len(actions)
        return [Decision.deny("gone") if self.denied else Decision.allow("there")] * len(actions)

    def authorize_any(self, _subject: Subject, _operation: Operation, _kind: ResourceType) -> Decision:
        return Decision.deny("not asked here")


@pytest.fixture
def fetched() -> Fetched:
    return Fetched()


def size_of(entry: Any) -> int:
    return sum(map(len, entry.records))


async def test_what_is_not_durable_is_not_seen(fetched: Fetched) -> None:
    partition = await fetched.plane.partition()
    append(partition, b"a")
    entry = (await fetched.handler.fetch(fetched.context_of(), fetch("t", 0))).responses[0].partitions[0]
    assert (entry.high_watermark, size_of(entry)) == (0, 0)
    await fetched.plane.settle()
    entry = await fetched.fetch(fetch("t", 0))
    assert entry.high_watermark == 1
    assert size_of(entry) > 60


async def test_a_parked_fetch_is_answered_by_the_commit(fetched: Fetched) -> None:
    partition = await fetched.plane.partition()
    task = fetched.begin(fetch("t", 0, max_wait_ms=60_000))
    await asyncio.sleep(0)
    append(partition, b"a")
    await asyncio.sleep(0)
    assert not task.done()
    entry = (await fetched.plane.run(task)).responses[0].partitions[0]
    assert size_of(entry) > 60


async def test_a_parked_fetch_is_authorised_again_before_it_answers(fetched: Fetched) -> None:
    partition = await fetched.plane.partition()
    rights = DenyLater()
    asked = context(12, rights)
    task = asyncio.ensure_future(fetched.handler.fetch(asked, fetch("t", 0, max_wait_ms=60_000)))
    await asyncio.sleep(0)
    rights.denied = True
    await asyncio.sleep(0)
    assert not task.done(), "a revoked grant wakes nobody"
    append(partition, b"secret")
    entry = (await fetched.plane.run(task)).responses[0].partitions[0]
    assert (entry.error_code, entry.high_watermark, bytes(entry.records)) == (
        E.TOPIC_AUTHORIZATION_FAILED,
        -1,
        b"",
    )
    assert asked.lease is None, "nothing was read for it"


async def test_a_fetch_that_never_waited_is_not_asked_twice(fetched: Fetched) -> None:
    partition = await fetched.plane.partition()
    append(partition, b"a")
    await fetched.plane.settle()
    rights = DenyLater()
    answer = await fetched.plane.run(
        fetched.handler.fetch(context(12, rights), fetch("t", 0, max_wait_ms=60_000))
    )
    assert size_of(answer.responses[0].partitions[0]) > 60
    assert rights.asked == 0, "dispatch has asked"


async def test_memory_is_accounted_for_exactly_even_beyond_the_share(fetched: Fetched) -> None:
    partition = await fetched.plane.partition()
    append(partition, b"v" * 5000)
    append(partition, b"v" * 5000)
    await fetched.plane.settle()
    entry = await fetched.fetch(fetch("t", 0, max_bytes=10))
    lease = fetched.context.lease
    assert 5000 < size_of(entry) < 10_000
    assert lease.granted == fetched.budget.used_bytes == size_of(entry)
    assert fetched.counted == [size_of(entry)]
    lease.release()
    assert fetched.budget.used_bytes == 0


async def test_a_failing_log_answers_the_parked(fetched: Fetched) -> None:
    partition = await fetched.plane.partition()
    task = fetched.begin(fetch("t", 0, max_wait_ms=60_000))
    await asyncio.sleep(0)
    fetched.plane.files.faults.append(Fault("sync", path=".log"))
    append(partition, b"a")
    entry = (await fetched.plane.run(task)).responses[0].partitions[0]
    assert entry.error_code == E.KAFKA_STORAGE_ERROR


async def test_deletion_answers_the_parked(fetched: Fetched) -> None:
    partition = await fetched.plane.partition()
    task = fetched.begin(fetch("t", 0, max_wait_ms=60_000))
    await asyncio.sleep(0)
    partition.retire()
    entry = (await fetched.plane.run(task)).responses[0].partitions[0]
    assert entry.error_code == E.UNKNOWN_TOPIC_OR_PARTITION


async def test_a_cancelled_fetch_is_forgotten_by_its_partitions(fetched: Fetched) -> None:
    partition = await fetched.plane.partition()
    task = fetched.begin(fetch("t", 0, max_wait_ms=60_000))
    await asyncio.sleep(0)
    assert partition._fetch_waiters
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not partition._fetch_waiters


async def test_time_passing_ends_the_wait(fetched: Fetched) -> None:
    await fetched.plane.partition()
    answer = await asyncio.wait_for(fetched.begin(fetch("t", 0, max_wait_ms=10)), 5)
    assert size_of(answer.responses[0].partitions[0]) == 0


async def test_a_client_that_diverged_is_told_where(fetched: Fetched) -> None:
    partition = await fetched.plane.partition()
    append(partition, b"a")
    await fetched.plane.settle()
    entry = await fetched.fetch(fetch("t", 1, last_fetched_epoch=0))
    assert (entry.error_code, entry.diverging_epoch) == (0, None)
    entry = await fetched.fetch(fetch("t", 5, last_fetched_epoch=0, max_wait_ms=60_000))
    assert (entry.error_code, size_of(entry)) == (0, 0)
    assert (entry.diverging_epoch.epoch, entry.diverging_epoch.end_offset) == (0, 1)


@pytest.mark.parametrize(
    ("epoch", "code"), [(-1, None), (3, None), (2, E.FENCED_LEADER_EPOCH), (4, E.UNKNOWN_LEADER_EPOCH)]
)
def test_leader_epochs(epoch: int, code: E | None) -> None:
    partition: Any = SimpleNamespace(leader_epoch=3)
    if code is None:
        check_leader_epoch(partition, epoch)
        return
    with pytest.raises(RivvenError) as caught:
        check_leader_epoch(partition, epoch)
    assert caught.value.code is code
