"""Those who wait for a high watermark are released in offset order, once, or told of the failure."""

from rivven.errors import RivvenError, StorageFailed
from rivven.replication.waiting import CommitWaiters, FetchWaiter


def _recorder(log: list[tuple[str, RivvenError | None]], name: str):
    return lambda error: log.append((name, error))


def test_waiters_are_released_up_to_the_high_watermark() -> None:
    waiters, log = CommitWaiters(), []
    waiters.add(4, _recorder(log, "a"))
    waiters.add(9, _recorder(log, "b"))
    waiters.committed(5)
    assert log == [("a", None)]
    waiters.committed(9)
    assert len(log) == 1, "offset 9 is committed only above 9"
    waiters.committed(10)
    assert log[1] == ("b", None)
    assert len(waiters) == 0


def test_a_duplicate_waits_for_its_original_before_later_offsets() -> None:
    waiters, log = CommitWaiters(), []
    waiters.add(20, _recorder(log, "later"))
    waiters.add(7, _recorder(log, "duplicate"))
    waiters.add(20, _recorder(log, "last"))
    waiters.committed(8)
    assert [name for name, _ in log] == ["duplicate"]
    waiters.committed(21)
    assert [name for name, _ in log] == ["duplicate", "later", "last"]


def test_failure_reaches_everybody_once() -> None:
    waiters, log = CommitWaiters(), []
    waiters.add(1, _recorder(log, "a"))
    waiters.add(2, _recorder(log, "b"))
    error = StorageFailed("gone")
    waiters.fail(error)
    waiters.fail(error)
    assert log == [("a", error), ("b", error)]


def test_only_what_was_taken_back_fails() -> None:
    waiters, log = CommitWaiters(), []
    for offset in (1, 5, 9):
        waiters.add(offset, _recorder(log, str(offset)))
    waiters.fail(StorageFailed("disk full"), from_offset=5)
    assert [name for name, _ in log] == ["5", "9"]
    waiters.committed(10)
    assert log[2] == ("1", None)


async def test_a_wake_between_arming_and_waiting_is_not_lost() -> None:
    waiter = FetchWaiter()
    moved = waiter.arm()
    waiter.wake()
    waiter.wake()
    await moved
