"""Sums over keys: what rests on which KEK, and how much of it is on the newest."""

from __future__ import annotations

from uuid import UUID

import pytest

from rivven.security.keys.inventory import KeyInventory, Stored, TopicKeyUse, percent, take_inventory
from rivven.security.keys.provider import KekInfo


def a_topic(name: str, keks: dict[str, str], sealed: dict[str | None, Stored], **more: bool) -> TopicKeyUse:
    newest = list(keks)[-1] if keks else None
    return TopicKeyUse(name, UUID(int=1), "", True, newest, keks, sealed, more.get("plain", False))


ORDERS = a_topic("orders", {"t1": "k1", "t2": "k2"}, {"t1": Stored(3, 300), "t2": Stored(1, 100)})
LOGS = a_topic("logs", {"t3": "k2"}, {"t3": Stored(1, 400), None: Stored(2, 700)}, plain=True)
DESCRIBED = {
    "": [KekInfo("k1", 5, "enabled", False), KekInfo("k2", 9, "enabled", True)],
    "other": [KekInfo("o1", 1, "enabled", False), KekInfo("o2", 2, "enabled", True)],
}


def inventory(*topics: TopicKeyUse, metadata_kek: str = "k2") -> KeyInventory:
    return take_inventory("file", DESCRIBED, {"k0": "", "x9": "other"}, topics, metadata_kek)


def test_what_rests_on_each_kek() -> None:
    by_id = {one.key_id: one for one in inventory(ORDERS, LOGS).keks}
    old, new = by_id["k1"], by_id["k2"]
    assert (old.topics, old.topic_keys, old.stored, old.wraps_metadata_key) == (1, 1, Stored(3, 300), False)
    assert (new.topics, new.topic_keys, new.stored, new.wraps_metadata_key) == (2, 2, Stored(2, 500), True)
    assert [one.key_id for one in by_id.values() if one.retirable] == ["o1"]


def test_percentages() -> None:
    found = inventory(ORDERS, LOGS)
    assert found.newest_percent == 62.5
    assert found.older_keys == 1
    assert (ORDERS.newest_percent, LOGS.newest_percent) == (25.0, 36.4)
    assert found.plain == Stored(2, 700)
    assert inventory().newest_percent == 100.0


def test_without_bytes_the_keys_count() -> None:
    assert inventory(a_topic("new", {"t1": "k1", "t2": "k2"}, {})).newest_percent == 50.0


def test_the_metadata_key_keeps_a_kek() -> None:
    by_id = {one.key_id: one for one in inventory(LOGS, metadata_kek="k1").keks}
    assert not by_id["k1"].retirable


def test_keys_the_provider_does_not_list_are_shown_while_something_rests_on_them() -> None:
    found = inventory(a_topic("old", {"t1": "x9"}, {"t1": Stored(1, 10)}), metadata_kek="k0")
    by_id = {one.key_id: one for one in found.keks}
    assert (by_id["x9"].name, by_id["x9"].stored, by_id["x9"].current) == ("other", Stored(1, 10), False)
    assert by_id["k0"].wraps_metadata_key


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [(0, 0, 100.0), (0, 1, 0.0), (999_999, 1_000_000, 99.9), (1, 3, 33.3), (5, 5, 100.0)],
)
def test_nothing_short_of_everything_is_a_hundred(part: int, whole: int, shown: float) -> None:
    assert percent(part, whole) == shown
