"""`key_rotation_days`: an old KEK is replaced once, recorded, and whatever was in the way is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from rivven.app import key_age
from rivven.audit.sinks import AuditUnavailable
from rivven.security.keys.keks import DAY_MS
from rivven.security.keys.provider import KeyRefused, ProviderUnavailable
from tests.unit.app.key_site import LOGS, Site, states


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for is a state
            await asyncio.sleep(0.001)


@pytest.fixture
async def site() -> Site:
    return Site()


async def test_a_key_that_is_too_old_is_replaced_once(site: Site) -> None:
    site.days = 90
    async with site.process() as operations:
        made = site.world.provider.describe("")[0].created_ms
        assert made is not None
        site.world.clock.ms = made + 90 * DAY_MS - 1
        assert await operations.age.rotate_old() == []
        site.world.clock.ms = made + 90 * DAY_MS
        [rotated] = await operations.age.rotate_old()
        assert site.keys.kek_ids() == {rotated.key_id}
        assert site.trail.events == [("rotate", "kek:", "intent"), ("rotate", "kek:", "success")]
        assert states(site) == ["enabled", "enabled"]


async def test_what_a_crash_left_under_an_older_key_is_rewrapped(site: Site) -> None:
    site.days = 90
    async with site.process() as operations:
        made = await operations.rotate("")
        assert await operations.age.rotate_old() == []
        assert site.keys.kek_ids() == {made.key_id}
        assert await operations.age.rotate_old() == []


async def test_a_key_that_cannot_be_rotated_keeps_no_other_old(site: Site) -> None:
    site.days = 1
    async with site.process() as operations:
        await operations.rotate("payments")
        await site.keys.prepare({LOGS: "payments"})
        site.world.clock.ms = 10**15
        rotate = site.world.provider.rotate

        def only_named(key: str) -> str:
            if not key:
                raise KeyRefused("a key without an alias")
            return rotate(key)

        site.world.provider.rotate = only_named  # type: ignore[method-assign]
        with pytest.raises(KeyRefused, match="without an alias"):
            await operations.age.rotate_old()
        assert [one.current for one in site.world.provider.describe("payments")] == [False, True]
        wrapped = site.keys.stored()[LOGS].wrapped.key_id
        assert wrapped == site.world.provider.current_id("payments")


async def test_what_cannot_be_recorded_is_not_done(site: Site) -> None:
    site.days, site.trail.refuses = 1, True
    async with site.process() as operations:
        site.world.clock.ms = 10**15
        with pytest.raises(AuditUnavailable):
            await operations.age.rotate_old()
        assert states(site) == ["enabled"]


async def test_a_failure_is_on_record(site: Site) -> None:
    site.days = 1
    async with site.process() as operations:
        site.world.clock.ms = 10**15
        site.fails("rotate")
        with pytest.raises(ProviderUnavailable):
            await operations.age.rotate_old()
        assert site.trail.events[-1] == ("rotate", "kek:", "failure")
        site.fails()
        await operations.rotate("")


async def test_what_was_in_the_way_is_not_in_the_way_for_an_hour(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_age, "AGAIN_SECONDS", 0.001)
    site.days = 1
    async with site.process() as operations:
        site.world.clock.ms = 10**15
        site.fails("rotate")
        following = asyncio.create_task(operations.age.follow())
        await until(lambda: site.trail.events.count(("rotate", "kek:", "failure")) >= 3)
        site.fails()
        await until(lambda: states(site) == ["enabled", "enabled"])
        newest = site.world.provider.current_id("")
        await until(lambda: site.keys.kek_ids() == {newest})
        following.cancel()
