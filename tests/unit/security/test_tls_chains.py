"""What clients would refuse of a server's chain is seen before it is put in force."""

from __future__ import annotations

import time

import pytest

from rivven.security.certificate import MalformedCertificate
from rivven.security.tls_chains import chain_end_ms, chain_problem
from tests.shipped.authority import DAY_S, Authority


def now_ms(ahead_s: float = 0) -> int:
    return int((time.time() + ahead_s) * 1000)


def test_the_earliest_end_counts() -> None:
    root = Authority()
    middle = Authority("middle", root, seconds=2 * DAY_S)
    chain = middle.issue(seconds=9 * DAY_S).ders
    assert abs(chain_end_ms(chain) - now_ms(2 * DAY_S)) < 10_000
    assert chain_problem(chain, now_ms()) is None
    assert "certificate 2 ended at" in (chain_problem(chain, now_ms(3 * DAY_S)) or "")
    with pytest.raises(MalformedCertificate):
        chain_end_ms([b"no certificate"])
    assert chain_problem([b"no certificate"], 0) is not None


def test_dates() -> None:
    leaf = Authority().issue(begin=DAY_S)
    assert "certificate 1 begins at" in (chain_problem(leaf.ders, now_ms()) or "")
    assert chain_problem(leaf.ders, now_ms(2 * DAY_S)) is None
    assert "certificate 1 ended at" in (chain_problem(leaf.ders, now_ms(6 * DAY_S)) or "")


def test_who_issued_what() -> None:
    root = Authority()
    middle = Authority("middle", root)
    lower = Authority("lower", middle)
    leaf, *above = lower.issue().ders
    assert chain_problem([leaf, *above, root.der], now_ms()) is None
    assert chain_problem([leaf, *reversed(above)], now_ms()) is None, "any order (RFC 8446 4.4.2)"
    stranger = Authority("stranger").der
    assert chain_problem([leaf, stranger, *above], now_ms()) == "certificate 2 issued none of the others"
    twin = Authority("lower", middle).der
    assert chain_problem([leaf, twin], now_ms()) == "certificate 2 issued none of the others"
