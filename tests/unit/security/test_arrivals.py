"""New connections: networks, an address's own rate, and the rate of all together."""

import pytest

from rivven.security.arrivals import Arrivals, CreationRate
from rivven.security.networks import AllowedNetworks
from rivven.security.quotas import CONNECTIONS, Quotas, RequestRates


def arrivals(*, networks: AllowedNetworks | None = None, rate: int = 1000) -> Arrivals:
    table = {(("ip", "10.0.0.1"),): {CONNECTIONS: 1.0}}
    quotas = Quotas(lambda: (1, table), RequestRates())
    return Arrivals(networks or AllowedNetworks([]), quotas, CreationRate(rate))


def test_only_allowed_networks_may_connect_and_the_reason_names_the_keys() -> None:
    rules = arrivals(networks=AllowedNetworks([["10.0.0.0/8"]]))
    assert rules.refusal("10.0.0.1") is None
    assert "allowed_cidrs" in str(rules.refusal("192.0.2.1"))


def test_an_address_above_its_rate_is_held_and_others_are_not() -> None:
    rules = arrivals()
    assert rules.hold("10.0.0.1", now=0) == 0
    assert rules.hold("10.0.0.1", now=0) == pytest.approx(1.0)
    assert rules.hold("10.0.0.2", now=0) == 0


def test_accepting_pauses_while_all_together_are_above_the_rate() -> None:
    rules = arrivals(rate=2)
    assert [rules.pause(now=0) for _ in range(3)] == [0, 0, pytest.approx(0.5)]
    assert rules.pause(now=2) == 0
