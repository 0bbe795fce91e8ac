"""Uses are counted in memory and stored rarely."""

from __future__ import annotations

from rivven.security.authn.token_uses import STORED_EVERY_MS, LastUse, TokenUses

HOUR = STORED_EVERY_MS


def test_a_list_shows_the_newest_of_both() -> None:
    uses = TokenUses()
    assert uses.last("t", (None, "")) == (None, "")
    assert uses.last("t", (5, "a")) == (5, "a")
    uses.used("t", 9, "b")
    assert uses.last("t", (5, "a")) == (9, "b")
    assert uses.last("t", (None, "")) == (9, "b")
    assert uses.last("t", (10, "c")) == (10, "c"), "another node stored a later one"


def test_a_busy_token_is_stored_once_an_hour() -> None:
    uses = TokenUses()
    stored: dict[str, LastUse] = {"busy": (None, "")}
    writes = 0
    for minute in range(180):
        uses.used("busy", minute * 60_000, "h")
        for token_id, ms, host in uses.due(stored.get):
            stored[token_id] = (ms, host)
            writes += 1
    assert writes == 3
    assert uses.due(stored.get) == []
    assert uses.due(stored.get, 0) == [("busy", 179 * 60_000, "h")]
    stored["busy"] = (179 * 60_000, "h")
    assert uses.due(stored.get, 0) == []


def test_tokens_that_are_no_more_leave_memory() -> None:
    uses = TokenUses()
    uses.used("gone", 1, "h")
    assert uses.due(lambda _: None) == []
    assert len(uses) == 0
