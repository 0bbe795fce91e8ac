"""A partition acknowledges what is durable, in order, and tells everybody who waits when it cannot."""

import pytest

from rivven.errors import ErrorCode, PartitionDeleted, RivvenError, StorageFailed
from rivven.replication.waiting import FetchWaiter
from rivven.testing.files import Fault
from tests.unit.replication.data_plane import DataPlane, append, batch_of


@pytest.fixture
def plane() -> DataPlane:
    return DataPlane()


class Heard:
    """What a commit callback was told."""

    def __init__(self) -> None:
        self.answers: list[RivvenError | None] = []

    def __call__(self, error: RivvenError | None) -> None:
        self.answers.append(error)


async def test_nothing_is_acknowledged_before_it_is_durable(plane: DataPlane) -> None:
    partition, heard = await plane.partition(), Heard()
    partition.when_committed(append(partition, b"a", b"b"), heard)
    assert (partition.high_watermark, heard.answers) == (0, [])
    await plane.settle()
    assert (partition.high_watermark, heard.answers) == (2, [None])
    late = Heard()
    partition.when_committed(1, late)
    assert late.answers == [None], "what is committed already is told at once"


async def test_relaxed_flush_acknowledges_what_is_written(plane: DataPlane) -> None:
    partition = await plane.partition(flush_messages="1000")
    heard = Heard()
    partition.when_committed(append(partition, b"a"), heard)
    assert partition.high_watermark == 1
    assert heard.answers == [None]


async def test_a_failed_sync_fails_everybody_who_waits_and_takes_the_log_offline(plane: DataPlane) -> None:
    partition, heard, waiter = await plane.partition(), Heard(), FetchWaiter()
    partition.add_fetch_waiter(waiter)
    woken = waiter.arm()
    partition.when_committed(append(partition, b"a"), heard)
    plane.files.faults.append(Fault("sync", path=".log"))
    await plane.settle()
    assert [type(answer) for answer in heard.answers] == [StorageFailed]
    assert woken.done()
    assert not partition.online
    assert partition.high_watermark == 0
    with pytest.raises(StorageFailed):
        partition.check_online()
    after = Heard()
    partition.when_committed(5, after)
    assert [type(answer) for answer in after.answers] == [StorageFailed]


async def test_a_parked_fetch_is_woken_by_the_commit_and_not_by_the_append(plane: DataPlane) -> None:
    partition, waiter, gone = await plane.partition(), FetchWaiter(), FetchWaiter()
    partition.add_fetch_waiter(waiter)
    partition.add_fetch_waiter(gone)
    partition.remove_fetch_waiter(gone)
    partition.remove_fetch_waiter(gone)
    woken, not_woken = waiter.arm(), gone.arm()
    append(partition, b"a")
    assert not woken.done()
    await plane.settle()
    assert woken.done()
    assert not not_woken.done()


async def test_deletion_answers_everybody(plane: DataPlane) -> None:
    partition, heard, waiter = await plane.partition(), Heard(), FetchWaiter()
    partition.add_fetch_waiter(waiter)
    woken = waiter.arm()
    partition.when_committed(append(partition, b"a"), heard)
    partition.retire()
    assert woken.done()
    assert [type(answer) for answer in heard.answers] == [PartitionDeleted]
    with pytest.raises(PartitionDeleted) as caught:
        partition.check_online()
    assert caught.value.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    await plane.settle()
    assert len(heard.answers) == 1


async def test_turns_keep_arrival_order_while_batches_are_opened(plane: DataPlane) -> None:
    partition = await plane.partition()
    order: list[str] = []
    partition.in_turn(lambda: order.append("before"))
    first, second = partition.take_turn(), partition.take_turn()
    partition.in_turn(lambda: order.append("small"))
    assert partition.has_turns
    second.run(lambda: order.append("second"))
    assert order == ["before"], "the first is still being opened"
    first.run(lambda: order.append("first failed"))
    assert order == ["before", "first failed", "second", "small"]
    assert not partition.has_turns
    partition.in_turn(lambda: order.append("after"))
    assert order[-1] == "after"


async def test_the_coordinators_view(plane: DataPlane) -> None:
    partition = await plane.partition()
    last = partition.append_internal(bytearray(batch_of(b"a", b"b")), 5)
    assert last == 1
    await plane.run(partition.wait_committed(last))
    found = await plane.run(partition.read_from(0, 1 << 20))
    assert (found.first_offset, found.next_offset) == (0, 2)
    plane.files.faults.append(Fault("sync", path=".log"))
    last = partition.append_internal(bytearray(batch_of(b"c")), 5)
    with pytest.raises(StorageFailed):
        await plane.run(partition.wait_committed(last))
