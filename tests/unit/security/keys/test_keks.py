"""KEKs in use: whose turn it is by age, what is remembered of them, and that a failed rewrap is no rewrap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from rivven.security.keys.erasure_files import ErasureFiles
from rivven.security.keys.keks import DAY_MS, Keks, due
from rivven.security.keys.provider import KekInfo, KeyProviderError, KeyRefused, ProviderUnavailable
from tests.unit.security.keys.key_world import TOPIC, World


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture
async def keks(world: World) -> AsyncIterator[Keks]:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: "", uuid4(): ""})
        yield Keks(world.provider, keys, world.metadata_key, ErasureFiles(world.files, world.store))


async def test_a_rotation_leaves_what_is_wrapped_to_a_rewrap(keks: Keks) -> None:
    before = keks.metadata_kek
    made = await keks.rotate("")
    assert (made.previous_id, made.older_keys) == (before, 2)
    assert keks.kek_ids() == {before}
    report = await keks.rewrap_all()
    assert (report.moved, report.unchanged, report.failed) == (3, 0, ())
    assert keks.kek_ids() == {made.key_id} == {keks.metadata_kek}
    report = await keks.rewrap_all()
    assert (report.moved, report.unchanged) == (0, 3)


async def test_the_first_kek_of_a_name(keks: Keks) -> None:
    made = await keks.rotate("payments")
    assert (made.previous_id, made.older_keys) == ("", 0)
    assert (await keks.rotate("payments")).previous_id == made.key_id
    assert [one.current for one in (await keks.described(["payments"]))["payments"]] == [False, True]


async def test_every_kek_is_remembered(keks: Keks, world: World) -> None:
    first = keks.metadata_kek
    second = (await keks.rotate("")).key_id
    world.provider.describe = lambda key: [KekInfo(second, 1, "enabled", True)]  # type: ignore[method-assign]
    described = await keks.described()
    assert await keks.known(described) == {first: "", second: ""}


async def test_a_name_the_provider_does_not_know_has_no_keks(keks: Keks) -> None:
    found = await keks.described(["", "payments"])
    assert found["payments"] == []
    assert len(found[""]) == 1
    assert keks.names() == [""]


async def test_a_provider_that_does_not_tell_is_shown_by_its_current_kek(keks: Keks, world: World) -> None:
    current = keks.metadata_kek
    world.provider.failure = lambda call, _use: KeyRefused("cannot describe") if call == "describe" else None
    assert await keks.shown() == {"": [KekInfo(current, None, "enabled", True)]}
    with pytest.raises(KeyRefused):
        await keks.described()


@pytest.mark.parametrize("failure", [ProviderUnavailable("down"), KeyRefused("denied")])
async def test_a_rewrap_that_missed_a_key_is_a_failure(
    keks: Keks, world: World, failure: KeyProviderError
) -> None:
    await keks.rotate("")
    world.provider.failure = lambda call, use: failure if call == "wrap" and "topic" in use else None
    with pytest.raises(KeyProviderError, match=str(failure)):
        await keks.rewrap()
    world.provider.failure = lambda _call, _use: None
    await keks.rewrap()
    assert len(keks.kek_ids()) == 1


async def test_a_topic_whose_first_key_is_being_made_is_not_missed(keks: Keks, world: World) -> None:
    """Its key may be wrapped under the old KEK before the rotation and stored after it."""
    await keks.rotate("")
    topics = keks._topic_keys._held.topics
    late = uuid4()
    topic = keks._topic_keys._held.held(late)
    topic.wanted = ""
    await topic.lock.acquire()
    rewrapping = asyncio.create_task(keks.rewrap())
    for _ in range(20):
        await asyncio.sleep(0)
    assert late in topics
    assert not rewrapping.done(), "it waits for who holds the topic"
    topic.lock.release()
    await rewrapping


@pytest.mark.parametrize(
    ("age_days", "current", "expected"),
    [(89.9, True, []), (90, True, [""]), (400, True, [""]), (400, False, [])],
)
def test_whose_turn_it_is(age_days: float, current: bool, expected: list[str]) -> None:
    now = 1_000 * DAY_MS
    infos = [KekInfo("k1", now - int(age_days * DAY_MS), "enabled", current)]
    assert due({"": infos}, 90, now) == expected


def test_an_unknown_age_is_never_too_old() -> None:
    assert due({"": [KekInfo("arn", None, "enabled", True)], "x": []}, 1, 10**15) == []
