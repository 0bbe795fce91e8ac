"""Which quota applies, who shares it, and how long somebody over it waits."""

from collections.abc import Mapping

import pytest

from rivven.security.quotas import (
    ALLOWANCES_MAX,
    CONNECTIONS,
    FETCH_BYTES,
    PRODUCE_BYTES,
    WAIT_MAX_S,
    Allowances,
    Quotas,
    RequestRate,
    RequestRates,
    resolve,
)
from rivven.types import QuotaEntity

LEVELS: list[QuotaEntity] = [
    (("client-id", "c"), ("user", "u")),
    (("client-id", None), ("user", "u")),
    (("user", "u"),),
    (("client-id", "c"), ("user", None)),
    (("client-id", None), ("user", None)),
    (("user", None),),
    (("client-id", "c"),),
    (("client-id", None),),
]


class Stored:
    def __init__(self, table: Mapping[QuotaEntity, Mapping[str, float]]) -> None:
        self.version = 1
        self.table = table

    def change(self, table: Mapping[QuotaEntity, Mapping[str, float]]) -> None:
        self.version += 1
        self.table = table

    def __call__(self) -> tuple[int, Mapping[QuotaEntity, Mapping[str, float]]]:
        return self.version, self.table


def quotas(table: Mapping[QuotaEntity, Mapping[str, float]]) -> Quotas:
    return Quotas(Stored(table), RequestRates())


@pytest.mark.parametrize("first", range(len(LEVELS)))
def test_the_most_specific_level_wins(first: int) -> None:
    table = {entity: {PRODUCE_BYTES: float(rank)} for rank, entity in enumerate(LEVELS) if rank >= first}
    found = resolve(table, PRODUCE_BYTES, "u", "c")
    assert found is not None
    assert found.rate == first


def test_each_key_is_resolved_by_itself() -> None:
    table = {LEVELS[0]: {PRODUCE_BYTES: 1.0}, LEVELS[5]: {FETCH_BYTES: 2.0}}
    found = resolve(table, FETCH_BYTES, "u", "c")
    assert found is not None
    assert found.rate == 2.0
    assert resolve(table, CONNECTIONS, "u", "c") is None


def test_a_quota_of_somebody_else_does_not_apply() -> None:
    assert resolve({(("user", "v"),): {PRODUCE_BYTES: 1.0}}, PRODUCE_BYTES, "u", "c") is None


def test_nothing_is_waited_for_within_the_rate_and_a_debt_is_paid_by_time() -> None:
    limited = quotas({(("user", "u"),): {PRODUCE_BYTES: 100.0}})
    assert limited.use(PRODUCE_BYTES, "u", "c", 100, now=0) == 0
    assert limited.use(PRODUCE_BYTES, "u", "c", 50, now=0) == pytest.approx(0.5)
    assert limited.use(PRODUCE_BYTES, "u", "c", 0, now=0.5) == 0
    assert limited.use(PRODUCE_BYTES, "u", "c", 100, now=1.5) == 0


def test_clients_of_a_user_share_its_quota_and_users_do_not_share_a_default() -> None:
    limited = quotas({(("user", None),): {PRODUCE_BYTES: 100.0}})
    assert limited.use(PRODUCE_BYTES, "u", "a", 100, now=0) == 0
    assert limited.use(PRODUCE_BYTES, "u", "b", 100, now=0) == pytest.approx(1.0)
    assert limited.use(PRODUCE_BYTES, "v", "a", 100, now=0) == 0


def test_a_default_for_clients_is_one_allowance_for_each_of_them() -> None:
    limited = quotas({(("client-id", None),): {PRODUCE_BYTES: 100.0}})
    assert limited.use(PRODUCE_BYTES, "u", "a", 100, now=0) == 0
    assert limited.use(PRODUCE_BYTES, "v", "a", 100, now=0) == pytest.approx(1.0)
    assert limited.use(PRODUCE_BYTES, "u", "b", 100, now=0) == 0


def test_no_wait_is_longer_than_the_maximum_but_the_debt_stays() -> None:
    limited = quotas({(("user", "u"),): {PRODUCE_BYTES: 1.0}})
    assert limited.use(PRODUCE_BYTES, "u", "c", 1000, now=0) == WAIT_MAX_S
    assert limited.use(PRODUCE_BYTES, "u", "c", 0, now=WAIT_MAX_S) == WAIT_MAX_S


