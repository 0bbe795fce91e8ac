"""Keeping the issuers' keys: what is fetched when, what is kept, who waits and who may not. Time is ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from rivven.security.authn import jwks as jwks_module
from rivven.security.authn.authenticator import Deferred, Rejected, Step
from rivven.security.authn.jwk_set import JwkSet, KeyRefused
from rivven.security.authn.jwks import (
    REFETCH_SECONDS_MIN,
    UNKNOWN_KID_SECONDS,
    WAIT_SECONDS_MAX,
    WAITING_MAX,
    WAITING_PER_HOST_MAX,
    Jwks,
)
from rivven.security.authn.oidc_fetch import FetchFailed, KeySource
from rivven.tasks import Tasks
from tests.shipped.issuer import SigningKey
from tests.unit.security.authn.bearing import HOST, key_set

NAME = "https://issuer.example"
SOURCE = KeySource(NAME, NAME + "/keys", refresh_s=300.0)
OLD, NEW = SigningKey("ES256", "old"), SigningKey("ES256", "new")


class Time:
    """A clock whose sleepers wake when the test moves it; the module's `asyncio.sleep` and `timeout`."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now_ms(self) -> int:
        return int(self.now * 1000)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        future = asyncio.get_running_loop().create_future()
        self._sleepers.append((until, future))
        await future

    async def pass_(self, seconds: float) -> None:
        """Move the clock, waking sleepers in order."""
        end = self.now + seconds
        await settle()
        while due := [one for one in self._sleepers if one[0] <= end and not one[1].done()]:
            until, future = min(due, key=lambda one: one[0])
            self.now = max(self.now, until)
            future.set_result(None)
            await settle()
        self.now = end
        self._sleepers = [one for one in self._sleepers if not one[1].done()]


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Provider:
    """Where keys are fetched; `gate` holds answers back."""

    def __init__(self) -> None:
        self.keys: JwkSet | None = key_set(OLD)
        self.fetches: list[float] = []
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None
        self.seen: list[tuple[str, bool]] = []

    def keys_fetched(self, issuer: str, ok: bool) -> None:
        self.seen.append((issuer, ok))


