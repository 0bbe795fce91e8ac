"""Budgets: shares never starve anybody, whole leases come in order, everything is given back."""

import pytest

from rivven.api.memory import Lease, MemoryBudget


def test_a_share_is_at_most_a_quarter_of_what_is_free() -> None:
    budget = MemoryBudget(1000)
    lease = budget.take_share(900, floor=10)
    assert lease.granted == 250
    assert budget.used_bytes == 250
    lease.release()
    lease.release()
    assert budget.used_bytes == 0


def test_a_hundred_stalled_fetches_of_50_mib_stay_within_the_budget_plus_their_floors() -> None:
    total, floor = 256 << 20, 1 << 20
    budget = MemoryBudget(total)
    leases = [budget.take_share(50 << 20, floor) for _ in range(100)]
    assert budget.used_bytes <= total + 100 * floor
    assert all(lease.granted >= floor for lease in leases)


def test_the_floor_is_granted_even_when_nothing_is_left_but_never_more_than_wanted() -> None:
    budget = MemoryBudget(100)
    budget.take_whole(100, lambda lease: None)
    assert budget.take_share(500, floor=40).granted == 40
    assert budget.take_share(7, floor=40).granted == 7


@pytest.mark.parametrize("used", [0, 50, 200, 1500])
def test_settling_holds_exactly_what_was_used_even_beyond_the_grant(used: int) -> None:
    budget = MemoryBudget(1000)
    lease = budget.take_share(200, floor=1)
    lease.settle(used)
    assert budget.used_bytes == used
    lease.release()
    assert budget.used_bytes == 0


def test_whole_leases_wait_in_order_and_a_forgotten_waiter_is_skipped() -> None:
    budget = MemoryBudget(100)
    granted: list[tuple[str, Lease]] = []
    first: list[Lease] = []
    budget.take_whole(80, first.append)

    def second(lease: Lease) -> None:
        granted.append(("second", lease))

    def third(lease: Lease) -> None:
        granted.append(("third", lease))

    def fourth(lease: Lease) -> None:
        granted.append(("fourth", lease))

    budget.take_whole(50, second)
    budget.take_whole(60, third)
    budget.take_whole(10, fourth)
    assert not granted, "a small one must not overtake: it would starve the large ones"
    budget.forget(second)
    first[0].release()
    assert [name for name, _ in granted] == ["third", "fourth"]
    assert budget.waiting == 0


def test_a_frame_larger_than_the_budget_is_admitted_alone() -> None:
    budget = MemoryBudget(100)
    got: list[Lease] = []
    budget.take_whole(500, got.append)
    assert got[0].granted == 500
    budget.take_whole(1, got.append)
    assert len(got) == 1
    got[0].release()
    assert len(got) == 2
