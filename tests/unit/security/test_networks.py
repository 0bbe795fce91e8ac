"""Addresses are allowed when every group of networks has them."""

import pytest

from rivven.security import networks
from rivven.security.networks import AllowedNetworks, parse_network


def test_without_groups_everybody_may_come() -> None:
    assert AllowedNetworks([]).allow("203.0.113.9")


def test_an_empty_group_lets_nobody_in() -> None:
    assert not AllowedNetworks([[]]).allow("127.0.0.1")


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.0.0.1", False),
        ("203.0.113.50", True),
        ("203.0.113.51", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("fe80::1%eth0", True),
        ("", False),
        ("localhost", False),
    ],
)
def test_an_address_is_in_one_of_the_networks(host: str, allowed: bool) -> None:
    rules = AllowedNetworks([["10.0.0.0/8", "203.0.113.50/32", "2001:db8::/32", "fe80::/10"]])
    assert rules.allow(host) is allowed
    assert rules.allow(host) is allowed


def test_every_group_must_have_it() -> None:
    rules = AllowedNetworks([["10.0.0.0/8"], ["10.1.0.0/16"]])
    assert rules.allow("10.1.0.1")
    assert not rules.allow("10.2.0.1")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "REMEMBERED_MAX", 3)
    rules = AllowedNetworks([["10.0.0.0/8"]])
    for number in range(10):
        assert rules.allow(f"10.0.0.{number}")
    assert len(rules._known) <= 3


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "x", ""])
def test_a_text_that_is_no_network_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(ValueError, match="is not a network") as caught:
        parse_network(text)
    assert repr(text) in str(caught.value)
