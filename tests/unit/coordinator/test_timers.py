"""The heap that forgets lazily, against a plain dictionary."""

from __future__ import annotations

import random

from rivven.coordinator.timers import STALE_MIN, Timers


def test_nothing_waits() -> None:
    timers = Timers()
    assert timers.due(10, 5) == ([], None)
    timers.set("a", None)
    assert len(timers) == 0 and timers.get("a") is None


def test_due_keys_and_when_to_ask_again() -> None:
    timers = Timers()
    for key, at in (("a", 5), ("b", 10), ("c", 20)):
        timers.set(key, at)
    assert timers.due(4, 5) == ([], 5)
    keys, again = timers.due(10, 5)
    assert set(keys) == {"a", "b"} and again == 20
    assert timers.due(10, 1) == (["a"], 10), "more is due than the limit allows: ask again at once"


def test_a_moved_deadline_is_not_due_at_its_old_moment() -> None:
    timers = Timers()
    timers.set("a", 5)
    timers.set("a", 50)
    timers.set("b", 6)
    timers.set("b", None)
    assert timers.due(10, 5) == ([], 50)


def test_agrees_with_a_dictionary_and_stays_small() -> None:
    luck = random.Random(11)
    timers, plain = Timers(), dict[str, int]()
    for now in range(3_000):
        key = f"k{luck.randint(0, 30)}"
        at = None if luck.random() < 0.2 else now + luck.randint(1, 400)
        timers.set(key, at)
        plain.pop(key, None)
        if at is not None:
            plain[key] = at
        keys, again = timers.due(now, 100)
        late = {key for key, moment in plain.items() if moment <= now}
        assert set(keys) == late and len(keys) == len(late)
        rest = [moment for moment in plain.values() if moment > now]
        assert (again is None) == (not rest) or again is not None
        assert again is None or (now < again and (not rest or again <= min(rest)))
        assert not rest or again is not None
        for key in late:
            timers.set(key, None)
            del plain[key]
        assert len(timers) == len(plain)
        assert len(timers._heap) <= 2 * len(plain) + STALE_MIN + 1