def test_a_rate_of_zero_waits_for_the_maximum() -> None:
    limited = quotas({(("ip", "10.0.0.1"),): {CONNECTIONS: 0.0}})
    assert limited.use_connection("10.0.0.1", now=0) == WAIT_MAX_S
    assert limited.use_connection("10.0.0.2", now=0) == 0


def test_topics_and_addresses_have_their_own_and_default_quotas() -> None:
    limited = quotas(
        {
            (("topic", "a"),): {PRODUCE_BYTES: 10.0},
            (("topic", None),): {PRODUCE_BYTES: 100.0},
            (("ip", None),): {CONNECTIONS: 1.0},
        }
    )
    assert limited.use_topic(PRODUCE_BYTES, "a", 20, now=0) == pytest.approx(1.0)
    assert limited.use_topic(PRODUCE_BYTES, "b", 20, now=0) == 0
    assert limited.use_topic(FETCH_BYTES, "a", 1e9, now=0) == 0
    assert limited.use_connection("::1", now=0) == 0
    assert limited.use_connection("::1", now=0) == pytest.approx(1.0)


def test_it_is_inactive_until_something_is_limited_and_follows_changes() -> None:
    stored = Stored({})
    limited = Quotas(stored, RequestRates())
    assert not limited.active
    assert limited.use(PRODUCE_BYTES, "u", "c", 1e12, now=0) == 0
    stored.change({(("user", "u"),): {PRODUCE_BYTES: 10.0}})
    assert limited.active
    assert limited.limits(PRODUCE_BYTES)
    assert limited.use(PRODUCE_BYTES, "u", "c", 20, now=0) == pytest.approx(1.0)
    stored.change({(("user", "u"),): {PRODUCE_BYTES: 1000.0}})
    assert limited.use(PRODUCE_BYTES, "u", "c", 20, now=0) == 0
    stored.change({})
    assert not limited.active


def test_requests_are_limited_for_everybody_per_client_per_address_and_per_topic() -> None:
    two = RequestRate(2, 2)
    for rates, other in (
        (RequestRates(everybody=two), ("v", "10.0.0.2", ["b"])),
        (RequestRates(per_client=two), ("u", "10.0.0.2", ["b"])),
        (RequestRates(per_address=two), ("v", "10.0.0.1", ["b"])),
        (RequestRates(per_topic=two), ("v", "10.0.0.2", ["a"])),
    ):
        limited = Quotas(Stored({}), rates)
        assert limited.active
        assert [limited.use_request("u", "10.0.0.1", ["a"], now=0) for _ in range(2)] == [0, 0]
        assert limited.use_request(*other, now=0) == pytest.approx(0.5)
    limited = Quotas(Stored({}), RequestRates(per_client=two, per_topic=two))
    for _ in range(3):
        limited.use_request("u", "10.0.0.1", ["a"], now=0)
    assert limited.use_request("v", "10.0.0.1", ["b"], now=0) == 0


def test_what_is_remembered_is_bounded_and_time_that_goes_back_gives_nothing() -> None:
    allowances = Allowances()
    for number in range(ALLOWANCES_MAX + 10):
        allowances.use((str(number),), 1, 1, 1, now=0)
    assert len(allowances._known) == ALLOWANCES_MAX
    assert allowances.use(("x",), 1, 1, 1, now=10) == 0
    assert allowances.use(("x",), 1, 1, 1, now=5) == pytest.approx(1.0)


def test_a_change_of_one_quota_forgives_nobody_elses_debt() -> None:
    mine: QuotaEntity = (("user", "u"),)
    other: QuotaEntity = (("user", "v"),)
    stored = Stored({mine: {PRODUCE_BYTES: 10.0}})
    limited = Quotas(stored, RequestRates())
    assert limited.use(PRODUCE_BYTES, "u", "c", 60, now=0) == pytest.approx(5.0)
    stored.change({mine: {PRODUCE_BYTES: 10.0}, other: {PRODUCE_BYTES: 1.0}})
    assert limited.use(PRODUCE_BYTES, "u", "c", 0, now=0) == pytest.approx(5.0)
    stored.change({mine: {PRODUCE_BYTES: 20.0}})
    assert limited.use(PRODUCE_BYTES, "u", "c", 0, now=0) == 0, "its own change does"