class World:
    """The keys under test over a provider and a time of the test's own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = Time()
        self.provider = Provider()
        self.tasks = Tasks()
        self.jwks = Jwks(self.fetch, self.time, self.tasks, self.provider)

        class TimedAsyncio:
            """asyncio as the module sees it: its sleeps end when the test says."""

            def __getattr__(self, name: str) -> object:
                return getattr(asyncio, name)

        timed = TimedAsyncio()
        timed.sleep = self.time.sleep  # type: ignore[attr-defined]
        timed.timeout = self.timeout  # type: ignore[attr-defined]
        monkeypatch.setattr(jwks_module, "asyncio", timed)

    async def fetch(self, source: KeySource) -> JwkSet:
        self.provider.fetches.append(self.time.now)
        keys = self.provider.keys
        if self.provider.gate is not None:
            await self.provider.gate.wait()
        if self.provider.error is not None:
            raise self.provider.error
        if keys is None:
            raise FetchFailed("the provider is away")
        return keys

    def timeout(self, seconds: float) -> asyncio.Timeout:
        """A real timeout object whose end is one of our time."""
        scope = asyncio.timeout(None)

        async def end() -> None:
            await self.time.sleep(seconds)
            scope.reschedule(asyncio.get_running_loop().time())

        self.tasks.spawn(_quietly(end()), "timeout")
        return scope

    def login(self, kid: str | None, host: str = HOST) -> asyncio.Task[Step] | Rejected:
        """A login that waits for a key: its outcome tells the time, in ms, at which it went on."""
        found = self.jwks.wait(NAME, kid, host, lambda now_ms: Rejected(str(now_ms)))
        if isinstance(found, Rejected):
            return found
        assert isinstance(found, Deferred)
        return self.tasks.spawn(_awaited(found), "login")

    def knows(self, kid: str) -> bool:
        return self.jwks.find(NAME, kid, "ES256") is not None


async def _awaited(deferred: Deferred) -> Step:
    return await deferred.outcome()


async def _quietly(coroutine: object) -> None:
    try:
        await coroutine  # type: ignore[misc]
    except RuntimeError:  # the timeout it belongs to has ended
        pass


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    world = World(monkeypatch)
    world.jwks.follow([SOURCE])
    await settle()
    yield world
    await world.tasks.cancel_all()


async def test_keys_are_fetched_at_the_start_and_now_and_then(world: World) -> None:
    assert world.knows("old")
    await world.time.pass_(SOURCE.refresh_s - 1)
    assert len(world.provider.fetches) == 1
    world.provider.keys = key_set(NEW)
    await world.time.pass_(1)
    assert len(world.provider.fetches) == 2
    assert world.knows("new") and not world.knows("old")
    assert world.provider.seen == [(NAME, True)] * 2


async def test_a_failure_keeps_the_last_good_keys_and_is_tried_again_with_growing_pauses(
    world: World,
) -> None:
    world.provider.keys = None
    await world.time.pass_(SOURCE.refresh_s)
    start = world.provider.fetches[-1]
    await world.time.pass_(200)
    pauses = [round(later - start) for later in world.provider.fetches[2:]]
    assert pauses == [10, 30, 70, 130, 190]
    assert world.knows("old")
    world.provider.keys = key_set(NEW)
    await world.time.pass_(60)
    assert world.knows("new")


async def test_a_failure_nobody_thought_of_ends_no_refreshing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.provider.error = RuntimeError("surprise")
    await world.time.pass_(SOURCE.refresh_s)
    assert "in a way nobody thought of" in caplog.text
    assert world.provider.seen[-1] == (NAME, False)
    assert world.knows("old")
    waiting = world.login("new")
    assert isinstance(waiting, asyncio.Task)
    world.provider.error, world.provider.keys = None, key_set(NEW)
    await world.time.pass_(REFETCH_SECONDS_MIN)
    assert isinstance(await waiting, Rejected) and world.knows("new")


async def test_logins_with_an_unknown_key_share_one_fetch(world: World) -> None:
    await world.time.pass_(100)
    world.provider.keys = key_set(OLD, NEW)
    logins = [world.login("new", f"10.0.0.{index}") for index in range(10)]
    await settle()
    assert len(world.provider.fetches) == 2
    assert world.knows("new")
    assert all(isinstance(login, asyncio.Task) and login.done() for login in logins)


async def test_fetches_keep_their_distance_whoever_asks(world: World) -> None:
    await world.time.pass_(100)
    for number in range(100):
        world.login(f"guess-{number}", f"10.0.{number}.1")
        await world.time.pass_(0.25)
    gaps = [b - a for a, b in zip(world.provider.fetches[1:], world.provider.fetches[2:], strict=False)]
    assert gaps and min(gaps) >= REFETCH_SECONDS_MIN
    assert len(world.provider.fetches) <= 2 + 25 / REFETCH_SECONDS_MIN


async def test_a_login_waits_for_the_interval_to_pass(world: World) -> None:
    await world.time.pass_(1)
    world.provider.keys = key_set(NEW)
    login = world.login("new")
    assert isinstance(login, asyncio.Task)
    await world.time.pass_(REFETCH_SECONDS_MIN - 1.5)
    assert not login.done()
    await world.time.pass_(1)
    assert login.done() and world.knows("new")


async def test_a_fetch_that_began_before_the_login_does_not_count(world: World) -> None:
    """What it reads may be older than the key."""
    await world.time.pass_(100)
    world.provider.gate = asyncio.Event()
    first = world.login("other")
    await settle()
    world.provider.keys = key_set(OLD, NEW)
    second = world.login("new", "10.0.0.2")
    await settle()
    world.provider.gate.set()
    await settle()
    assert isinstance(first, asyncio.Task) and first.done()
    assert isinstance(second, asyncio.Task) and not second.done()
    await world.time.pass_(REFETCH_SECONDS_MIN)
    assert second.done() and world.knows("new")


async def test_a_key_just_not_found_is_refused_without_a_fetch_for_a_while(world: World) -> None:
    await world.time.pass_(100)
    world.login("guess")
    await settle()
    fetched = len(world.provider.fetches)
    again = world.login("guess")
    assert again == Rejected(f"kid: 'guess' was not a key of {NAME} a moment ago")
    await world.time.pass_(UNKNOWN_KID_SECONDS)
    assert len(world.provider.fetches) == fetched
    assert isinstance(world.login("guess"), asyncio.Task)


async def test_a_key_that_comes_later_is_known_although_it_was_guessed_before(world: World) -> None:
    await world.time.pass_(100)
    world.login("new")
    await settle()
    world.provider.keys = key_set(NEW)
    await world.time.pass_(SOURCE.refresh_s)
    assert world.knows("new")


async def test_after_a_failed_fetch_nothing_is_remembered_as_unknown(world: World) -> None:
    await world.time.pass_(100)
    world.provider.keys = None
    world.login("new")
    await settle()
    assert isinstance(world.login("new"), asyncio.Task)


async def test_a_login_waits_no_longer_than_its_time(world: World) -> None:
    await world.time.pass_(100)
    world.provider.gate = asyncio.Event()
    login = world.login("new")
    assert isinstance(login, asyncio.Task)
    started = world.time.now
    await world.time.pass_(WAIT_SECONDS_MAX + 1)
    assert login.done()
    outcome = login.result()
    assert isinstance(outcome, Rejected)
    assert int(outcome.reason) == int((started + WAIT_SECONDS_MAX) * 1000)
    world.provider.gate.set()


async def test_the_number_of_waiting_logins_is_bounded_per_address_and_in_total(world: World) -> None:
    await world.time.pass_(100)
    world.provider.gate = asyncio.Event()
    for number in range(WAITING_PER_HOST_MAX):
        assert isinstance(world.login(f"guess-{number}"), asyncio.Task)
    await settle()
    refused = world.login("one-more")
    assert isinstance(refused, Rejected) and "too many logins wait" in refused.reason
    for number in range(WAITING_MAX - WAITING_PER_HOST_MAX):
        assert isinstance(world.login("new", f"10.0.1.{number}"), asyncio.Task)
    await settle()
    assert isinstance(world.login("new", "10.0.2.1"), Rejected)
    world.provider.gate.set()
    await world.time.pass_(REFETCH_SECONDS_MIN)
    assert isinstance(world.login("fresh", "10.0.2.1"), asyncio.Task)


async def test_a_peer_that_hangs_up_gives_its_place_back_and_ends_no_fetch(world: World) -> None:
    await world.time.pass_(100)
    world.provider.gate = asyncio.Event()
    for _ in range(WAITING_PER_HOST_MAX * 3):
        login = world.login("new")
        assert isinstance(login, asyncio.Task)
        await settle()
        login.cancel()
        await settle()
    world.provider.keys = key_set(NEW)
    world.provider.gate.set()
    await world.time.pass_(REFETCH_SECONDS_MIN)
    assert len(world.provider.fetches) <= 3


async def test_other_sources_are_followed_and_gone_ones_are_not(world: World) -> None:
    kept = world.jwks.find(NAME, "old", "ES256")
    world.jwks.follow([SOURCE, KeySource("https://two.example", "https://two.example/keys")])
    await settle()
    assert world.jwks.find(NAME, "old", "ES256") is kept
    assert world.jwks.find("https://two.example", "old", "ES256")
    world.jwks.follow([])
    with pytest.raises(KeyRefused, match="not followed"):
        world.jwks.find(NAME, "old", "ES256")
    fetched = len(world.provider.fetches)
    await world.time.pass_(1_000)
    assert len(world.provider.fetches) == fetched


async def test_a_source_with_another_address_starts_anew(world: World) -> None:
    world.provider.keys = None
    world.jwks.follow([KeySource(NAME, NAME + "/other")])
    await settle()
    assert not world.knows("old")
