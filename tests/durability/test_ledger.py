"""The ledger must be able to fail: a check that cannot see a loss proves nothing."""

from __future__ import annotations

import pytest

from tests.durability.ledger import Ledger


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    for number in range(4):
        ledger.sent(0, b"p:%d" % number)
    ledger.acknowledge(0, 0, b"p:0")
    ledger.acknowledge(0, 1, b"p:1")
    ledger.observe(0, 2, b"p:2")
    return ledger


def test_accepts_what_was_promised_and_more(ledger: Ledger) -> None:
    ledger.check({0: [(0, b"p:0"), (1, b"p:1"), (2, b"p:2"), (3, b"p:3")]})
    ledger.check({0: [(0, b"p:0"), (1, b"p:1"), (2, b"p:2")]})


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([(0, b"p:0"), (2, b"p:2")], "acknowledged are gone"),
        ([(0, b"p:0"), (1, b"p:1")], "read by a consumer are gone"),
        ([(0, b"p:0"), (1, b"p:1"), (2, b"p:2"), (3, b"p:2")], "twice"),
        ([(0, b"p:0"), (1, b"p:1"), (2, b"p:2"), (3, b"q:9")], "nobody sent"),
        ([(0, b"p:1"), (1, b"p:0"), (2, b"p:2")], "out of order"),
        ([(1, b"p:0"), (2, b"p:1"), (3, b"p:2")], "acknowledged are gone"),
    ],
)
def test_sees_every_kind_of_damage(ledger: Ledger, rows: list[tuple[int, bytes]], what: str) -> None:
    with pytest.raises(AssertionError, match=what):
        ledger.check({0: rows})
